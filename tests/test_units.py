"""Every number has a unit of the ledger, and grows as that says where energies are told in another unit."""

import contextlib
import functools

import numpy as np
import pytest
import xarray as xr
from scipy import integrate, optimize

import thermosim
from tests.assertions import assert_within
from tests.conftest import TRAP
from tests.test_dataset_operations import BEADS, CASES, EVERY, FUNCTIONS, ensemble, first_axis
from thermosim import analysis
from thermosim.analysis.irreversibility import entropy_of_steps
from thermosim.analysis.settings import axes
from thermosim.ledger import SETTINGS, UNITS, VARIABLES, variables_of
from thermosim.models import MODELS

C = 4.0  # a power of two: what is the same is so to the bit, up to the rounding of logarithms

MODEL = """
import math

import numpy as np

from thermosim import Constant, Model, Parameter

DEPTH, OFFSET = @DEPTH, @OFFSET

def prepare(theta, constants, shared, derived, scratch):
    for lane in range(theta.shape[1]):
        derived[0, lane] = theta[PLACE, lane]
        derived[1, lane] = constants[SCALE, lane]

def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):
    for lane in range(x.shape[1]):
        d = x[0, lane] - derived[0, lane]
        phi[lane] = derived[1, lane] * (DEPTH * (0.5 * d * d + 0.1 * d * d * d * d) + OFFSET)
        force[0, lane] = -derived[1, lane] * DEPTH * (d + 0.4 * d * d * d)

def parameter_gradient(x, derived, constants, shared, factor, loss, gradient, scratch):
    for lane in range(x.shape[1]):
        d = x[0, lane] - derived[0, lane]
        loss[lane] += factor * derived[1, lane] * (DEPTH * (0.5 * d * d + 0.1 * d * d * d * d) + OFFSET)
        gradient[0, lane] -= factor * derived[1, lane] * DEPTH * (d + 0.4 * d * d * d)

from thermosim import Derived
MODEL = Model(
    name="place", summary="a well whose place is learned", source="a test", normalised=True,
    constants=(Constant("scale", 1.0, "energies in another unit"),), components=lambda c: 1,
    parameters=(Parameter("place", "of the well", lambda c: (1,), lambda c: np.zeros(1)),),
    derived=(Derived("own", lambda c: (2,)),), prepare=prepare,
    surprisal_and_force=surprisal_and_force, parameter_gradient=parameter_gradient,
)
"""
LEARNER = """
[model]
file = "place.py"
[theta]
dynamics = "sgld"
learning_rate = 0.02
temperature = 0.2
weight_decay = 0.05
batch = 2
spread = 0.5
[x]
dynamics = "mala"
time_step = 0.03
tau = 2
initial = "normal"
[data]
file = "rows.npy"
[ensemble]
replicas = 120
seed = 4
[run]
steps = 8
[record]
every = 1
[sweep]
"x.temperature" = { values = [0.5, 2.0] }
"""
STIFF = [[[1.0, 0.3], [0.3, 2.0]], [[2.0, -0.5], [-0.5, 1.0]]]
# what grows with the unit of energy, besides temperatures, time steps, learning rates and weight decay
SCALED = {
    "trap": (
        TRAP,
        {"run.steps": 20, "record.every": 4, "x.dynamics": "mala"},
        {"theta.protocol.stiffness": {"kind": "linear", "initial": STIFF[0], "final": STIFF[1]}},
    ),
    "ula trap": (
        TRAP,
        {"run.steps": 20, "record.every": 4},
        {"theta.protocol.stiffness": {"kind": "linear", "initial": STIFF[0], "final": STIFF[1]}},
    ),
    "beads": (BEADS, {"x.temperature": [3.0, 1.0]}, {"model.stiffness": 1.0, "model.coupling": 1.5}),
}
SWEEPS = {"trap": {"x.temperature": [0.5, 1.0, 3.0]}, "ula trap": {"x.temperature": [0.5, 3.0]}, "beads": {}}
DRIVEN = {
    "jarzynski": analysis.jarzynski,
    "work_and_heat": analysis.work_and_heat,
    "entropy_production": analysis.entropy_production,
    "integral": lambda ds: analysis.integral_fluctuation_theorem(ds, *_densities(ds)),
}
LEARNED = {
    "work_and_heat": analysis.work_and_heat,
    "learning_ledger": analysis.learning_ledger,
    "jarzynski": analysis.jarzynski,
    "entropy_production": analysis.entropy_production,
    "averaged": lambda ds: analysis.averaged_work_and_heat(ds, "chains"),
    "memory": analysis.memory,
    "clausius": analysis.clausius,
    "pathwise_clausius": analysis.pathwise_clausius,
    "theta_fluctuation_theorem": analysis.theta_fluctuation_theorem,
    "noise_statistics": analysis.noise_statistics,
    "training": analysis.training,
    "curvature": analysis.curvature,
    "entropy_of_steps": lambda ds: entropy_of_steps(ds, 0.1),
    "naive_reservoir": analysis.naive_reservoir,
}
OTHERS = {  # of the ensembles of `test_dataset_operations`, what is not in its list
    "machine": {
        "learned_information": lambda ds: analysis.learned_information(ds),
        "free_energy": analysis.free_energy,
        "ideal_learning": analysis.ideal_learning,
        "joint_entropy": analysis.joint_entropy,
        "partial_entropies": analysis.partial_entropies,
    },
    "sphere": {"maxwell": analysis.maxwell, "free_energy_maps": analysis.free_energy_maps},
}


