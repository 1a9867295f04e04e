"""Kernels for cards as instructions (PTX): every operation is rounded to nearest, and none is fused that was not.

These tests read what NVIDIA's first compiler (NVVM) makes, where it is installed (the extra "cuda"); no card is needed.
What they cannot see: the second compiler, ptxas, turns PTX into the instructions of a card. It may
fuse a multiplication and an addition that do not say how they are rounded, and by its documentation never those that
say .rn, which here are all; nor does it use other divisions and roots than those with .rn. On a card it is seen in
the bits (`scripts/test --gpu`).
"""

import functools
import math
import os
import pickle
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.bits_of_cases import case_of
from tests.conftest import TRAP
from tests.tiny_cases import CASES, write_files
from thermosim.case.load import load_case
from thermosim.kernels import disk_cache, elementary, types
from thermosim.kernels.declare import CompileError, Part
from thermosim.kernels.device_arithmetic import refused
from thermosim.plan.outline import plan

ROOT = Path(__file__).parent.parent
# one or two for each kind of kernel; `scripts/test --all` reads all, a quarter of a minute each
SOME = ("trap ula", "gaussian mala", "sphere fixed-elr", "ring")
IN_REGISTERS = (
    "trap ula",
    "trap mala",
    "sphere fixed-elr",
    "gaussian ula",
    "gaussian mala",
)  # the loop touches no memory


@pytest.fixture(scope="module")
def compiler():
    """NVIDIA's compiler, or a reason to skip."""
    try:
        return ptx(written_out)
    except CompileError:
        raise
    except Exception as error:  # whatever is missing: NVVM, NVRTC, libdevice
        pytest.skip(f"NVIDIA's compiler is not here: {' '.join(str(error).split())[:200]}")


def ptx(function, signature=None, **scope):
    from thermosim.kernels.device_code import ptx_of

    signature = signature or types.void(types.float64[::1], types.float64)
    return ptx_of(Part(function, scope), signature, (9, 0))


@functools.cache
def ptx_of_case(name):
    """Of the first block of a tiny case."""
    from thermosim.engines.cuda.kernel import signature, template_of

    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        block = plan(case_of(name, Path(folder)))[0].block()
    template = template_of(block)
    return ptx(template.function, signature(), **template.scope)


def operations(text):
    """How often every instruction occurs."""
    return Counter(re.findall(r"^\s+(?:@!?%p\d+\s+)?([a-z][\w.]*)\s", text, re.MULTILINE))


ROUNDED = re.compile(r"(add|sub|mul|div|fma|sqrt|rcp)\.rn\.f64")
EXACT = re.compile(
    r"(abs|neg|mov|ld|st|setp|selp|min|max|copysign)\b.*f64|mov\.b64|cvt\.(r\wi\.)?[su]\d+\.f64|cvt\.rn\.f64\.[su]\d+"
)


def faults(text):
    """Instructions on floats that are not rounded to nearest, or not in double precision."""
    floats = [name for name in operations(text) if re.search(r"\.f(16|32|64)|\.approx|\.ftz|\.bf16", name)]
    return [name for name in floats if not ROUNDED.fullmatch(name) and not EXACT.match(name)] + [
        name for name in floats if "approx" in name or "ftz" in name or "f32" in name
    ]


def test_what_is_looked_for():
    text = "\n".join(
        f"\t{name}.f64 \t%fd1, %fd2, %fd3;" for name in ("add", "mul.rn", "div.approx.ftz", "fma.rz", "neg")
    )
    assert faults(text + "\n\t@%p3 sqrt.approx.f32 \t%f1, %f2;") == [
        "add.f64", "div.approx.ftz.f64", "fma.rz.f64", "sqrt.approx.f32", "div.approx.ftz.f64", "sqrt.approx.f32"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", [name if name in SOME else pytest.param(name, marks=pytest.mark.exhaustive) for name in CASES]
)
def test_every_operation_of_a_case_is_rounded_to_nearest(name, compiler):
    text = ptx_of_case(name)
    assert operations(text)["fma.rn.f64"] > 0
    assert not faults(text)
    assert ".extern .func" not in text
    assert name not in IN_REGISTERS or ".local" not in text


def product_and_sum(out, a):
    out[0] = a * out[1] + out[2]


def written_out(out, a):
    out[0] = elementary.fma(a, out[1], out[2])


def test_nothing_is_fused_that_was_not(compiler, monkeypatch):
    """And the compiler would: were it not told, there would be one operation instead of two, here and in a case."""
    from numba.cuda.cudadrv import nvvm

    strict = operations(ptx(product_and_sum))
    assert (strict["mul.rn.f64"], strict["add.rn.f64"], strict["fma.rn.f64"]) == (1, 1, 0)
    assert operations(compiler)["fma.rn.f64"] == 1
    true, case = nvvm.compile_ir, operations(ptx_of_case("sphere fixed-elr"))["fma.rn.f64"]
    monkeypatch.setattr(nvvm, "compile_ir", lambda ir, **options: true(ir, **{**options, "fma": True}))
    assert operations(ptx(product_and_sum))["fma.rn.f64"] == 1
    ptx_of_case.cache_clear()
    fused = operations(ptx_of_case("sphere fixed-elr"))["fma.rn.f64"]
    ptx_of_case.cache_clear()
    assert fused > case


