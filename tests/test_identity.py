"""A digest of code changes with what the code computes, and with nothing else."""

import cProfile
import dataclasses
import enum
import functools
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import thermosim
from tests.conftest import TRAP
from thermosim.kernels import energies, noise, types
from thermosim.kernels.declare import Part
from thermosim.kernels.identity import identity_of, identity_of_modules, kernel_identity
from thermosim.kernels.x_moves.langevin import ula_of_tile
from thermosim.models import gaussian, two_beads
from thermosim.plan.outline import plan
from thermosim.run.fingerprint import changes, fingerprint

ROOT = Path(__file__).parent.parent
SIGNATURE = types.void(types.float64[::1])
SOURCE = '''
"""A file of kernels."""
import math
import numpy as np
from thermosim.kernels.declare import inlined

SCALE = 2.0
TABLE = np.array([1.0, 2.0])
UNUSED = 3.0

@inlined
def deepest(x):
    return 0.25 * x + SCALE

@inlined
def deep(x):
    """Two calls down."""
    return deepest(x) - 1.0  # a remark

def kernel(out):
    """What is compiled."""
    for i in range(out.shape[0]):
        out[i] = deep(out[i]) * math.sqrt(TABLE[0])
'''
EDITS_OF_NOTHING = [
    ("# a remark", "# another, longer remark"),
    ('"""Two calls down."""', '"""Two calls deep, and in other words."""'),
    ('    """What is compiled."""\n', ""),
    ('"""A file of kernels."""\n', '"""A file of kernels."""\n\n\n'),
    ("UNUSED = 3.0", "UNUSED = 4.0"),
    ("def deep(x):", "def deep(x: float) -> float:"),
]
EDITS = [
    ("0.25 * x", "0.26 * x"),
    ("SCALE = 2.0", "SCALE = 2.5"),
    ("[1.0, 2.0]", "[1.0, 2.5]"),
    ("[1.0, 2.0]", "[1, 2]"),
    ("- 1.0  #", "+ 1.0  #"),
    ("- 1.0  #", "- 1  #"),
    ("math.sqrt", "math.exp"),
    ("deep(out[i])", "deepest(out[i])"),
]


def made(source, name="kernel"):
    scope = {"__name__": "some_file"}
    exec(compile(source, "some_file.py", "exec"), scope)
    return scope[name]


def digest(source, **bindings):
    return kernel_identity(made(source), SIGNATURE, bindings).digest


@pytest.mark.parametrize(("old", "new"), EDITS_OF_NOTHING)
def test_what_computes_nothing_leaves_no_trace(old, new):
    assert old in SOURCE
    assert digest(SOURCE.replace(old, new)) == digest(SOURCE)


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_what_computes_something_does(old, new):
    """Also in a helper of a helper, in a constant of the module, in an array."""
    assert old in SOURCE
    assert digest(SOURCE.replace(old, new)) != digest(SOURCE)


def test_bindings_count_where_they_are_used():
    """Also those that only a bound function uses; not those that nobody does."""
    template = "def kernel(out):\n    out[0] = part(out) + VALUE\n"
    part, other = (made(f"def part(out):\n    return {c} * DEEP\n", "part") for c in (1.0, 2.0))
    base = {"DEEP": 1, "VALUE": 2, "part": part}
    known = digest(template, **base)
    assert digest(template, **base, OTHER=7) == known
    for change in ({"DEEP": 3}, {"VALUE": 3}, {"VALUE": 2.0}, {"part": other}):
        assert digest(template, **base | change) != known


def test_a_name_in_the_code_of_a_move_reaches_the_model():
    names = gaussian.MODEL.names({"dimension": 3})
    bindings = names | {"evaluate": gaussian.surprisal_and_force}
    known = kernel_identity(ula_of_tile, SIGNATURE, bindings)
    assert known.complete
    lanes = names | {"energy": two_beads.MODEL.energy, "force": two_beads.MODEL.force, "evaluate": energies.from_lanes}
    assert kernel_identity(ula_of_tile, SIGNATURE, lanes).digest != known.digest
    smaller = bindings | gaussian.MODEL.names({"dimension": 2})
    assert kernel_identity(ula_of_tile, SIGNATURE, smaller).digest != known.digest


