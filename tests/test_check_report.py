"""A check is computed first and rendered after: what a report holds, and its JSON against the printed schema."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from rich.console import Console

import thermosim
from tests.conftest import SPHERE, TRAP
from tests.json_schema import faults
from tests.learning_cases import GAUSSIAN
from tests.test_cli import run
from tests.test_user_model import MODEL, write
from thermosim.checks.table import CHECKS, check_of
from thermosim.models import MODELS
from thermosim.plots.picture import PICTURES, picture
from thermosim.report.as_json import report_json, report_schema
from thermosim.report.text import print_report
from thermosim.run.machine import Memory

DOCUMENTATION = Path(__file__).parent.parent / "docs" / "check.md"
SWEEP = {"x.dynamics": "exact-ou", "sweep": {"x.tau": {"values": [1, 3, 5]}}}
OWN = """
print("a word at import")

def check(ds):
    from thermosim.analysis import Comparison
    print("a word from the check")
    x = ds.x.isel(step=-1, x_dim=0)
    mean, error = float(x.mean()), float(x.std()) / x.size**0.5
    return [
        Comparison("mean [red] of x", mean, error, mean, x.size - 1, "itself [of course]"),
        Comparison("not a number", np.array([[mean, np.nan]]), error, mean, x.size - 1, "itself"),
        Comparison("sure and wrong", np.array([mean, -mean - 1.0]), 0.0, mean, x.size - 1, "itself"),
    ]

def plot(ds):
    from matplotlib import pyplot
    figure, axes = pyplot.subplots()
    axes.plot(ds.step, ds.phi.mean("replica"))
    return figure
"""


def strict(text):
    """Parsed as JSON that knows no NaN, and valid by the schema that the package prints."""

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    document = json.loads(text, parse_constant=refuse)
    assert faults(document, report_schema()) == []
    return document


@pytest.fixture(scope="module")
def trap_ensemble(tmp_path_factory):
    output = tmp_path_factory.mktemp("check") / "out.h5"
    thermosim.simulate(thermosim.load_case(TRAP, SWEEP), output).close()
    return output


def own_model(folder, model):
    """A user's case with few replicas and frames, run in memory."""
    changes = {"ensemble.replicas": 20, "run.steps": 4, "record.first": 0}
    return thermosim.simulate(thermosim.load_case(write(folder, model=model), changes))


def test_a_report_is_computed_without_a_word(trap_ensemble, capsys):
    ds = thermosim.open_ensemble(trap_ensemble)
    report = thermosim.check(ds)
    assert report.consistent
    assert report.model == "harmonic-trap"
    assert report.replicas == 200
    assert report.left_out == ()
    assert report.why_nothing == ""
    assert report.verdict.tests == sum(np.size(row.z) for row in report.comparisons)
    assert all(report.accepts(row) for row in report.comparisons)
    assert not ds["x"].variable._in_memory  # what was given stays lazy
    assert capsys.readouterr().out == ""
    again = strict(report_json(thermosim.check(str(trap_ensemble))))
    assert again == strict(report_json(report))


def test_a_part_of_an_ensemble_is_compared_with_the_theory_of_that_part(trap_ensemble):
    """Catches the first value of an axis taken for the one selected: heat at tau 5 against theory at tau 1."""
    ds = thermosim.open_ensemble(trap_ensemble)

    def mean_heat(report):
        assert report.consistent, [(row.quantity, row.z) for row in report.comparisons]
        return next(row for row in report.comparisons if row.quantity.startswith("mean heat"))

    whole = mean_heat(thermosim.check(ds))
    for part in (ds.isel(tau=2), ds.isel(tau=[2]), ds.sel(tau=5)):
        np.testing.assert_allclose(mean_heat(thermosim.check(part)).exact, whole.exact[2])
    np.testing.assert_allclose(mean_heat(thermosim.check(ds.isel(tau=[2, 0]))).exact, whole.exact[[2, 0]])
    assert not np.allclose(whole.exact[0], whole.exact[2], rtol=0.1)
    assert thermosim.check(ds.isel(replica=slice(150), step=slice(10))).replicas == 150
    assert "one replica" in thermosim.check(ds.isel(replica=0)).why_nothing
    assert "1 frames" in thermosim.check(ds.isel(step=-1)).why_nothing
    with pytest.raises(ValueError, match=r"axis 'tau' .* is gone"):
        thermosim.check(ds.mean("tau", keep_attrs=True))
    with pytest.raises(ValueError, match="attributes are gone"):
        thermosim.check(ds.drop_attrs())
    assert len(picture(ds.isel(tau=1)).axes) >= 2


