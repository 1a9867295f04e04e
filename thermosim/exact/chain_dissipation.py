"""The chain f = u w z that learns y = v z + e from fresh rows: entropy production along its orbit, and the drift on it.

All states u w = v have the least loss; s tells them apart, (u, w) = v^(1/2) (e^s, e^-s), C = (w^2 - u^2)/2 =
-v sinh 2s. With the misfit d = u w - v, B rows in a minibatch, z normal with variance q and e of variance n,

    r E|g|^2/4 = 2 r q n v cosh 2s/B         at d = 0: the rate of entropy production over four, least at s = 0
    E[C' - C] = -4 r^2 M C,   M = E m^2 = d^2 q^2 + (2 d^2 q^2 + n q)/B,   m = mean of (d z - e) z

The second is exact at any rate: a step takes C to C (1 - 4 r^2 m^2). To leading order it is -grad phi along the orbit.
Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), the principle of minimal dissipation; by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Chain"]


@dataclass(frozen=True)
class Chain:
    """v, variance q of the input, n of the noise, B rows of a minibatch, learning rate r."""

    slope: float
    input_variance: float
    noise_variance: float
    batch: int
    rate: float

    def dissipation(self, place: np.ndarray) -> np.ndarray:
        """r E|g|^2/4 at places s of the orbit, d = 0."""
        noise = self.input_variance * self.noise_variance / self.batch
        return np.asarray(2.0 * self.rate * noise * abs(self.slope) * np.cosh(2.0 * place))

    def curvature(self, place: np.ndarray) -> np.ndarray:
        """Of the mean loss across the orbit, 2 q (u^2 + w^2): the misfit comes to rest in 1/(r h) steps."""
        return np.asarray(4.0 * self.input_variance * abs(self.slope) * np.cosh(2.0 * place))

    def place(self, charge: np.ndarray) -> np.ndarray:
        """s of a state of charge C with u w = v."""
        return np.asarray(-0.5 * np.arcsinh(charge / abs(self.slope)))

    def drift(self, charge: np.ndarray, product: np.ndarray) -> np.ndarray:
        """E[C' - C] of a step from states of these charges and products u w."""
        square = (product - self.slope) ** 2 * self.input_variance**2
        mean_square = square + (2.0 * square + self.noise_variance * self.input_variance) / self.batch
        return np.asarray(-4.0 * self.rate**2 * mean_square * charge)
