"""A user's model in a case: constants at all their values, text of any encoding, errors that come late, resume."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within
from thermosim.case.faults import CaseError
from thermosim.cli.exits import Exit, explained
from thermosim.models.user_file.load import contained, load_user_model

MODEL = """
import numpy as np
from thermosim import Constant, Model, Observable, Parameter

def energy(x, theta, constants, shared, lane):
    return 0.5 * constants[STIFF, lane] * (x[0, lane] - theta[CENTRE, lane]) ** 2

def force(i, x, theta, constants, shared, lane):
    return -constants[STIFF, lane] * (x[0, lane] - theta[CENTRE, lane])

def equilibrium(theta, constants, temperature, normal):
    return theta + np.sqrt(temperature / constants["stiff"]) * normal

MODEL = Model(
    name="mine", summary="a test", source="a test",
    constants=(Constant("stiff", 2.0, "stiffness", minimum=0.0), Constant("other", 0.5, "unused")),
    components=lambda c: 1,
    parameters=(Parameter("centre", "centre", lambda c: (1,), lambda c: np.zeros(1)),),
    energy=energy, force=force, equilibrium=equilibrium,
    observables={"right": Observable("x", lambda x, c: x[..., 0] > 0, "1", "right", "x > 0")},
)
"""
CASE = """
[model]
file = "mine.py"
[theta]
dynamics = "frozen"
[x]
dynamics = "ula"
time_step = 0.1
initial = "equilibrium"
[ensemble]
replicas = 2000
[run]
steps = 2
"""
SWEPT = '[sweep]\n"model.stiff" = { values = [0.5, 1.0, 8.0] }\n'


def case_of(folder, model=MODEL, case=CASE, **overrides):
    (folder / "mine.py").write_text(model)
    return thermosim.load_case(case, overrides, folder=folder)


def test_a_name_of_ours_spares_no_check(tmp_path):
    """And no theory of ours is compared with a model that only has its name."""
    wrong = MODEL.replace('name="mine"', 'name="harmonic-trap"').replace("return -constants", "return constants")
    with pytest.raises(CaseError, match=r"force\(0, ...\) = "):
        case_of(tmp_path, wrong)


def test_a_fault_at_one_end_of_a_sweep_is_seen(tmp_path):
    wrong = MODEL.replace("return -constants", "return -(1.5 if constants[STIFF, lane] > 5.0 else 1.0) * constants")
    case_of(tmp_path, wrong)
    with pytest.raises(CaseError, match=r"force\(0, ...\) = "):
        case_of(tmp_path, wrong, CASE + SWEPT)


def test_a_swept_constant_is_an_array_for_the_equilibrium(tmp_path):
    deaf = MODEL.replace('constants["stiff"])', 'float(np.min(constants["stiff"])))')
    case_of(tmp_path, deaf)
    only_one = MODEL.replace(
        "    return theta + np", '    assert np.ndim(constants["stiff"]) == 0\n    return theta + np'
    )
    case_of(tmp_path, only_one)
    with pytest.raises(
        CaseError, match=r"equilibrium raises an error: mine.py, line \d+, in equilibrium: AssertionError"
    ):
        case_of(tmp_path, only_one, CASE + SWEPT)


@pytest.mark.parametrize("shape", ["", ", shape=lambda c: (1,)"])
def test_what_is_computed_from_a_swept_constant_follows_it(tmp_path, shape):
    """Lanes share arrays and defaults: with the first value for all, <x^2> at k = 8 would be 1/0.5 in place of 1/8."""
    place = "shared[SQUARE]" if shape else "constants[SQUARE, lane]"
    value = 'c["stiff"] ** 2' if not shape else '[c["stiff"] ** 2]'
    root = 'constants["square"]' if not shape else 'constants["square"][0]'
    model = MODEL.replace(
        'Constant("other", 0.5, "unused")', f'Constant("square", lambda c: {value}, "its square"{shape})'
    )
    model = model.replace("constants[STIFF, lane]", f"{place} ** 0.5")
    model = model.replace('constants["stiff"])', f"np.sqrt({root}))")
    ds = thermosim.simulate(case_of(tmp_path, model, CASE + SWEPT))
    for stiff in (0.5, 1.0, 8.0):
        square = ds.x.sel(stiff=stiff).isel(step=0).values.ravel() ** 2
        error = square.std(ddof=1) / np.sqrt(square.size)
        assert_within(
            square.mean(), error, 1.0 / stiff, catches="the first value of a sweep for all", mistake=1.0 / stiff
        )


def test_a_default_computed_from_a_swept_constant_follows_it(tmp_path):
    model = MODEL.replace("lambda c: np.zeros(1)", 'lambda c: np.array([c["stiff"]])')
    x = thermosim.simulate(case_of(tmp_path, model, CASE + SWEPT)).x.isel(step=0)
    for stiff in (0.5, 1.0, 8.0):
        places = x.sel(stiff=stiff).values.ravel()
        error = places.std(ddof=1) / np.sqrt(places.size)
        assert_within(places.mean(), error, stiff, catches="the first value of a sweep for all", mistake=0.5)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xef\xbb\xbf" + MODEL.encode(), ""),
        (("# Gr\u00f6\u00dfe\n" + MODEL).encode(), ""),
        (("# Gr\u00f6\u00dfe\n" + MODEL).encode("latin-1"), "perhaps Latin-1"),
        (("# -*- coding: latin-1 -*-\n# \u00f6\n" + MODEL).encode("latin-1"), "save it as UTF-8"),
        (MODEL.encode("utf-16"), "UTF-16"),
        (b"\0" + MODEL.encode(), "zero bytes"),
        (b"", "defines no MODEL"),
        (MODEL.replace("\n", "\r\n").encode(), ""),
    ],
)
def test_encodings(tmp_path, content, said):
    (tmp_path / "mine.py").write_bytes(content)
    model, faults = load_user_model(tmp_path / "mine.py")
    assert (model is not None) == (not said)
    assert said in "".join(faults)


def test_a_file_that_prints_leaves_the_standard_output_alone(tmp_path, capsys):
    loud = "import sys\nprint('hello')\nsys.stdout.write('there')\n" + MODEL.replace(
        "x[..., 0] > 0", "print('x') or x[..., 0]"
    )
    thermosim.simulate(case_of(tmp_path, loud, **{"ensemble.replicas": 3}))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hello" in printed.err
    assert "there" in printed.err


def test_an_error_in_a_run_is_the_users(tmp_path):
    """One that the check cannot meet: it arises at frames of so many replicas only."""
    late = MODEL.replace("x[..., 0] > 0", "x[..., 0] / (0 if x.shape[-2] > 100 else 1)")
    late = late.replace("lambda x, c: x", "lambda x, c: [][0] if x.size > 100 else x")
    with pytest.raises(IndexError) as caught:
        thermosim.simulate(case_of(tmp_path, late))
    said, code = explained(caught.value)
    assert code == Exit.REFUSED
    assert "mine.py, line" in said
    assert "IndexError" in said


def test_an_interrupt_while_a_file_is_read_is_an_interrupt():
    """Ctrl-C is the user's; a KeyboardInterrupt that a file raises is a fault of the file."""
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt), contained():
        time.sleep(5.0)
    with pytest.raises(Exception, match="raises KeyboardInterrupt"), contained():
        raise KeyboardInterrupt


