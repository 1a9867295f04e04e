"""The same bits on a graphics card: here `card_bits.py` and `card_runs.py` in a simulator, each in its own process.

The simulator runs kernels as plain Python, to the bits of machine code. It has to be asked for before numba is there.
`scripts/test --gpu` runs the same files on the cards of this machine, with all cases and runs that are large.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import card_bits, card_runs

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("file", ["card_bits.py", "card_runs.py"])
def test_in_the_simulator(file):
    command = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", f"tests/{file}"]
    command += [] if os.environ.get("THERMOSIM_ALL") else ["-m", "not slow"]
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    passed = re.search(r"(\d+) passed", run.stdout)
    assert passed is not None, run.stdout[-2000:]
    assert int(passed[1]) >= 10


def test_without_a_card_the_reason_is_told():
    """Where there is none the tests of cards are skipped, and say why."""
    mark = card_bits.pytestmark
    if not mark.args[0]:
        pytest.skip("there is a card")
    assert card_runs.pytestmark == mark
    assert re.match(r"device = 'cuda': .*(card|driver|numba-cuda).*--device cpu\.", mark.kwargs["reason"])
