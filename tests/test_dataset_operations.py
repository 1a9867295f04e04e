"""Whatever xarray lets a user do to an ensemble: analysis, check and picture give the right number, or say why not.

Right is what the whole ensemble gives, with the same done to the result: operation(f(ds)) == f(operation(ds)).
"""

import functools

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.conftest import SPHERE, TRAP
from tests.learning_cases import GAUSSIAN
from thermosim import analysis
from thermosim.analysis.settings import axes
from thermosim.plots.picture import picture

BEADS = """
title = "two beads"
[model]
name = "two-beads"
stiffness = 1.0
coupling = 1.5
[theta]
dynamics = "frozen"
[x]
dynamics = "ula"
time_step = 0.05
temperature = [1.0, 2.0]
[ensemble]
replicas = 30
seed = 4
[run]
steps = 20
[record]
every = 4
"""
SMALL = {"ensemble.replicas": 24, "run.steps": 4, "record.every": 1}
CASES = {
    "trap": (
        TRAP,
        {"ensemble.replicas": 60, "run.steps": 20, "record.every": 4, "x.dynamics": "mala"},
        {"x.temperature": [0.5, 1.0, 2.0], "x.time_step": [0.05, 0.1]},
    ),
    "beads": (BEADS, {}, {"x.temperature": [[1.0, 2.0], [3.0, 1.0], [1.0, 4.0]], "x.tau": [1, 2]}),
    "machine": (GAUSSIAN, SMALL, {"theta.learning_rate": [0.1, 0.15, 0.2], "x.dynamics": ["ula", "mala"]}),
    "batches": (
        GAUSSIAN,
        SMALL | {"data.sets": 4, "ensemble.replicas": 32},
        {"theta.learning_rate": [0.1, 0.15, 0.2], "theta.batch": [2, 3]},
    ),
    "retraced": (GAUSSIAN, SMALL | {"run.direction": "there-and-back"}, {"theta.batch": [1, 2, 4]}),
    "sphere": (
        SPHERE,
        {"ensemble.replicas": 16, "theta.learning_rate": 0.1},
        {"theta.learning_rate": [0.02, 0.05, 0.1], "model.noise": [0.7, 1.1]},
    ),
}
FIRST = {"trap": "temperature", "beads": "temperature", "retraced": "batch"}  # axes; else the learning rate

# by frames, and of all of them together
DRIVEN = {
    "jarzynski": analysis.jarzynski,
    "work_and_heat": analysis.work_and_heat,
    "integral": lambda ds: analysis.integral_fluctuation_theorem(ds, ds.phi.isel(step=0, drop=True), ds.phi),
    "entropy_production": analysis.entropy_production,
}
FUNCTIONS = {
    "trap": DRIVEN,
    "beads": {name: DRIVEN[name] for name in ("entropy_production", "work_and_heat")}
    | {"heat_currents": analysis.heat_currents},
    "machine": {
        "learning_ledger": analysis.learning_ledger,
        "fluctuation_theorems": analysis.fluctuation_theorems,
        "relaxation": analysis.relaxation,
        "learned_information": lambda ds: analysis.learned_information(ds, "chains"),
        "low_variance": lambda ds: analysis.low_variance(ds, analysis.learned_information(ds, "chains")),
        "information_balance": analysis.information_balance,
        "routes": lambda ds: analysis.routes(ds, "chains"),
        "memory": analysis.memory,
        "averaged_work_and_heat": analysis.averaged_work_and_heat,
        "by_chains": lambda ds: analysis.averaged_work_and_heat(ds, "chains"),
        "clausius": analysis.clausius,
        "naive_reservoir": analysis.naive_reservoir,
        "noise_statistics": analysis.noise_statistics,
    },
    "batches": {
        "noise_statistics": analysis.noise_statistics,
        "dataset_information": analysis.dataset_information,
        "data_processing": lambda ds: analysis.data_processing(ds, "chains"),
    },
    "retraced": {"retrace": analysis.retrace},
    "sphere": {
        "thermodynamics": lambda ds: analysis.thermodynamics(ds, angles=False),
        "drift": analysis.drift,
        "radius_fluctuations": analysis.radius_fluctuations,
        "radius_transient": analysis.radius_transient,
    },
}
GROUPED = {"naive_reservoir", "thermodynamics"}  # errors by groups of replicas, or by sets, that follow their order
NEEDS_SETS = {"dataset_information", "data_processing"}
REPLAYED = {"noise_statistics", "naive_reservoir", *NEEDS_SETS}  # what draws minibatches again, or asks for data sets

