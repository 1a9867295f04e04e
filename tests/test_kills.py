"""Killed at any instant, a run leaves nothing unreadable, and comes out to the same bytes when it is resumed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

KILLING = Path(__file__).parent / "killing.py"


HOW = [
    (["random", "30"], 30),
    (["every-operation"], 60),
    (["every-operation", "2", "virtual"], 30),
    (["extension", "3"], 30),
    (["extension", "3", "virtual"], 25),
]


@pytest.mark.parametrize(("how", "least"), HOW)
def test_killed_at_any_instant(how, least):
    """At random instants, and before every operation on files: seals, manifests, the file at the end.

    Of virtual files and extensions only before every second or third, for the sake of time: killing.py tries all.
    """
    done = subprocess.run(
        [sys.executable, str(KILLING), *how], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["faults"] == []
    assert result["kills"] >= least
    assert {"a segment", "the manifest", "the file"} <= result["caught"].keys()
