"""Learning machines against theory: exact moments where there are any, fluctuation theorems, routes that must agree.

    any machine          d phi = work + heat, replica by replica
    known surprisal      <exp(-sigma)> = 1 with the exact transition ratios; <exp(-w)> = 1 where moves leave p_theta
                         invariant; both for samples that start in p_theta_0, at any tau
    contrast             <exp(-w)> is the efficacy of the feedback (`feedback`); mean work of a Gaussian
                         (`contrast_work`)
    fresh samples        work and heat of a replica are those of Eqs. 51 and 52 on average, given its path of theta
    L-info               by densities and by the fluctuation theorem (Eq. 44), as far as the chains have relaxed
    Gaussian, means      everything at the run's learning rate, time step, tau and batch (`exact.learning_machine`)
    linear regression    moments of theta, the ledger, update energy, kept and fresh rows (`exact.linear_regression`)
    noise in theta       <exp(-sigma_theta)> = 1, alone or together with x (`theta_entropy`)
    symmetries           charges, step by step (`charges`); where SGD leaves linear networks
    weights that turn    w.w' of neighbouring steps, squared steps (`rotation`)
    Adam on noise        update energy, step by step (`update_energy`)
    gradient descent     order at which it departs from flows of the entropic loss (`entropic_loss`); beside SGD, the
                         coefficients of both parts of that loss (`entropic_parts`)
    irreversibility      entropies and measures of a step, against the steps of the run (`irreversibility`,
                         `edge_of_stability`)
    minibatches          variance of the gradient noise: that of the rows over the batch; no correlation in time

Averages are compared where they are nearly normal, as Student's law wants them: exponential ones where most replicas
carry them, all of them in ensembles large enough. The two routes to the L-info differ by what the chains lag, which is
of the size of the gap between the mean of phi and that of relaxed samples (by the whole gap for a chain that has
the right width and a mean behind its own). A gap that is certain is no case for them; an uncertain one is a tolerance.
Source: S. S. Parsi, Entropy 26, 112 (2024); C. Jarzynski, Phys. Rev. Lett. 78, 2690 (1997).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim.analysis.comparison import SKEWEST, Comparison
from thermosim.analysis.feedback_paths import has_feedback
from thermosim.analysis.gradient_noise import GradientNoise, gradient_noise
from thermosim.analysis.information import learned_information
from thermosim.analysis.information_balance import routes
from thermosim.analysis.learning import relaxation
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.partial_averages import averaged_work_and_heat
from thermosim.analysis.regression_laws import is_regression, why_no_regression
from thermosim.analysis.settings import axes, settings
from thermosim.case.settings import Settings
from thermosim.case.start import OtherRun
from thermosim.checks.charges import charge_comparisons, why_no_charges
from thermosim.checks.contrast_work import contrast_comparisons
from thermosim.checks.edge_of_stability import edge_advice, edge_comparisons
from thermosim.checks.entropic_loss import entropic_loss_comparisons
from thermosim.checks.entropic_parts import entropic_parts_comparisons
from thermosim.checks.entropic_solution import entropic_comparisons, why_no_entropic_solution
from thermosim.checks.exponential import exponential_average
from thermosim.checks.feedback import feedback_advice, feedback_comparisons
from thermosim.checks.first_law import BOOKS, first_law
from thermosim.checks.free_energy import free_energy_comparisons
from thermosim.checks.gaussian_machine import gaussian_comparisons, has_own_precisions
from thermosim.checks.irreversibility import irreversibility_advice, irreversibility_comparisons
from thermosim.checks.irreversibility_sweep import sweep_advice, sweep_comparisons
from thermosim.checks.means import is_nearly_normal, mean_comparison, skewness_of_mean
from thermosim.checks.platonic_alignment import platonic_advice, platonic_comparisons
from thermosim.checks.regression import regression_comparisons
from thermosim.checks.replica_alignment import replica_advice
from thermosim.checks.rotation import rotation_comparisons
from thermosim.checks.theta_entropy import theta_comparisons
from thermosim.checks.update_energy import update_energy_comparisons
from thermosim.moves import X_MOVES

__all__ = ["advice", "check"]

_INFORMATION_REPLICAS = 2048  # at most, for routes that compare all replicas with all
_LAG_ERRORS, _LAG_SPREADS = 5.0, 0.1  # a lag that is both certain and large enough to be told
_CERTAIN_GAP, _GAPS = 3.0, 2.0  # standard errors of a gap that is certain; gaps that the routes may differ by
_NOISE_FRAMES, _NOISE_REPLICAS, _NOISE_LEAST, _NOISE_LAGS = 31, 256, 40, 5


def check(ds: xr.Dataset) -> list[Comparison]:
    """Everything known exactly of a learning machine, in every point of the sweep."""
    everyone = machines(ds)
    comparisons = [first_law(ds)] if set(ds) >= BOOKS else []
    if _starts_in_equilibrium(ds):
        comparisons += _theorems(ds)
    comparisons += feedback_comparisons(ds, everyone) + contrast_comparisons(ds, everyone)
    comparisons += gaussian_comparisons(ds, everyone) + free_energy_comparisons(ds, everyone)
    comparisons += _partial_averages(ds, everyone)
    if not _untold(everyone):
        comparisons += _information_routes(ds, everyone)
        comparisons += _noise(ds, everyone)
    comparisons += regression_comparisons(ds, everyone)
    comparisons += theta_comparisons(ds, everyone)
    comparisons += charge_comparisons(ds, everyone) + entropic_comparisons(ds, everyone)
    comparisons += platonic_comparisons(ds, everyone) + rotation_comparisons(ds, everyone)
    comparisons += irreversibility_comparisons(ds, everyone)
    comparisons += update_energy_comparisons(ds, everyone) + entropic_loss_comparisons(ds, everyone)
    comparisons += entropic_parts_comparisons(ds, everyone) + edge_comparisons(ds, everyone)
    comparisons += sweep_comparisons(ds, everyone)
    return comparisons


def advice(ds: xr.Dataset) -> list[str]:
    """What a reader should know besides: what is not compared and why, and whether samples lag the model."""
    return [*_not_compared(ds), *_lagging(ds)]


def _not_compared(ds: xr.Dataset) -> list[str]:
    everyone, said = machines(ds), []
    if untold := _untold(everyone):
        said.append(f"Minibatches and data sets are not compared: {untold}.")
    said += feedback_advice(ds, everyone)
    if any(machine.settings.theta.has_several_rates for machine in everyone):
        said.append(
            "Parameters have learning rates of their own: theory of one rate is not compared, only charges between "
            "neighbouring steps."
        )
    if why := why_no_entropic_solution(ds, everyone):
        said.append(f"The entropic solution is not compared: {why}.")
    if why := why_no_charges(everyone):
        said.append(f"Charges of the symmetries are not compared: {why}.")
    if is_regression(everyone) and (why := why_no_regression(everyone)):
        said.append(f"The exact moments of linear regression are not compared: {why}.")
    said += platonic_advice(ds, everyone) + replica_advice(ds, everyone)
    said += irreversibility_advice(ds, everyone) + edge_advice(ds, everyone) + sweep_advice(ds, everyone)
    said += _of_starts(everyone)
    deliberate = "theta" in settings(ds).record.tables
    if "theta" not in ds and not deliberate and any(has_own_precisions(machine) for machine in everyone):
        said.append(
            "Replicas have precisions of their own, which the exact recursion needs: add theta to record.variables."
        )
    return said


def _of_starts(everyone: list[Machine]) -> list[str]:
    """What is not compared for want of a known law at step 0."""
    said = []
    if any(OtherRun.of(machine.settings.theta.initial) for machine in everyone):
        said.append("theta starts from another run, whose law is not known: its moments are not compared.")
    starts = {str(m.settings.x.start): m for m in everyone if m.settings.x and not m.settings.x.starts_in_equilibrium}
    unknown = [start for start, m in starts.items() if m.settings.of_x.start.warm_up or m.settings.of_x.start.other]
    if unknown:
        said.append(f"x starts from {unknown[0]}, whose law is not known: what needs equilibrium is not compared.")
    return said


def _untold(everyone: list[Machine]) -> str:
    """Why the minibatches and data sets of replicas are not known, where the case has data; empty where they are."""
    try:
        for machine in everyone:
            machine.addresses  # noqa: B018
    except ValueError as why:
        return str(why) if everyone[0].settings.data is not None else ""
    return ""


def _lagging(ds: xr.Dataset) -> list[str]:
    """Whether the samples lag the model in the last frame; nothing where nobody knows the mean of phi."""
    if not {"phi", "theta"} <= set(ds) or settings(ds).x is None:
        return []
    try:
        last = relaxation(ds.isel(step=[-1])).isel(step=0)
    except ValueError:
        return []
    lags = (abs(last["score"]) > _LAG_ERRORS) & (abs(last["relative"]) > _LAG_SPREADS)
    if not bool(lags.any()):
        return []
    most = int(np.argmax(np.abs(np.ravel(last["relative"].values))))
    gap, relative = (float(np.ravel(last[name].values)[most]) for name in ("gap", "relative"))
    where = f" at {int(lags.sum())} of {lags.size} points, at the worst" if lags.size > 1 else ""
    message = (
        f"Samples lag the model{where}: at the last step mean phi is {gap:+.3g} ({relative:+.2g} standard deviations"
        ") from that of relaxed samples. Work and heat are those of this finite tau; what is said of p(x|theta) is not "
        "what these chains sample. More moves per step (x.tau) help."
    )
    return [message]


def _freedom(ds: xr.Dataset) -> int:
    return max(ds.sizes["replica"] - 1, 1)


def _starts_in_equilibrium(ds: xr.Dataset) -> bool:
    """Whether x_0 is drawn from p_theta_0, whose surprisal is phi, theta does not see x, and step 0 is recorded.

    Learning by contrast feeds the samples back into theta; a theorem for x at a given path of theta then does not hold.
    """
    everyone = machines(ds)
    if "phi" not in ds or int(ds["step"][0]) != 0 or ds.sizes["step"] < 2 or not everyone[0].model.normalised:
        return False
    return all(_is_in_equilibrium(machine.settings) for machine in everyone)


def _is_in_equilibrium(resolved: Settings) -> bool:
    x = resolved.x
    at_one = x is not None and x.temperature == 1.0 and not x.restart and x.starts_in_equilibrium
    return at_one and resolved.theta.gradient != "contrast"


def _theorems(ds: xr.Dataset) -> list[Comparison]:
    dynamics = settings(ds).sweep.get("x.dynamics", [settings(ds).of_x.dynamics])
    if "work" in ds and all(X_MOVES[name].invariant for name in dynamics):
        reference = "Jarzynski's equality with dF = 0, any tau: the moves of x leave p_theta invariant"
        return exponential_average(ds, ds["work"], "<exp(-work)>", reference)
    if "log_ratio_x" in ds:
        sigma = ds["log_ratio_x"] + ds["phi"] - ds["phi"].isel(step=0)
        reference = "integral fluctuation theorem with the exact transition ratios, any time step and tau"
        return exponential_average(ds, sigma, "<exp(-sigma)>", reference)
    return []


def _chosen(ds: xr.Dataset) -> xr.Dataset:
    """First, middle and last frame, and no more replicas than pairs of them can be formed quickly."""
    frames = sorted({0, (ds.sizes["step"] - 1) // 2, ds.sizes["step"] - 1})
    return ds.isel(step=frames, replica=slice(_INFORMATION_REPLICAS))


def _information_routes(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """L-info by densities against the fluctuation theorem, in frames where both are valid and no lag is certain."""
    needed = {"theta", "x", "phi", "work", "heat", "log_ratio_x"}
    if not needed <= set(ds) or ds.sizes["step"] < 2 or ds.sizes["replica"] < 100:
        return []
    if any(machine.settings.of_x.temperature != 1.0 or not machine.model.normalised for machine in everyone):
        return []
    if any(machine.settings.run.direction != "forward" or has_feedback(machine) for machine in everyone):
        return []
    frames = _chosen(ds)
    lag = relaxation(frames)
    certain = abs(lag["gap"]) > _CERTAIN_GAP * lag["gap_error"]
    fresh = all(machine.x_move.fresh and machine.settings.of_x.starts_in_equilibrium for machine in everyone)
    others = [d for d in lag["relaxed"].dims if d != "step"]
    usable = fresh | (lag["relaxed"] & ~certain).all(others).values
    if not usable[0] or not usable[1:].any():
        return []
    information = learned_information(frames)
    both = routes(frames, marginal="mixture", information=information)
    usable &= information["valid"].all(others).values  # a lag, which `routes` judges too, is a tolerance here
    usable[0] = False
    if not usable.any():
        return []
    here = both.isel(step=np.flatnonzero(usable)).transpose(*axes(ds), "step")
    lag = lag.isel(step=np.flatnonzero(usable)).transpose(*axes(ds), "step", ...)
    gap = abs(lag["gap"]) + _CERTAIN_GAP * lag["gap_error"]
    steps = ", ".join(str(int(s)) for s in here["step"].values)
    comparison = Comparison(
        f"change of the L-info to step {steps}: densities less fluctuation theorem",
        here["difference"].values,
        here["difference_error"].values,
        np.zeros(here["difference"].shape),
        _freedom(frames),
        "the two routes to the L-info (Eq. 44) agree" + ("" if fresh else ", within what the chains may lag"),
        np.zeros(here["difference"].shape) if fresh else _GAPS * gap.values,
        scale=float(abs(ds["phi"]).max()),
        units="nat",
    )
    return [comparison] if np.any(comparison.standard_error > 0.0) else []


def _partial_averages(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """Ledger less Eqs. 51 and 52 for the same path of theta: zero on average for fresh samples."""
    # backward, x moves before theta
    forward = all(machine.settings.run.direction == "forward" for machine in everyone)
    every_step = forward and np.array_equal(ds["step"].values, np.arange(ds.sizes["step"]))
    fresh = all(machine.x_move.fresh for machine in everyone)
    if not (every_step and fresh and _starts_in_equilibrium(ds) and {"theta", "work", "heat"} <= set(ds)):
        return []
    averaged, comparisons = averaged_work_and_heat(ds), []
    if averaged.attrs["method"] == "chains" or not bool(averaged["valid"].all()):
        return []
    scale = max(float(abs(ds[name]).max()) for name in ("phi", "work", "heat") if name in ds)
    for name, equation in (("work", 51), ("heat", 52)):
        excess = ds[name].isel(step=-1) - averaged[name].isel(step=-1)
        reference = f"Eq. {equation} of Parsi 2024: exact for fresh samples"
        quantity = f"{name} less its average given the path of theta"
        comparisons.append(mean_comparison(ds, quantity, excess, 0.0, reference, scale=scale, units="energy"))
    return [comparison for comparison in comparisons if is_nearly_normal(comparison)]


def _noise(ds: xr.Dataset, everyone: list[Machine]) -> list[Comparison]:
    """Variance of the minibatch noise against that of the rows, and its correlation from step to step.

    Given the past, the next minibatch makes all of these right on average: terms of different steps are uncorrelated,
    and their number is that of replicas times frames.
    """
    if not all(machine.theta_move.descent for machine in everyone) or "theta" not in ds or ds.sizes["step"] < 3:
        return []
    if any(m.settings.run.direction != "forward" or m.settings.theta.batch == "all" for m in everyone):
        return []
    if any(m.settings.data is not None and m.settings.data.fresh for m in everyone):
        return []  # there is no loss of all rows that the noise is a deviation from
    if np.any(np.diff(ds["step"].values[:_NOISE_FRAMES]) != 1) or ds.sizes["replica"] < _NOISE_LEAST:
        return []
    frames = ds.isel(step=slice(_NOISE_FRAMES), replica=slice(_NOISE_REPLICAS))
    those = machines(frames)
    records = [gradient_noise(machine) for machine in those]
    expected = [_row_variance(machine, record) for machine, record in zip(those, records, strict=True)]
    if any(np.any(variance <= 0.0) for variance in expected):  # rows that are all alike make no noise
        return []
    power = [(record.noise**2).mean(axis=-1) for record in records]
    ratios = [np.ravel(square / variance) for square, variance in zip(power, expected, strict=True)]
    last = len(records[0].step)
    lags = range(1, min(_NOISE_LAGS, last - 1) + 1)
    products = [
        np.stack(
            [np.ravel((r.noise[: last - lags[-1]] * r.noise[lag : last - lags[-1] + lag]).mean(-1)) for lag in lags]
        )
        / square.mean()
        for r, square in zip(records, power, strict=True)
    ]
    rows = "rows drawn independently, with replacement: covariance of one row over the batch (Eq. 20)"
    anew = "every step draws its rows anew: white noise (Eq. 20)"
    quantity = f"variance of the noise to step {int(records[0].step[-1])} over that of the rows/batch"
    shape = [ds.sizes[name] for name in axes(ds)]
    comparisons = [_mean_of_terms(quantity, np.stack(ratios), 1.0, shape, rows)]
    if lags:
        quantity = f"autocorrelation of the noise, lags 1 to {lags[-1]}"
        comparisons.append(_mean_of_terms(quantity, np.stack(products), 0.0, [*shape, len(lags)], anew))
    return [comparison for comparison in comparisons if comparison is not None]


def _mean_of_terms(
    quantity: str, values: np.ndarray, exact: float, shape: list[int], reference: str
) -> Comparison | None:
    """Means over the last axis against one number, or None where they are too few for so skewed a law."""
    size = values.shape[-1]
    mean, error = values.mean(axis=-1).reshape(shape), values.std(axis=-1, ddof=1).reshape(shape) / np.sqrt(size)
    skewness = skewness_of_mean(np.moveaxis(values, -1, 0)).reshape(shape)
    if np.max(np.abs(skewness)) > SKEWEST:
        return None
    return Comparison(quantity, mean, error, np.full(shape, exact), size - 1, reference, skewness=skewness)


def _row_variance(machine: Machine, record: GradientNoise) -> np.ndarray:
    """Variance over all rows of one row's gradient, over the batch, averaged over learned parameters: (F, R)."""
    theta = np.stack([machine.theta(frame) for frame in range(len(record.step))])
    sets, result = machine.data_set(), np.empty(theta.shape[:2])
    for data_set in np.unique(sets):
        here = theta[:, sets == data_set]
        variance = machine.evaluator.gradient_moments(
            machine.data.of_set(int(data_set)), here.reshape(-1, here.shape[-1])
        )[2]
        result[:, sets == data_set] = variance[:, record.learned].mean(axis=1).reshape(here.shape[:2])
    return result / int(machine.settings.theta.batch)
