"""Whatever xarray lets a user do to an ensemble: analysis, check and picture give the right number, or say why not.

Right is what the whole ensemble gives, with the same done to the result: operation(f(ds)) == f(operation(ds)).
"""

import functools
import json

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within
from tests.conftest import SPHERE, TRAP
from tests.learning_cases import GAUSSIAN
from tests.test_user_model import CASE, MODEL
from thermosim import analysis
from thermosim.analysis.gradient_noise import gradient_noise
from thermosim.analysis.irreversibility import entropy_of_steps, potentials_in_time
from thermosim.analysis.machine import machines
from thermosim.analysis.settings import axes, each_point, settings
from thermosim.case.faults import CaseError
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
    "integral": lambda ds: analysis.integral_fluctuation_theorem(ds, -0.5 * ds.phi, -0.4 * ds.phi),
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
        "training": analysis.training,
        "curvature": analysis.curvature,
        "entropy_of_steps": lambda ds: entropy_of_steps(ds, 0.1),
        "potentials_in_time": lambda ds: potentials_in_time(ds, replicas=1000),
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
# what draws minibatches again, or asks for data sets
REPLAYED = {"noise_statistics", "naive_reservoir", "training", "curvature", *NEEDS_SETS}
REPLAYED |= {"entropy_of_steps", "potentials_in_time"}

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
SOME = {"in another order, relabelled"}  # of these, for what takes longer
REPLICAS = {
    "relabelled": lambda ds: ds.assign_coords(replica=ds.replica.values[::-1] + 7),
    "in another order, relabelled": lambda ds: ds.isel(replica=_shuffled(ds)).assign_coords(replica=ds.replica.values),
    "without labels": lambda ds: ds.drop_vars("replica"),
    "put together": lambda ds: xr.concat([ds.isel(replica=slice(5, None)), ds.isel(replica=slice(5))], "replica"),
    "frames put together": lambda ds: xr.concat(
        [ds.isel(step=[0]), ds.isel(step=slice(1, None))], "step", data_vars="all"
    ),
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
    "replicas averaged by threes": lambda ds, axis: ds.isel(replica=slice(12)).coarsen(replica=3).mean(keep_attrs=True),
    "one frame": lambda ds, axis: ds.isel(step=0),
    "average over frames": lambda ds, axis: ds.mean("step", keep_attrs=True),
    "no frames": lambda ds, axis: ds.isel(step=[]),
    "frames backward": lambda ds, axis: ds.isel(step=slice(None, None, -1)),
    "frames twice": lambda ds, axis: xr.concat([ds, ds], "step", data_vars="minimal"),
    "time for steps": lambda ds, axis: ds.assign_coords(step=0.3 * ds.step),
    "steps that are no whole numbers": lambda ds, axis: ds.assign_coords(step=ds.step.astype(float)),
    "steps dropped": lambda ds, axis: ds.drop_vars("step"),
    "another dimension": lambda ds, axis: ds.expand_dims(new=2),
    "attributes lost": lambda ds, axis: ds.drop_attrs(),
    "another case": lambda ds, axis: xr.concat([ds, _another_case(ds)], "replica"),
}
EVERY = [(kind, name) for kind in FUNCTIONS for name in FUNCTIONS[kind]]
# Each time every function meets a third of the operations, and every operation a third of the functions; with `--all`
# each meets all.
SHARES = pytest.mark.parametrize("share", [3, pytest.param(1, marks=pytest.mark.exhaustive)], ids=["a third", "all"])


def chosen(items, share, first):
    """Every `share`-th of them from `first` on."""
    return list(items)[first % share :: share]


@functools.cache
def ensemble(kind, **changes):
    case, fixed, sweep = CASES[kind]
    sweep = {key: {"values": values} for key, values in sweep.items()}
    changes = {key: list(value) if isinstance(value, tuple) else value for key, value in changes.items()}
    return thermosim.simulate(thermosim.load_case(case, fixed | changes | {"sweep": sweep}))