def _densities(ds):
    """-phi/T at both ends: any densities will do, and these know the temperature."""
    return -ds.phi.isel(step=0) / ds.temperature, -ds.phi / ds.temperature


@functools.cache
def driven(kind, c=1.0):
    case, fixed, energies = SCALED[kind]
    temperature = fixed.get("x.temperature")
    changes = fixed | {key: _times(value, c) for key, value in energies.items()}
    if temperature:
        changes["x.temperature"] = _times(temperature, c)
    changes["x.time_step"] = (0.05 if kind == "beads" else 0.1) / c
    sweep = {key: {"values": _times(values, c)} for key, values in SWEEPS[kind].items()}
    return thermosim.simulate(thermosim.load_case(case, changes | {"ensemble.replicas": 150, "sweep": sweep}))


def _times(value, c):
    if isinstance(value, dict):
        return {key: _times(inner, c) for key, inner in value.items()}
    if isinstance(value, list):
        return [_times(inner, c) for inner in value]
    return value if isinstance(value, str) else c * value


def _normalised_in_both_units():
    """Depth and offset of the well of MODEL for which exp(-phi) and exp(-C phi) both integrate to 1."""

    def log_z(depth, c):
        well = integrate.quad(lambda d: np.exp(-c * depth * (0.5 * d * d + 0.1 * d**4)), -np.inf, np.inf)
        return np.log(well[0])

    depth = optimize.brentq(lambda depth: C * log_z(depth, 1.0) - log_z(depth, C), 1.0, 50.0, xtol=1e-14)
    return depth, log_z(depth, 1.0)


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    """The same learning machine with energies in units c times smaller."""
    folder = tmp_path_factory.mktemp("place")
    depth, offset = _normalised_in_both_units()
    (folder / "place.py").write_text(MODEL.replace("@DEPTH", repr(depth)).replace("@OFFSET", repr(offset)))
    np.save(folder / "rows.npy", 0.7 + np.random.default_rng(0).normal(size=(40, 1)))

    @functools.cache
    def run(c=1.0, **changes):
        scaled = {
            "model.scale": c,
            "theta.learning_rate": 0.02 / c,
            "theta.temperature": 0.2 * c,
            "theta.weight_decay": 0.05 * c,
            "x.time_step": 0.03 / c,
            "sweep": {"x.temperature": {"values": [0.5 * c, 2.0 * c]}},
        }
        return thermosim.simulate(thermosim.load_case(LEARNER, scaled | changes, folder=folder))

    return run


def assert_scaled(one, other, c=C, but=()):
    """Every variable and coordinate of the other is that of the one, times the power of c that its unit says."""
    assert set(one.variables) == set(other.variables)
    for name, variable in one.drop_vars(but, errors="ignore").variables.items():
        there, here = other[name].values, variable.values
        if here.dtype.kind not in "fi" or name == "origin":  # a digest of the case
            if name == "reason":  # whose words name temperatures
                there, here = there == "", here == ""
            assert name == "origin" or np.array_equal(there, here), name
            continue
        power = UNITS[variable.attrs.get("units", "1")]
        wanted = here * c**power
        size = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
        np.testing.assert_allclose(there, wanted, rtol=1e-9, atol=1e-10 * size + 1e-13 * c**power, err_msg=str(name))


def assert_labelled(result):
    """Units of the ledger for numbers, none for flags and words; errors and intervals have those of the estimate."""
    for name, variable in result.data_vars.items():
        if variable.dtype.kind in "bOUS" or name == "status":
            assert "units" not in variable.attrs, name
            continue
        assert variable.attrs.get("units") in UNITS, (name, variable.attrs.get("units"))
        for ending in ("_error", "_interval"):
            if f"{name}{ending}" in result:
                assert result[f"{name}{ending}"].attrs["units"] == variable.attrs["units"], name
        assert variable.attrs.get("long_name"), name


