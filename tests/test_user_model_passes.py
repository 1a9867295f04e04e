"""A right model is never refused: every model of thermosim as a user's file, and models hard to differentiate."""

from __future__ import annotations

from pathlib import Path

import pytest

import thermosim.models
from thermosim.case.model import functional_faults, trial_constants
from thermosim.models import MODELS
from thermosim.models.user_file.examine import examine
from thermosim.models.user_file.load import load_user_model

SMALL = {
    "boltzmann-machine": {"dimension": 4},
    "double-well": {"cells": 16, "range": 5.0},
    "gaussian-mixture": {"mixtures": 2, "dimension": 1},
    "network-energy": {"hidden": 5, "dimension": 2},
    "rbm": {"dimension": 3, "hidden": 2},
    "harmonic-trap": {"dimension": 3},
    "full-gaussian": {"dimension": 3},
}


# of these the check of a user's file is made each time, one for each kind of function it looks at
FEW = ("harmonic-trap", "gaussian", "rbm", "linear-regression", "softmax-regression", "multilayer-perceptron")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FEW else pytest.mark.exhaustive)
        for name, model in MODELS.items()
        if model.has_kernels
    ],
)
def test_a_built_in_model_passes_as_a_users_file(tmp_path, name):
    module = MODELS[name].components.__module__
    module = name.replace("-", "_") if not module.startswith("thermosim.models") else module.rpartition(".")[2]
    source = (Path(thermosim.models.__file__).parent / f"{module}.py").read_text("utf-8")
    (tmp_path / "mine.py").write_text(source)
    model, faults = load_user_model(tmp_path / "mine.py")
    assert model is not None, faults
    constants, faults = trial_constants(SMALL.get(name, {}), model)
    found = examine(model, [constants], compile_too=False)
    assert not faults + functional_faults(model) + found.faults
    assert found.checked


HEAD = """
import math
import numpy as np
from thermosim import Constant, Model, Parameter
"""
TAIL = """
MODEL = Model(name="hard", summary="s", source="s", components=lambda c: N, energy=energy, force=force, {more})
"""
# energy and force of one component y, and what else the model has
HARD = {
    "large and flat": ("1e9 + 0.5 * y * y", "-y", ""),
    "steep": ("5e11 * y * y", "-1e12 * y", ""),
    "in metres": ("0.5e18 * y * y + 1e36 * y**4", "-1e18 * y - 4e36 * y**3", ""),
    "quick": ("math.sin(300.0 * y) + y * y", "-300.0 * math.cos(300.0 * y) - 2.0 * y", ""),
    "kinks": ("abs(y - 0.3) + max(0.0, y) + max(0.0, 2.0 * y - 1.0)",
              "-((1.0 if y > 0.3 else -1.0) + (1.0 if y > 0.0 else 0.0) + (2.0 if y > 0.5 else 0.0))", ""),
    "a wall": ("math.inf if y > 1.0 else 0.5 * y * y", "0.0 if y > 1.0 else -y", ""),
    "positive only": ("y - 2.0 * math.log(y)", "-1.0 + 2.0 / y", ""),
    "a pole": ("1.0 / y**12 - 1.0 / y**6", "12.0 / y**13 - 6.0 / y**7", ""),
    "exponential": ("2.0 * math.cosh(5.0 * y)", "-10.0 * math.sinh(5.0 * y)", ""),
    "an angle": ("-0.0 * y", "0.0 * y", "equilibrium=lambda t, c, T, z: np.pi * np.tanh(z)"),
    "an angle with a well": ("-math.cos(y)", "-math.sin(y)",
                             "equilibrium=lambda t, c, T, z: np.arctan2(np.sin(z), np.cos(z))"),
    "heavy tails": ("4.0 * math.log(1.0 + y * y)", "-8.0 * y / (1.0 + y * y)", ""),
    "nothing": ("0.0", "0.0", ""),
}  # fmt: skip


@pytest.mark.parametrize("components", [1, 20])
@pytest.mark.parametrize("kind", HARD)
def test_a_right_model_of_a_hard_kind_passes(tmp_path, kind, components):
    phi, force, more = HARD[kind]
    functions = f"""
N = {components}
def energy(x, theta, constants, shared, lane):
    total = 0.0
    for i in range(N):
        y = x[i, lane]
        total += {phi}
    return total
def force(i, x, theta, constants, shared, lane):
    y = x[i, lane]
    return {force}
"""
    (tmp_path / "mine.py").write_text(HEAD + functions + TAIL.format(more=more))
    model, faults = load_user_model(tmp_path / "mine.py")
    assert model is not None, faults
    assert not examine(model, [{}], compile_too=False).faults


@pytest.mark.parametrize("kind", [kind for kind in HARD if kind not in ("nothing", "an angle")])
def test_half_a_percent_is_seen_on_them_all(tmp_path, kind):
    """So that what lets right models pass lets no wrong one pass."""
    phi, force, _ = HARD[kind]
    functions = f"""
def energy(x, theta, constants, shared, lane):
    y = x[0, lane]
    return {phi}
def force(i, x, theta, constants, shared, lane):
    y = x[0, lane]
    return 1.005 * ({force})
N = 1
"""
    (tmp_path / "mine.py").write_text(HEAD + functions + TAIL.format(more=""))
    model, _ = load_user_model(tmp_path / "mine.py")
    assert model is not None
    (fault,) = examine(model, [{}], compile_too=False).faults
    assert "force(0, ...)" in fault


def test_a_negative_index_counts_from_the_end_compiled_too(tmp_path):
    """A periodic chain, x[i - 1] of the first being the last: compiled code is compared with plain Python."""
    functions = """
N = 4
def energy(x, theta, constants, shared, lane):
    total = 0.0
    for i in range(N):
        total += 0.5 * (x[i, lane] - x[i - 1, lane]) ** 2 + 0.1 * x[i, lane] ** 2
    return total
def force(i, x, theta, constants, shared, lane):
    return x[i - 1, lane] + x[(i + 1) % N, lane] - 2.2 * x[i, lane]
"""
    (tmp_path / "mine.py").write_text(HEAD + functions + TAIL.format(more=""))
    model, faults = load_user_model(tmp_path / "mine.py")
    assert model is not None, faults
    assert not examine(model, [{}]).faults


def test_whole_numbers_that_overflow_when_compiled_are_seen(tmp_path):
    functions = """
N = 1
def energy(x, theta, constants, shared, lane):
    count = 3000000000 + lane - lane
    return 0.5 * x[0, lane] ** 2 + 1e-18 * (count * count * 3)
def force(i, x, theta, constants, shared, lane):
    return -x[0, lane]
"""
    (tmp_path / "mine.py").write_text(HEAD + functions + TAIL.format(more=""))
    model, _ = load_user_model(tmp_path / "mine.py")
    assert model is not None
    (fault,) = examine(model, [{}]).faults
    assert "compiled and" in fault
