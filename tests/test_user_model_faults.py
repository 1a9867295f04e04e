"""Whatever is wrong with a user's model file is said in a sentence that names the file, and ends nothing."""

from __future__ import annotations

import re

import pytest

from thermosim.case.model import functional_faults, trial_constants
from thermosim.models.user_file import load
from thermosim.models.user_file.examine import examine
from thermosim.models.user_file.load import load_user_model

DRIVEN = """
import math
import sys
import numpy as np
from thermosim import Constant, Model, Observable, Parameter
from thermosim.kernels.declare import inlined
from thermosim.ledger import Functional

@inlined
def square(q):
    return q * q

def energy(x, theta, constants, shared, lane):
    total = 0.0
    for i in range(COMPONENTS):
        q = x[i, lane] - theta[CENTRE + i, lane] - shared[SHIFT + i]
        total += 0.5 * constants[STIFF, lane] * square(q)
    return total

def force(i, x, theta, constants, shared, lane):
    q = x[i, lane] - theta[CENTRE + i, lane] - shared[SHIFT + i]
    return -constants[STIFF, lane] * q

def drive(i, x, theta, constants, shared, lane):
    return constants[TURN, lane] * x[1 - i, lane] * (1.0 - 2.0 * i)

def book(theta, before, loss, gradient, constants, shared, total):
    for i in range(theta.shape[0]):
        for lane in range(theta.shape[1]):
            total[lane] += theta[i, lane] - before[i, lane]

def equilibrium(theta, constants, temperature, normal):
    shift = np.array(constants["shift"])[:, None]
    return theta + shift + np.sqrt(temperature / constants["stiff"]) * normal

def propagator(theta, constants, time_step, temperature):
    k = constants["stiff"]
    mean = np.exp(-k * time_step)
    noise = np.sqrt(temperature / k * (1.0 - mean**2))
    each = np.ones((len(theta), 1, 1))
    return mean * np.eye(2) * each, noise * np.eye(2) * each, theta + np.array(constants["shift"])

MODEL = Model(
    name="mine", summary="a test", source="a test",
    constants=(
        Constant("stiff", 2.0, "stiffness", minimum=0.0),
        Constant("turn", 0.4, "rotation"),
        Constant("shift", [0.3, -0.2], "shift", shape=lambda c: (2,)),
    ),
    components=lambda c: 2,
    parameters=(Parameter("centre", "centre", lambda c: (2,), lambda c: np.zeros(2)),),
    energy=energy, force=force, drive=drive, equilibrium=equilibrium,
    observables={"right": Observable("x", lambda x, c: x[..., 0] > 0, "1", "right", "x > 0")},
    functionals=(Functional("drift", "theta", "1", "drift", "sum", book),),
)
"""