@functools.cache
def result(kind, name):
    """What the untouched ensemble gives."""
    return FUNCTIONS[kind][name](ensemble(kind))


def first_axis(kind):
    return FIRST.get(kind, "learning_rate")


def _is_slow(kind):
    return kind in ("machine", "batches")


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


@SHARES
@pytest.mark.parametrize(("kind", "name"), EVERY, ids=map("-".join, EVERY))
def test_points_of_a_sweep(kind, name, share):
    """Selected, in any order, put together again; on the axis of numbers, and on that of lists or words."""
    ds, of = ensemble(kind), FUNCTIONS[kind][name]
    axis, other = first_axis(kind), axes(ds)[-1]
    if _is_slow(kind):
        part = {axis: [2, 0], other: 1}
        assert_same(of(ds.isel(part)), result(kind, name).isel(part))
        return
    for operation in chosen(AXIS.values(), share, EVERY.index((kind, name))):
        assert_same(of(operation(ds, axis)), operation(result(kind, name), axis))
    for index in ([1, 0], 1) if other != axis else ():
        assert_same(of(ds.isel({other: index})), result(kind, name).isel({other: index}))


@SHARES
@pytest.mark.parametrize(("kind", "name"), EVERY, ids=map("-".join, EVERY))
def test_replicas_in_another_order_or_with_other_labels(kind, name, share):
    """Noise is drawn again for whom it was, and data sets are those that were learned."""
    ds, of = ensemble(kind), FUNCTIONS[kind][name]
    for what in SOME if _is_slow(kind) else chosen(REPLICAS, share, EVERY.index((kind, name))):
        operation = REPLICAS[what]
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


@SHARES
@pytest.mark.parametrize("what", REFUSED)
def test_what_would_be_wrong_is_refused(what, share):
    """By every function, in a sentence."""
    operation, number = REFUSED[what], list(REFUSED).index(what)
    for kind, name in chosen(EVERY, share, number):
        ds = ensemble(kind)
        if what == "axes stacked" and len(axes(ds)) < 2:
            continue
        with pytest.raises(ValueError, match=r"^\D.{20}"):
            FUNCTIONS[kind][name](operation(ds, first_axis(kind)))
    for kind in chosen(CASES, share, number):
        ds = ensemble(kind)
        part = operation(ds, first_axis(kind))
        for of in (thermosim.check, picture):
            if of is picture or not what.startswith("one "):
                with pytest.raises(ValueError, match=r"^\D.{20}"):
                    of(part)
            else:
                assert of(part).verdict is None
                assert of(part).why_nothing


@pytest.mark.parametrize("kind", CASES)
def test_checks_and_pictures_of_parts(kind):
    """The same comparisons, their arrays in the order of the points; and a picture."""
    books = {"record.variables": ("loss", "radius", "loss_sum", "gradient_square")}  # entropies take long
    ds, axis = ensemble(kind, **(books if kind == "sphere" else {})), first_axis(kind)
    whole = thermosim.check(ds)
    for what in ("reordered", "one"):
        part = AXIS[what](ds, axis)
        report = thermosim.check(part)
        if (kind, what) == ("sphere", "one"):  # which has forgotten its start, though not all points have
            assert report.consistent
            continue
        assert [row.quantity for row in report.comparisons] == [row.quantity for row in whole.comparisons]
        for found, expected in zip(report.comparisons, whole.comparisons, strict=True):
            if expected.measured.ndim < len(axes(ds)):  # over all points at once
                continue
            rows = xr.Dataset({"z": (axes(ds), expected.z.reshape(*expected.z.shape[: len(axes(ds))], -1).sum(-1))})
            rows = AXIS[what](rows.assign_coords({axis: ds[axis]}), axis).z.transpose(*axes(part))
            np.testing.assert_allclose(found.z.reshape(*rows.shape, -1).sum(-1), rows, rtol=1e-6, atol=1e-6)
    for what in () if kind == "sphere" else ("in another order, relabelled", "frames put together"):
        if kind == "batches" and what == "in another order, relabelled":
            continue
        moved = REPLICAS[what](ds.isel({axis: [2, 0]}))
        assert len(picture(moved).axes) > 0
        assert thermosim.check(moved).consistent == thermosim.check(ds.isel({axis: [2, 0]})).consistent


