"""The table of what is measured of every network at frames. JAX comes with the first measure that is called.

Means are over all data, kept apart from what steps saw. Of networks that normalise over a minibatch, whose loss is no
mean of what each row has alone, they are means over the data cut into minibatches in their order, as large as those of
the steps; rows beyond a whole number of them are left out. Noise and curvature are of what learns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from thermosim.network import Measure

__all__ = ["MEASURES", "no_test"]

_FEWEST_FOR_SQUARE = 4  # minibatches
_LAYER = "layer"  # the dimension that the books of layers have

Absent = Callable[[Any, Any], str]


def _no_classes(model: Any, settings: Any) -> str:
    return "" if _classes(model, settings) else f"{model.name!r} has no classes"


def _classes(model: Any, settings: Any) -> int:
    return 0 if model.classes is None else int(model.classes(settings.model.constants))


def no_test(model: Any, settings: Any) -> str:
    """Why no rows are kept from learning; empty where some are."""
    return "" if settings.data is not None and settings.data.test is not None else "no data.test is kept from learning"


def _no_noise(model: Any, settings: Any) -> str:
    return "every step takes all rows, so minibatches make no noise" if settings.theta.batch == "all" else ""


def _no_square(model: Any, settings: Any) -> str:
    batches = settings.of_measure.batches
    few = f"measure.batches = {batches} minibatches do not tell it; {_FEWEST_FOR_SQUARE} do"
    return _no_noise(model, settings) or (few if batches < _FEWEST_FOR_SQUARE else "")


def _no_next(model: Any, settings: Any) -> str:
    return _no_noise(model, settings) or ("" if settings.theta.batch else "no step draws a minibatch")


def _no_components(model: Any, settings: Any) -> str:
    return "" if settings.of_measure.components else "measure.components names the components, and it is empty"


def _full_loss(probe: Any, theta: Mapping[str, Any]) -> Any:
    return probe.over_rows(lambda x, y: probe.mean_loss(theta, x, y))


def _test_loss(probe: Any, theta: Mapping[str, Any]) -> Any:
    return probe.over_rows(lambda x, y: probe.mean_loss(theta, x, y), test=True)


def _right(probe: Any, theta: Mapping[str, Any], test: bool) -> Any:
    def share(x: Any, y: Any) -> Any:
        return (probe.network.outputs(theta, x).argmax(axis=-1) == y).mean(dtype="float32")

    return probe.over_rows(share, test)


def _accuracy(probe: Any, theta: Mapping[str, Any]) -> Any:
    return _right(probe, theta, test=False)


def _test_accuracy(probe: Any, theta: Mapping[str, Any]) -> Any:
    return _right(probe, theta, test=True)


def _in_noise() -> Any:
    from thermosim.models.architectures.measures import noise  # JAX comes with it

    return noise


def _in_curvature() -> Any:
    from thermosim.models.architectures.measures import curvature  # JAX comes with it

    return curvature


def _in_representations() -> Any:
    from thermosim.models.architectures.measures import representations  # JAX comes with it

    return representations


def _samples(settings: Mapping[str, Any]) -> int:
    return int(settings["batches"]) + 2


def _bases(settings: Mapping[str, Any]) -> int:
    return 2 * int(settings["iterations"]) + 4


def _of_noise(settings: Mapping[str, Any]) -> int:
    return min(int(settings["eigenvalues"]), int(settings["batches"]) - 1)


def _of_hessian(settings: Mapping[str, Any]) -> int:
    return min(int(settings["eigenvalues"]), int(settings["iterations"]))


def _pairs(settings: Mapping[str, Any]) -> int:
    probes = int(settings["probes"])
    return max(1, len(settings["layers"])) * probes * (probes + 1) // 2


_LOSSES = (
    Measure("full_loss", "energy", "loss of all data", "L(theta)", _full_loss),
    Measure("test_loss", "energy", "loss of the rows kept from learning", "L_test(theta)", _test_loss, absent=no_test),
    Measure("accuracy", "1", "share of all rows whose class is predicted", "P(f = y)", _accuracy, absent=_no_classes),
    Measure(
        "test_accuracy",
        "1",
        "share of the rows kept from learning whose class is predicted",
        "P_test(f = y)",
        _test_accuracy,
        absent=lambda model, settings: _no_classes(model, settings) or no_test(model, settings),
    ),
)
_NOISE = (
    Measure(
        "gradient_noise_trace",
        "energy^2",
        "trace of the covariance of the minibatch gradient, from K minibatches, without bias",
        "Tr Sigma = sum_b |g_b - gbar|^2/(K - 1)",
        lambda probe, theta: _in_noise().trace(probe, theta),
        vectors=_samples,
        absent=_no_noise,
    ),
    Measure(
        "layer_gradient_noise_trace",
        "energy^2",
        "the same of each parameter group",
        "Tr Sigma_k = sum_b |g_b,k - gbar_k|^2/(K - 1)",
        lambda probe, theta: _in_noise().layer_traces(probe, theta),
        dim=_LAYER,
        size=lambda settings: int(settings["groups"]),
        vectors=_samples,
        absent=_no_noise,
    ),
    Measure(
        "mean_gradient_square",
        "energy^2",
        "square of the mean gradient, from K minibatches, without bias: it can be negative",
        "|E g|^2 = |gbar|^2 - Tr Sigma/K",
        lambda probe, theta: _in_noise().mean_square(probe, theta),
        vectors=_samples,
        absent=_no_noise,
    ),
    Measure(
        "gradient_noise_square",
        "energy^4",
        "trace of the squared covariance of the minibatch gradient, without bias: it can be negative",
        "Tr Sigma^2 = mean of ((g_a - g_b).(g_c - g_d))^2/4",
        lambda probe, theta: _in_noise().square(probe, theta),
        vectors=_samples,
        absent=_no_square,
    ),
    Measure(
        "gradient_noise_trace_square",
        "energy^4",
        "square of the trace of the covariance of the minibatch gradient, without bias",
        "(Tr Sigma)^2 = mean of |g_a - g_b|^2 |g_c - g_d|^2/4",
        lambda probe, theta: _in_noise().trace_square(probe, theta),
        vectors=_samples,
        absent=_no_square,
    ),
    Measure(
        "gradient_noise_dimension",
        "1",
        "effective dimension of the gradient noise: the ratio of two unbiased estimates",
        "(Tr Sigma)^2/Tr Sigma^2",
        lambda probe, theta: _in_noise().dimension(probe, theta),
        vectors=_samples,
        absent=_no_square,
    ),
    Measure(
        "gradient_noise_spectrum",
        "energy^2",
        "leading eigenvalues of the sample covariance of K minibatch gradients, too large at small K",
        "eigenvalues of (g_a - gbar).(g_b - gbar)/(K - 1)",
        lambda probe, theta: _in_noise().spectrum(probe, theta),
        dim="noise_eigenvalue",
        size=_of_noise,
        vectors=_samples,
        absent=_no_noise,
    ),
    Measure(
        "noise_projections",
        "energy",
        "noise of the minibatch of the next step along random directions in what learns",
        "d_k.eta, eta = (g_next - g_0)/sqrt(2)",
        lambda probe, theta: _in_noise().projections(probe, theta),
        dim="projection",
        size=lambda settings: int(settings["projections"]),
        vectors=lambda settings: 4,
        absent=_no_next,
    ),
)
_CURVATURE = (
    Measure(
        "sharpness",
        "energy",
        "largest eigenvalue of the Hessian of the loss of measure.rows rows, all by default, by Lanczos",
        "lambda = max u'H u/|u|^2",
        lambda probe, theta: _in_curvature().sharpness(probe, theta),
        vectors=_bases,
    ),
    Measure(
        "sharpness_residual",
        "energy",
        "how far an eigenvalue may be from the sharpness",
        "|H u - lambda u|",
        lambda probe, theta: _in_curvature().sharpness_residual(probe, theta),
        vectors=_bases,
    ),
    Measure(
        "hessian_spectrum",
        "energy",
        "largest eigenvalues of the same Hessian, by Lanczos",
        "lambda_k, k = 1, 2, ...",
        lambda probe, theta: _in_curvature().spectrum(probe, theta),
        dim="hessian_eigenvalue",
        size=_of_hessian,
        vectors=_bases,
    ),
    Measure(
        "hessian_spectrum_residual",
        "energy",
        "how far an eigenvalue may be from each of them",
        "|H u_k - lambda_k u_k|",
        lambda probe, theta: _in_curvature().spectrum_residual(probe, theta),
        dim="hessian_eigenvalue",
        size=_of_hessian,
        vectors=_bases,
    ),
    Measure(
        "batch_sharpness",
        "energy",
        "curvature of a minibatch's loss along its own gradient, mean over K minibatches",
        "E_b g_b'H_b g_b/|g_b|^2",
        lambda probe, theta: _in_curvature().batch_sharpness(probe, theta),
        vectors=lambda settings: 6,
    ),
)
_REPRESENTATIONS = (
    Measure(
        "kernel",
        "1",
        "inner products of hidden layers at measure.probes rows, upper triangle, one layer after another",
        "K_ij = h(x_i).h(x_j), i <= j",
        lambda probe, theta: _in_representations().kernel(probe, theta),
        dim="kernel_entry",
        size=_pairs,
    ),
    Measure(
        "projections",
        "1",
        "theta along random directions, the same for all replicas and frames",
        "d_k.theta, |d_k| = 1",
        lambda probe, theta: _in_representations().projections(probe, theta),
        dim="projection",
        size=lambda settings: int(settings["projections"]),
        vectors=lambda settings: 2,
    ),
    Measure(
        "components",
        "1",
        "the components of theta that measure.components names",
        "theta_i",
        lambda probe, theta: _in_representations().components(probe, theta),
        dim="component",
        size=lambda settings: len(settings["components"]),
        absent=_no_components,
    ),
)
MEASURES: tuple[Measure, ...] = (*_LOSSES, *_NOISE, *_CURVATURE, *_REPRESENTATIONS)