def test_replicas_that_diverged_are_named(trap_ensemble):
    ds = thermosim.open_ensemble(trap_ensemble).load()
    lost = ds.replica.isin([3, 77])
    ds = ds.where(~lost).assign(status=ds.status.where(~lost, 2)).assign_attrs(ds.attrs)
    report = thermosim.check(ds.isel(replica=slice(2, None)))
    assert report.left_out == (3, 77)
    assert report.consistent
    said = (
        "2 of 198 replicas diverged and are not compared; the others are a biased sample, and up to 1.4 standard errors"
    )
    assert report.notes == (f"{said} are put down to that.",)
    for least, said in (([3, 77], "no replica is left"), ([3, 5], "one replica is left")):
        assert said in thermosim.check(ds.sel(replica=least)).why_nothing


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"run.steps": 1}, "three at least are needed"),
        ({"ensemble.replicas": 1}, "no error bars"),
        ({"record.variables": ["theta"]}, "needs the variable 'heat'"),
    ],
)
def test_why_nothing_is_compared(changes, why, tmp_path, capsys):
    output = tmp_path / "out.h5"
    thermosim.simulate(thermosim.load_case(TRAP, {"x.dynamics": "exact-ou", **changes}), output).close()
    code, out, _ = run(capsys, "check", output, "--json")
    document = strict(out)
    assert code == 2
    assert document["consistent"] is document["error"] is None
    assert why in document["why_nothing"]
    code, out, _ = run(capsys, "check", output)
    assert code == 2
    assert " ".join(out.split()) == document["why_nothing"]


def test_nothing_is_known_under_a_schedule():
    changes = {"theta.initial": "random", "sweep": {"model.noise": {"values": [0.7]}}}
    changes |= {"theta.learning_rate": {"kind": "constant", "value": 0.05}}
    report = thermosim.check(thermosim.simulate(thermosim.load_case(SPHERE, changes)))
    assert report.verdict is None
    assert report.why_nothing == "Nothing to compare with an exact result."


def test_too_large_and_damaged_ensembles(trap_ensemble, tmp_path, monkeypatch, capsys):
    copy = tmp_path / "copy.h5"
    data = bytearray(trap_ensemble.read_bytes())
    with h5py.File(trap_ensemble) as file:
        data[file["x"].id.get_chunk_info(0).byte_offset + 100] ^= 1
    copy.write_bytes(data)
    (tmp_path / "text.h5").write_text("not an ensemble")
    for file, said in ((copy, "cannot be read whole"), ("nothing.h5", "no such ensemble"), (tmp_path / "text.h5", "")):
        code, out, err = run(capsys, "check", file, "--json")
        document = strict(out)
        assert code == 2
        assert said in document["error"]
        assert document["error"] in err
        assert document["consistent"] is document["why_nothing"] is None
    monkeypatch.setattr("thermosim.run.machine.memory", lambda: Memory(1000.0, 1000.0))
    code, out, _ = run(capsys, "check", trap_ensemble, "--json")
    assert code == 2
    assert "too much to check or draw" in strict(out)["why_nothing"]
    code, out, _ = run(capsys, "plot", trap_ensemble)
    assert code == 2
    assert "too much to check or draw" in out


def test_a_model_brings_its_own_check_and_picture(tmp_path, capsys):
    """Words it prints, numbers that are none, brackets that a terminal would take for its own."""
    model = MODEL.replace("MODEL = Model(", OWN + "MODEL = Model(check=check, plot=plot,")
    output = tmp_path / "own.h5"
    own_model(tmp_path, model).to_netcdf(output, engine="h5netcdf")
    capsys.readouterr()
    code, out, err = run(capsys, "check", output, "--json")
    document = strict(out)
    assert code == 1
    assert "a word from the check" in err
    first_law, fine, missing, wrong = document["comparisons"]
    assert first_law["consistent"]
    assert [row["consistent"] for row in (fine, missing, wrong)] == [True, False, False]
    assert (fine["shape"], missing["shape"], wrong["shape"]) == ([], [1, 2], [2])
    assert missing["measured"][1] == missing["z"][1] == "NaN"
    assert (missing["p_value"][1], wrong["z"]) == (0.0, [0.0, "-Infinity"])
    assert np.isneginf(np.array(wrong["z"], float)[1])
    code, out, _ = run(capsys, "check", output)
    assert code == 1
    assert "mean [red] of x" in out
    assert "itself [of course]" in out
    assert run(capsys, "plot", output)[0] == 0


