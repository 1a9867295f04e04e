"""A protocol as stretches of equal steps: N where it changes at every step, as many as are asked for where it rests.

A stretch is a jump of theta and equal moves of x, in this order, or the other way round where x moves first. It ends
where something changes or a step is asked for, so that a product over stretches (`exact.scan`) gives these steps.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from thermosim.exact.gaussian_products import booked_moves, moves, product
from thermosim.exact.linear_langevin import Gaussian, LinearForce, exact_ou_moves, temperatures, transition
from thermosim.exact.scan import Maps, power, running_products

__all__ = ["LinearProtocol", "Stretches", "asked_steps", "running", "stretches"]

Theta = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class LinearProtocol:
    """A linear system under a protocol, in the order its replicas live through it.

    stiffness (N+1, n, n) and center (N+1, n) at steps 0..N as the run meets them (a reversed run: read backwards),
    drive (n, n) constant. The time step and the temperature used by each step are numbers, or schedules with a first
    axis of N+1: time_step (N+1), temperature (N+1, n) or (N+1, 1); one temperature per component is (n).
    `x_first` is the order of a reversed run: tau moves at the old theta, then the jump.
    """

    stiffness: np.ndarray
    center: np.ndarray
    drive: np.ndarray
    dynamics: str
    time_step: ArrayLike
    tau: int
    temperature: ArrayLike
    x_first: bool = False
    mobility: ArrayLike = 1.0  # a number, or one per component (n)

    @property
    def steps(self) -> int:
        """N."""
        return len(self.center) - 1

    @property
    def one_bath(self) -> bool:
        """Whether all components are at one temperature at all times."""
        return len(np.unique(np.asarray(self.temperature))) == 1

    def force(self, step: int) -> LinearForce:
        """The force with theta as it is at this step."""
        return LinearForce(self.stiffness[step], self.center[step], self.drive)

    def bath(self, step: int) -> tuple[float, np.ndarray, np.ndarray]:
        """Time step, temperatures (n) and mobilities (n) of the moves of this step."""
        h, t = np.asarray(self.time_step, float), np.asarray(self.temperature, float)
        t = t[step] if t.ndim == 2 else t
        n = self.center.shape[1]
        return float(h[step] if h.ndim else h), temperatures(t, n), temperatures(self.mobility, n)


@dataclass(frozen=True)
class Stretches:
    """Stretches 1..G of a protocol, the last axis of all arrays; theta also at the start, (..., G+1)."""

    end: np.ndarray  # (G), step
    stiffness: np.ndarray  # (n, n, G+1)
    center: np.ndarray  # (n, G+1)
    drive: np.ndarray  # (n, n, 1)
    time_step: np.ndarray  # (n, G or 1), times the mobility
    temperature: np.ndarray  # (n, G or 1)
    moves: np.ndarray  # (G), of x
    dynamics: str
    x_first: bool

    @property
    def jump(self) -> tuple[Theta, Theta]:
        """Stiffness and center before and after each jump."""
        return (self.stiffness[..., :-1], self.center[..., :-1]), (self.stiffness[..., 1:], self.center[..., 1:])

    @property
    def held(self) -> Theta:
        """Stiffness and center while x moves."""
        return self.jump[0 if self.x_first else 1]

    @property
    def force(self) -> tuple[np.ndarray, np.ndarray]:
        """A and g of the force A x + g while x moves."""
        stiffness, center = self.held
        return self.drive - stiffness, product(stiffness, center)

    @functools.cached_property
    def moved(self) -> Maps:
        """All moves of each stretch as one: matrix, shift, noise."""
        return power(self.transitions(), np.maximum(self.moves, 1), moves)

    def rows(self, steps: np.ndarray) -> np.ndarray:
        """Where the ends of stretches, and the start, are these steps: among 0..G."""
        return np.searchsorted(np.concatenate([[0], self.end]), steps)

    def states(self, start: Gaussian) -> tuple[np.ndarray, np.ndarray]:
        """Mean (n, G+1) and covariance (n, n, G+1) of x at the start and after each stretch."""
        count, begin = (
            len(self.end),
            (np.zeros((*start.covariance.shape, 1)), start.mean[:, None], start.covariance[..., None]),
        )
        passed = running_products(
            lambda at: tuple(part[..., at] for part in self.moved), count, np.arange(count), moves
        )
        _, mean, covariance = moves(begin, passed)
        return np.concatenate([begin[1], mean], axis=1), np.concatenate([begin[2], covariance], axis=2)

    def heats(self, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
        """Mean heat of each component from its bath in each stretch, (n, G), from states before its moves.

        One move books -(x'_i - x_i) (F_i + F'_i)/2, on average over the noise a quadratic function of x.
        """
        matrix, shift, noise = self.transitions()
        slope, constant = self.force
        one = np.eye(len(matrix))[..., None]
        displacement = np.concatenate([matrix - one, shift[:, None]], axis=1)
        total = product(slope, shift) + 2.0 * constant
        forces = np.concatenate([product(slope, matrix + one), total[:, None]], axis=1)
        books = -0.25 * (displacement[:, :, None] * forces[:, None] + forces[:, :, None] * displacement[:, None])
        books[:, -1, -1] -= 0.5 * np.einsum("ij...,ji...->i...", slope, noise)
        books = power((matrix, shift, noise, books), np.maximum(self.moves, 1), booked_moves)[3]
        whole = np.concatenate([mean, np.ones_like(mean[:1])])
        spread = np.einsum("rij...,ji...->r...", books[:, :-1, :-1], covariance)
        heat = np.einsum("rij...,i...,j...->r...", books, whole, whole, optimize=True) + spread
        return np.where(self.moves > 0, heat, 0.0)

    def transitions(self) -> Maps:
        """One move of x in each stretch: matrix (n, n, G), shift (n, G), noise (n, n, G)."""
        stiffness, center = self.held
        one, h, t = np.eye(len(center))[..., None], self.time_step, self.temperature
        if not np.any(self.moves):
            whole = np.broadcast_to(one, stiffness.shape)
            return whole, np.zeros_like(center), np.zeros_like(whole)
        if self.dynamics == "ula":
            noise = np.broadcast_to(one * (2.0 * h * t), stiffness.shape)
            return one + h[:, None] * (self.drive - stiffness), h * product(stiffness, center), noise
        matrix, noise = exact_ou_moves(np.moveaxis(stiffness, -1, 0), h[0], t[0])
        matrix, noise = np.moveaxis(matrix, 0, -1), np.moveaxis(noise, 0, -1)
        return matrix, center - product(matrix, center), noise


def running(books: np.ndarray) -> np.ndarray:
    """Sums since the start of what each stretch adds, from (..., G) to (..., G+1)."""
    return np.concatenate([np.zeros_like(books[..., :1]), np.cumsum(books, axis=-1)], axis=-1)


def asked_steps(protocol: LinearProtocol, record: ArrayLike | None) -> np.ndarray:
    """The steps asked for, in order, by default all of 0..N. Raises ValueError when one of them is not one of these."""
    if record is None:
        return np.arange(protocol.steps + 1)
    steps = np.unique(np.asarray(record, int))
    if steps.size == 0 or steps[0] < 0 or steps[-1] > protocol.steps:
        raise ValueError(f"recorded steps must be among 0..{protocol.steps}, and at least one")
    return steps


def stretches(protocol: LinearProtocol, steps: np.ndarray) -> Stretches:
    """Stretches up to the last of these steps, each of which ends one.

    Raises ValueError for moves whose transition is not linear, as `linear_langevin.transition` does.
    """
    transition(protocol.force(0), protocol.dynamics, *protocol.bath(0))
    last, n = int(steps[-1]), protocol.center.shape[1]
    theta = np.concatenate([protocol.stiffness.reshape(-1, n * n), protocol.center], axis=1)[: last + 1]
    jumps = np.any(theta[1:] != theta[:-1], axis=1)  # at steps 1..last
    h = np.asarray(protocol.time_step, float).reshape(-1, 1)
    t = np.atleast_2d(np.asarray(protocol.temperature, float))
    ends = np.zeros(last + 1, bool)
    ends[steps], ends[last] = True, True
    for bath in (h, t):
        if len(bath) > 1:
            ends[1:last] |= np.any(bath[2 : last + 1] != bath[1:last], axis=1)
    if protocol.x_first:
        ends[1:] |= jumps
    else:
        ends[:-1] |= jumps
    ends[0] = False
    end = np.flatnonzero(ends)
    at = np.concatenate([[0], end])
    h, t = (bath[end] if len(bath) > 1 else bath for bath in (h, t))
    return Stretches(
        end,
        np.ascontiguousarray(np.moveaxis(protocol.stiffness[at], 0, -1)),
        np.ascontiguousarray(protocol.center[at].T),
        np.asarray(protocol.drive, float)[..., None],
        (h * temperatures(protocol.mobility, n)).T,
        np.broadcast_to(t, (len(t), n)).T,
        protocol.tau * np.diff(at),
        protocol.dynamics,
        protocol.x_first,
    )