def alike(out, a):
    n = int(out[7])
    out[0] = math.sqrt(a) + abs(a) + math.floor(a) + math.fmod(a, 0.3) + np.sqrt(a) + np.abs(a) + out[1] ** 3
    out[1] = out[2] ** n + max(a, out[3]) + (n // 3) + (n % 3) + round(a)


def exponential(out, a):
    out[0] = math.exp(a) + np.cos(a)


def root(out, a):
    out[0] = out[1] ** 0.5


def remainder(out, a):
    out[0] = out[1] % a


def test_what_has_other_bits_on_a_card_is_refused(compiler):
    ptx(alike)
    for function, said in (
        (exponential, r"math\.exp and math\.cos; .*elementary"),
        (root, r"powers whose exponent is no integer"),
        (remainder, r"a % b and a // b of floats"),
    ):
        with pytest.raises(CompileError, match=rf"other last bits for {said}.*--device cpu"):
            ptx(function)


IR = """
declare double @__nv_exp(double)
define void @"kernel"(double %".1")
{{
  %".4" = call double @"__nv_{name}"(double %".1")
  ret void
}}
define linkonce_odr i32 @"numbers14int_power_impl"(double* %".1", double %".3")
{{
  %".9" = call double @__nv_pow(double %".3", double %".3")
}}
define linkonce_odr double @"rem"(double %".1")
{{
  %".5" = {operation} double %".1", %".1"
}}
"""


def test_what_is_refused():
    """As text of the compiler, of which there is no need here."""
    assert refused(IR.format(name="sqrt", operation="fdiv")) == ""
    assert "math.exp;" in refused(IR.format(name="exp", operation="fdiv"))
    assert "math.gamma and a % b" in refused([IR.format(name="tgamma", operation="frem")])
    assert "exponent is no integer;" in refused(IR.format(name="pow", operation="fmul"))


def in_a_process(cache, capability):
    """A digest of the code of a kernel for such a card, and whether it was compiled."""
    command = [sys.executable, "-m", "tests.device_process", str(capability)]
    environment = os.environ | {"XDG_CACHE_HOME": str(cache)}
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    code, times = run.stdout.split()
    return code, int(times)


def test_kernels_are_found_on_the_disk(compiler, tmp_path):
    """The same code in another process, without a compiler; for another card another; a damaged one is made anew."""
    code, times = in_a_process(tmp_path, 9)
    assert times == 1
    assert in_a_process(tmp_path, 9) == (code, 0)
    (file,) = tmp_path.rglob("kernel.cuda")
    assert len(file.read_bytes()) < 2_000_000
    file.write_bytes(file.read_bytes()[:1000])
    assert in_a_process(tmp_path, 9) == (code, 1)
    assert in_a_process(tmp_path, 9) == (code, 0)
    other, times = in_a_process(tmp_path, 8)
    assert other != code
    assert times == 1


def test_whatever_is_wrong_on_the_disk_is_compiled_anew(tmp_path, monkeypatch):
    """No error comes from there: neither from what is damaged, nor from a kernel or a disk that keeps nothing."""
    device_cache = pytest.importorskip("thermosim.kernels.device_cache")
    monkeypatch.setattr(disk_cache, "root", lambda: tmp_path)
    monkeypatch.setattr(disk_cache, "prune_once", lambda: None)
    cache = device_cache.DeviceCache("cuda-name")
    assert cache.load_overload(None, None) is None
    for damaged in (b"", b"no pickle", pickle.dumps({"an": "old kind"}), pickle.dumps(3)):
        (tmp_path / "cuda-name").mkdir()
        (tmp_path / "cuda-name" / "kernel.cuda").write_bytes(damaged)
        assert cache.load_overload(None, None) is None
        assert not (tmp_path / "cuda-name").exists()
    cache.save_overload(None, object())
    assert not list(tmp_path.rglob("*.cuda"))


def test_the_name_of_a_kernel_knows_its_code_the_card_and_the_versions(monkeypatch):
    device_cache = pytest.importorskip("thermosim.kernels.device_cache")
    monkeypatch.setattr(device_cache, "_versions", lambda: ("1.0",))
    names = [device_cache.cached_as("a", (9, 0)), device_cache.cached_as("b", (9, 0))]
    names += [device_cache.cached_as("a", (8, 0)), device_cache.cached_as("a", (9, 0))]
    assert len(set(names)) == 3
    assert names[0] == names[3]
    monkeypatch.setattr(device_cache, "_versions", lambda: ("1.1",))
    assert device_cache.cached_as("a", (9, 0)) not in names
    monkeypatch.setattr(device_cache, "_versions", lambda: 1 / 0)
    assert device_cache.cached_as("a", (9, 0)) is None


def test_the_identity_of_a_kernel_follows_its_parts():
    """Equal for equal blocks, whatever is not compiled; another for another size, move or number of chains."""
    from thermosim.engines.cuda.kernel import identity

    def of(**changes):
        return identity(
            plan(load_case(TRAP, {name.replace("__", "."): value for name, value in changes.items()}))[0].block()
        )

    assert of() == of(ensemble__seed=5, ensemble__replicas=3, run__steps=7, x__time_step=0.2)
    assert of()[1]
    assert len({of(), of(x__dynamics="mala"), of(x__tau=2), of(x__samples=2), of(x__mobility=[1.0, 2.0])}) == 5
