"""Models by formula: against the same models written by hand, slopes against differences, laws against closed forms."""

import math

import numpy as np
import pytest
from scipy import integrate

import thermosim
from thermosim.case.faults import CaseError
from thermosim.kernels.evaluate import Evaluator
from thermosim.models.formula import functions
from thermosim.models.formula.compiled import compiled
from thermosim.models.formula.grammar import FormulaFault, parsed
from thermosim.models.formula.growth import FALLS, FLAT, RISES, UNDECIDED, along
from thermosim.models.formula.judged import landscape, proofs
from thermosim.models.formula.laws import law_at
from thermosim.models.formula.made import formula_model, model_of_formula
from thermosim.models.user_file.examine import examine

TILTED = "barrier*(x0**2 - 1)**2 - tilt*x0"
BY_HAND = """
import numpy as np
from thermosim import Constant, Model, Parameter


def energy(x, theta, constants, shared, lane):
    q = x[0, lane] * x[0, lane] - 1.0
    return constants[BARRIER, lane] * q * q - theta[TILT, lane] * x[0, lane]


def force(i, x, theta, constants, shared, lane):
    q = x[0, lane] * x[0, lane] - 1.0
    return -4.0 * constants[BARRIER, lane] * q * x[0, lane] + theta[TILT, lane]


MODEL = Model(
    name="double-well",
    summary="",
    source="",
    constants=(Constant("barrier", 2.0, "height"),),
    components=lambda constants: 1,
    parameters=(Parameter("tilt", "force", lambda c: (1,), lambda c: np.zeros(1)),),
    energy=energy,
    force=force,
)
"""
TILT = {"dynamics": "protocol", "protocol": {"tilt": {"kind": "linear", "initial": 0.0, "final": 2.0}}}


def case(model, theta=None, replicas=16, steps=40, record=None, **x):
    x = {"dynamics": "ula", "time_step": 0.005, "initial": "zero", **x}
    tables = {"model": model, "x": x, "ensemble": {"replicas": replicas}, "run": {"steps": steps}}
    return tables | ({"theta": theta} if theta else {}) | ({"record": record} if record else {})


def model_of(section, **raw):
    model, faults = formula_model({"model": {"formula": section, **raw.pop("model", {})}, **raw})
    assert not faults, faults
    return model


def faults_of(tables):
    with pytest.raises(CaseError) as error:
        thermosim.load_case(tables)
    return error.value.faults


def same(ds, other):
    for name in ("x", "phi", "work", "heat", "log_ratio_x"):
        np.testing.assert_allclose(ds[name], other[name], rtol=1e-12, atol=1e-12, err_msg=name)


def test_a_double_well_is_the_one_written_by_hand(tmp_path):
    (tmp_path / "well.py").write_text(BY_HAND)
    by_hand = thermosim.simulate(thermosim.load_case(case({"file": "well.py", "barrier": 3.0}, TILT), folder=tmp_path))
    by_formula = thermosim.simulate(thermosim.load_case(case({"barrier": 3.0, "formula": {"energy": TILTED}}, TILT)))
    same(by_formula, by_hand)
    assert float(abs(by_formula.work).max()) > 0.0


TRAP = "0.5*sum((x[i] - center[i])*stiffness[i, j]*(x[j] - center[j]) for i in range(n) for j in range(n))"


@pytest.mark.parametrize("n", [2, 3])
def test_a_trap_is_the_one_that_is_there(n):
    """Of one lane for two components, of a tile for three."""
    matrix = (np.eye(n) + 0.3 * np.diag(np.ones(n - 1), 1) + 0.3 * np.diag(np.ones(n - 1), -1)).tolist()
    center = {"kind": "linear", "initial": [0.0] * n, "final": list(range(1, n + 1))}
    theta = {"dynamics": "protocol", "protocol": {"center": center, "stiffness": matrix}}
    there = thermosim.simulate(thermosim.load_case(case({"name": "harmonic-trap", "dimension": n}, theta)))
    by_formula = case({"n": n, "formula": {"energy": TRAP, "components": "n"}}, theta)
    same(thermosim.simulate(thermosim.load_case(by_formula)), there)


def test_two_beads_between_two_baths_are_those_that_are_there():
    baths = {"temperature": [1.5, 1.0], "initial": "normal"}
    there = thermosim.simulate(thermosim.load_case(case({"name": "two-beads", "coupling": 0.5}, **baths)))
    energy = "k*(x0**2 + x1**2)/2 + c*(x0 - x1)**2/2"
    model = {"k": 1.0, "c": 0.5, "formula": {"energy": energy}}
    same(thermosim.simulate(thermosim.load_case(case(model, **baths))), there)


