"""Killed at any instant, a run leaves nothing unreadable, and comes out to the same bytes when it is resumed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).parent / "killing.py"


HOW = {"random 8": 8, "every-operation 8": 10, "every-operation 7 virtual": 9, "extension 15": 7}
ALL = {
    "random 30": 30,
    "every-operation": 60,
    "every-operation 2 virtual": 30,
    "extension 3": 30,
    "extension 3 virtual": 25,
}


@pytest.mark.parametrize("ways", [HOW, pytest.param(ALL, marks=pytest.mark.exhaustive)], ids=["some", "all"])
def test_killed_at_any_instant(ways):
    """At random instants, and before operations on files: seals, manifests, the file at the end.

    Of virtual files and extensions only before every second or third, for the sake of time: killing.py tries all.
    """
    words = " + ".join(ways).split()
    done = subprocess.run(
        [sys.executable, str(KILLING), *words], capture_output=True, text=True, timeout=1800, check=False
    )
    assert done.returncode == 0, done.stderr
    for (how, least), line in zip(ways.items(), done.stdout.splitlines(), strict=True):
        result = json.loads(line)
        assert result["faults"] == [], how
        assert result["kills"] >= least, how
        assert {"a segment", "the manifest", "the file"} <= result["caught"].keys(), how