def test_free_energy_after_sorting():
    """-T ln <exp(-work/T)> at each temperature against F(theta_t) - F(theta_0) = T/2 ln det K_t/K_0."""
    ds = ensemble("trap", **{"ensemble.replicas": 4000, "run.steps": 8, "record.every": 8})
    for part in (ds, ds.sortby("temperature", ascending=False), ds.isel(temperature=[1, 2, 0]), ds.sel(temperature=2)):
        found = analysis.jarzynski(part).isel(step=-1)
        ratio = np.linalg.det([[2.0, -0.5], [-0.5, 1.0]]) / np.linalg.det([[1.0, 0.3], [0.3, 2.0]])
        exact = (0.5 * part.temperature * np.log(ratio)).broadcast_like(found.free_energy_difference)
        dims = found.free_energy_difference.dims
        assert_within(
            found.free_energy_difference.values,
            found.free_energy_difference_error.values,
            exact.transpose(*dims).values,
            catches="another point's temperature",
        )


def test_noise_of_selected_replicas_is_theirs():
    """Of some replicas of one point, in any order, under other labels, with the data sets that they learned from."""
    ds = ensemble("batches")
    whole = {(m.settings.theta.learning_rate, m.settings.theta.batch): m for m in machines(ds)}
    part = ds.isel(replica=[30, 3, 17], learning_rate=[2, 0], step=slice(1, None)).sel(batch=3)
    for machine in machines(part.assign_coords(replica=["a", "b", "c"])):
        there = whole[machine.settings.theta.learning_rate, machine.settings.theta.batch]
        assert machine.data_set().tolist() == [3, 0, 2]
        assert np.array_equal(machine.addresses, there.addresses[[30, 3, 17]])
        found, expected = gradient_noise(machine), gradient_noise(there)
        np.testing.assert_allclose(found.noise, expected.noise[1:, [30, 3, 17]], rtol=1e-12)
        assert not np.allclose(found.noise, expected.noise[1:, [0, 1, 2]])


def test_runs_with_other_seeds_side_by_side():
    """Averages are those of all replicas; what draws noise again refuses; one seed twice is no second run."""
    one, two = ensemble("machine"), ensemble("machine", **{"ensemble.seed": 6, "ensemble.replicas": 12})
    both = xr.concat([one, two], "replica")
    np.testing.assert_allclose(analysis.work_and_heat(both).work, both.work.mean("replica"))
    assert analysis.memory(both).entropy.shape == analysis.memory(one).entropy.shape
    with pytest.raises(ValueError, match="run with another seed"):
        analysis.noise_statistics(both)
    report = thermosim.check(both)
    assert report.replicas == 36
    assert any("not compared: some replicas are of a run with another seed" in note for note in report.notes)
    assert len(picture(both).axes) > 0
    fewer = ensemble("retraced", **{"ensemble.replicas": 12})
    with pytest.raises(ValueError, match="of a run with more replicas"):
        analysis.retrace(xr.concat([ensemble("retraced"), fewer], "replica"))
    other = thermosim.simulate(thermosim.load_case(GAUSSIAN, SMALL | {"x.tau": 2}))
    alone = thermosim.simulate(thermosim.load_case(GAUSSIAN, SMALL))
    with pytest.raises(ValueError, match="of another case"):
        analysis.work_and_heat(xr.concat([alone, other], "replica"))


