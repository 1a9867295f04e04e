"""A run goes on to the bit on another machine, unless the case takes of numpy what that machine rounds otherwise."""

import builtins
import dis
import math
import os
import platform
import subprocess
import sys
from contextlib import contextmanager
from types import CodeType, FunctionType, ModuleType

import llvmlite.binding
import numpy as np
import pytest

import thermosim
from tests.conftest import TRAP
from tests.tiny_cases import CASES, write_files
from thermosim.engines.lanes.link import addresses_of
from thermosim.kernels import compile as compiling
from thermosim.kernels import elementary
from thermosim.kernels.advance import advance
from thermosim.kernels.declare import Part, is_inlined, scope_of
from thermosim.kernels.identity import named
from thermosim.models import MODELS
from thermosim.plan.outline import plan
from thermosim.run import fingerprint as fingerprints
from thermosim.run import rounding
from thermosim.run.execution import Interrupted
from thermosim.run.rounding import FUNCTIONS, SUMS
from thermosim.schedules import KINDS, is_exact
from thermosim.storage import StorageError

COSINE = {"x.time_step": {"kind": "cosine", "initial": 0.1, "final": 0.05}}
PLAIN = {"x.initial": 0.5}


def stop(progress):
    if progress.done > 8000:
        raise KeyboardInterrupt


def parts_of(text, changes=None):
    case = thermosim.load_case(text, changes)
    return fingerprints.fingerprint(case, plan(case))


