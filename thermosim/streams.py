"""Streams of random numbers. Part of every stored result: a stream is never renumbered, only added.

A random number has the address (seed, stream, replica, step, index); `kernels/noise.py` turns it into a number.
"""

from __future__ import annotations

__all__ = [
    "ACCEPTANCE",
    "BOOTSTRAP",
    "DATA",
    "DIRECTIONS",
    "FRESH",
    "INITIAL",
    "MEASURE",
    "MINIBATCH",
    "PERMUTATION",
    "PROBES",
    "RESTART",
    "ROW_NOISE",
    "THETA_ACCEPTANCE",
    "THETA_NOISE",
    "WARM_UP",
    "X_NOISE",
]

INITIAL = 0  # initial state
X_NOISE = 1  # noise of the moves of x
THETA_NOISE = 2  # noise of the moves of theta
MINIBATCH = 3  # choice of data rows
ACCEPTANCE = 4  # accept-reject decisions, Gibbs draws, uniforms of exact samples
DATA = 5  # synthetic data, random constants of a model
BOOTSTRAP = 6  # exact samples of analysis, each use at the steps of its role (`analysis.learning.exact_samples`)
RESTART = 7  # data rows at which chains start anew
THETA_ACCEPTANCE = 8  # accept-reject decisions of moves of theta
FRESH = 9  # data rows that are drawn anew at every step
MEASURE = 10  # minibatches and directions that frames are measured with, 2^16 for each step
ROW_NOISE = 11  # normals of the rows of a minibatch, of losses that take some

WARM_UP = 1 << 54  # the first move of a warm-up: addresses of X_NOISE and ACCEPTANCE that no run comes to
PERMUTATION = 1 << 54  # a step of BOOTSTRAP that no exact sample comes to: orders of probes (`analysis.alignment`)
PROBES = (1 << 54) + 1  # another: inputs at which networks are compared (`analysis.network_alignment`)
DIRECTIONS = 1 << 54  # a step of MEASURE that no minibatch comes to: random directions in theta, one after another