def test_frames_cut():
    """Sums since step 0 stay what they were, changes are since the first frame left, what needs all frames says so."""
    ds, trap = ensemble("machine"), ensemble("trap")
    assert_same(
        analysis.jarzynski(trap.isel(step=slice(2, None))), result("trap", "jarzynski").isel(step=slice(2, None))
    )
    late = analysis.learning_ledger(ds.isel(step=slice(1, None)))
    early = result("machine", "learning_ledger").isel(step=slice(1, None))
    np.testing.assert_allclose(late.work, early.work)
    np.testing.assert_allclose(late.energy_change, early.energy_change - early.energy_change.isel(step=0), atol=1e-12)
    assert late.energy_change.attrs["long_name"].endswith("since step 1")
    assert late.work.attrs["long_name"].endswith("since step 0")
    assert late.first_law_residual.attrs["long_name"].endswith("since step 1")
    balance = analysis.information_balance(ds.isel(step=[1, 3]))
    assert "since step 1" in balance.learned_information_change.attrs["long_name"]
    for of, steps, said in (
        (analysis.fluctuation_theorems, slice(1, None), "step 0"),
        (analysis.averaged_work_and_heat, slice(1, None), "theta at every step"),
        (analysis.noise_statistics, [0, 1, 3], "equally far apart"),
        (analysis.noise_statistics, [0], "more frames"),
        (analysis.entropy_production, [0], "two frames"),
        (functools.partial(analysis.entropy_production, last=3), [0, 2], "step 3 is not among the frames"),
    ):
        with pytest.raises(ValueError, match=said):
            of(ds.isel(step=steps))
    for steps in ([0, 1, 3], [1, 2, 4], slice(1, 4)):
        assert len(thermosim.check(ds.isel(step=steps)).comparisons) >= 1
        assert len(picture(ds.isel(step=steps)).axes) > 0


def test_a_protocol_and_its_reverse():
    """The same points in the same order, other seeds, and the whole path of theta."""
    forward = ensemble("trap")
    backward = ensemble("trap", **{"run.direction": "reversed", "ensemble.seed": 8})
    pytest.importorskip("pymbar")
    expected = analysis.crooks(forward, backward)
    turned = {"temperature": [2, 0]}
    assert_same(analysis.crooks(forward.isel(turned), backward.isel(turned)), expected.isel(turned), rtol=1e-5)
    with pytest.raises(ValueError, match="the same points of both, in the same order"):
        analysis.crooks(forward, backward.isel(temperature=[2, 1, 0]))
    with pytest.raises(ValueError, match="share their noise"):
        analysis.crooks(forward, ensemble("trap", **{"run.direction": "reversed"}))
    with pytest.raises(ValueError, match="theta at step 0"):
        analysis.detailed(forward.isel(step=slice(1, None)), backward)


def test_files(tmp_path):
    """Whose noise it was is known of a file as of memory, also saved anew in parts; and not after xarray alone."""
    case, fixed, sweep = CASES["machine"]
    path, part = tmp_path / "out.h5", tmp_path / "part.nc"
    overrides = fixed | {"sweep": {key: {"values": values} for key, values in sweep.items()}}
    thermosim.simulate(thermosim.load_case(case, overrides), path).close()
    expected = result("machine", "noise_statistics")
    chosen = {"learning_rate": [2, 0], "dynamics": 1}
    with thermosim.open_ensemble(path) as ds:
        assert np.array_equal(ds.address, ensemble("machine").address)
        assert np.array_equal(ds.origin, ensemble("machine").origin)
        assert_same(analysis.noise_statistics(ds.isel(chosen)), expected.isel(chosen))
        ds.isel(chosen).isel(replica=slice(3, 9)).to_netcdf(part, engine="h5netcdf")
        some = analysis.noise_statistics(ds.isel({**chosen, "replica": slice(3, 9)}))
    with thermosim.open_ensemble(part) as again:
        assert_same(analysis.noise_statistics(again), some)
    with xr.open_dataset(path, engine="h5netcdf") as bare:
        assert_same(analysis.work_and_heat(bare.isel(chosen)), analysis.work_and_heat(ensemble("machine").isel(chosen)))
        with pytest.raises(ValueError, match=r"thermosim\.open_ensemble"):
            analysis.noise_statistics(bare)
        with pytest.raises(ValueError, match="labels of replicas repeat"):
            analysis.work_and_heat(xr.concat([bare, bare], "replica"))
        assert any("open_ensemble" in note for note in thermosim.check(bare).notes)
        bare.isel(replica=slice(0, None, 2)).to_netcdf(tmp_path / "bare.nc", engine="h5netcdf")
    with thermosim.open_ensemble(tmp_path / "bare.nc") as lost:  # half of the replicas: nobody can tell which
        assert "address" not in lost.coords


