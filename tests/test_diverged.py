"""One replica, or one point of a sweep, never takes the others with it: every model, run, check, picture, analysis."""

import json
import warnings

import numpy as np
import pytest
import xarray as xr

import thermosim
from thermosim import analysis
from thermosim.analysis.diverged import survivors
from thermosim.analysis.gradient_noise import noise_statistics
from thermosim.analysis.settings import axes, settings
from thermosim.checks.admission import Unfit
from thermosim.cli.commands import app
from thermosim.ledger import EXPLODED
from thermosim.plots.picture import picture
from thermosim.run.guard import Guard, limits_of_theta

pytestmark = pytest.mark.filterwarnings("error")

LEARNING = """
[model]
name = "{model}"
{constants}
[theta]
dynamics = "sgd"
batch = 3
learning_rate = 0.02
[x]
{x}
[data]
{data}
[ensemble]
replicas = {replicas}
[run]
steps = 40
[record]
every = 5
"""
ULA = 'dynamics = "ula"\ntime_step = 0.05\ntau = 2\ninitial = "normal"'
RELAXED = ULA.replace("normal", "equilibrium")
GIBBS = 'dynamics = "gibbs"\ntau = 2\ninitial = "random"'
GAUSSIAN = 'source = "gaussian"\nmean = 0.5\nrows = 40'
BINARY = 'file = "bits.npy"'
DRIVEN = """
[model]
name = "{model}"
[x]
dynamics = "ula"
time_step = 0.05
[ensemble]
replicas = 8
[run]
steps = 60
[record]
every = 5
"""
SPHERE = """
[model]
name = "isotropic-sphere"
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
learning_rate = 0.05
weight_decay = 0.01
[ensemble]
replicas = 8
[run]
steps = 400
[record]
every = 20
"""


def learning(model, constants="", x=ULA, data=GAUSSIAN, replicas=8):
    return LEARNING.format(model=model, constants=constants, x=x, data=data, replicas=replicas)


def loss(model, constants="", data='file = "pairs.npy"'):
    """A loss has no samples."""
    return learning(model, constants, "", data).replace("[x]\n", "")


RATE, HEAT = ("theta.learning_rate", 0.02, 1e6), ("x.temperature", 1.0, 1e200)
CLASSES = 'source = "mixture"\ncenters = [[-1.0], [1.0]]'
ABSURD = ("theta.learning_rate", 0.02, 1e300)  # where the gradient is bounded
# every model, a key, a value that is fine and one that is not
MODELS = {
    "gaussian": (learning("gaussian", "dimension = 2", RELAXED), *RATE),
    "full-gaussian": (learning("full-gaussian", "dimension = 2", RELAXED), *RATE),
    "gaussian-mixture": (learning("gaussian-mixture", "dimension = 2\nmixtures = 2"), *RATE),
    "double-well": (learning("double-well"), *RATE),
    "boltzmann-machine": (learning("boltzmann-machine", "dimension = 3", GIBBS, BINARY), *ABSURD),
    "rbm": (learning("rbm", "dimension = 3\nhidden = 2", GIBBS, BINARY), *ABSURD),
    "network-energy": (learning("network-energy", "dimension = 2\nhidden = 3"), *ABSURD),
    "linear-regression": (loss("linear-regression"), *RATE),
    "logistic-regression": (loss("logistic-regression", "", CLASSES), *ABSURD),
    "squared-cosine": (loss("squared-cosine", "inputs = 2"), *ABSURD),
    "softmax-regression": (loss("softmax-regression", "", CLASSES), *ABSURD),
    "multilayer-perceptron": (loss("multilayer-perceptron", "widths = [1, 3, 1]\nactivation = 'tanh'"), *RATE),
    "deep-linear": (loss("deep-linear", "widths = [2, 3, 1]\nembedding = [[1.0], [0.5]]"), *RATE),
    "matrix-factorisation": (loss("matrix-factorisation", "rows = 3\ncolumns = 2", 'file = "entries.npy"'), *RATE),
    "scalar-chain": (loss("scalar-chain", "depth = 3"), *RATE),
    "quadratic": (loss("quadratic", "dimension = 2\nquartic = 0.5"), *RATE),
    "harmonic-trap": (DRIVEN.format(model="harmonic-trap"), *HEAT),
    "rotational-trap": (DRIVEN.format(model="rotational-trap"), *HEAT),
    "two-beads": (DRIVEN.format(model="two-beads"), *HEAT),
    "isotropic-sphere": (SPHERE.replace("replicas = 8", "replicas = 60"), "theta.weight_decay", 0.01, 1e8),
}


