"""A few hostile inputs of each kind: none is a fault of the program, silence, or a loss. scripts/fuzz.py makes more."""

from __future__ import annotations

import os

import pytest

from scripts.fuzzing.trial import Said, Trial, faults_of
from scripts.fuzzing.worker import RUNS, perform


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "worker"


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [("case", 22), ("rows", 8), ("ensemble", 2), ("output", 3), ("words", 10), ("model", 10), ("size", 6)],
)
def test_hostile_inputs(kind, inputs, place, monkeypatch):
    monkeypatch.chdir(os.getcwd())
    for number in (n for n in range(inputs) if kind != "case" or n % RUNS):  # cases that are run compile kernels
        result = perform(1, number, place, kind)
        assert not result.faults, f"{number}: {result.what}\n{result.faults[0]}"
        assert result.codes


def said(code, err="", command="check"):
    return Said([command], code, "", err, 0.0)


@pytest.mark.parametrize(
    ("told", "fault"),
    [
        (said(70, "thermosim: KeyError\nThis is a fault of the program"), "ends in 70"),
        (said("traceback", "Traceback (most recent call last)"), "a traceback"),
        (said(2), "an empty message"),
        (said(2, "thermosim: out.h5"), "no remedy"),
        (said(0, "/a/b.py:3: RuntimeWarning: overflow"), "a bare warning"),
        (said(2, "  run.steps = 3: unknown key. Did you mean run.steps?"), "a hint that repeats what was typed"),
    ],
)
def test_what_the_fuzzer_reports(told, fault):
    assert fault in faults_of(told, {}, {}, Trial(""))
    assert faults_of(said(2, "  run.stepps = 3: unknown key. Did you mean run.steps?"), {}, {}, Trial("")) == []


def test_what_takes_too_long_is_reported():
    slow = Said(["run"], 0, "", "", 1e6)
    assert faults_of(slow, {}, {}, Trial("", seconds=5.0)) == ["takes more than 5 s"]


def test_a_loss_is_reported():
    trial = Trial("", ours=("out.",))
    fine = said(0)
    assert faults_of(fine, {"a": "1", "out.h5": "1"}, {"a": "1", "out.h5": "2"}, trial) == []
    assert faults_of(fine, {"a": "1"}, {"a": "2"}, trial) == ["changed a"]
    assert faults_of(fine, {"a": "1"}, {}, trial) == ["changed a"]
    assert faults_of(fine, {}, {"b": "1"}, trial) == ["left b"]