def test_numbers_of_less_precision_and_replicas_that_are_not_there():
    for kind in ("trap", "machine"):
        ds = ensemble(kind)
        assert thermosim.check(ds.astype("float32")).consistent == thermosim.check(ds).consistent
        filled = ds.reindex(replica=[*ds.replica.values[:-2], 900])
        report = thermosim.check(filled)
        assert report.left_out == (900,)
        assert "have no values" in report.notes[0]
        assert thermosim.check(ds.isel(replica=slice(-2))).consistent == report.consistent
        assert len(picture(filled).axes) > 0
    whole = ensemble("trap")
    found = analysis.jarzynski(whole.reindex(replica=[*range(60), 900]))
    assert bool((found.replicas == 60).all())
    expected = analysis.jarzynski(whole.isel(replica=slice(60)))
    np.testing.assert_allclose(found.free_energy_difference, expected.free_energy_difference, rtol=1e-9)


@pytest.mark.parametrize("name", ["step", "replica", "work", "status", "time", "address", "theta_dim", "lag", "length"])
def test_axes_whose_name_is_taken(name, tmp_path):
    """Refused before anything runs, with the remedy: a constant called like a dimension, a variable or a functional."""
    model = MODEL.replace('"stiff"', f'"{name}"').replace("STIFF", name.upper())
    more = "observables={'length': Observable('x', lambda x, c: x[..., 0], '1', 'x', 'x')}, energy=energy,"
    if name == "length":
        model = model.replace("energy=energy,", more).replace("import Constant", "import Constant, Observable")
    (tmp_path / "quartic.py").write_text(model)
    (tmp_path / "case.toml").write_text(CASE)
    with pytest.raises(
        CaseError, match=rf"axis would be called '{name}'.*rename the constant|a constant is called '{name}'.*rename it"
    ):
        thermosim.load_case(tmp_path / "case.toml", {"sweep": {f"model.{name}": {"values": [1.0, 2.0]}}})


def test_a_value_twice_on_an_axis():
    with pytest.raises(CaseError, match=r"has the value 2 twice"):
        thermosim.load_case(TRAP, {"sweep": {"x.tau": {"values": [1, 2, 2.0]}}})


def test_settings_of_a_part():
    """Words, lists and numbers, along an axis or as what they are."""
    ds = ensemble("machine").isel(learning_rate=[2, 0], dynamics=1)
    assert axes(ds) == ["learning_rate"]
    assert settings(ds).x.dynamics == "mala"
    assert settings(ds).sweep == {"theta.learning_rate": [0.2, 0.1]}
    assert [here.theta.learning_rate for _, here in each_point(ds)] == [0.2, 0.1]
    beads = ensemble("beads")
    assert settings(beads.isel(temperature=[2, 1])).sweep["x.temperature"] == [[1.0, 4.0], [3.0, 1.0]]
    assert settings(beads.sel(temperature=1)).x.temperature == [3.0, 1.0]
    rounded = ensemble("trap").assign_coords(time_step=ensemble("trap").time_step.astype("float32"))
    assert settings(rounded.isel(time_step=1)).x.time_step == 0.1
    single = thermosim.simulate(thermosim.load_case(TRAP, {"sweep": {"x.tau": {"values": [2]}}, "run.steps": 2}))
    assert settings(single.squeeze("tau", drop=True)).x.tau == 2
    assert json.loads(single.attrs["settings"])["x"]["tau"] == 2