# what is changed in the file, and what is said
DRIVEN_FAULTS = {
    # slopes
    "sign of force": ("return -constants[STIFF", "return constants[STIFF", r"force\(\d, ...\) = .* minus the slope"),
    "factor of force": ("return -constants[STIFF", "return -1.001 * constants[STIFF", r"force\(\d, ...\) = "),
    "one component": (
        "    return -constants[STIFF, lane] * q\n\ndef d",
        ("    return -constants[STIFF, lane] * q * (1.0 if i == 0 else 2.0)\n\ndef d"),
        r"force\(1, ...\) = ",
    ),
    "theta left out": (
        "q = x[i, lane] - theta[CENTRE + i, lane] - shared[SHIFT + i]\n    return",
        "q = x[i, lane] - shared[SHIFT + i]\n    return",
        r"force\(\d, ...\) = ",
    ),
    "shared left out": (
        "q = x[i, lane] - theta[CENTRE + i, lane] - shared[SHIFT + i]\n    return",
        "q = x[i, lane] - theta[CENTRE + i, lane]\n    return",
        r"force\(\d, ...\) = ",
    ),
    # lanes
    "lane of theta": (
        "theta[CENTRE + i, lane] - shared[SHIFT + i]\n        total",
        ("theta[CENTRE + i, 0] - shared[SHIFT + i]\n        total"),
        "depends on other lanes",
    ),
    "lane of a constant": ("0.5 * constants[STIFF, lane]", "0.5 * constants[STIFF, 0]", "depends on other lanes"),
    "mean over lanes": ("return total", "return total + 0.0 * lane + x[0].mean()", "depends on other lanes|line 1"),
    "lane of the drive": ("x[1 - i, lane] * (1.0", "x[1 - i, lane - 1] * (1.0", "drive: a lane depends"),
    # indices
    "past the end of x": ("x[1 - i, lane] * (1", "x[2 - i, lane] * (1", r"mine.py, line \d+, in drive: IndexError"),
    "past theta": (
        "theta[CENTRE + i, lane] - shared[SHIFT + i]\n    r",
        "theta[CENTRE + i + 1, lane]\n    r",
        "IndexError",
    ),
    "past shared": ("shared[SHIFT + i]\n    r", "shared[SHIFT + 2 * i]\n    r", "IndexError.*past the end"),
    # errors and results
    "no such name": ("return -constants[STIFF", "return -constants[STIF", r"line \d+, in force: NameError.*STIF"),
    "no return": ("    return total", "    total", "energy returns None"),
    "complex": ("return total", "return total + 0j", "energy returns complex"),
    "array": ("return total", "return x[:, lane]", "energy returns ndarray"),
    "NaN": ("return total", "return total + math.nan", "phi is not finite at any"),
    "force NaN": ("return -constants[STIFF, lane] * q", "return math.nan * q", "force.* is nan"),
    "writes to x": ("\n    return -c", "\n    x[i, lane] += 0.0\n    return -c", r"line \d+, in force.*read-only"),
    "endless": ("    return total", "    while True:\n        total += 0.0", "still running after"),
    # arguments and fields
    "arguments of energy": (
        "def energy(x, theta, ",
        "def energy(x, ",
        r"energy takes .*mine.py, line \d+.*called as energy",
    ),
    "arguments of drive": ("def drive(i, x,", "def drive(x,", "drive takes"),
    "arguments of equilibrium": ("temperature, normal):\n    shift", "temperature):\n    shift", "equilibrium takes"),
    "arguments of an observable": ("lambda x, c: x[..., 0] > 0", "lambda x: x", "observable 'right' takes"),
    "no force": ("energy=energy, force=force", "energy=energy", "has an energy and no force"),
    "no energy": ("energy=energy, force=force, drive=drive", "force=force", "has a force and no energy"),
    "a list": (
        "    energy=energy",
        "    derived=[],\n    energy=energy",
        r"derived of MODEL is list \[\]; expected a tuple",
    ),
    "a class": ("energy=energy, force", "energy=Observable, force", "energy of MODEL is the class Observable"),
    "a number": ("components=lambda c: 2", "components=2", "components of MODEL is int 2; expected a function"),
    "components": ("components=lambda c: 2", "components=lambda c: 2.5", "components gives 2.5"),
    "no components": ("components=lambda c: 2,\n", "", "components gives 0"),
    "shape": ('"centre", lambda c: (2,)', '"centre", (2,)', "shape is tuple"),
    "shape of a default": ("lambda c: np.zeros(2)", "lambda c: np.zeros(3)", r"has shape \(3,\), expected \(2,\)"),
    "default": ("lambda c: np.zeros(2)", "lambda c: np.array([0, np.nan])", "expected finite numbers"),
    "levels": ("    energy=energy", "    levels=1,\n    energy=energy", "levels of MODEL"),
    "name": ('name="mine"', "name=3", "name of MODEL is int 3; expected text"),
    "of": ('Observable("x", l', 'Observable("phi", l', 'expected "theta" or "x"'),
    # names
    "a constant twice": ('Constant("turn", 0.4', 'Constant("stiff", 0.4', "both called 'stiff'"),
    "a constant as a parameter": ('Parameter("centre"', 'Parameter("turn"', "so TURN would mean both"),
    "parameters twice": (
        "parameters=(",
        'parameters=(Parameter("centre", "", lambda c: (1,), lambda c: np.zeros(1)),',
        "both called 'centre'",
    ),
    "a name of the ledger": ('Constant("turn", 0.4', 'Constant("heat", 0.4', "HEAT has a meaning"),
    "a name of the engine": ('Constant("turn", 0.4', 'Constant("restart", 0.4', "RESTART has a meaning"),
    "a global of the engine": (
        "def energy(x, theta, constants, shared, lane):\n    total = 0.0",
        ("BATCH = 0.0\ndef energy(x, theta, constants, shared, lane):\n    total = BATCH"),
        "'BATCH' of its file",
    ),
    "no name": ('Constant("turn", 0.4', 'Constant("", 0.4', "expected a plain word"),
    "a slash": ('{"right"', '{"right/left"', "expected a plain word"),
    "a space": ('Functional("drift"', 'Functional("my drift"', "expected a plain word"),
    "a variable": ('{"right"', '{"phi"', "'phi' has a name that is taken"),
    "a dimension": ('{"right"', '{"replica"', "'replica' has a name that is taken"),
    "a functional as an observable": ('Functional("drift"', 'Functional("right"', "name that is taken"),
    "a size without dim": ('"sum", book)', '"sum", book, size=lambda c: 2)', "beside a size; give both"),
    "a dim without size": ('"sum", book)', '"sum", book, dim="turns")', "dim = 'turns' without size; give both"),
    "a dim that is taken": (
        '"sum", book)',
        '"sum", book, "replica", lambda c: 2)',
        "dim = 'replica', a name that is taken",
    ),
    "a size of .5": ('"sum", book)', '"sum", book, "turns", lambda c: 0.5)', "gives 0.5; expected a whole number"),
    # what is in numpy
    "observable raises": ("x[..., 0] > 0", "x[..., 7] > 0", r"observable 'right' raises an error: mine.py, line \d+"),
    "observable of a frame": ("x[..., 0] > 0", "x[..., 0].mean()", r"'right' gives shape \(\), expected \(2, 3\)"),
    "observable complex": ("x[..., 0] > 0", "x[..., 0] + 1j", "expected real numbers"),
    "observable over replicas": ("x[..., 0] > 0", "x[..., 0] - x[..., 0].mean()", "depends on other replicas"),
    "observable writes": ("x[..., 0] > 0", "x.sort() or x[..., 0]", "read-only"),
    "equilibrium without theta": ("return theta + shift", "return shift", "equilibrium does not sample"),
    "equilibrium without a root": (
        'np.sqrt(temperature / constants["stiff"])',
        'temperature / constants["stiff"]',
        r"<x_0 d phi/dx_0> is .* gives 0.25",
    ),
    "equilibrium of a shape": ("return theta + shift", "return theta.T + shift.T", "equilibrium"),
    "equilibrium raises": ("    shift = np.array(c", "    1 / 0\n    shift = np.array(c", "equilibrium"),
    "equilibrium over replicas": ("* normal", "* (normal - normal.mean(axis=1, keepdims=True))", "other replicas"),
    "propagator": ("equilibrium=equilibrium,", "propagator=propagator,", "propagator: mean is not exp"),
    "book writes": ("total[lane] += theta", "total[lane] = theta", "must add to total"),
    "book raises": ("total[lane] += theta", "total[lane] += nothing", r"book.* raises an error: mine.py, line \d+"),
    "scratch": ("    energy=energy", "    scratch_rows=lambda c: -1,\n    energy=energy", "scratch_rows gives -1"),
    # importing
    "syntax": ("return total", "return total)", r"mine.py, line \d+: SyntaxError"),
    "not there": ("import math", "import maths", r"mine.py, line 2: ModuleNotFoundError"),
    "raises": ("MODEL = Model(", "1 / 0\nMODEL = Model(", r"mine.py, line \d+: ZeroDivisionError"),
    "exits": ("MODEL = Model(", "exit(3)\nMODEL = Model(", r"line \d+: raises SystemExit|SystemExit"),
    "exits in sys": ("MODEL = Model(", "sys.exit()\nMODEL = Model(", "SystemExit"),
    "exits at once": ("MODEL = Model(", "import os; os._exit(0)\nMODEL = Model(", r"calls os._exit\(0\)"),
    "interrupts": ("MODEL = Model(", "raise KeyboardInterrupt\nMODEL = Model(", "raises KeyboardInterrupt"),
    "waits": ("MODEL = Model(", "import time; time.sleep(100)\nMODEL = Model(", "still running after"),
    "asks": ("MODEL = Model(", "input()\nMODEL = Model(", "EOFError"),
    "no MODEL": ("MODEL = Model(", "THING = Model(", "defines no MODEL"),
    "helper beside": ("import math", "import math, beside_it", "imports 'beside_it', a file beside it"),
    "prints in a kernel": (
        "    return total",
        "    print(total)\n    return total",
        r"energy \(mine.py, line \d+\) prints",
    ),
    # the compiler
    "makes an array": ("total = 0.0", "total = np.zeros(3).sum()", r"mine.py, line \d+: cannot be compiled"),
    "a helper not marked": (
        "@inlined\ndef square",
        "def square",
        r"energy calls square \(mine.py, line \d+\): mark it",
    ),
    "try": (
        "total = 0.0",
        "try:\n        total = 0.0\n    except ValueError:\n        total = 1.0",
        "cannot be compiled",
    ),
}