def test_a_drive_is_that_of_the_rotational_trap():
    there = {"name": "rotational-trap", "stiffness": 1.0, "rotation": 0.7}
    section = {"energy": "(x0**2 + x1**2)/2", "drive": ["-w*x1", "w*x0"]}
    two = [
        thermosim.simulate(thermosim.load_case(case(model, initial="normal")))
        for model in (there, {"w": 0.7, "formula": section})
    ]
    same(two[1], two[0])
    assert float(abs(two[0].work).max()) > 0.0


@pytest.mark.parametrize(
    "energy",
    [
        "exp(-x0**2)*x1 + log(1 + x0**2)*sqrt(2 + x1) + tanh(x0*x1)/(1 + x1**2) + x0**4 + x1**4",
        "sin(3*x0)*cos(x1) + abs(x0 - 0.2)**3 + max(x0, x1)**2 + min(x0, 0.1)**4 + cosh(x1) + x0**-2 + (1+x0**2)**0.7",
        "a*x0**4 + (x1**2 if x1 > 0 else x1**4) + where(x0 < x1, (x0 - x1)**2, 0) + sum(x[i]**2 for i in range(2))**3",
        "sum(w[i]*(x[i] - x[(i+1)%2])**2 for i in range(2)) + sum(sum(x[i]*x[j] for j in range(i)) for i in range(2))",
    ],
)
def test_slopes_are_those_of_finite_differences(energy):
    """By what examines a user's file, which compiles too."""
    constants = ({"a": 1.5} if "a*x0" in energy else {}) | ({"w": [0.5, 2.0]} if "w[i]" in energy else {})
    model = model_of({"energy": energy, "constants": constants, "components": 2})
    values = {constant.name: constant.default for constant in model.constants}
    found = examine(model, [values])
    assert not found.faults
    assert any("force against" in said for said in found.checked)