AXIS = {
    "reversed": lambda ds, axis: ds.isel({axis: slice(None, None, -1)}),
    "reordered": lambda ds, axis: ds.isel({axis: [2, 0, 1]}),
    "some": lambda ds, axis: ds.isel({axis: slice(1, None)}),
    "one of a list": lambda ds, axis: ds.isel({axis: [1]}),
    "one": lambda ds, axis: ds.isel({axis: 1}),
    "squeezed": lambda ds, axis: ds.isel({axis: [2]}).squeeze(axis),
    "expanded": lambda ds, axis: ds.isel({axis: 2}).expand_dims(axis),
    "put together": lambda ds, axis: xr.concat([ds.isel({axis: [2]}), ds.isel({axis: slice(0, 2)})], axis),
}
SOME = {"reordered", "one", "in another order, relabelled"}  # of these for what takes longer
REPLICAS = {
    "relabelled": lambda ds: ds.assign_coords(replica=ds.replica.values[::-1] + 7),
    "in another order, relabelled": lambda ds: ds.isel(replica=_shuffled(ds)).assign_coords(replica=ds.replica.values),
    "without labels": lambda ds: ds.drop_vars("replica"),
    "put together": lambda ds: xr.concat([ds.isel(replica=slice(5, None)), ds.isel(replica=slice(5))], "replica"),
    "transposed": lambda ds: ds.transpose("x_dim", "theta_dim", "replica", ..., missing_dims="ignore"),
    "dask": lambda ds: ds.chunk({"replica": 7}),
}
REFUSED = {
    "average over an axis": lambda ds, axis: ds.mean(axis, keep_attrs=True),
    "an axis dropped": lambda ds, axis: ds.isel({axis: 0}, drop=True),
    "its coordinate dropped": lambda ds, axis: ds.drop_vars(axis),
    "axis renamed": lambda ds, axis: ds.rename({axis: "other"}),
    "axis relabelled": lambda ds, axis: ds.assign_coords({axis: ds[axis].values[::-1]}),
    "other values": lambda ds, axis: ds.assign_coords({axis: ds[axis].values + 100}),
    "values filled in": lambda ds, axis: ds.reindex({axis: [*ds[axis].values, 100]}),
    "no point": lambda ds, axis: ds.isel({axis: []}),
    "average over replicas": lambda ds, axis: ds.mean("replica", keep_attrs=True),
    "replicas renamed": lambda ds, axis: ds.rename(replica="copy"),
    "one replica": lambda ds, axis: ds.isel(replica=0),
    "no replica": lambda ds, axis: ds.isel(replica=[]),
    "stacked": lambda ds, axis: ds.stack(cell=(axis, "replica")),
    "axes stacked": lambda ds, axis: ds.stack(cell=axes(ds)),
    "replicas twice": lambda ds, axis: xr.concat([ds, ds], "replica"),
    "replicas twice, relabelled": lambda ds, axis: ds.isel(replica=[0, 1, 2, 3, 0]).assign_coords(replica=range(5)),
    "one frame": lambda ds, axis: ds.isel(step=0),
    "average over frames": lambda ds, axis: ds.mean("step", keep_attrs=True),
    "no frames": lambda ds, axis: ds.isel(step=[]),
    "frames backward": lambda ds, axis: ds.isel(step=slice(None, None, -1)),
    "frames twice": lambda ds, axis: xr.concat([ds, ds], "step", data_vars="minimal"),
    "time for steps": lambda ds, axis: ds.assign_coords(step=0.3 * ds.step),
    "steps dropped": lambda ds, axis: ds.drop_vars("step"),
    "another dimension": lambda ds, axis: ds.expand_dims(new=2),
    "attributes lost": lambda ds, axis: ds.drop_attrs(),
    "another case": lambda ds, axis: xr.concat([ds, _another_case(ds)], "replica"),
}
EVERY = [(kind, name) for kind in FUNCTIONS for name in FUNCTIONS[kind]]


