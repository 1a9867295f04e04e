"""`extend` with more replicas: the run that had them from the beginning, in every bit, and an ensemble as any other."""

import json
import threading

import numpy as np
import pytest
import xarray as xr

import thermosim
from tests.assertions import assert_within
from tests.conftest import SPHERE, TRAP
from thermosim.analysis.gradient_noise import minibatch
from thermosim.analysis.machine import machines
from thermosim.storage import StorageError, parts_folder

LEARNER = """
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 3
spread = 0.2
[x]
dynamics = "ula"
time_step = 0.1
[data]
source = "gaussian"
rows = 20
sets = 4
[ensemble]
replicas = 40
seed = 5
[run]
steps = 12
[record]
every = 3
"""

KEPT = {"record.heat": {"keep": ["mean", "histogram", "ensemble_mean"], "range": [-9.0, 9.0]}}
GRID = {"sweep": {"x.tau": {"values": [1, 3]}, "x.temperature": {"values": [1.0, 2.0, 3.0]}}, "ensemble.replicas": 21}


def run(text, changes=None, path=None, **how):
    return thermosim.simulate(thermosim.load_case(text, changes), path, **how)


def assert_same(found, expected):
    assert set(found.variables) == set(expected.variables)
    for name in expected.variables:
        assert found[name].attrs.get("long_name") == expected[name].attrs.get("long_name")
        numbers = expected[name].dtype.kind in "iuf"
        assert np.array_equal(found[name], expected[name], equal_nan=numbers), name


@pytest.mark.parametrize(
    ("text", "changes", "before", "virtual"),
    [
        (TRAP, {}, 150, True),
        (TRAP, {"run.direction": "reversed"}, 150, False),
        (LEARNER, {"data.sets": 1}, 33, False),
        (LEARNER, {"data.sets": 1, "run.direction": "there-and-back", "x.initial": "data"}, 33, False),
    ],
)
def test_without_a_sweep_it_is_the_one_run_of_all_replicas(text, changes, before, virtual, tmp_path):
    path, whole = tmp_path / "out.h5", run(text, changes)
    run(text, changes | {"ensemble.replicas": before}, path, virtual=virtual).close()
    assert_same(thermosim.extend(path, replicas=whole.sizes["replica"] - before, threads=1), whole)


@pytest.mark.parametrize(
    ("text", "changes", "ends", "virtual"),
    [
        (SPHERE, {}, (), False),
        (TRAP, GRID | KEPT, ("center", "stiffness"), False),
        (TRAP, GRID | KEPT, ("center", "stiffness"), True),
    ],
)
def test_extensions_in_any_order_are_one_run_of_the_case_that_names_them(text, changes, ends, virtual, tmp_path):
    """Frames and summaries of a sweep, of structural blocks and of cohorts; addresses follow those there were."""
    path, case = tmp_path / "out.h5", thermosim.load_case(text, changes)
    steps, replicas = case.settings.run.steps, case.settings.ensemble.replicas
    first = thermosim.simulate(case, path, virtual=virtual, segment_frames=8).load()
    more = thermosim.extend(path, replicas=8, segment_frames=8)
    old = more.isel(replica=slice(replicas))
    assert_same(old.drop_dims("cohort", errors="ignore"), first.drop_dims("cohort", errors="ignore"))
    assert int(more.address.isel(replica=slice(replicas, None)).min()) == int(first.address.max()) + 1
    more.close()
    for by in ((20,), (14, 40)):
        thermosim.extend(path, by[0], replicas=sum(by[1:])).close()
    longer = {"run.steps": steps + 34, "ensemble.replicas": replicas + 48, "ensemble.added": [8, 40]}
    longer |= {f"theta.protocol.{name}.end": steps for name in ends}
    found, expected = thermosim.open_ensemble(path), run(text, changes | longer)
    assert_same(found, expected)
    assert np.array_equal(np.sort(found.address.values.ravel()), np.arange(found.address.size))
    assert json.loads(found.attrs["settings"]) == json.loads(expected.attrs["settings"])
    if "cohort_replicas" in found:
        assert int(found.cohort_replicas.sum()) == found.sizes["replica"]


def test_minibatches_and_data_sets_of_added_replicas_are_known(tmp_path):
    """Rows drawn again move theta as it moved; each series is dealt to all data sets, and analysis joins them."""
    path = tmp_path / "out.h5"
    one_step = {"record.every": 1, "theta.learn": ["mean"], "x.initial": "data"}
    run(LEARNER, one_step, path).close()
    ds = thermosim.extend(path, replicas=24).load()
    (machine,) = machines(ds)
    assert np.array_equal(np.bincount(machine.data_set()), [16, 16, 16, 16])
    mean = ds.theta.isel(theta_dim=slice(2)).transpose("step", "replica", "theta_dim").values
    precision = np.exp(ds.theta.isel(step=0, theta_dim=slice(2, None)).values)
    force = precision * (minibatch(machine, 1).mean(axis=1) - mean[0])
    assert np.allclose(mean[1] - mean[0], 0.05 * force, rtol=1e-9, atol=1e-12)
    order = np.argsort(machine.data_set(), kind="stable")
    found = thermosim.analysis.dataset_information(ds, method="classifier")
    sets = run(LEARNER, one_step | {"ensemble.replicas": 64})  # not the same replicas, but dealt in one series
    assert np.array_equal(machines(sets)[0].data_set(), machine.data_set()[order])
    assert found.information.shape == (ds.sizes["step"],)
    assert np.isfinite(found.information).all()