def assert_flags_tell(result):
    """No flag is true where an estimate it answers for, or its error, is not finite."""
    for flag in ("valid", "reliable"):
        for name in result.data_vars:
            if f"{name}_error" not in result or flag not in result or f"{name}_{flag}" in result:
                continue
            if "undefined" in {*result[name].attrs, *result[f"{name}_error"].attrs}:
                continue
            good = np.isfinite(result[name]) & np.isfinite(result[f"{name}_error"])
            assert bool((good | ~result[flag]).all()), (flag, name)


def test_units_of_what_is_recorded():
    """Of every variable of the ledger, every observable and functional of a model, and every axis."""
    assert {variable.units for variable in VARIABLES.values()} <= UNITS.keys()
    for model in MODELS.values():
        assert {variable.units for variable in variables_of(model.functionals).values()} <= UNITS.keys()
        assert {observable.units for observable in model.observables.values()} <= UNITS.keys()
    assert set(SETTINGS.values()) <= UNITS.keys()
    for kind in CASES:
        assert_labelled(ensemble(kind))
    assert ensemble("trap").temperature.attrs["units"] == "energy"
    assert "units" not in ensemble("machine").dynamics.attrs


def _some(kind):
    """One point, which is quick."""
    ds = ensemble(kind)
    return ds if kind == "sphere" else ds.isel(dict.fromkeys(axes(ds), 0))


@pytest.mark.parametrize(("kind", "name"), EVERY + [(kind, name) for kind in OTHERS for name in OTHERS[kind]])
def test_units_and_flags_of_results(kind, name):
    ds = _some(kind)
    of = OTHERS.get(kind, {}).get(name) or FUNCTIONS[kind][name]
    few = ds.isel(replica=[0]) if kind != "sphere" else ds
    result = of(ds)
    assert_labelled(result)
    assert_flags_tell(result)
    if any(variable.attrs.get("units") == "energy" for variable in result.data_vars.values()) and kind != "sphere":
        x = analysis.machines(ds)[0].settings.of_x.temperature
        assert result.attrs["temperature"] == (x if not isinstance(x, list) else str(x))
    books = [one for one in ("phi", "work", "heat", "log_ratio_x", "theta") if one in ds]
    broken = ds.assign({one: ds[one].where(ds.replica != ds.replica[1], np.inf) for one in books})
    for part in (few, broken):
        with contextlib.suppress(ValueError):  # which is as good
            assert_flags_tell(of(part))


def test_an_infinite_estimate_is_not_reliable():
    """A path of theta with infinite work in one replica, and a constant one of which nothing is known."""
    ds = _some("trap").copy()
    ds["work"] = ds.work.where(ds.replica != 3, -np.inf)
    result = analysis.jarzynski(ds)
    assert not bool(result.reliable.any())
    assert not bool(result.valid)


@pytest.mark.parametrize("kind", SCALED)
def test_driven_in_other_units_of_energy(kind):
    """phi -> c phi, T -> c T, h -> h/c leaves x as it is: energies grow by c, and nothing else does."""
    one, other = driven(kind), driven(kind, C)
    assert np.ptp(one.x.values) > 1.0
    assert_scaled(one, other, but=["theta"])  # which are stiffnesses here
    for of in DRIVEN.values() if kind != "beads" else (analysis.heat_currents, analysis.entropy_production):
        assert_scaled(of(one), of(other))
    rows = thermosim.check(one).comparisons, thermosim.check(other).comparisons
    assert [row.quantity for row in rows[0]] == [row.quantity for row in rows[1]]
    for here, there in zip(*rows, strict=True):
        factor = C ** UNITS[here.units]
        tiny = 1e-10 * np.abs(np.asarray(here.measured)).max() + 1e-12
        np.testing.assert_allclose(there.measured, factor * np.asarray(here.measured), rtol=1e-9, atol=factor * tiny)
        np.testing.assert_allclose(there.exact, factor * np.asarray(here.exact), rtol=1e-9, atol=factor * tiny)


def test_a_protocol_and_its_reverse_in_other_units():
    """Bennett's and Crooks' free energies are energies, the slope and the overlap are not."""
    case, fixed, _ = SCALED["trap"]
    results = []
    for c in (1.0, C):
        stiffness = {"kind": "linear", "initial": _times(STIFF[0], c), "final": _times(STIFF[1], c)}
        changes = fixed | {"theta.protocol.stiffness": stiffness, "x.temperature": 2.0 * c, "x.time_step": 0.1 / c}
        back = changes | {"run.direction": "reversed", "ensemble.seed": 8}
        both = [thermosim.simulate(thermosim.load_case(case, some)) for some in (changes, back)]
        results.append(analysis.crooks(*both))
    for name, variable in results[0].data_vars.items():
        if variable.dtype == bool:
            assert np.array_equal(results[1][name], variable)
            continue
        power = UNITS[variable.attrs.get("units", "1")]
        np.testing.assert_allclose(results[1][name], variable * C**power, rtol=1e-5, atol=1e-8, err_msg=str(name))
    assert results[0].free_energy_difference.attrs["units"] == "energy"
    assert_labelled(results[0])


