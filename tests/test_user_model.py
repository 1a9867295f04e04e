"""A user's own model works as the built-in ones, and is refused with a reason when it cannot."""

import numpy as np
import pytest
from scipy import integrate

import thermosim
from tests.assertions import assert_within
from thermosim.case.faults import CaseError

MODEL = """
import numpy as np
from thermosim import Constant, Model, Parameter

def energy(x, theta, constants, shared, lane):
    total = theta[SHIFT + 1, lane] * x[1, lane]
    for i in range(COMPONENTS):
        y = x[i, lane] - shared[CENTRE + i]
        total += constants[QUARTIC, lane] * y**4 + 0.5 * constants[STIFF, lane] * y**2
    return total

def force(i, x, theta, constants, shared, lane):
    y = x[i, lane] - shared[CENTRE + i]
    slope = 4.0 * constants[QUARTIC, lane] * y**3 + constants[STIFF, lane] * y
    return -slope - (theta[SHIFT + 1, lane] if i == 1 else 0.0)

MODEL = Model(
    name="quartic", summary="two quartic wells", source="a test",
    constants=(
        Constant("stiff", 1.0, "harmonic part"),
        Constant("quartic", None, "quartic part", minimum=0.0),
        Constant("centre", [0.3, -0.2], "centres", shape=lambda c: (2,)),
    ),
    components=lambda c: 2,
    parameters=(Parameter("shift", "tilt", lambda c: (2,), lambda c: np.array([0.0, 0.7])),),
    energy=energy, force=force,
)
"""
CASE = """
[model]
file = "quartic.py"
quartic = 0.25
[theta]
dynamics = "frozen"
[x]
dynamics = "ula"
time_step = 0.002
initial = "zero"
[ensemble]
replicas = 4000
seed = 2
[run]
steps = 2500
[record]
first = 2500
every = 1
"""


def write(folder, model=MODEL, case=CASE):
    (folder / "quartic.py").write_text(model)
    path = folder / "case.toml"
    path.write_text(case)
    return path


def test_stationary_moments_by_quadrature(tmp_path):
    """A tilt on the wrong component, or a constant read from the wrong row, moves a mean by ten errors."""
    ds = thermosim.simulate(thermosim.load_case(write(tmp_path)))
    x = ds.x.isel(step=-1).values
    for i, (center, tilt) in enumerate(((0.3, 0.0), (-0.2, 0.7))):

        def weight(y, power, center=center, tilt=tilt):
            return y**power * np.exp(-(0.25 * (y - center) ** 4 + 0.5 * (y - center) ** 2 + tilt * y))

        moments = [integrate.quad(weight, -8, 8, args=(power,))[0] for power in range(3)]
        mean = moments[1] / moments[0]
        square = moments[2] / moments[0]
        for power, exact in ((1, mean), (2, square)):
            sample = x[:, i] ** power
            error = sample.std(ddof=1) / np.sqrt(sample.size)
            assert_within(sample.mean(), error, exact, catches="misplaced constant or tilt", mistake=0.2)


def test_a_constant_of_a_users_model_can_be_swept(tmp_path):
    case = CASE.replace("replicas = 4000", "replicas = 3").replace("steps = 2500", "steps = 5")
    swept = case.replace("first = 2500", "first = 0") + '[sweep]\n"model.quartic" = { values = [0.1, 0.9] }\n'
    ds = thermosim.simulate(thermosim.load_case(write(tmp_path, case=swept)))
    assert ds.x.dims == ("step", "quartic", "replica", "x_dim")
    assert not np.allclose(ds.phi.isel(quartic=0, step=-1), ds.phi.isel(quartic=1, step=-1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("slope = 4.0 *", "slope = 2.0 *", r"force\(\d, ...\) = .* where minus the slope of energy is"),
        ("return -slope", "return slope", r"finite differences"),
        ("shared[CENTRE + i]\n    slope", "shared[CENTER + i]\n    slope", r"NameError.*CENTER"),
        ("MODEL = Model", "THING = Model", r"defines no MODEL"),
        ("import numpy", "import numpie", r"cannot be imported: quartic.py, line 2: ModuleNotFoundError"),
    ],
)
def test_refusals(tmp_path, old, new, message):
    assert old in MODEL
    with pytest.raises(CaseError, match=message):
        thermosim.load_case(write(tmp_path, model=MODEL.replace(old, new)))


def test_missing_file_and_missing_constant(tmp_path):
    with pytest.raises(CaseError, match=r"other.py.*no such file"):
        thermosim.load_case(write(tmp_path, case=CASE.replace("quartic.py", "other.py")))
    with pytest.raises(CaseError, match=r"model.quartic: missing; quartic part"):
        thermosim.load_case(write(tmp_path, case=CASE.replace("quartic = 0.25\n", "")))


def test_an_edited_model_is_compiled_anew(tmp_path):
    """The cache is keyed by the file's contents: the second run must not use the first one's machine code."""
    short = CASE.replace("first = 2500", "first = 0").replace("steps = 2500", "steps = 1").replace("4000", "2")
    before = thermosim.simulate(thermosim.load_case(write(tmp_path, case=short)))
    doubled = MODEL.replace("0.5 * constants[STIFF", "1.0 * constants[STIFF").replace(
        "+ constants[STIFF", "+ 2.0 * constants[STIFF"
    )
    after = thermosim.simulate(thermosim.load_case(write(tmp_path, model=doubled, case=short)))
    assert not np.allclose(before.phi, after.phi)