@functools.cache
def ensemble(kind, **changes):
    case, fixed, sweep = CASES[kind]
    sweep = {key: {"values": values} for key, values in sweep.items()}
    return thermosim.simulate(thermosim.load_case(case, fixed | changes | {"sweep": sweep}))


@functools.cache
def result(kind, name):
    """What the untouched ensemble gives."""
    return FUNCTIONS[kind][name](ensemble(kind))


def first_axis(kind):
    return FIRST.get(kind, "learning_rate")


def _shuffled(ds):
    return np.random.default_rng(0).permutation(ds.sizes["replica"])


def _another_case(ds):
    """Replicas that say they are of another case, with another seed."""
    return ds.assign_coords(origin=ds.origin + (1 << 26) + 1)


def assert_same(found, expected, rtol=1e-9):
    """The same variables, dimensions and numbers, to rounding."""
    assert set(found) == set(expected)
    for name, wanted in expected.items():
        there = found[name]
        assert set(there.dims) == set(wanted.dims), name
        there, wanted = there.transpose(*wanted.dims).values, wanted.values
        if wanted.dtype.kind not in "fiu":
            assert np.array_equal(there, wanted), name
            continue
        scale = np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)
        np.testing.assert_allclose(there, wanted, rtol=rtol, atol=rtol * scale + 1e-13, err_msg=str(name))


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=map("-".join, EVERY))
def test_points_of_a_sweep(kind, name):
    """Selected, in any order, put together again; on the axis of numbers, and on that of lists or words."""
    ds, of = ensemble(kind), FUNCTIONS[kind][name]
    for operation in (AXIS[what] for what in (SOME if kind == "machine" else AXIS)):
        assert_same(of(operation(ds, first_axis(kind))), operation(result(kind, name), first_axis(kind)))
    other = axes(ds)[-1]
    if other != first_axis(kind):
        for index in ([1, 0], 1):
            assert_same(of(ds.isel({other: index})), result(kind, name).isel({other: index}))


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=map("-".join, EVERY))
def test_replicas_in_another_order_or_with_other_labels(kind, name):
    """Noise is drawn again for whom it was, and data sets are those that were learned."""
    ds, of = ensemble(kind), FUNCTIONS[kind][name]
    for what, operation in REPLICAS.items():
        if kind == "machine" and what not in SOME:
            continue
        moved = operation(ds)
        shuffled = what in ("in another order, relabelled", "put together")
        if shuffled and name in NEEDS_SETS:
            with pytest.raises(ValueError, match="order of their data sets"):
                of(moved)
            continue
        expected = result(kind, name)
        if "replica" in expected.dims:
            order = moved.address.isel(dict.fromkeys(axes(ds), 0)).values - int(ds.address.min())
            expected = expected.isel(replica=order)
        found = of(moved)
        if shuffled and name in GROUPED:
            keep = [v for v in expected if not str(v).endswith("_error") and "S" not in str(v)]
            found, expected = found[keep].drop_vars(["F", "G"], errors="ignore"), expected[keep]
            expected = expected.drop_vars(["F", "G"], errors="ignore")
        assert_same(found, expected)


@pytest.mark.parametrize("what", REFUSED)
def test_what_would_be_wrong_is_refused(what):
    """By every function, in a sentence."""
    operation = REFUSED[what]
    for kind, name in EVERY:
        ds = ensemble(kind)
        if what == "axes stacked" and len(axes(ds)) < 2:
            continue
        with pytest.raises(ValueError, match=r"^\D.{20}"):
            FUNCTIONS[kind][name](operation(ds, first_axis(kind)))
    for kind in CASES:
        ds = ensemble(kind)
        part = operation(ds, first_axis(kind))
        for of in (thermosim.check, picture):
            if of is picture or not what.startswith("one "):
                with pytest.raises(ValueError, match=r"^\D.{20}"):
                    of(part)
            else:
                assert of(part).verdict is None
                assert of(part).why_nothing
