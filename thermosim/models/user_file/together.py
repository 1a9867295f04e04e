"""Rows of data that a user's model takes together: the loss and the gradient must be those of one row after another."""

from __future__ import annotations

import numpy as np

from thermosim.kernels.dense import ROWS
from thermosim.models.user_file.plain import Plain

__all__ = ["together_faults"]

_ROUNDING = 1e-12  # of the largest number: a sum in another order is allowed for, a row in the place of another is not


def together_faults(plain: Plain, rows: np.ndarray, theta: np.ndarray) -> list[str]:
    """One sentence where `gradient_of_rows` differs from `parameter_gradient`, at rows (n, L) and theta (m, L)."""
    if plain.model.gradient_of_rows is None or not plain.model.rows_share(plain.values):
        return []
    lanes = rows.shape[1]
    constants = plain.columns(lanes)
    for count in ROWS:
        each = np.stack([np.roll(rows, shift, axis=1) for shift in range(count)])  # to every lane another row
        loss, slope = np.zeros((2, lanes)), np.zeros((2, len(theta), lanes))
        for row in each:
            plain.add_gradient(row, theta, constants, 1.0, loss[0], slope[0])
        plain.add_gradient_of_rows(each, theta, constants, loss[1], slope[1])
        for name, (single, both) in (("loss", loss), ("gradient", slope)):
            size = np.abs(single[np.isfinite(single)]).max(initial=1e-300)
            wrong = ~np.isclose(both, single, rtol=0.0, atol=_ROUNDING * size, equal_nan=True)
            if wrong.any():
                place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
                numbers = f"{both[place]:.6g} where parameter_gradient adds {single[place]:.6g}"
                return [f"gradient_of_rows({count}) adds {numbers} to {name}, row after row: mend it, or leave it out."]
    return []