def test_errors_fall_and_checks_hold(tmp_path):
    """Four times the replicas, half the standard error, to the sqrt(1/2R) that an error is known to: 4 % here."""
    path = tmp_path / "out.h5"
    few = run(TRAP, {"ensemble.replicas": 400}, path).load()
    many = thermosim.extend(path, replicas=1200).load()
    last = [ds.work.isel(step=-1) for ds in (few, many)]
    errors = [float(work.std(ddof=1)) / work.size**0.5 for work in last]
    known_to = 0.5 * (1 / 800 + 1 / 3200) ** 0.5
    catches = "added replicas that repeat those there were"
    assert_within(errors[1] / errors[0], known_to, 0.5, catches=catches, mistake=0.5**0.5)
    report = thermosim.check(many)
    assert report.consistent


@pytest.mark.parametrize(
    ("changes", "by", "said"),
    [
        ({}, {}, "at least one step or one replica"),
        ({}, {"replicas": -1}, "at least one step or one replica"),
        ({}, {"replicas": 3}, "data.sets = 4: more data sets than the 3 replicas added"),
        ({"run.direction": "there-and-back"}, {"steps": 2, "replicas": 8}, r"replicas can be added to this one"),
    ],
)
def test_what_cannot_be_added(changes, by, said, tmp_path):
    path = tmp_path / "out.h5"
    run(LEARNER, changes, path).close()
    before = path.read_bytes()
    with pytest.raises((StorageError, thermosim.CaseError), match=said):
        thermosim.extend(path, **by)
    assert path.read_bytes() == before
    assert not parts_folder(path).exists()


@pytest.mark.parametrize("virtual", [False, True])
def test_an_ensemble_is_read_while_it_is_extended(virtual, tmp_path):
    """The old one, or the part that is sealed: opened, checked and drawn from this process and without an error."""
    from thermosim.cli import listings, results

    path, errors, seen = tmp_path / "out.h5", [], []
    run(TRAP, {}, path, virtual=virtual).close()

    def look(progress):
        if seen or progress.done < 0.9 * progress.total:
            return
        seen.append(progress.what)
        try:
            with thermosim.open_ensemble(path) as ds:
                seen.append(ds.sizes["replica"])
                thermosim.check(ds)
            listings.info(path, {})
            results.draw(path, tmp_path / "out.png")
        except Exception as error:
            errors.append(error)

    thermosim.extend(path, replicas=100, segment_frames=4, report=look).close()
    assert not errors
    assert seen[1] == (300 if virtual else 200)


@pytest.mark.parametrize("by", [{"steps": 5}, {"replicas": 7}])
def test_an_ensemble_that_is_open_is_extended(by, tmp_path):
    """In Jupyter the first ensemble is open still: it stays as it was, and the longer one is another."""
    path, whole = tmp_path / "out.h5", run(TRAP)
    first = run(TRAP, {}, path)
    with xr.open_dataset(path, engine="h5netcdf"):
        longer = thermosim.extend(path, **by)
    assert (longer.sizes["replica"], longer.attrs["steps"]) == (200 + by.get("replicas", 0), 101 + by.get("steps", 0))
    assert np.array_equal(first.x, whole.x)
    assert np.array_equal(longer.x[: whole.sizes["step"], :200], whole.x)
    run(TRAP, {}, path, overwrite=True).close()
    assert np.array_equal(first.x, whole.x)


def test_a_reader_in_another_thread_is_in_nobodys_way(tmp_path):
    path, errors, done = tmp_path / "out.h5", [], threading.Event()
    run(TRAP, {}, path).close()

    def read():
        while not done.is_set():
            try:
                thermosim.open_ensemble(path).close()
            except Exception as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        thermosim.extend(path, replicas=10).close()
    finally:
        done.set()
        reader.join()
    assert not errors


def test_replicas_added_to_a_start_from_another_run_start_from_its_others(tmp_path):
    """Also where those were added there: a state that two replicas start from would make all errors too small."""
    swept = {"sweep": {"x.temperature": {"values": [1.0, 2.0]}}}
    path = tmp_path / "source.h5"
    run(TRAP, {**swept, "ensemble.replicas": 10, "run.steps": 98}, path).close()
    thermosim.extend(path, replicas=7).close()
    with thermosim.open_ensemble(path) as source:
        last = source.x.isel(step=-1).values
    begun = {**swept, "x.initial": {"from": str(path)}, "ensemble.replicas": 9, "ensemble.seed": 99}
    run(TRAP, begun, tmp_path / "out.h5").close()
    with thermosim.extend(tmp_path / "out.h5", replicas=6) as made:
        assert np.array_equal(made.x.isel(step=0).values, last[:, :15])
    with pytest.raises(thermosim.CaseError, match="has 17 replicas"):
        thermosim.extend(tmp_path / "out.h5", replicas=3)
