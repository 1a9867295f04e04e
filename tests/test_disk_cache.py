"""Machine code on the disk: found again whatever was edited around it, kept within bounds, safe to lose."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest

from thermosim.kernels import types
from thermosim.kernels.compile import compiled
from thermosim.kernels.declare import inlined
from thermosim.kernels.disk_cache import prune

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@inlined
def _half(value):
    return 0.5 * value


@inlined
def _power(value, exponent):
    return 1.0 if exponent == 0 else value * _power(value, exponent - 1)


def _powers(out):
    for i in range(out.size):
        out[i] = _power(_half(3.0), i)


def test_a_helper_may_call_itself_and_another():
    """Helpers are code of the kernels that name them, and of nothing else."""
    out = np.empty(20)
    compiled(_powers, types.void(types.float64[::1]))(out)
    assert np.allclose(out, 1.5 ** np.arange(20), rtol=1e-14)


RUN = """
import importlib, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
a_kernel = importlib.import_module(sys.argv[2])
from thermosim.kernels import types
from thermosim.kernels.compile import compiled
out = np.zeros(1)
kernel = compiled(a_kernel.kernel, types.void(types.float64[::1]))
kernel(out)
print(out[0], sum(kernel.stats.cache_hits.values()))
"""
KERNEL = '''
from thermosim.kernels.elementary import exp
def kernel(out):
    """A remark."""
    out[0] = 2.0 + exp(out[0])
'''


def run(folder, source, name="a_kernel"):
    """The number that a kernel of this source makes in a new process, and whether it was in the cache."""
    (folder / f"{name}.py").write_text(source)
    environment = os.environ | {"XDG_CACHE_HOME": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", RUN, str(folder), name]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    value, hits = done.stdout.split()
    return float(value), int(hits)


def test_what_is_compiled_again_and_what_is_not(tmp_path):
    """A user's plain function is kept on the disk like ours."""
    assert run(tmp_path, KERNEL) == (3.0, 0)
    assert run(tmp_path, KERNEL) == (3.0, 1)
    assert run(tmp_path, KERNEL.replace('"""A remark."""', '"""Another.\n\n    Longer.\n    """')) == (3.0, 1)
    assert run(tmp_path, KERNEL.replace("2.0", "2.5")) == (3.5, 0)
    assert run(tmp_path, KERNEL) == (3.0, 1)
    (tmp_path / "a_kernel.py").unlink()
    assert run(tmp_path, KERNEL, "another_file") == (3.0, 1)
    speaking = "import numba\n" + KERNEL
    assert run(tmp_path, speaking) == (3.0, 0)
    assert run(tmp_path, speaking) == (3.0, 0)


def test_damaged_code_is_made_anew(tmp_path):
    run(tmp_path, KERNEL)
    (file,) = (tmp_path / "cache").rglob("*.nbc")
    file.write_bytes(b"")
    assert run(tmp_path, KERNEL) == (3.0, 0)
    assert run(tmp_path, KERNEL) == (3.0, 1)


def kernels(root, ages):
    """Folders last used so many seconds ago."""
    for name, age in ages.items():
        (root / name).mkdir()
        (root / name / "kernel.nbi").write_bytes(b"code")
        os.utime(root / name, (time.time() - age,) * 2)


def test_old_and_many_are_removed_and_none_in_use(tmp_path):
    kernels(tmp_path, {f"day{day}": 86400.0 * day for day in range(0, 60, 10)})
    prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day0", "day10", "day20"]
    prune(tmp_path, most=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day0", "day10"]
    prune(tmp_path, days=0.0, most=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["day0"]


def test_several_prune_at_one_time(tmp_path):
    kernels(tmp_path, {str(number): 1e7 for number in range(200)})
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: prune(tmp_path), range(8)))
    assert list(tmp_path.iterdir()) == []