LEARNING = """
import math
import numpy as np
from thermosim import Constant, Derived, Model, Parameter
from thermosim.kernels.elementary import exp

def prepare(theta, constants, shared, derived, scratch):
    for i in range(COMPONENTS):
        for lane in range(theta.shape[1]):
            derived[CENTER + i, lane] = theta[MEAN + i, lane]
            derived[RATE + i, lane] = constants[SCALE, lane] * exp(theta[LOG_RATE + i, lane])

def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):
    for lane in range(x.shape[1]):
        phi[lane] = 0.0
        for i in range(COMPONENTS):
            d = x[i, lane] - derived[CENTER + i, lane]
            k = derived[RATE + i, lane]
            phi[lane] += 0.5 * k * d * d + 0.5 * math.log(2.0 * math.pi / k)
            force[i, lane] = -k * d

def parameter_gradient(x, derived, constants, shared, factor, loss, gradient, scratch):
    for lane in range(x.shape[1]):
        for i in range(COMPONENTS):
            d = x[i, lane] - derived[CENTER + i, lane]
            k = derived[RATE + i, lane]
            loss[lane] += factor * (0.5 * k * d * d + 0.5 * math.log(2.0 * math.pi / k))
            gradient[MEAN + i, lane] -= factor * k * d
            gradient[LOG_RATE + i, lane] += factor * (0.5 * k * d * d - 0.5)

def fresh(x, derived, constants, shared, normal, uniform, scratch):
    for i in range(COMPONENTS):
        for lane in range(x.shape[1]):
            x[i, lane] = derived[CENTER + i, lane] + normal[i, lane] / math.sqrt(derived[RATE + i, lane])

def cross_entropy(a, b, constants):
    k = constants["scale"]
    ka, kb = k * np.exp(a[..., 2:]), k * np.exp(b[..., 2:])
    return (0.5 * kb * (1 / ka + (a[..., :2] - b[..., :2]) ** 2) + 0.5 * np.log(2 * np.pi / kb)).sum(axis=-1)

def two(c):
    return (2,)

def zeros(c):
    return np.zeros(2)

MODEL = Model(
    name="mine", summary="a test", source="a test",
    constants=(Constant("scale", 1.5, "scale", minimum=0.0, exclusive=True),),
    components=lambda c: 2,
    parameters=(Parameter("mean", "", two, zeros), Parameter("log_rate", "", two, zeros)),
    derived=(Derived("center", two), Derived("rate", two)),
    prepare=prepare, surprisal_and_force=surprisal_and_force, parameter_gradient=parameter_gradient,
    fresh=fresh, fresh_normals=lambda c: 2, cross_entropy=cross_entropy, normalised=True,
)
"""
LEARNING_FAULTS = {
    "sign": ("-= factor * k * d\n", "+= factor * k * d\n", "parameter_gradient gives .* slope of phi"),
    "at other theta only": ("- 0.5)\n", "- 0.5 * (1.0 + derived[CENTER + i, lane]))\n", "parameter_gradient gives"),
    "writes to the gradient": (
        "gradient[MEAN + i, lane] -= f",
        "gradient[MEAN + i, lane] = -f",
        "gradient what it must",
    ),
    "writes to the loss": ("loss[lane] += f", "loss[lane] = f", "parameter_gradient"),
    "no factor": ("gradient[MEAN + i, lane] -= factor * k", "gradient[MEAN + i, lane] -= k", "by factor"),
    "a loss of its own": ("loss[lane] += factor * (0.5", "loss[lane] += factor * (0.7", "it must add phi"),
    "adds to phi": ("        phi[lane] = 0.0\n", "", "phi is not finite at any"),
    "adds to the force": ("force[i, lane] = -k", "force[i, lane] += -k", "force.* is nan"),
    "one component only": ("            force[i, lane] = -k * d", "        force[0, lane] = -k * d", "force"),
    "derived left out": ("            derived[RATE + i", "            if i: derived[RATE + i", "phi is not finite"),
    "scratch not declared": ("phi[lane] = 0.0", "scratch[0, lane] = phi[lane] = 0.0", "IndexError"),
    "mean over lanes": ("d = x[i, lane] - derived", "d = x[i, 0] - derived", "depends on other lanes"),
    "force of another lane": (
        "force[i, lane] = -k * d",
        ("force[i, lane] = -k * (x[i, lane - 1] - derived[CENTER + i, lane - 1])"),
        "depends on other lanes",
    ),
    "no normaliser": (" + 0.5 * math.log(2.0 * math.pi / k)", "", "normalised = True, but|parameter_gradient gives"),
    "writes to derived": (
        "            k = derived[RATE + i, lane]\n            phi",
        "            derived[RATE + i, lane] += 0.0\n            k = 1.0\n            phi",
        "read-only",
    ),
    "fresh without a root": (
        "/ math.sqrt(derived[RATE + i, lane])",
        "/ derived[RATE + i, lane]",
        "fresh does not sample",
    ),
    "fresh without theta": ("x[i, lane] = derived[CENTER + i, lane] + n", "x[i, lane] = n", "fresh does not sample"),
    "fresh of too few normals": ("fresh_normals=lambda c: 2", "fresh_normals=lambda c: 1", "in fresh: IndexError"),
    "cross entropy": ("a[..., 2:]), k * np.exp(b", "b[..., 2:]), k * np.exp(a", "are a and b mixed up"),
    "shape of a cross entropy": (".sum(axis=-1)", "", r"cross_entropy gives shape \(4, 2\), expected \(4,\)"),
    "no prepare": ("prepare=prepare, ", "", "derived rows and no prepare"),
    "no derived": ('    derived=(Derived("center", two), Derived("rate", two)),\n', "", "no derived rows"),
    "no surprisal": (
        "surprisal_and_force=surprisal_and_force, ",
        "",
        "parameter_gradient and neither",
    ),
    "discrete": ("normalised=True", "normalised=True, discrete=True", "is discrete and has surprisal_and_force"),
    "a name twice": ('Derived("rate"', 'Derived("mean"', "so MEAN would mean both"),
}