# one of each kind of model each time
FEW = (
    "gaussian", "boltzmann-machine", "linear-regression", "softmax-regression", "multilayer-perceptron",
    "harmonic-trap", "isotropic-sphere",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    np.save(folder / "bits.npy", np.random.default_rng(0).integers(0, 2, (40, 3)))
    np.save(folder / "pairs.npy", np.random.default_rng(1).normal(size=(40, 2)))
    np.save(folder / "entries.npy", [[i, j, i - 0.5 * j + 1.0] for i in range(3) for j in range(2)])
    np.save(folder / "spins.npy", 2.0 * np.random.default_rng(0).integers(0, 2, (40, 3)) - 1.0)
    return folder


def run(text, folder, axis=None, values=(), **how):
    sweep = f'\n[sweep]\n"{axis}" = {{ values = {list(values)} }}\n' if axis else "\n"
    return thermosim.simulate(thermosim.load_case(text + sweep, folder=folder), **how)


def test_every_model_is_here():
    """But for networks without kernels: `test_networks_engine` and `test_network_measures` have some that diverge."""
    assert MODELS.keys() == {name for name, model in thermosim.MODELS.items() if model.has_kernels}


@pytest.mark.parametrize(
    "name", [name if name in FEW else pytest.param(name, marks=pytest.mark.exhaustive) for name in MODELS]
)
def test_a_point_that_diverges_leaves_the_others_alone(name, folder):
    """Bits, check, picture and analysis of the rest are those of a run without it, and nothing warns."""
    text, key, good, bad = MODELS[name]
    text = text.replace("bits.npy", "spins.npy") if thermosim.MODELS[name].levels == (-1.0, 1.0) else text
    both, alone = run(text, folder, key, (good, bad)), run(text, folder, key, (good,))
    axis = key.rpartition(".")[2]
    assert np.all(both.status.isel({axis: 0}) == 0)
    assert np.all(both.status.isel({axis: 1}) > 0)
    assert np.all(both.diverged_step.isel({axis: 1}) >= 0)
    for variable in alone.data_vars:
        np.testing.assert_array_equal(both[variable].isel({axis: 0}), alone[variable].isel({axis: 0}), variable)
    report, expected = thermosim.check(both), thermosim.check(alone)
    assert f"At {axis} = {bad} most replicas diverged" in report.notes[0]
    assert report.consistent is expected.consistent
    # of a loss of data rows there may be nothing to compare
    assert expected.consistent or (thermosim.MODELS[name].is_loss and not expected.comparisons)
    for one, other in zip(report.comparisons, expected.comparisons, strict=True):
        np.testing.assert_allclose(one.measured, other.measured, rtol=1e-12, atol=1e-12)
    picture(both).canvas.draw()
    if "work" in both:
        result, wanted = analysis.work_and_heat(both), analysis.work_and_heat(alone)
        assert result.replicas.values.tolist() == [8, 0]
        assert "8 of 16 replicas diverged" in result.replicas.attrs["note"]
        np.testing.assert_array_equal(result.work.isel({axis: [0]}), wanted.work)
        assert np.isnan(result.work.isel({axis: 1})).all()
        assert "note" not in wanted.replicas.attrs


@pytest.mark.parametrize("name", ["full-gaussian", "gaussian"])
def test_analysis_of_what_is_left(name, folder):
    text, key, good, bad = MODELS[name]
    both, alone = run(text, folder, key, (good, bad)), run(text, folder, key, (good,))
    for function in (
        analysis.fluctuation_theorems,
        analysis.information_balance,
        analysis.learned_information,
        analysis.memory,
        analysis.noise_statistics,
        analysis.relaxation,
    ):
        try:
            wanted = function(alone)
        except ValueError as refusal:  # a question that this ensemble does not answer
            with pytest.raises(ValueError, match=str(refusal)[:20]):
                function(both)
            continue
        result = function(both)
        assert result.replicas.values.tolist() == [8, 0]
        for variable in wanted.data_vars:
            if "learning_rate" in wanted[variable].dims:
                found = result[variable].isel(learning_rate=[0]).transpose(*wanted[variable].dims)
                if found.dtype.kind in "US":
                    assert np.array_equal(found, wanted[variable]), variable
                    continue
                np.testing.assert_allclose(found, wanted[variable], rtol=1e-10, atol=1e-12, err_msg=variable)


@pytest.fixture(scope="module")
def wild(folder):
    """Gaussian machines at a large learning rate, some of which diverge."""
    text = learning("gaussian", "dimension = 2", RELAXED, replicas=64)
    ds = run(text.replace("0.02", "10.0"), folder)
    assert 0 < int((ds.status != 0).sum()) < 60
    return text, ds


def test_means_are_over_the_replicas_that_did_not_diverge(wild):
    _, ds = wild
    fine = (ds.status == 0).values
    result = analysis.work_and_heat(ds)
    work = ds.work.isel(replica=fine, step=-1)
    np.testing.assert_allclose(result.work[-1], work.mean(), rtol=1e-12)
    np.testing.assert_allclose(result.work_error[-1], work.std(ddof=1) / np.sqrt(fine.sum()), rtol=1e-12)
    assert int(result.replicas) == fine.sum()
    assert "on condition that one did not diverge" in result.replicas.attrs["note"]
    lost = thermosim.check(ds).left_out
    assert lost == tuple(np.flatnonzero(~fine))
    picture(ds).canvas.draw()


def test_nan_of_another_origin_shows(wild):
    _, ds = wild
    spoiled = ds.copy(deep=True)
    first = int(np.argmax((ds.status == 0).values))
    spoiled["work"][-1, first] = np.nan
    assert np.isnan(analysis.work_and_heat(spoiled).work[-1])


def test_the_verdict_on_a_replica_does_not_depend_on_the_cut(wild, folder):
    """Status, step and frames are the same to the bit, for any tiles, threads and segments."""
    text, whole = wild
    for how in ({"tile_width": 32, "threads": 2}, {"segment_frames": 1, "threads": 1}):
        cut = run(text.replace("0.02", "10.0"), folder, **how)
        for variable in whole.data_vars:
            np.testing.assert_array_equal(cut[variable], whole[variable], variable)


def test_where_all_diverge_a_sentence_says_so(folder, tmp_path, capsys):
    (tmp_path / "case.toml").write_text(MODELS["gaussian"][0].replace("0.02", "1e6"))

    def command(*arguments):
        code = app([str(argument) for argument in arguments], standalone_mode=False)
        return int(code or 0), " ".join(capsys.readouterr().out.split())

    code, said = command("run", tmp_path / "case.toml", "-o", tmp_path / "out.h5")
    assert code == 3
    assert "8 of 8 replicas diverged" in said
    assert "Nothing can be drawn: all 8 replicas diverged" in said
    code, said = command("check", tmp_path / "out.h5")
    assert code == 2
    assert "All 8 replicas diverged. Nothing can be compared: no replica is left that did not diverge" in said
    code, said = command("plot", tmp_path / "out.h5")
    assert code == 2
    assert "all 8 replicas diverged" in said
    assert not (tmp_path / "out.png").exists()
    with thermosim.open_ensemble(tmp_path / "out.h5") as ds, pytest.raises(ValueError, match="all 8 replicas diverged"):
        analysis.work_and_heat(ds)
    with pytest.raises(Unfit):
        picture(tmp_path / "out.h5")


@pytest.mark.parametrize("table", ["wine", "breast_cancer"])
def test_rows_that_are_not_scaled(table, tmp_path, capsys):
    """At an ordinary learning rate they make a run diverge, which says how to scale them; then it does not."""
    datasets = pytest.importorskip("sklearn.datasets")
    np.save(tmp_path / "rows.npy", getattr(datasets, f"load_{table}")().data[:, -2:])
    text = learning("gaussian", "dimension = 2", RELAXED, 'file = "rows.npy"').replace("0.02", "0.01")
    if table == "breast_cancer":  # its last columns are small: the area is not
        np.save(tmp_path / "rows.npy", datasets.load_breast_cancer().data[:, [3, 23]])
    (tmp_path / "case.toml").write_text(text)
    code = app(["run", str(tmp_path / "case.toml"), "-o", str(tmp_path / "out.h5")], standalone_mode=False)
    said = " ".join(capsys.readouterr().out.split())
    assert code == 3
    assert "The rows it learns from are not scaled: component 1 has mean" in said
    assert 'Scale the data: data.encoding = "standard"' in said
    scaled = thermosim.simulate(thermosim.load_case(text, {"data.encoding": "standard"}, tmp_path))
    assert np.all(scaled.status == 0)


# what is left out


def statuses(lost):
    """An ensemble of a sweep, of 4 replicas at each point, whose status is given: (learning rates, taus, replicas)."""
    lost = np.asarray(lost, np.int8)
    text = learning("gaussian", "dimension = 2", RELAXED, replicas=lost.shape[-1])
    rates, taus = [0.01 * (i + 1) for i in range(lost.shape[0])], [i + 1 for i in range(lost.shape[1])]
    case = thermosim.load_case(
        text.replace("tau = 2\n", "")
        + f'[sweep]\n"theta.learning_rate" = {{ values = {rates} }}\n"x.tau" = {{ values = {taus} }}\n'
    )
    ds = xr.Dataset({"status": (("learning_rate", "tau", "replica"), lost)})
    ds = ds.assign_coords(learning_rate=rates, tau=taus, replica=np.arange(lost.shape[-1]))
    attributes = {"settings": json.dumps(case.settings.as_dict()), "structural": json.dumps(["x.tau"])}
    return ds.assign_attrs(attributes)


def test_all_replicas_of_a_sweep_are_counted():
    case = thermosim.load_case(MODELS["gaussian"][0], {"sweep": {"theta.learning_rate": {"values": [1e6, 2e6, 3e6]}}})
    ds = thermosim.simulate(case)
    report = thermosim.check(ds)
    assert report.notes[0] == f"All {ds.status.size} replicas diverged."
    assert ds.status.size == 3 * ds.sizes["replica"]
    assert "no replica is left" in report.why_nothing


def test_values_at_which_most_diverged_go_first_then_replicas():
    lost = np.zeros((3, 2, 4))
    lost[2] = 1
    lost[2, 0, :1] = 0  # 7 of 8
    lost[0, 1, 3] = 2
    left = survivors(statuses(lost))
    assert left.values == {"learning_rate": [0, 1]}
    assert left.replicas == (3,)
    assert left.ds.sizes == {"learning_rate": 2, "tau": 2, "replica": 3}
    assert settings(left.ds).sweep["theta.learning_rate"] == [0.01, 0.02]
    assert axes(left.ds) == ["learning_rate", "tau"]


def test_values_go_until_replicas_are_left():
    """Half of the replicas at each of two values, other ones: no replica is fine at both."""
    lost = np.zeros((3, 1, 4))
    lost[1, 0, :2], lost[2, 0, 2:] = 1, 1
    left = survivors(statuses(lost))
    assert len(left.values["learning_rate"]) == 2
    assert left.ds.sizes["replica"] == 2


def test_nothing_is_touched_where_nothing_diverged():
    ds = statuses(np.zeros((2, 2, 4)))
    assert survivors(ds).ds is ds
    assert survivors(statuses(np.ones((1, 1, 4)))).ds.sizes["replica"] == 0


def test_minibatches_are_drawn_again_where_a_point_before_was_lost(folder):
    text = learning("gaussian", "dimension = 2", RELAXED).replace("every = 5", "every = 1")
    ds = run(text, folder, "theta.learning_rate", (1e6, 0.02))
    result = noise_statistics(ds)
    assert result.replicas.values.tolist() == [0, 8]
    assert float(result.replay_residual.max()) < 1e-12, "other rows than those of the run"


# the guard


def test_what_has_exploded():
    model = thermosim.MODELS["gaussian"]
    limits = limits_of_theta(model.parameters, {"dimension": 2})
    np.testing.assert_allclose(limits, [EXPLODED, EXPLODED, np.log(EXPLODED), np.log(EXPLODED)])
    theta, phi, work = np.zeros((3, 6, 4)), np.zeros((3, 6, 1)), np.zeros((3, 6))
    theta[1, 0, 0] = 2 * EXPLODED  # finite, but its square overflows in a variance of a variance
    theta[2, 1, 3] = -200.0  # a precision of e^-200
    theta[:, 2, 0] = 0.9 * EXPLODED
    phi[0, 3] = np.inf
    phi[0, 4] = 1e149
    work[1, 5] = -1.1e150
    guard, told = Guard(6, ["x"], limits), []
    frames = {"theta": theta, "phi": phi, "work": work}
    bad = guard.examine(slice(0, 6), frames, np.array([0, 10, 20]), lambda lanes: told.extend(lanes.tolist()))
    assert guard.status.tolist() == [1, 1, 0, 3, 0, 5]
    assert guard.diverged_step.tolist() == [10, 20, -1, 0, -1, 10]
    assert bad.tolist() == [1, 2, 3, 0, 3, 1]
    assert told == [0, 1, 3, 5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(np.var(np.full(1000, EXPLODED) * np.linspace(-1, 1, 1000)) ** 2)