def test_functions_that_call_one_another():
    source = "def odd(n):\n    return n > 0 and even(n - 1)\ndef even(n):\n    return n == 0 or odd(n - 1)\n"
    assert identity_of(made(source, "odd")).digest == identity_of(made(source, "odd")).digest
    assert identity_of(made(source, "odd")).digest != identity_of(made(source, "even")).digest
    edited = source.replace("n > 0", "n > 1")
    assert identity_of(made(source, "even")).digest != identity_of(made(edited, "even")).digest


def closure(factor):
    return lambda x: factor * x


@dataclasses.dataclass(frozen=True)
class Holder:
    name: str
    function: object


class Kind(enum.Enum):
    ONE = 1
    TWO = 2


def power(x, n, offset=0.0):
    return x**n + offset


def fourth_power(x, n, offset=1.0):
    return x**n + offset


@pytest.mark.parametrize(
    ("one", "same", "other"),
    [
        (closure(2.0), closure(2.0), closure(3.0)),
        (Holder("a", closure(2.0)), Holder("a", closure(2.0)), Holder("a", closure(3.0))),
        (functools.partial(power, n=2), functools.partial(power, n=2), functools.partial(power, n=3)),
        ({"f": closure(1)}, {"f": closure(1)}, {"g": closure(1)}),
        ({"b", "a"}, {"a", "b"}, {"a", "c"}),
        (np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([-0.0, 1.0])),
        (np.float64(1), np.float64(1), np.float32(1)),
        (0.1 + 0.2, 0.30000000000000004, 0.3),
        (power, power, fourth_power),
        (Kind.ONE, Kind.ONE, Kind.TWO),
        (made("class A:\n    '''One.'''\n    x = 1\n", "A"), made("class A:\n    x = 1\n", "A"),
         made("class A:\n    x = 2\n", "A")),
    ],
)  # fmt: skip
def test_values_of_every_kind(one, same, other):
    assert identity_of(one).digest == identity_of(same).digest != identity_of(other).digest


def test_what_cannot_be_seen_through_is_said():
    assert identity_of(power, [1.0, "a", np.zeros(2)], closure(1)).complete
    assert not identity_of(object()).complete
    assert not identity_of(np.array([object()])).complete
    speaking = "import numba\ndef kernel(out):\n    out[0] = 1.0\n"
    assert not kernel_identity(made(speaking), SIGNATURE, {}).complete


def test_an_import_inside_a_function_counts():
    here = "def kernel():\n    from thermosim.exact import {}\n    return 1\n"
    first, second = (identity_of(made(here.format(name))) for name in ("von_mises_fisher", "ideal_gas"))
    assert first.digest != second.digest
    assert "scipy" in first.packages


def test_a_profiler_that_looks_on_leaves_no_trace():
    """numba changes the flags of a function's code for it."""
    before = identity_of(noise.fill_normal_pair)
    with cProfile.Profile():
        noise.normal_array(1, 0, 0, 0, (2, 3))
    assert identity_of(noise.fill_normal_pair) == before


def test_modules(tmp_path, monkeypatch):
    """As a whole, without remarks."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    found = {}
    edits = dict(zip(("nothing", "doc", "less", "lines", "unused"), EDITS_OF_NOTHING))
    for name, (old, new) in ({"same": ("", "")} | edits).items():
        (tmp_path / f"a_module_{name}.py").write_text(SOURCE.replace(old, new))
        importlib.invalidate_caches()
        found[name] = identity_of_modules(f"a_module_{name}").digest
    assert found.pop("unused") not in set(found.values())
    assert len(set(found.values())) == 1
    with pytest.raises(ImportError, match="no code of this module"):
        identity_of_modules("thermosim_that_is_not")


PRINT = """
import sys, thermosim
from thermosim.plan.outline import plan
from thermosim.run.fingerprint import fingerprint
for path in sys.argv[1:]:
    case = thermosim.load_case(path)
    print(sorted(fingerprint(case, plan(case)).items()))