SPINS = """
import numpy as np
from thermosim import Constant, Model, Parameter
from thermosim.kernels.elementary import exp

def surprisal(x, derived, constants, shared, phi, scratch):
    for lane in range(x.shape[1]):
        phi[lane] = -constants[FIELD, lane] * x[0, lane]
        for i in range(COMPONENTS - 1):
            phi[lane] -= derived[COUPLING + i, lane] * x[i, lane] * x[i + 1, lane]

def resample(x, x_new, derived, constants, shared, uniform, scratch):
    for lane in range(x.shape[1]):
        for i in range(COMPONENTS):
            x_new[i, lane] = x[i, lane]
        for place in range(COMPONENTS):
            i = COMPONENTS - 1 - place if BACKWARD else place
            field = constants[FIELD, lane] if i == 0 else derived[COUPLING + i - 1, lane] * x_new[i - 1, lane]
            if i + 1 < COMPONENTS:
                field += derived[COUPLING + i, lane] * x_new[i + 1, lane]
            x_new[i, lane] = 1.0 if uniform[i, lane] * (1.0 + exp(-2.0 * field)) <= 1.0 else -1.0

def parameter_gradient(x, derived, constants, shared, factor, loss, gradient, scratch):
    for lane in range(x.shape[1]):
        loss[lane] -= factor * constants[FIELD, lane] * x[0, lane]
        for i in range(COMPONENTS - 1):
            loss[lane] -= factor * derived[COUPLING + i, lane] * x[i, lane] * x[i + 1, lane]
            gradient[COUPLING + i, lane] -= factor * x[i, lane] * x[i + 1, lane]

MODEL = Model(
    name="spins", summary="a test", source="a test", constants=(Constant("field", 0.3, "field"),),
    components=lambda c: 4,
    parameters=(Parameter("coupling", "", lambda c: (3,), lambda c: np.array([0.5, -0.4, 0.6])),),
    discrete=True, levels=(-1.0, 1.0), surprisal=surprisal, resample=resample,
    resample_uniforms=lambda c: 4, parameter_gradient=parameter_gradient,
)
"""
SPINS_FAULTS = {
    "odds": ("exp(-2.0 * field)", "exp(-1.0 * field)", "resample does not sample|resample"),
    "old neighbours": ("* x_new[i + 1, lane]", "* x_new[i - 1, lane]", "resample.* does not sample exp"),
    "levels": ("levels=(-1.0, 1.0)", "levels=(0.0, 1.0)", "values other than levels"),
    "uniforms": ("resample_uniforms=lambda c: 4", "resample_uniforms=lambda c: 3", "in resample: IndexError"),
    "gradient": ("gradient[COUPLING + i, lane] -=", "gradient[COUPLING + i, lane] +=", "parameter_gradient gives"),
    "in place": ("            x_new[i, lane] = x[i, lane]", ("            x_new[i, lane] = x[i, lane]\n            "
                 "x[i, lane] = 1.0"), "in resample: .*read-only"),
}  # fmt: skip


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(load, "PATIENCE", 1.0)