def test_loops_of_long_sums_are_the_sums_written_out():
    """A ring with next neighbours, pairs with a condition, sums of sums: in the kernel and by plain Python."""
    n, random = 40, np.random.default_rng(3)
    ring = "0.5*k*sum((x[(i + 1) % n] - x[i])**2 for i in range(n))"
    pairs = "sum(w[i]*x[i]*x[j]/(1 + i) for i, j in pairs(n) if j - i <= 3)"
    sums = "sum(sum(0.01*x[i]*x[j]**2 for j in range(i, n, 2)) for i in range(1, n)) + x0**4"
    w = random.normal(size=n)
    section = {"energy": f"{ring} - {pairs} + {sums}", "components": "n"}
    model = model_of(section, model={"n": n, "k": 1.5, "w": w.tolist()})
    formula = compiled(model.formula, {})
    assert len(formula.terms.loops) == 3
    x = random.normal(size=(5, n))

    def phi(x):
        total = 0.75 * ((np.roll(x, -1) - x) ** 2).sum() + x[0] ** 4
        total -= sum(w[i] * x[i] * x[j] / (1 + i) for i in range(n) for j in range(i + 1, n) if j - i <= 3)
        return total + sum(0.01 * x[i] * x[j] ** 2 for i in range(1, n) for j in range(i, n, 2))

    evaluator = Evaluator(model, {c.name: c.default for c in model.constants}, threads=1)
    theta = np.zeros((5, 0))
    np.testing.assert_allclose(evaluator.surprisal(x, theta), [phi(row) for row in x], rtol=1e-12)
    step = 1e-6 * np.eye(n)
    slopes = [[(phi(x[0] + d) - phi(x[0] - d)) / 2e-6 for d in step]]
    np.testing.assert_allclose(evaluator.force(x, theta)[:1], -np.array(slopes), rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore:overflow")  # of whole numbers, meant
def test_functions_of_kernels_are_those_of_numpy():
    x = np.concatenate([np.linspace(-30.0, 30.0, 401), [1e-300, 1e5, -1e5]])
    for function, reference in (
        (functions.sine, np.sin),
        (functions.cosine, np.cos),
        (functions.exponential, np.exp),
        (functions.hyperbolic_tangent, np.tanh),
    ):
        found = np.array([function(float(number)) for number in x])
        np.testing.assert_allclose(found, reference(x), rtol=1e-13, atol=4e-16)
    assert functions.exponential(709.5) == pytest.approx(math.exp(709.5), rel=1e-13)
    assert functions.exponential(710.0) == math.inf
    assert functions.logarithm(0.0) == -math.inf
    assert math.isnan(functions.logarithm(-1.0))
    assert math.isnan(functions.square_root(-1.0))


HOSTILE = [
    "__import__('os').system('touch /tmp/hit')",
    "().__class__.__bases__[0].__subclasses__()",
    "x0.__class__",
    "9**9**9**9",
    "2**1000000*x0",
    "1e999*x0",
    "9" * 5000,
    "(" * 5000 + "x0" + ")" * 5000,
    "(" * 10_000_000,
    "-" * 3000 + "x0",
    "[x0 for x0 in range(10)]",
    "lambda: x0",
    "x0 if x0 else 1",
    "ｘ0**2",
    "х0**2",  # a Cyrillic letter
    "exp(*x)",
    "exp(x0, y=1)",
    "eval(x0)",
    "x0 := 3",
    "f'{x0}'",
    "True*x0",
    "x0 and x0",
    "x0 @ x0",
    "1j*x0",
    "sum(x0 for i in range(10**12))",
    "sum(x0 for i in range(9**9**9))",
    "x[10**30]",
    "x[-1]",
    "sum(x[i] for i in x)",
    "await x0",
    "x0\0",
    "",
    "x0 + ",
    "range(3)",
    "x[0:2]",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_string_is_refused_in_a_sentence(text):
    model, faults = formula_model({"model": {"formula": {"energy": text}}})
    assert model is None
    assert len(faults) == 1
    assert faults[0].startswith("model.formula.energy")
    assert len(faults[0]) < 900


def test_nothing_of_the_section_runs():
    """Lengths, drives, observables and names are formulas, or names, too."""
    evil = "__import__('os').abort()"
    for section in (
        {"energy": "x0**2", "components": evil},
        {"energy": "x0**2", "drive": [evil]},
        {"energy": "x0**2", "observables": {"a": evil}},
        {"energy": "x0**2", "observables": {evil: "x0"}},
        {"energy": "x0**2", "constants": {evil: 1.0}},
        {"energy": "k*x0**2", "constants": {"k": evil}},
        {"energy": "k*x0**2", "parameters": {"k": evil}},
        {"loss": "z0 - y0", "inputs": evil},
    ):
        model, faults = formula_model({"model": {"formula": section}})
        assert model is None
        assert len(faults) == 1


def test_a_long_sum_is_read_and_a_longer_one_is_not():
    many = "+".join(["x0**2"] * 1500)
    assert compiled(model_of({"energy": many}).formula, {}).components == 1
    with pytest.raises(FormulaFault, match="at most"):
        parsed("+".join(["x0**2"] * 3000))


def test_faults_name_their_place_and_the_remedy():
    def told(energy, **more):
        (fault,) = faults_of(case({"formula": {"energy": energy}, **more.pop("model", {})}, **more))
        return fault

    unknown = told("3*(x0**2 - 1)**2 - tlit*x0", theta=TILT)
    assert "position 20: there is no 'tlit'. Did you mean tilt?" in unknown
    assert "[model]" in unknown
    line, marks = unknown.splitlines()[1:]
    assert line[marks.index("^") : marks.index("^") + marks.count("^")] == "tlit"
    assert "position 7: is a division by zero" in told("x0**2/0")
    at_zero = told("x0**2 + 1/x0**2")
    assert "divides by zero there; start elsewhere" in at_zero
    assert at_zero.splitlines()[1][at_zero.splitlines()[2].index("^") :] == "1/x0**2"
    assert "logarithm" in told("x0**2 - log(x0)")
    falls = told("x0**3")
    assert "falls without bound along -x0, so x has no equilibrium" in falls
    assert "add a term that confines it, such as 0.1*x0**4, or allow it by model.formula.unbounded = true" in falls
    assert thermosim.load_case(case({"formula": {"energy": "x0**3", "unbounded": True}}))
    assert "no formula has the name 'barier', of the constants. Did you mean barrier?" in told(
        TILTED, theta=TILT, model={"barrier": 1.0, "barier": 3.0}
    )
    no_law = {"initial": "equilibrium"}
    assert "does not die out" in told("cos(x0)", **no_law)
    assert "a pole" in told("x0**2 + 1/x0", **no_law)
    assert "below 2/24 = 0.08333" in told("3*(x0**2 - 1)**2", time_step=0.1)
    assert thermosim.load_case(case({"formula": {"energy": "3*(x0**2 - 1)**2"}}, time_step=0.08))
    assert "there is no function 'sine'" in told("sine(x0)")
    assert "the index of w becomes 3" in told("sum(w[i]*x[i]**2 for i in range(4))", model={"w": [1.0, 2.0, 3.0]})
    assert "no whole number" in told("sum(x[i]**2 for i in range(n))", model={"n": 2.5})
    assert "x has several components" in told("x1**2 + x**2")
    assert "unknown key" in faults_of(case({"formula": {"enrgy": "x0**2"}}))[0]
    assert "both formula and name" in faults_of(case({"name": "quadratic", "formula": {"energy": "x0**2"}}))[0]
    assert "has a meaning in formulas" in told("exp*x0**2", model={"exp": 1.0})


GROWTH = [
    ("x0**4 - 100*x0**3", RISES, RISES),
    ("x0**3", FALLS, RISES),
    ("x0**2 - x0*sin(x0)", RISES, RISES),
    ("-exp(x0)", FLAT, FALLS),
    ("exp(x0) - x0", RISES, RISES),
    ("x0*tanh(x0) - 0.5*x0", RISES, RISES),
    ("cos(x0) - 0.3*x0", RISES, FALLS),
    ("log(1 + x0**2)", RISES, RISES),
    ("sqrt(1 + x0**2)", RISES, RISES),
    ("x0**6/(1 + x0**2) - 2*x0**4", FALLS, FALLS),
    ("1/(1 + x0**2)", FLAT, FLAT),
    ("x0**2 - x0**2 + 1", UNDECIDED, UNDECIDED),
    ("x0**2*sin(x0)", UNDECIDED, UNDECIDED),
    ("abs(x0)**3 - x0**2", RISES, RISES),
    ("x0**2 if x0 < 1 else -x0", RISES, FALLS),
    ("max(x0, 0)", FLAT, RISES),
]


@pytest.mark.parametrize(("energy", "left", "right"), GROWTH)
def test_growth_along_an_axis(energy, left, right):
    formula = compiled(model_of({"energy": energy}).formula, {})
    given = formula.given(np.array([0.3]), np.zeros(0), {})
    assert [along(formula.terms, 0, sign, given) for sign in (-1, 1)] == [left, right]


def test_minima_and_curvatures_are_those_of_the_algebra():
    text = model_of({"energy": TILTED, "constants": {"barrier": 3.0}, "parameters": {"tilt": 0.0}}).formula
    there = landscape(text, {}, np.zeros(1))
    assert sorted(x[0] for x, *_ in there.minima) == pytest.approx([-1.0, 1.0], abs=1e-6)
    assert [m[2] for m in there.minima] == pytest.approx([24.0, 24.0], rel=1e-6)
    text = model_of({"energy": "(x0**2 - 1)**2 + 2*(x1 - x0)**2"}).formula
    there = landscape(text, {}, np.zeros(0), [1.0, 4.0])
    matrix = np.array([[1.0, 0.0], [0.0, 2.0]]) @ [[12.0, -4.0], [-4.0, 4.0]] @ [[1.0, 0.0], [0.0, 2.0]]
    assert len(there.minima) == 2
    assert there.minima[0][2] == pytest.approx(np.linalg.eigvalsh(matrix)[-1], rel=1e-6)


def test_normalisers_are_closed_forms():
    trap = model_of({"energy": "0.5*k*(x0 - 3)**2", "constants": {"k": 400.0}}).formula
    assert law_at(trap, {}, np.zeros(0), 0.5).log_normaliser == pytest.approx(
        0.5 * math.log(2.0 * math.pi * 0.5 / 400.0), abs=1e-10
    )
    quartic = model_of({"energy": "x0**4 + 0*x0"}).formula
    assert law_at(quartic, {}, np.zeros(0), 1.0).log_normaliser == pytest.approx(math.log(2.0 * math.gamma(1.25)))
    two = model_of({"energy": "x0**2 + x0*x1 + 20*x1**2"}).formula
    exact = math.log(2.0 * math.pi) - 0.5 * math.log(2.0 * 40.0 - 1.0)
    assert law_at(two, {}, np.zeros(0), 1.0).log_normaliser == pytest.approx(exact, abs=1e-9)
    wells = model_of({"energy": TILTED, "constants": {"barrier": 3.0}, "parameters": {"tilt": 1.3}}).formula
    whole = integrate.quad(lambda x: math.exp(-(3.0 * (x * x - 1.0) ** 2 - 1.3 * x) / 0.7), -4.0, 4.0, epsabs=1e-12)[0]
    assert law_at(wells, {}, np.array([1.3]), 0.7).log_normaliser == pytest.approx(math.log(whole), abs=1e-9)


def test_samples_have_the_law():
    """Means of 100,000 samples within four errors; a density off by 2 % in width would be ten away."""
    text = model_of({"energy": "(x0**2 - 1)**2 + 2*(x1 - x0)**2"}).formula
    found = law_at(text, {}, np.zeros(0), 0.5)
    x = found.samples(np.random.default_rng(2).normal(size=(2, 100_000)))
    for function in (lambda x: x[0], lambda x: x[0] ** 2, lambda x: x[1] ** 2, lambda x: x[0] * x[1] ** 3):
        values = function(x)
        assert abs(values.mean() - found.mean(function)) < 4.0 * values.std() / math.sqrt(100_000)


@pytest.fixture(scope="module")
def tilted():
    record = {"every": 20, "variables": ["theta", "x", "phi", "work", "heat", "log_ratio_x", "right", "pull"]}
    theta = {"dynamics": "protocol", "protocol": {"tilt": {"kind": "linear", "initial": 0.0, "final": 0.6}}}
    section = {"energy": TILTED, "observables": {"right": "x0 > 0", "pull": "2*tilt"}}
    tables = case({"barrier": 2.0, "formula": section}, theta, 2000, 60, record, initial="equilibrium", temperature=0.7)
    return thermosim.load_case(tables | {"sweep": {"model.barrier": {"values": [1.0, 2.0]}}})


@pytest.fixture(scope="module")
def run(tilted):
    return thermosim.simulate(tilted)


def test_observables_are_formulas_too(run):
    np.testing.assert_array_equal(run.right, run.x.isel(x_dim=0) > 0.0)
    np.testing.assert_allclose(run.pull, 2.0 * run.theta.isel(theta_dim=0))


def test_check_knows_the_theorem_and_a_wrong_free_energy_fails(run):
    report = thermosim.check(run)
    assert report.consistent
    assert {"<exp(-Sigma)>"} <= {row.quantity.split(" to")[0] for row in report.comparisons}
    wrong = run.assign(log_ratio_x=run.log_ratio_x + 0.1 * (run.step > 0))  # a normaliser that is 10 % off
    assert not thermosim.check(wrong).consistent


def test_the_file_alone_is_enough(run, tilted, tmp_path):
    """Read, checked and gone on with where the case is not."""
    thermosim.simulate(tilted, tmp_path / "tilted.h5")
    ds = thermosim.open_ensemble(tmp_path / "tilted.h5")
    np.testing.assert_array_equal(ds.x, run.x)
    assert thermosim.check(tmp_path / "tilted.h5").consistent
    ds.close()
    longer = thermosim.extend(tmp_path / "tilted.h5", 20)
    assert int(longer.step[-1]) == 80


def test_what_is_proved_is_told(tilted):
    model = tilted.model
    rows = dict(proofs(model.formula, tilted.settings.model.constants, tilted.settings))
    assert "bounded below along every axis, proved" in rows["far out"]
    assert "of ula" in rows["largest step"]
    assert "dF =" in rows["normaliser"]
    assert model_of_formula(model.formula) is model


def test_a_loss_of_rows_is_the_regression_that_is_there():
    """The same path of SGD, and examined as a user's model is."""
    section = {
        "loss": "sum((sum(W[k, i]*z[i] for i in range(3)) - y[k])**2 for k in range(2))",
        "inputs": 3,
        "targets": 2,
    }
    section |= {"parameters": {"W": [[0.0] * 3] * 2}}
    tables = {
        "theta": {"dynamics": "sgd", "learning_rate": 0.02, "batch": 4, "spread": 0.1},
        "data": {"source": "linear", "matrix": [[0.5, -0.25, 0.15], [1.0, 0.3, 0.0]], "noise": 0.2, "rows": 64},
        "ensemble": {"replicas": 8},
        "run": {"steps": 30},
        "record": {"variables": ["theta", "loss_sum"]},
    }
    there = {"name": "linear-regression", "inputs": 3, "outputs": 2}
    ds, other = (
        thermosim.simulate(thermosim.load_case(tables | {"model": model})) for model in ({"formula": section}, there)
    )
    np.testing.assert_allclose(ds.theta.values, other.theta.values, rtol=1e-12, atol=1e-13)
    model = model_of(section)
    assert not examine(model, [{}]).faults
