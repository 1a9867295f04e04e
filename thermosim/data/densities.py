"""The densities that generated rows are drawn from, where they are known: the target p* of learning.

    gaussian    N(m, C)
    mixture     sum_k w_k N(c_k, d_k^2) / sum w
    ring        p(x) = exp(-(|x|^2 + R^2)/(2 d^2)) I_0(R |x|/d^2)/(2 pi d^2),  two components

The ring is a uniform direction with normal noise: its density is the von Mises integral over the angle (G. N. Watson,
A Treatise on the Theory of Bessel Functions, section 2.2). The teacher's density is the model's own.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from thermosim.data.section import DataSection

__all__ = ["log_density", "mean_and_covariance"]


def log_density(section: DataSection, points: np.ndarray) -> np.ndarray:
    """ln p* at points (P, n): (P,). Raises ValueError for a source without a density that is known."""
    if section.source == "gaussian":
        mean, covariance = mean_and_covariance(section, points.shape[1])
        gap = points - mean
        try:
            root = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError as error:
            raise ValueError("data.covariance is singular: the rows have no density") from error
        distance = (np.linalg.solve(root, gap.T) ** 2).sum(axis=0)
        return np.asarray(-0.5 * (distance + points.shape[1] * np.log(2.0 * np.pi)) - np.log(np.diag(root)).sum())
    if section.source == "mixture":
        centers = np.asarray(section.centers, float).reshape(len(section.centers), -1)
        given = 1.0 if section.deviation is None else section.deviation
        deviations = np.broadcast_to(np.asarray(given, float), len(centers))
        weights = np.ones(len(centers)) if section.weights is None else np.asarray(section.weights, float)
        square = ((points[:, None] - centers) ** 2).sum(axis=2) / deviations**2
        peaks = np.log(weights / weights.sum()) - 0.5 * points.shape[1] * np.log(2.0 * np.pi * deviations**2)
        return np.asarray(special.logsumexp(peaks - 0.5 * square, axis=1))
    if section.source == "ring":
        radius, deviation = section.radius or 1.0, float(0.1 if section.deviation is None else section.deviation)
        length, variance = np.sqrt((points**2).sum(axis=1)), deviation**2
        bessel = special.ive(0, radius * length / variance)  # times exp(-radius length/variance)
        normal = -((length - radius) ** 2) / (2.0 * variance) - np.log(2.0 * np.pi * variance)
        return np.asarray(normal + np.log(bessel))
    raise ValueError(f"the density of data.source = {section.source!r} is not known; give a target")


def mean_and_covariance(section: DataSection, components: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean (n,) and covariance (n, n) of the source "gaussian"."""
    mean = np.broadcast_to(np.asarray(0.0 if section.mean is None else section.mean, float), components)
    if section.covariance is not None and np.ndim(section.covariance) == 2:
        return mean, np.asarray(section.covariance, float)
    covariance = np.asarray(1.0 if section.covariance is None else section.covariance, float)
    deviation = np.sqrt(covariance) if section.deviation is None else np.asarray(section.deviation, float)
    return mean, np.diag(np.broadcast_to(deviation, components) ** 2)