def test_a_model_without_check(tmp_path):
    """The first law alone, also of one that is called as a model of ours; and a picture of what is recorded."""
    ds = own_model(tmp_path, MODEL.replace('name="quartic"', 'name="harmonic-trap"'))
    report = thermosim.check(ds)
    assert [row.quantity for row in report.comparisons] == ["largest first-law residual"]
    assert report.consistent
    assert len(picture(ds).axes) >= 3
    ds["heat"] = ds["heat"] + 1e-6 * ds["step"]
    assert not thermosim.check(ds).consistent
    assert "brings no check of its own" in thermosim.check(ds.drop_vars("heat")).why_nothing


@pytest.mark.parametrize("table", [CHECKS, PICTURES], ids=["checks", "pictures"])
def test_tables_name_models_that_are_there(table):
    named = set(table) - {"every model that learns", "every network in JAX", "every energy by formula"}
    assert named < set(MODELS)
    assert named | {name for name, model in MODELS.items() if model.learns} == set(MODELS)
    assert all(model.check is model.plot is None for model in MODELS.values())
    assert check_of(MODELS["two-beads"]).compare is CHECKS["two-beads"].compare


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(trap_ensemble, width, capsys):
    print_report(thermosim.check(trap_ensemble), Console(width=width, highlight=False))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= width
    assert lines[0].split() == ["quantity", "points", "measured", "error", "exact", "z", "rms", "z"]


def test_the_schema_is_printed_and_described(capsys):
    schema = json.loads(run(capsys, "schema", "--check")[1])
    assert schema == report_schema()
    row = schema["$defs"]["ComparisonDocument"]
    assert set(schema["required"]) == set(schema["properties"])
    assert set(row["required"]) == set(row["properties"])
    page = DOCUMENTATION.read_text("utf-8")
    assert [key for key in (*schema["properties"], *row["properties"]) if f"| `{key}` |" not in page] == []


def test_the_validator_of_these_tests_refuses():
    """Or every output would pass."""
    good = json.loads(report_json(thermosim.Report("t", "m", 2, (), (), None, "why", ())))
    assert faults(good, report_schema()) == []
    for change in ({"consistent": "yes"}, {"more": 1}, {"left_out": [1.5]}, {"comparisons": [{}]}, {"threshold": "x"}):
        assert faults(good | change, report_schema())
    assert faults({key: good[key] for key in good if key != "notes"}, report_schema())


def test_an_axis_called_time_step_is_no_cadence():
    """Variables of a sweep over x.time_step are compared and drawn; and so are they over numbers and words together."""
    sweep = {"sweep": {"x.time_step": {"values": [0.05, 0.1]}}, "ensemble.replicas": 200}
    report = thermosim.check(thermosim.simulate(thermosim.load_case(TRAP, sweep)))
    assert report.consistent
    assert "heat" in " ".join(row.quantity for row in report.comparisons)
    mixed = {"sweep": {"theta.batch": {"values": [4, "all"]}}, "ensemble.replicas": 600}
    assert thermosim.check(thermosim.simulate(thermosim.load_case(GAUSSIAN, mixed))).consistent


def test_what_is_left_by_its_fate_is_no_deviation() -> None:
    """Those of most heat lost: their loss is tolerated where it is told, and a wrong factor is still found."""
    ds = thermosim.simulate(thermosim.load_case(TRAP, {"ensemble.replicas": 20_000}))
    order = np.argsort(ds.heat.isel(step=-1).values)
    rest, lost = np.sort(order[:-600]), order[-600:]
    assert not thermosim.check(ds.isel(replica=rest)).consistent
    told = ds.assign(status=ds.status.where(~ds.replica.isin(lost), 1))
    report = thermosim.check(told)
    assert report.left_out == tuple(np.sort(lost).tolist())
    assert report.consistent
    assert "up to 24 standard errors" in report.notes[0]
    shift = (40.0 * ds.heat.std("replica") / np.sqrt(20_000)).where(ds.step > 0, 0.0)
    assert not thermosim.check(told.assign(heat=told.heat + shift, phi=told.phi + shift)).consistent


def test_a_residual_is_shown_though_it_has_no_error(trap_ensemble, capsys):
    print_report(thermosim.check(trap_ensemble), Console(width=140, highlight=False))
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("largest first-law residual"))
    shown = row.removeprefix("largest first-law residual (energy)").split()
    assert 0.0 < float(shown[1]) < float(shown[5])  # measured, and what rounding leaves open
