"""One way to say that a measurement agrees with theory, and that it would not agree with a mistake."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["assert_within", "mean_and_error"]


def mean_and_error(samples: ArrayLike, axis: int = -1) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over independent samples along one axis."""
    samples = np.asarray(samples, float)
    count = samples.shape[axis]
    return samples.mean(axis), samples.std(axis, ddof=1) / np.sqrt(count)


def assert_within(
    estimate: ArrayLike,
    error: ArrayLike,
    exact: ArrayLike,
    *,
    sigmas: float = 4.0,
    catches: str,
    mistake: ArrayLike | None = None,
) -> None:
    """Assert |estimate - exact| < sigmas standard errors, everywhere.

    `catches` says which mistake the test is there for. Where the size of that mistake is known (`mistake`, absolute),
    the test must also have the power to see it: mistake > 8 standard errors.
    """
    estimate, error, exact = np.broadcast_arrays(*(np.asarray(v, float) for v in (estimate, error, exact)))
    assert np.all(np.isfinite(estimate)), f"not finite ({catches})"
    assert np.all(np.isfinite(error)), f"error not finite ({catches})"
    assert np.all(error > 0.0), f"a standard error of zero proves nothing ({catches})"
    worst = np.unravel_index(np.argmax(np.abs(estimate - exact) / error), estimate.shape)
    score = (estimate[worst] - exact[worst]) / error[worst]
    message = f"{estimate[worst]:.6g} +- {error[worst]:.2g} against {exact[worst]:.6g}: {score:+.1f} sigma"
    assert abs(score) < sigmas, f"{message}; would be caused by: {catches}"
    if mistake is not None:
        power = np.min(np.abs(np.asarray(mistake, float)) / error)
        assert power > 8.0, f"no power: the mistake ({catches}) is only {power:.1f} standard errors"