def test_what_is_raised_at_import_is_a_sentence(tmp_path):
    """Also what is no Exception, and an error whose own words fail."""
    path = tmp_path / "mine.py"
    path.write_text("raise BaseException('x')")
    assert "line 1: _Stopped: raises BaseException, which would end thermosim" in said_of(path)[0]
    path.write_text("class E(Exception):\n    def __str__(self):\n        raise E\nraise E")
    assert said_of(path)[0].endswith("cannot be imported: mine.py, line 4: E.")


def said_of(path) -> list[str]:
    """What is wrong with a file, as a case would find it with the default constants."""
    model, faults = load_user_model(path)
    if model is None:
        return faults
    constants, faults = trial_constants({}, model)
    compiles = model.drive is not None  # of one kind only, to be quick
    return faults + functional_faults(model) or examine(model, [constants], compile_too=compiles).faults


FILES = {"driven": (DRIVEN, DRIVEN_FAULTS), "learning": (LEARNING, LEARNING_FAULTS), "spins": (SPINS, SPINS_FAULTS)}


@pytest.mark.parametrize("kind", FILES)
def test_a_file_without_a_fault_passes(tmp_path, kind):
    path = tmp_path / "mine.py"
    path.write_text(FILES[kind][0])
    assert not said_of(path)


@pytest.mark.parametrize(("kind", "fault"), [(kind, fault) for kind in FILES for fault in FILES[kind][1]])
def test_a_fault_is_named(tmp_path, kind, fault):
    text, faults = FILES[kind]
    old, new, said = faults[fault]
    assert old in text
    path = tmp_path / "mine.py"
    path.write_text(text.replace(old, new, 1 if kind == "driven" else -1))
    (tmp_path / "beside_it.py").write_text("")
    found = said_of(path)
    assert re.search(said, "\n".join(found) or "nothing", re.DOTALL), found
    assert all("\n" not in sentence and len(sentence) < 700 for sentence in found)
