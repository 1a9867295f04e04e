"""Theta against the canonical law: normal machines in closed form, curved ones to the order of the step."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from tests.assertions import assert_within
from tests.learning_paths import LEARNER, run
from thermosim.analysis.canonical_law import binned, canonical_law
from thermosim.analysis.machine import machines

LINE = LEARNER.replace("covariance = [[1.0, 0.5], [0.5, 0.7]]\nmean = [0.2, 0.6]", "deviation = 0.9\nmean = 0.3")
LINE = LINE.replace('[x]\ndynamics = "ula"\ntime_step = 0.2\ntau = 3\n', "")
K, RATE, WARM = np.exp(0.8), 0.3, 0.4
BATH = {
    "model.dimension": 1,
    "theta.initial": {"mean": 0.3, "log_precision": 0.8},
    "theta.dynamics": "langevin",
    "theta.batch": "all",
    "theta.temperature": WARM,
    "theta.learning_rate": RATE,
    "ensemble.replicas": 10000,
    "run.steps": 60,
    "record.every": 30,
}
CURVED = BATH | {"theta.learn": ["mean", "log_precision"], "theta.temperature": 0.1}


def test_normal_law() -> None:
    """The correction is exact where U is quadratic; without it the divergence is that of two normals."""
    result = canonical_law(run(LINE, BATH))
    assert bool(result.covered)
    assert result.exact.values.tolist() == [False, True]
    corrected, leading = result.sel(law="corrected"), result.sel(law="leading")
    ratio = 1.0 / (1.0 - 0.5 * RATE * K)
    exact = 0.5 * (ratio - 1.0 - np.log(ratio))
    assert_within(corrected.divergence, corrected.divergence_error, 0.0, catches="the wrong sign", mistake=exact)
    assert float(corrected.p_value) > 1e-4
    assert 0.9 * exact < float(leading.divergence) < exact + 4.0 * float(leading.divergence_error)  # bins lose little


def test_mean_and_precision() -> None:
    """Two parameters, no quadratic: the residual of the correction is of second order in the step, and small."""
    fine, coarse = (run(LINE, CURVED | {"theta.learning_rate": r, "run.steps": n}) for r, n in ((0.1, 240), (0.4, 60)))
    small, large = canonical_law(fine), canonical_law(coarse)
    assert small.degrees_of_freedom == 63
    corrected = small.sel(law="corrected")
    assert_within(corrected.divergence, corrected.divergence_error, 0.0, catches="another potential", mistake=0.01)
    both = large.divergence
    assert float(both.sel(law="corrected")) < 0.3 * float(both.sel(law="leading"))
    assert float(both.sel(law="leading")) > 8.0 * float(large.divergence_error.sel(law="leading"))


def test_detailed_balance() -> None:
    """Metropolis obeys the leading law at any step; a run that has not arrived does not."""
    walk = CURVED | {"theta.dynamics": "metropolis", "theta.learning_rate": 0.2, "run.steps": 120}
    result = canonical_law(run(LINE, walk))
    assert result.exact.values.tolist() == [True, True]
    leading = result.sel(law="leading")
    assert_within(leading.divergence, leading.divergence_error, 0.0, catches="U without T", mistake=0.05)
    early = canonical_law(run(LINE, walk), step=30)
    assert early.attrs["step"] == 30
    short = canonical_law(run(LINE, walk | {"theta.initial": {"mean": 1.5, "log_precision": 0.8}, "run.steps": 1}))
    assert float(short.divergence.sel(law="leading")) > 0.5


def test_minibatches_are_a_bath_approximately() -> None:
    """One parameter, one temperature r C/2: near the law of T = r k^2 Var/(2 B), and said to be no theorem."""
    changes = BATH | {"theta.dynamics": "sgd", "theta.batch": 4, "theta.temperature": None, "theta.learning_rate": 0.1}
    ds = run(LINE, changes | {"record.every": 1})
    result = canonical_law(ds)
    assert not bool(result.exact.any())
    variance = float(machines(ds)[0].data.covariance()[0, 0])
    temperature = 0.5 * 0.1 * K**2 * variance / 4.0
    assert_within(
        result.noise_temperature,
        result.noise_temperature_error,
        temperature,
        catches="T = r C",
        mistake=temperature / 2.0,
    )
    assert float(result.divergence.sel(law="corrected")) < 0.003


def test_bins_of_uniform_numbers() -> None:
    """chi^2 of uniform numbers has its law: mean and variance over many ensembles."""
    generator = np.random.default_rng(2)
    for shape, freedom in (((400, 1), 19), ((400, 2), 15)):
        values = np.array([binned(generator.random(shape))[0] for _ in range(3000)])
        error = np.sqrt(2.0 * freedom / values.size)
        assert_within(values.mean(), error, freedom, catches="degrees of freedom off by one", mistake=1.0)
        assert 0.001 < np.mean(stats.chi2.sf(values, freedom) < 0.01) < 0.025


def test_refusals() -> None:
    with pytest.raises(ValueError, match="one or two"):
        canonical_law(run(LINE, CURVED | {"theta.learn": None, "model.dimension": 2, "data.mean": [0.3, 0.1]}))
    with pytest.raises(ValueError, match="too few"):
        canonical_law(run(LINE, BATH).isel(replica=slice(0, 40)))
    sgd = {"theta.dynamics": "sgd", "theta.temperature": None, "theta.momentum": 0.5, "run.steps": 1}
    with pytest.raises(ValueError, match="momentum"):
        canonical_law(run(LINE, BATH | sgd))
