"""The entropy of a step that noise regularises: theta' = theta - r U(theta) + s xi, and its way back by the same field.

    bath      dS = ln p_s(theta'|theta) - ln p_s(theta|theta') = [r^2 |U + U'|^2 - 2 r s xi.(U + U')]/(2 s^2)
    phi_ST    s^2 <dS>/(8 r) = (r/16)|U + U+|^2 + s^2 {(r/16)[|J|^2 + (U + U+).lap U] - tr J/8} + O(s^4)
    whole     Sigma = <dS> + H(theta') - H(theta) >= 0, of theta ~ N(mean, t^2 I)

U+, J and lap U are those of the noiseless end of the step. s^2 Sigma goes to 8 r phi_ST where s goes to 0 first and
then t; in the other order the entropy of the system, m ln(s/t), has no limit: a regularised step has an entropy
production of its own only while its noise is far below the width of the state.

Source: L. Ziyin, Y. Ren, D. Levine, I. Chuang, arXiv:2605.21933 (2026), G27 and the limit theorem after it; the
correction in s^2 is the expansion of U' in s xi.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from thermosim.analysis.estimates import put
from thermosim.analysis.irreversibility.fields import Field, directional, one_field

__all__ = ["regularised_entropy_production", "virtual_entropy"]

_LARGEST = 512  # parameters of a Jacobian that is formed whole


def virtual_entropy(
    field: Field, theta: np.ndarray, learning_rate: float, sigma: float, draws: int = 1000, seed: int = 0
) -> xr.Dataset:
    """phi_ST at theta (R, m) by drawing the noise of the step: dims replica.

    phi_st with its error over `draws` pairs of opposite noise, whose linear part cancels; exact = (r/16)|U + U'|^2,
    what it goes to as sigma goes to 0. Raises ValueError as `potentials` does, and for sigma that is not positive or
    fewer than two draws.
    """
    theta, field = _checked(field, theta, learning_rate, sigma)
    _require_draws(draws)
    here = field(theta)
    end = theta - learning_rate * here
    random, mean, spread = np.random.default_rng(seed), np.zeros(len(theta)), np.zeros(len(theta))
    for draw in range(1, draws + 1):  # B. P. Welford, Technometrics 4, 419 (1962)
        noise = random.normal(size=theta.shape)
        pair = 0.5 * sum(_shed(here, field(end + sigma * xi), xi, learning_rate, sigma) for xi in (noise, -noise))
        off = pair - mean
        mean = mean + off / draw
        spread = spread + off * (pair - mean)
    factor = sigma**2 / (8.0 * learning_rate)
    error = np.sqrt(spread / (draws * (draws - 1)))
    result, exact = xr.Dataset(), learning_rate / 16.0 * ((here + field(end)) ** 2).sum(1)
    value, error_of = (xr.DataArray(factor * values, dims="replica") for values in (mean, error))
    name = "potential of entropy production"
    put(result, "phi_st", value, error_of, "energy", name, "as sigma goes to 0", degrees_of_freedom=draws - 1)
    return result.assign(exact=xr.DataArray(exact, dims="replica", attrs={"units": "energy", "long_name": name}))


def regularised_entropy_production(
    field: Field,
    mean: np.ndarray,
    learning_rate: float,
    tau: Sequence[float] | np.ndarray,
    sigma: Sequence[float] | np.ndarray,
    draws: int = 1000,
    seed: int = 0,
) -> xr.Dataset:
    """Entropy production of one noisy step from theta ~ N(mean, tau^2 I), mean (m,): dims tau, sigma.

    bath_entropy <dS>, by `draws` pairs of opposite theta - mean and noise, with its error; system_entropy
    H(theta') - H(theta), of the field linearised at the mean: exact for a linear one, else where tau times the change
    of its Jacobian is small; entropy_production, their sum, not below 0 where that holds; ratio, sigma^2 Sigma over
    8 r phi_ST of the mean. Raises ValueError as `virtual_entropy` does, and for more than 512 parameters.
    """
    taus, sigmas = np.atleast_1d(np.asarray(tau, float)), np.atleast_1d(np.asarray(sigma, float))
    if not (np.isfinite(taus).all() and (taus > 0.0).all()):
        raise ValueError(f"tau = {tau!r}: expected positive numbers")
    _require_draws(draws)
    centre, field = _checked(field, np.asarray(mean, float)[None], learning_rate, *sigmas)
    if centre.shape[1] > _LARGEST:
        raise ValueError(f"mean has {centre.shape[1]} parameters: a Jacobian is formed of 512 at most")
    bath = np.array([[_bath(field, centre, learning_rate, t, s, draws, seed) for s in sigmas] for t in taus])
    unit = np.eye(centre.shape[1])
    jacobian = np.stack([directional(field, centre, e[None])[0] for e in unit], 1)
    step = unit - learning_rate * jacobian
    widths = taus[:, None, None, None] ** 2 * (step @ step.T) + sigmas[:, None, None] ** 2 * unit
    system = 0.5 * np.linalg.slogdet(widths)[1] - len(unit) * np.log(taus)[:, None]
    here = field(centre)
    limit = learning_rate**2 / 2.0 * ((here + field(centre - learning_rate * here)) ** 2).sum()
    return _gathered(taus, sigmas, bath, system, limit, draws)


def _gathered(
    taus: np.ndarray, sigmas: np.ndarray, bath: np.ndarray, system: np.ndarray, limit: float, draws: int
) -> xr.Dataset:
    coords = {"tau": taus, "sigma": sigmas}
    value, error, of_system = (
        xr.DataArray(each, coords, ("tau", "sigma")) for each in (*np.moveaxis(bath, -1, 0), system)
    )
    result = xr.Dataset()
    more: dict[str, Any] = {"degrees_of_freedom": draws - 1}
    put(
        result, "bath_entropy", value, error, "nat", "mean entropy that a step sheds", "of the regularised step", **more
    )
    about = "change of the entropy of theta"
    result["system_entropy"] = of_system.assign_attrs(units="nat", long_name=about, condition="field linear over tau")
    whole = "entropy production of a regularised step"
    put(result, "entropy_production", value + of_system, error, "nat", whole, "field linear over tau", **more)
    scale = result["sigma"] ** 2 / limit
    put(result, "ratio", scale * (value + of_system), scale * error, "1", "sigma^2 Sigma/(8 r phi_ST)", "to 1", **more)
    return result


def _bath(
    field: Field, mean: np.ndarray, rate: float, tau: float, sigma: float, draws: int, seed: int
) -> tuple[float, float]:
    """<dS> and its error."""
    random = np.random.default_rng(seed)
    start, noise = random.normal(size=(2, draws, mean.shape[1]))
    found = np.zeros(draws)
    for sign in (1.0, -1.0):
        theta = mean + sign * tau * start
        here = field(theta)
        found += 0.5 * _shed(here, field(theta - rate * here + sign * sigma * noise), sign * noise, rate, sigma)
    return float(found.mean()), float(found.std(ddof=1) / np.sqrt(draws))


def _shed(here: np.ndarray, there: np.ndarray, noise: np.ndarray, rate: float, sigma: float) -> np.ndarray:
    """dS of steps from U to U' with noise xi: (R,)."""
    both = here + there
    return np.asarray((rate**2 * (both**2).sum(1) - 2.0 * rate * sigma * (noise * both).sum(1)) / (2.0 * sigma**2))


def _checked(field: Field, theta: np.ndarray, rate: float, *sigmas: float) -> tuple[np.ndarray, Field]:
    theta = np.array(theta, float)
    if theta.ndim != 2 or not theta.size or not np.isfinite(theta).all():
        raise ValueError(f"theta of shape {theta.shape}: expected finite numbers (replicas, parameters)")
    if not (np.isfinite(rate) and rate > 0.0):
        raise ValueError(f"learning_rate = {rate!r}: expected a positive number")
    if not all(np.isfinite(sigma) and sigma > 0.0 for sigma in sigmas):
        raise ValueError(f"sigma = {sigmas}: expected positive numbers")
    return theta, one_field(field, theta)


def _require_draws(draws: int) -> None:
    if draws < 2:
        raise ValueError(f"draws = {draws}: an error needs two of them")