@pytest.mark.parametrize("name", LEARNED)
def test_learning_in_other_units_of_energy(learner, name):
    """The same with theta: r -> r/c and its temperature and decay times c; at two temperatures of x, none of them 1."""
    one, other = learner(), learner(C)
    assert_scaled(one, other)
    result = LEARNED[name](one)
    assert_labelled(result)
    assert_flags_tell(result)
    assert_scaled(result, LEARNED[name](other))


def test_canonical_law_in_other_units(learner):
    langevin = {"theta.dynamics": "langevin", "theta.batch": "all"}
    results = [analysis.canonical_law(learner(c, **langevin)) for c in (1.0, C)]
    assert_labelled(results[0])
    assert_scaled(*results)
    np.testing.assert_allclose(results[0].noise_temperature.values, 0.2)


def test_clausius_at_several_temperatures(learner):
    """dS = -Q/T: with -Q alone the residual would be off by |Q| |1 - 1/T|."""
    ds = learner()
    for result, first in ((analysis.clausius(ds), analysis.clausius(ds).attrs["first"]), (analysis.memory(ds), 0)):
        heat = (ds.heat - ds.heat.sel(step=first)).isel(step=-1).mean("replica")
        change = result.entropy_change.isel(step=-1)
        missed = result["residual" if "residual" in result else "clausius_residual"].isel(step=-1)
        np.testing.assert_allclose(missed, change + heat / np.array([0.5, 2.0]), rtol=1e-9)
        assert np.all(np.abs(heat * (1.0 - 1.0 / np.array([0.5, 2.0]))) > 0.1)
    paths = analysis.pathwise_clausius(ds).sel(relation="closed").isel(step=-1).residual
    flow = (ds.heat.isel(step=-1) - ds.heat.isel(step=0)) / ds.temperature - ds.log_ratio_theta.isel(step=-1)
    np.testing.assert_allclose(paths, flow.mean("replica"), rtol=1e-9)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
def test_work_over_temperature(temperature):
    """A trap dragged at T: <w> is an exact energy, which T does not change, and -T ln<exp(-w/T)> is 0."""
    fixed = {"theta.protocol.stiffness": [[1.0, 0.3], [0.3, 2.0]], "run.steps": 20, "record.every": 10}
    case = thermosim.load_case(TRAP, fixed | {"x.temperature": temperature, "ensemble.replicas": 4000})
    ds = thermosim.simulate(case)
    row = next(c for c in thermosim.check(ds).comparisons if c.quantity.startswith("mean work"))
    assert row.units == "energy"
    mistake = np.abs(row.exact * (1.0 - 1.0 / temperature)) if temperature != 1.0 else None
    assert_within(row.measured, row.standard_error, row.exact, catches="work over T for work", mistake=mistake)
    found = analysis.jarzynski(ds).isel(step=-1)
    assert abs(float(found.free_energy_difference)) < 5.0 * float(found.free_energy_difference_error)


@pytest.mark.parametrize(
    ("of", "kind"),
    [
        (analysis.learned_information, "machine"),
        (analysis.fluctuation_theorems, "machine"),
        (analysis.relaxation, "machine"),
        (analysis.partial_entropies, "machine"),
        (analysis.averaged_work_and_heat, "machine"),
        (analysis.ideal_learning, "machine"),
        (analysis.information_balance, "machine"),
    ],
)
def test_surprisals_belong_to_temperature_one(of, kind):
    """What is a mean over p(x|theta) = exp(-phi)/Z is refused where samples have another law."""
    with pytest.raises(ValueError, match="at temperature 1 only"):
        of(_warm())


@functools.cache
def _warm():
    case, fixed, _ = CASES["machine"]
    return thermosim.simulate(thermosim.load_case(case, fixed | {"x.temperature": 2.0, "x.initial": "normal"}))


def test_what_an_ensemble_says_of_its_temperature():
    told = {kind: ensemble(kind).attrs.get("temperature") for kind in CASES}
    assert told == {"trap": "swept", "beads": "swept", "machine": 1.0, "batches": 1.0, "retraced": 1.0, "sphere": None}
    assert driven("beads").attrs["temperature"] == "[3.0, 1.0]"
    ramp = {"kind": "linear", "initial": 1.0, "final": 2.0}
    case = thermosim.load_case(TRAP, {"x.temperature": ramp, "run.steps": 4, "record.every": 2, "ensemble.replicas": 4})
    assert thermosim.simulate(case).attrs["temperature"] == "schedule"
    part = ensemble("trap").isel({first_axis("trap"): 2})
    assert analysis.work_and_heat(part).attrs["temperature"] == 2.0
    assert isinstance(part, xr.Dataset)