"""


def test_every_process_finds_the_same(tmp_path):
    cases = [
        "cases/learning/gaussian_machine.toml",
        "cases/ideal_gas/fixed_elr.toml",
        "cases/learning/double_well.toml",
    ]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", PRINT, *order], check=True, capture_output=True, text=True,
            env=os.environ | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed, order in (("1", cases), ("77", cases))
    }  # fmt: skip
    assert len(outputs) == 1
    backwards = subprocess.run([sys.executable, "-c", PRINT, *cases[::-1]], check=True, capture_output=True, text=True)
    assert sorted(backwards.stdout.splitlines()) == sorted(outputs.pop().splitlines())


def test_a_fingerprint_names_what_changed(monkeypatch):
    """A coefficient of another model changes nothing; one of its own changes the moves that use it."""
    case = thermosim.load_case(TRAP)
    blocks = plan(case)
    before = fingerprint(case, blocks)
    assert changes(before, fingerprint(case, blocks)) == []
    monkeypatch.setattr(gaussian, "_HALF_LOG_TWO_PI", 1.0)
    assert changes(before, fingerprint(case, blocks)) == []
    monkeypatch.setattr("thermosim.kernels.x_moves.ula.fma", lambda a, b, c: a * b + c)
    assert changes(before, fingerprint(case, blocks)) == ["the move of x"]
    monkeypatch.setattr("thermosim.kernels.noise._WORD", np.uint64(63))
    now = fingerprint(case, blocks)
    assert changes(before, now) == ["the move of x", "the advance", "the starts"]
    assert changes(before | {"numpy": "0.1"}, before) == [f"numpy 0.1, now {before['numpy']}"]
    assert changes("of an older version", before) == ["the kernels"]


def _first(value):
    return value + NUMBER


def _after(value):
    return others(_first(value)) + NUMBER


NUMBER, others = 0, None
LAYERS = ("layer_gradient_square", "layer_weight_square")


def test_a_function_bound_twice_differently_inside_another_is_told_apart():
    """A chain of one template: what an inner link is bound to must count, though its names are those of the outer."""

    def chain(*numbers):
        link = Part(_first, {"NUMBER": 0})
        for number in numbers:
            link = Part(_after, {"NUMBER": number, "others": link})
        return identity_of(link).digest

    assert len({chain(1, 2, 3), chain(7, 2, 3), chain(1, 7, 3), chain(1, 2, 7), chain(2, 3), chain(3)}) == 6
    assert chain(1, 2, 3) == chain(1, 2, 3)


def test_functionals_of_one_template_book_apart_whatever_was_compiled_before():
    """Two of layers after one number: compiled after the same two alone, under a move that books the number itself."""
    case = {
        "model": {"name": "multilayer-perceptron", "widths": [2, 3, 1]},
        "theta": {"dynamics": "sgd", "learning_rate": 0.01, "batch": 2},
        "data": {"source": "linear", "rows": 8, "matrix": [[1.0, 0.5]]},
        "ensemble": {"replicas": 2},
        "run": {"steps": 4},
        "record": {"variables": ["gradient_square", "displacement_square", *LAYERS]},
    }
    plain = thermosim.simulate(thermosim.load_case(case))["displacement_square"].values
    case["theta"] |= {"dynamics": "nesterov", "momentum": 1e-9}
    again = thermosim.simulate(thermosim.load_case(case))["displacement_square"].values
    np.testing.assert_allclose(again, plain, rtol=1e-6)
    assert (plain[-1] > 0).all()