def test_commands(tmp_path):
    (tmp_path / "mine.py").write_text(MODEL.replace('"stiff", 2.0', '"stiff", None'))
    (tmp_path / "wrong.py").write_text(MODEL.replace("return -constants", "return constants"))

    def models(*arguments):
        command = [sys.executable, "-m", "thermosim", "models", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)

    fine = models("mine.py", "--set", "model.stiff=3.0")
    assert fine.returncode == 0, fine.stderr
    assert "force against energy at 6 states" in " ".join(fine.stdout.split())
    assert "stiff = 3.0" in fine.stdout
    wrong = models("wrong.py")
    assert wrong.returncode == 2
    assert "force(0, ...)" in wrong.stderr
    assert not wrong.stdout


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("components=lambda c: 1", "components=lambda c: 'a'", "components gives 'a'; expected a whole number"),
        ("components=lambda c: 1", "components=lambda c: None", "components gives None; expected a whole number"),
        ("components=lambda c: 1", "components=lambda c: c['none']", r"components raises an error: .*line \d+"),
    ],
)
def test_lengths_that_are_none_are_told_before_anything_asks_for_them(right, wrong, said, tmp_path):
    assert right in MODEL
    with pytest.raises(CaseError, match=f"model.file = 'mine.py': {said}"):
        case_of(tmp_path, MODEL.replace(right, wrong))
