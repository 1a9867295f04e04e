"""Matrix factorisation: a product U W of low rank that learns a matrix A from the entries that are known.

    l = (sum_k U_ik W_kj - A_ij)^2                                                  (no factor 1/2)

A row of data is (i, j, A_ij), indices counted from 0, in any order; entries that are not among the rows are not known,
and the rows of a whole matrix are all its entries. The mean loss over the rows is |U W - A|^2 over the known entries,
divided by their number. From an array A that holds NaN where nothing is known, rows are made by

    np.column_stack([*np.nonzero(~np.isnan(A)), A[~np.isnan(A)]])

theta is U (rows, rank), then W (rank, columns). The start `normal` draws both with variance rank^(-1/2), which makes
that of an entry of U W 1; at U = W = 0 no gradient leads anywhere.

Source: Y. Koren, R. Bell, C. Volinsky, Computer 42, 30 (2009), Eq. 2, whose penalty is weight decay.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from thermosim.model import Constant, Model, Parameter, Values

ROWS, COLUMNS, RANK = 0, 1, 2  # bound when a function is compiled: rows of constants
_MOST = 1_000_000


def parameter_gradient(  # type: ignore[no-untyped-def]
    row, theta, constants, shared, factor, loss, gradient, scratch
):
    """Add factor l and factor dl/dtheta: every lane has an entry (i, j) of its own."""
    n, columns, rank = np.int64(constants[ROWS, 0]), np.int64(constants[COLUMNS, 0]), np.int64(constants[RANK, 0])
    for lane in range(row.shape[1]):
        # `validate_rows` has seen all rows; an index that is none would write beyond theta
        i = min(max(np.int64(row[0, lane]), 0), n - 1)
        j = min(max(np.int64(row[1, lane]), 0), columns - 1)
        left, right = i * rank, n * rank + j
        error = -row[2, lane]
        for k in range(rank):
            error += theta[left + k, lane] * theta[right + k * columns, lane]
        loss[lane] += factor * error * error
        slope = 2.0 * factor * error
        for k in range(rank):
            gradient[left + k, lane] += slope * theta[right + k * columns, lane]
            gradient[right + k * columns, lane] += slope * theta[left + k, lane]


def factors(theta: np.ndarray, constants: Values) -> tuple[np.ndarray, np.ndarray]:
    """U (..., rows, rank) and W (..., rank, columns) of theta (..., m)."""
    n, columns, rank = (int(constants[name]) for name in ("rows", "columns", "rank"))
    first, second = theta[..., : n * rank], theta[..., n * rank :]
    return first.reshape(*theta.shape[:-1], n, rank), second.reshape(*theta.shape[:-1], rank, columns)


def _normal(constants: Values, hyper: Any, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
    """U and W of variance rank^(-1/2): theta (m, R)."""
    return np.asarray(normal[:-1] * int(constants["rank"]) ** -0.25)


def _validate(constants: Values, settings: Any) -> list[str]:
    most = min(int(constants["rows"]), int(constants["columns"]))
    faults = []
    if constants["rank"] > most:
        faults.append(f"model.rank = {constants['rank']}: a matrix of this size has a rank of {most} at most.")
    if settings.data is not None and settings.data.source is not None:
        told = f"data.source = {settings.data.source!r}: has no entries of a matrix"
        faults.append(f"{told}; give a data.file with rows (i, j, A_ij), counted from 0.")
    return faults


def _validate_rows(constants: Values, rows: np.ndarray) -> str:
    """Why an index of rows (N, 3) is none of the matrix; empty where all are."""
    for column, (which, name) in enumerate((("row", "rows"), ("column", "columns"))):
        index, count = rows[:, column], int(constants[name])
        wrong = np.flatnonzero((index != np.floor(index)) | (index < 0) | (index >= count))
        if wrong.size:
            told = f"row {wrong[0]} of the data names {which} {index[wrong[0]]:g} of the matrix, which has {count}"
            return f"{told}: rows are (i, j, A_ij), counted from 0; or make model.{name} larger."
    return ""


MODEL = Model(
    name="matrix-factorisation",
    summary="product of two factors that learns the known entries of a matrix",
    source="Y. Koren, R. Bell, C. Volinsky, Computer 42, 30 (2009)",
    constants=(
        Constant("rows", None, "number of rows of the matrix A", minimum=1, maximum=_MOST, integer=True),
        Constant("columns", None, "number of columns of the matrix A", minimum=1, maximum=_MOST, integer=True),
        Constant("rank", 1, "columns of U and rows of W, the largest rank of U W", minimum=1, integer=True),
    ),
    inputs=lambda constants: 2,
    targets=lambda constants: 1,
    parameters=(
        Parameter(
            "U",
            "left factor",
            lambda c: (int(c["rows"]), int(c["rank"])),
            lambda c: np.zeros((int(c["rows"]), int(c["rank"]))),
        ),
        Parameter(
            "W",
            "right factor",
            lambda c: (int(c["rank"]), int(c["columns"])),
            lambda c: np.zeros((int(c["rank"]), int(c["columns"]))),
        ),
    ),
    parameter_gradient=parameter_gradient,
    initial_theta={"normal": _normal},
    validate=_validate,
    validate_rows=_validate_rows,
)
