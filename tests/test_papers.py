"""Claims of papers: what numbers decide, how they are told, and how runs are kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import thermosim
from thermosim.case.faults import CaseError
from thermosim.cli.commands import _command, _explain
from thermosim.papers import PAPERS, Claim, Number, Outcome, Paper, Published, Run, find_paper, reproduce
from thermosim.papers.claims import FALSE_ALARM_RATE, judged
from thermosim.papers.lines import known_to
from thermosim.papers.reproduction import case_of
from thermosim.run.execution import Interrupted
from thermosim.storage import StorageError

CASE = "driven/dragged_trap"


def of(measured, error, claimed=1.0, **more):
    return Number("x", measured, error, claimed, **more)


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (of(1.02, 0.01), Outcome.HOLDS),
        (of(1.10, 0.01), Outcome.FAILS),
        (of(1.10, 0.01, allowed=0.09), Outcome.WITHIN),
        (of(1.20, 0.01, allowed=0.09), Outcome.FAILS),
        (of(1.02, 0.30), Outcome.OPEN),  # a factor of two would not show
        (of(0.02, 0.01, claimed=0.0), Outcome.HOLDS),
        (of(0.02, 0.30, claimed=0.0, enough=0.1), Outcome.OPEN),
        (of(1.0, 0.0), Outcome.HOLDS),
        (of(1.0 + 1e-6, 0.0), Outcome.FAILS),
        (of(1.3, 0.01, sense=">"), Outcome.HOLDS),
        (of(1.01, 0.01, sense=">"), Outcome.OPEN),
        (of(0.7, 0.01, sense=">"), Outcome.FAILS),
        (of(0.7, 0.01, sense="<"), Outcome.HOLDS),
        (of(2.0, 0.0, sense="<"), Outcome.FAILS),
        (of(np.nan, 0.01), Outcome.OPEN),
        (of(1.0, np.nan), Outcome.OPEN),
        (of(1.2, 0.05, degrees_of_freedom=3), Outcome.OPEN),  # Student's law is wide: neither agreement nor deviation
    ],
)
def test_what_a_number_decides(number, outcome):
    assert number.outcome(1e-3) is outcome


def test_a_bound_that_is_met_exactly_does_not_hold():
    assert of(1.0, 0.0, sense="<").outcome(1e-3) is Outcome.OPEN


def test_the_worst_number_decides_a_claim():
    good, within, bad = of(1.0, 0.001), of(1.1, 0.001, allowed=0.2), of(2.0, 0.001)
    assert judged([[good], [good, within], [within, bad], []])[1] == [
        Outcome.HOLDS,
        Outcome.WITHIN,
        Outcome.FAILS,
        Outcome.OPEN,
    ]


@pytest.mark.parametrize("freedom", [7, 63])
def test_right_claims_are_called_wrong_at_the_stated_rate(freedom):
    """30 numbers of a paper at a time; rates of 0.01 each in the mean over 20,000 papers."""
    random, papers, count = np.random.default_rng(4), 20_000, 30
    values = random.standard_normal((papers, count, freedom + 1))
    mean, error = values.mean(-1), values.std(-1, ddof=1) / np.sqrt(freedom + 1)
    rate, _ = judged([[of(1.0, 0.1, degrees_of_freedom=freedom)] * count])
    from thermosim.papers.claims import z_threshold

    alarms = (np.abs(mean / error) > z_threshold(rate, freedom)).any(axis=1).sum()
    assert abs(alarms - FALSE_ALARM_RATE * papers) < 4 * np.sqrt(FALSE_ALARM_RATE * papers)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.00563, 0.00042, "1.00563(42)"),
        (-0.9989, 0.0052, "-0.9989(52)"),
        (123.4, 21.0, "123(21)"),
        (1234.0, 210.0, "1234(210)"),
        (0.5, 0.00996, "0.500(10)"),
        (1.5, 0.0, "1.5"),
        (np.nan, 0.1, "not finite"),
        (3.2e-9, 1.1e-10, "3.20(11)e-9"),
        (1.0 + 2e-9, 5e-10, "1.00000000200(50)"),
        (1.0, 1e-15, "1"),
        (0.0, 3.3e-6, "0.0(33)e-6"),
        (2.5e7, 3e5, "2.500(30)e+7"),
    ],
)
def test_a_number_is_told_to_what_is_known(value, error, text):
    assert known_to(value, error) == text


@pytest.mark.parametrize("word", ["2511.07308", "2511.07308v2", "arXiv:2511.07308", "ideal-gas", " Ideal-Gas "])
def test_papers_are_found(word):
    assert find_paper(word).arxiv == "2511.07308"


def test_a_paper_that_is_not_there():
    with pytest.raises(ValueError, match="Did you mean ideal-gas"):
        find_paper("ideal_gas")


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_paper_is_whole(paper):
    """Its cases load at both sizes, claims name runs there are, and what does not hold has its reason."""
    for run in paper.runs.values():
        small, large = case_of(run, False), case_of(run, True)
        assert small.replicas_in_all * small.settings.run.steps <= large.replicas_in_all * large.settings.run.steps
    for claim in paper.claims:
        assert set(claim.runs) <= set(paper.runs)
        assert claim.corrected is None or claim.why
        assert not claim.says.endswith(".")


def _work(ensembles):
    work = ensembles["trap"]["work"].isel(step=-1)
    error = float(work.std("replica", ddof=1) / np.sqrt(work.size))
    return [
        Number("mean work", float(work.mean()), error, 0.0, work.size - 1, sense=">", published=Published(0.5, 0.1, ""))
    ]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_the_page_has_every_claim(paper):
    """In its words, and the reason of what does not hold; whether it does is held by the tests of each paper."""
    page = (Path(__file__).parents[1] / "docs/papers.md").read_text("utf-8").replace("\\", "")
    for claim in paper.claims:
        assert f"| {claim.says} | " in page, claim.says
        assert not claim.why or claim.why in page, claim.why


OWN = Paper(
    arxiv="0000.00000",
    name="own",
    title="A trap <b>is dragged</b>",
    authors="Nobody",
    runs={"trap": Run(CASE, {"ensemble.replicas": 64, "run.steps": 40, "record.every": 20, "sweep": {}})},
    claims=(
        Claim("Dragging takes work", "Sec. 1", _work, ("trap",)),
        Claim(
            "One is two", "Eq. 2", lambda _: [of(1.0, 0.0, 2.0)], why="it is one", corrected=lambda _: [of(1.0, 0.0)]
        ),
    ),
    seconds=1.0,
    full_seconds=1.0,
)


def test_a_paper_of_ones_own_kept_used_again_and_not_mixed_up(tmp_path):
    told = []
    first = reproduce(OWN, folder=tmp_path / "kept", report=lambda state: told.append(state.note))
    assert [one.outcome for one in first.results] == [Outcome.HOLDS, Outcome.FAILS]
    assert [one.corrected != () for one in first.results] == [False, True]
    assert any(told)
    made = (tmp_path / "kept/trap.h5").stat().st_mtime_ns
    again = reproduce(OWN, folder=tmp_path / "kept")
    assert (tmp_path / "kept/trap.h5").stat().st_mtime_ns == made
    assert again.results[0].numbers == first.results[0].numbers == reproduce(OWN).results[0].numbers
    html = first._repr_html_()
    assert "does not hold" in html
    assert "&lt;b&gt;" in html
    other = replace(OWN, runs={"trap": Run(CASE, {**OWN.runs["trap"].changes, "ensemble.seed": 9})})
    with pytest.raises(StorageError, match="another case"):
        reproduce(other, folder=tmp_path / "kept")
    two = replace(OWN, runs={"first": OWN.runs["trap"], "trap": other.runs["trap"]})
    with pytest.raises(StorageError, match="another case"):  # before the first is run
        reproduce(two, folder=tmp_path / "kept")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["trap.h5"]


def test_an_interrupted_reproduction_goes_on(tmp_path):
    """Ctrl-C seals what there is; the same call goes on from there and comes to the same numbers."""

    def stop(state):
        if state.made:
            raise KeyboardInterrupt

    long = {**OWN.runs["trap"].changes, "run.steps": 20_000, "record.every": 100}
    paper = replace(OWN, runs={"trap": Run(CASE, long)})
    with pytest.raises(Interrupted):
        reproduce(paper, folder=tmp_path, report=stop)
    there = reproduce(paper, folder=tmp_path).results[0].numbers
    assert there == reproduce(paper).results[0].numbers


def test_what_an_extra_is_missing_for_is_not_run(monkeypatch):
    monkeypatch.setattr("thermosim.papers.reproduction.find_spec", lambda name: None)
    found = reproduce(replace(OWN, runs={"trap": replace(OWN.runs["trap"], needs="networks")}))
    assert [one.outcome for one in found.results] == [None, Outcome.FAILS]
    assert "pip install" in found.lines[0][2]


def of_command(capsys, *words):
    """Exit code and what is printed, of `thermosim reproduce` in this process."""
    try:
        code = _command(["reproduce", *words])
    except Exception as error:
        code = _explain(error, False)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_the_command_lists_and_refuses(capsys):
    code, listed, _ = of_command(capsys)
    assert code == 0
    for paper in PAPERS:
        assert paper.arxiv in listed
        assert all(claim.says in listed for claim in paper.claims)
    assert of_command(capsys, "--full")[0] == 2
    code, _, said = of_command(capsys, "ideel-gas")
    assert code == 2
    assert "Did you mean ideal-gas" in " ".join(said.split())


def test_the_command_prints_a_table_and_json(monkeypatch, capsys):
    monkeypatch.setattr("thermosim.papers.library.PAPERS", (OWN,))
    code, shown, _ = of_command(capsys, "own")
    assert code == 0
    assert "does not hold: it is one" in shown
    assert "instead: x" in shown
    number = OWN.claims[0].measure({"trap": thermosim.simulate(case_of(OWN.runs["trap"], False))})[0]
    assert f"0.50(10), z {(number.measured - 0.5) / np.hypot(number.error, 0.1):+.1f}" in shown
    code, printed, _ = of_command(capsys, "own", "--json")
    claims = json.loads(printed)["claims"]
    assert [claim["outcome"] for claim in claims] == ["holds", "does not hold"]
    assert claims[1]["numbers"][0]["z"] == "-Infinity"


def test_a_case_that_does_not_load_is_told_before_anything_runs():
    broken = replace(OWN, runs={"trap": Run(CASE, {"run.stepz": 3})})
    with pytest.raises(CaseError, match="stepz"):
        reproduce(broken)
