"""A user's own learning model, with functions of a tile: learned, checked against finite differences, analysed."""

from __future__ import annotations

import numpy as np
import pytest

import thermosim
from tests.assertions import assert_within, mean_and_error
from thermosim import analysis

MODEL = '''
import math

import numpy as np

from thermosim import Constant, Derived, Model, Parameter
from thermosim.kernels.elementary import exp, fma

COMPONENTS = 1
SHIFT, RATE, LEVEL = 0, 0, 1


def prepare(theta, constants, shared, derived, scratch):
    """A Laplace-like bell made smooth: phi = rate sqrt(1 + (x - shift)^2)."""
    for lane in range(theta.shape[1]):
        derived[RATE, lane] = theta[SHIFT, lane]
        derived[LEVEL, lane] = constants[STEEPNESS, lane]


def surprisal_and_force(x, derived, constants, shared, phi, force, scratch):
    for lane in range(x.shape[1]):
        d = x[0, lane] - derived[RATE, lane]
        root = math.sqrt(fma(d, d, 1.0))
        phi[lane] = derived[LEVEL, lane] * root
        force[0, lane] = -derived[LEVEL, lane] * d / root


def parameter_gradient(x, derived, constants, shared, factor, loss, gradient, scratch):
    for lane in range(x.shape[1]):
        d = x[0, lane] - derived[RATE, lane]
        root = math.sqrt(fma(d, d, 1.0))
        loss[lane] += factor * derived[LEVEL, lane] * root
        gradient[0, lane] -= factor * derived[LEVEL, lane] * d / root


MODEL = Model(
    name="bell",
    summary="a bell whose place is learned",
    source="a test",
    constants=(Constant("steepness", 2.0, "steepness of the bell"),),
    components=lambda constants: 1,
    parameters=(Parameter("shift", "place of the bell", lambda c: (1,), lambda c: np.zeros(1)),),
    derived=(Derived("rate", lambda c: (1,)), Derived("level", lambda c: (1,))),
    prepare=prepare,
    surprisal_and_force=surprisal_and_force,
    parameter_gradient=parameter_gradient,
)
'''

CASE = """
[model]
file = "bell.py"
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 4
[x]
dynamics = "mala"
time_step = 0.2
tau = 5
initial = "data"
samples = 4
[data]
file = "rows.npy"
[ensemble]
replicas = 200
[run]
steps = 400
[record]
every = 100
"""


@pytest.fixture
def folder(tmp_path):  # type: ignore[no-untyped-def]
    (tmp_path / "bell.py").write_text(MODEL)
    np.save(tmp_path / "rows.npy", 1.5 + np.random.default_rng(0).normal(size=(300, 1)))
    return tmp_path


def test_it_learns(folder) -> None:  # type: ignore[no-untyped-def]
    """By symmetry the place that contrast finds is where the data's mean slope vanishes, near their mean."""
    ds = thermosim.simulate(thermosim.load_case(CASE, folder=folder))
    rows = np.load(folder / "rows.npy")[:, 0]
    places = np.linspace(1.0, 2.0, 2001)
    d = rows[:, None] - places
    best = places[np.argmin(np.abs((d / np.sqrt(1.0 + d**2)).mean(axis=0)))]
    mean, error = mean_and_error(ds.theta.values[-1, :, 0])
    assert_within(mean, error, best, catches="sign or weight of the contrast", mistake=0.5, sigmas=6.0)
    assert abs(ds.phi - ds.phi[0] - ds.work - ds.heat).max() < 1e-10
    assert float(analysis.learning_ledger(ds).first_law_residual.max()) < 1e-10


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gradient[0, lane] -= factor", "gradient[0, lane] += factor", "parameter_gradient"),
        ("force[0, lane] = -derived", "force[0, lane] = -2.0 * derived", "force"),
    ],
)
def test_a_wrong_slope_is_refused(folder, old: str, new: str, said: str) -> None:  # type: ignore[no-untyped-def]
    (folder / "bell.py").write_text(MODEL.replace(old, new))
    with pytest.raises(thermosim.CaseError, match="finite differences") as caught:
        thermosim.load_case(CASE, folder=folder)
    assert said in str(caught.value)