@contextmanager
def elsewhere():
    """On another processor, with another LLVM and another patch of Python."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(llvmlite.binding, "get_host_cpu_name", lambda: "laptop")
        patch.setattr(llvmlite, "__version__", "99.0.1")
        patch.setattr(platform, "python_version", lambda: f"{sys.version_info[0]}.{sys.version_info[1]}.99")
        _forget()
        yield
    _forget()


def _forget():
    for cached in (compiling.compiler_versions, compiling.arithmetic_versions, compiling.library_versions):
        cached.cache_clear()


@pytest.fixture
def other_numpy(monkeypatch):
    monkeypatch.setattr(rounding, "rounding_of_functions", lambda: "1" * 24)
    monkeypatch.setattr(rounding, "rounding_of_sums", lambda: "2" * 24)


def test_another_processor_changes_machine_code_and_no_number():
    here = parts_of(TRAP, PLAIN), compiling._name_of("a kernel")
    with elsewhere():
        assert fingerprints.changes(here[0], parts_of(TRAP, PLAIN)) == []
        assert compiling._name_of("a kernel") != here[1]
    assert compiling._name_of("a kernel") == here[1]


def test_a_run_is_finished_on_another_processor(tmp_path):
    case = thermosim.load_case(TRAP, PLAIN)
    thermosim.simulate(case, tmp_path / "whole.h5").close()
    with pytest.raises(Interrupted):
        thermosim.simulate(case, tmp_path / "out.h5", report=stop, segment_frames=2)
    with elsewhere():
        thermosim.resume(tmp_path / "out.h5").close()
    assert (tmp_path / "out.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (PLAIN, []),
        (PLAIN | {"x.initial": "normal", "x.temperature": 0.7}, []),
        (PLAIN | {"x.time_step": {"kind": "linear", "initial": 0.1, "final": 0.05}}, []),
        (PLAIN | {"sweep": {"x.temperature": {"logspace": [0.5, 2.0], "num": 3}}}, []),
        (PLAIN | {"record.phi": {"keep": ["mean", "variance", "ensemble_mean"]}, "record.variables": ["x"]}, []),
        (PLAIN | COSINE, [FUNCTIONS]),
        (PLAIN | {"theta.protocol.center": {"kind": "table", "steps": [0, 50], "values": [[0.0, 0.0], [1.0, 2.0]]}},
         [FUNCTIONS]),
        ({"x.initial": "equilibrium"}, [FUNCTIONS, SUMS]),
        (PLAIN | {"x.dynamics": "exact-ou"}, [FUNCTIONS, SUMS]),
    ],
)  # fmt: skip
def test_a_case_depends_on_what_it_takes_of_numpy(changes, told, other_numpy, monkeypatch):
    there = parts_of(TRAP, changes)
    monkeypatch.undo()
    assert fingerprints.changes(there, parts_of(TRAP, changes)) == [f"the {part}" for part in told]


def test_observables_named_starts_and_models_of_users(tmp_path):
    write_files(tmp_path)
    told = {}
    for name in ("quadratic", "sphere fixed-lr", "perceptron relu", "fourth power"):
        case = thermosim.load_case(CASES[name], folder=tmp_path)
        told[name] = {FUNCTIONS, SUMS, "numba"} & set(fingerprints.fingerprint(case, plan(case)))
    assert told == {
        "quadratic": set(),
        "sphere fixed-lr": {FUNCTIONS, SUMS},
        "perceptron relu": set(),
        "fourth power": {FUNCTIONS, "numba"},
    }
    radius = {"record.variables": ["theta", "loss"], "theta.initial": "random"}
    case = thermosim.load_case(CASES["sphere fixed-lr"], radius, folder=tmp_path)
    assert {FUNCTIONS, SUMS} <= set(fingerprints.fingerprint(case, plan(case)))


def test_a_start_that_is_not_named_is_the_first_of_the_model(tmp_path):
    sphere = {**CASES["sphere fixed-lr"], "theta": {**CASES["sphere fixed-lr"]["theta"]}, "record": {"every": 3}}
    del sphere["theta"]["initial"]
    assert {FUNCTIONS, SUMS} <= set(parts_of(sphere, {"record.variables": ["theta"]}))


def test_models_of_users_that_multiply_matrices_depend_on_how(tmp_path):
    """Compiled `@` and `np.dot` are those of BLAS."""
    write_files(tmp_path)
    ring = (tmp_path / "ring.py").read_text()
    for square, told in (("square", False), ("np.dot(shared, shared)", True), ("shared @ shared", True)):
        text = ring.replace("total[lane] += np.sqrt(square)", f"total[lane] += np.sqrt({square})")
        assert (text == ring) != told
        (tmp_path / "ring.py").write_text(text)
        case = thermosim.load_case(CASES["ring"], folder=tmp_path)
        assert (SUMS in fingerprints.fingerprint(case, plan(case))) == told


def test_what_numpy_made_of_the_case_is_known_by_its_numbers(monkeypatch):
    """The last bit of the last value of an axis, or of a constant that the model computes."""
    swept = PLAIN | {"sweep": {"x.temperature": {"logspace": [0.5, 2.0], "num": 3}}}
    before = parts_of(TRAP, swept)
    geomspace = np.geomspace
    monkeypatch.setattr(np, "geomspace", lambda *given: np.nextafter(geomspace(*given), [0.5, 1.0, 9.0]))
    assert fingerprints.changes(before, parts_of(TRAP, swept)) == ["the numbers of the case"]
    sphere = {
        "model": {"name": "isotropic-sphere"},
        "theta": {"dynamics": "sgd", "learning_rate": 0.1, "constraint": "fixed-lr"},
    }
    sphere |= {"ensemble": {"replicas": 2}, "run": {"steps": 5}}
    before, cos = parts_of(sphere), np.cos
    monkeypatch.setattr(np, "cos", lambda x: np.nextafter(cos(x), 9.0))
    assert "the numbers of the case" in fingerprints.changes(before, parts_of(sphere))


def test_a_machine_that_rounds_otherwise_is_told(other_numpy, monkeypatch, tmp_path):
    case, path = thermosim.load_case(TRAP, PLAIN | COSINE), tmp_path / "out.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, report=stop, segment_frames=2)
    monkeypatch.undo()
    said = r"there have changed: the rounding of exp, sin and powers on this machine\..* go on where it was begun"
    with pytest.raises(StorageError, match=said):
        thermosim.resume(path)


PROBES = "from thermosim.run import rounding as r; print(r.rounding_of_functions(), r.rounding_of_sums())"


def probed(probes=PROBES, **environment):
    command = [sys.executable, "-W", "ignore", "-c", probes]
    run = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=True)
    return run.stdout.split()


def test_the_probes_see_other_processors():
    """numpy and its BLAS can be told to take the code that they have for an older one."""
    here = rounding.rounding_of_functions(), rounding.rounding_of_sums()
    features = np._core._multiarray_umath.__cpu_features__
    newer = [name for name in ("X86_V3", "X86_V4", "AVX512_ICL", "AVX512_SPR") if features.get(name)]
    if "X86_V3" not in newer:
        pytest.skip("this processor has nothing that an older one lacks")
    functions, sums = probed(NPY_DISABLE_CPU_FEATURES=" ".join(newer), OPENBLAS_CORETYPE="Nehalem")
    assert functions != here[0]
    assert sums != here[1]


@pytest.mark.parametrize("name", ["exp", "cos"])
def test_one_function_of_the_c_library_is_enough(name):
    """glibc has code with fused multiply-adds, and without: the results differ at a few of ten thousand numbers."""
    features = np._core._multiarray_umath.__cpu_features__
    if platform.libc_ver()[0] != "glibc" or not features.get("X86_V3"):
        pytest.skip("this machine has one code for it")
    probe = f"import math; from thermosim.run import rounding as r; r._ELEMENTARY, r._OF_C = (), (math.{name},); "
    probe += "print(r.rounding_of_functions())"
    assert probed(probe) != probed(probe, GLIBC_TUNABLES="glibc.cpu.hwcaps=-FMA,-AVX2,-FMA4")


def test_which_schedules_are_exact():
    assert {name for name, kind in KINDS.items() if kind.exact} == {"constant", "least-dissipation", "linear"}
    line = {"kind": "linear", "initial": 0.0, "final": 1.0}
    assert is_exact(2.0)
    assert is_exact({"kind": "piecewise", "at": [0, 5], "values": [1.0, line]})
    assert not is_exact({"kind": "piecewise", "at": [0, 5], "values": [1.0, {**line, "kind": "cosine"}]})


# what kernels of thermosim may use: what IEEE 754 fixes, and integers
OPERATIONS = {"+", "-", "*", "/", "//", "%", "<<", ">>", "^", "&", "|"}
WORDS = {
    "range",
    "min",
    "max",
    "abs",
    "int",
    "float",
    "len",
    "slice",
    "math.sqrt",
    "math.floor",
    "math.inf",
    "np.int64",
    "np.uint64",
}


def test_kernels_use_only_what_has_one_result(tmp_path):
    """No powers, no functions of a library: so neither processor nor compiler is in a fingerprint."""
    write_files(tmp_path)
    parts, used = [Part(advance, {})], set()
    for name, sections in CASES.items():
        if sections["model"].get("name") in MODELS:
            for outline in plan(thermosim.load_case(CASES[name], folder=tmp_path)):
                addresses_of(outline.cohort, lambda template, _, **bound: parts.append(Part(template, scope_of(bound))))
    seen = set()
    while parts:
        part = parts.pop()
        key = id(part.function), *(id(getattr(value, "function", value)) for value in part.scope.values())
        if key in seen or part.function in (elementary.fma, elementary.bits_of, elementary.float_of):
            continue
        seen.add(key)
        used |= words(part.function)
        cells = [cell.cell_contents for cell in part.function.__closure__ or ()]
        for value in [value for _, value in named(part.function, part.scope)] + cells:
            if isinstance(value, Part) or is_inlined(value):
                parts.append(value if isinstance(value, Part) else Part(value, {}))
            else:
                assert not isinstance(value, FunctionType) or value.__module__.startswith("thermosim"), value
    assert len(seen) > 200
    assert {"+", "math.sqrt", "max", "<<"} <= used <= OPERATIONS | WORDS, used - OPERATIONS - WORDS


def words(function):
    """Operators, and what the code of a function names of Python, of math and of numpy."""
    found, codes = set(), [function.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
        steps = list(dis.get_instructions(code))
        for step, after in zip(steps, [*steps[1:], steps[-1]], strict=True):
            if step.opname == "BINARY_OP":
                found.add(step.argrepr.removesuffix("="))
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                value = function.__globals__.get(step.argval, getattr(builtins, step.argval, None))
                if isinstance(value, ModuleType) and value in (math, np):
                    found.add(f"{'math' if value is math else 'np'}.{after.argval}")
                elif step.argval not in function.__globals__ and value is not None:
                    found.add(step.argval)
                elif getattr(value, "__module__", "") in ("math", "numpy"):
                    found.add(f"{value.__module__}.{step.argval}")
    return found
