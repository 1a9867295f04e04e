"""The seven symmetries of arXiv 2505.12387, table 1, measured: writes docs/symmetries.md and its picture.

    python scripts/symmetries.py [--output docs/symmetries.md]

Runs the cases of cases/training/symmetries and takes the mean squared gradient along their orbits. Half a minute.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import xarray as xr
from matplotlib.axes import Axes

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import thermosim  # noqa: E402
from thermosim.analysis import machines, orbit  # noqa: E402
from thermosim.data.generators import linear_law  # noqa: E402
from thermosim.exact.symmetry_orbits import collapse_exponent, double_rotation  # noqa: E402
from thermosim.plots import style  # noqa: E402
from thermosim.plots.legends import legend  # noqa: E402
from thermosim.plots.orbits import SAID, curves  # noqa: E402
from thermosim.plots.page import Draw, page  # noqa: E402

CASES = ROOT / "cases" / "training" / "symmetries"
GRID = np.linspace(-1.0, 1.0, 41)
REPLICAS, ROWS = 48, 1000  # of averages over orbits, each with rows of its own
STRETCH = np.array([[0.5, 0.25], [0.25, -0.5]])
TURN = np.array([[0.0, 1.0], [-1.0, 0.0]])
ELLIPSE = np.array([[0.0, 2.0], [-0.5, 0.0]]) * 3.0  # of period 2 pi/3
RATES = (0.01, 0.1)  # of the sign flip


def main() -> int:
    """Run, measure, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "symmetries.md")
    page_of_text = parser.parse_args().output
    parts = (flat, scaling, rescaling, factors, discrete)
    lines, draws = [], []
    for part in parts:
        told, panels = part()
        lines += told
        draws += panels
    lines.sort(key=lambda line: ORDER.index(line[0]))
    with style.style():
        figure = page("The symmetries of a loss: orbits, and where SGD goes", draws, over=OVER, exact=EXACT)
        picture = page_of_text.parent / "pictures" / "symmetries.png"
        picture.parent.mkdir(exist_ok=True)
        figure.savefig(picture, dpi=150)
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    page_of_text.write_text(TEXT.replace("TABLE", table), encoding="utf-8")
    print(table)
    return 0


ORDER = ["translation", "scaling", "rescaling", "rotation", "permutation", "double rotation", "sign flip"]
OVER = "minibatches (orbits) or replicas"
EXACT = f"{SAID} Lines against steps: theory, as the text says."


def flat() -> tuple[list[tuple[str, ...]], list[Draw]]:
    """Translation and rotation: isometries."""
    softmax, views = run("translation"), run("rotation", **{"record.every": 10})
    moved, turned = orbit(softmax, "classes", GRID), orbit(views, "rotation", GRID)
    theta = frames(softmax).reshape(softmax.sizes["step"], -1, 3, 5)
    sums = theta.sum(2)
    apart = float(np.abs(sums - sums[0]).max())
    residual = residual_of(run("rotation"))
    lines = [
        (
            "translation",
            "softmax regression",
            "none",
            f"S flat, to {ripple(moved)}; sum over classes kept, to {apart:.0e}",
        ),
        (
            "rotation",
            "`two_views.py`",
            "low rank",
            f"S flat, to {ripple(turned)}; steps along the orbit {residual:.0e}",
        ),
    ]

    def kept(panel: Axes) -> None:
        step = softmax["step"].values
        few = style.pick(len(step), 12)
        for values, look, name in (
            (sums[:, :, 0], style.WORK, r"$\sum_c W_{c1}$"),
            (theta[:, :, 0, 0], style.HEAT, r"$W_{01}$"),
        ):
            style.data(panel, step[few], *mean(values[few]), look=look, label=name)
        style.theory(panel, step[[0, -1]], [1.0, 1.0], color=style.WORK.color)
        panel.set(xlabel="step", ylabel="weights of one input")
        panel.set_title("translation: the sum is kept", loc="right")
        legend(panel)

    orbits = {"translation": moved, "rotation": turned}
    return lines, [titled(curves(orbits, relative=True), "translation, rotation: flat", (0.9, 1.1)), kept]


def scaling() -> tuple[list[tuple[str, ...]], list[Draw]]:
    """A length that the loss does not know: |w|^4 grows by 2 r^2 c in a step."""
    ds = run("scaling")
    found = orbit(ds, "length", GRID)
    square = ds["norm"].transpose("step", "replica").values
    step = ds["step"].values
    c = 4.0 * 0.25 * (3.0 - (0.64 * 1.5 + 0.36 * 1.0))
    growth, error = mean((square[-1] ** 2 - square[len(step) // 2] ** 2) / (step[-1] - step[len(step) // 2]))
    lines = [
        (
            "scaling",
            "`normalised_regression.py`",
            "none",
            (
                f"S falls as e^(-2s); the length^4 grows by {pm(growth, error)} in a step, {2e-2 * c:.4f} by theory "
                "for long weights"
            ),
        )
    ]

    def grows(panel: Axes) -> None:
        few = style.pick(len(step), 12)
        style.data(panel, step[few], *mean(square[few] ** 2), look=style.WORK, label="measured")
        style.theory(panel, step, square[0, 0] ** 2 + 2e-2 * c * step, label=r"$2 r^2 c\,t$")
        panel.axhline(square[0, 0] ** 2, color=style.GREY, ls=":", lw=1.0, label="gradient flow")
        panel.set(xlabel="step", ylabel=r"$|w|^4$")
        panel.set_title("scaling: the norm grows", loc="right")
        legend(panel)

    return lines, [titled(curves({"scaling": found}), "scaling: infimum at infinity"), grows]


def rescaling() -> tuple[list[tuple[str, ...]], list[Draw]]:
    """A neuron f = u w.z from |u| = |w|."""
    ds = run("rescaling")
    start, end = (orbit(ds, "layers", 0.6 * GRID, frame=frame) for frame in (0, -1))
    step, theta = ds["step"].values, frames(ds)
    charge = least_charge(theta, np.zeros(()))
    ratio = 3.0 / (0.64 + 0.36 * 0.5)
    limit = 0.5 * (1.0 / np.sqrt(ratio) - np.sqrt(ratio))
    exact = -np.log(ratio) / 4.0
    at = style.pick(len(step), 9)
    of_minimum = np.array([minima(ds, "layers", frame) for frame in at])
    balanced = np.array([least_charge(theta[k, :REPLICAS], of_minimum[n]) for n, k in enumerate(at)])
    sums = ds["layer_gradient_square"].transpose("step", "replica", "layer").values
    late = sums[-1] - sums[3 * len(step) // 4]
    rates = {"values": [0.01, 0.02]}
    both = run("rescaling", **{"run.steps": 40_000, "record.every": 400, "sweep": {"theta.learning_rate": rates}})
    ends, errors = mean(least_charge(frames(both), np.zeros(()))[:, 50:].mean(1))
    final = 2.0 * ends[0] - ends[1], np.hypot(2.0 * errors[0], errors[1])
    share = pm(*mean((late[:, 1] - late[:, 0]) / late.mean()))
    lines = [
        (
            "rescaling",
            "perceptron, 3-1-1, linear",
            "abs(u) = abs(w)",
            (
                f"minimum of S at s = {pm(*mean(of_minimum[0]))} from there, {exact:.4f} by theory; C ends at "
                f"{pm(*final)}, from r = 0.01 and 0.02 to r = 0, {limit:.4f} by theory; squared gradients of the "
                f"layers end apart by {share} of their mean"
            ),
        )
    ]

    def goes(panel: Axes) -> None:
        few = style.pick(len(step), 16)
        style.data(panel, step[few], *mean(charge[few]), look=style.WORK, label="charge $C$")
        style.data(panel, step[at], *mean(balanced), look=style.HEAT, label="$C$ at the minimum of its orbit")
        panel.axhline(limit, color=style.GREY, lw=1.0, label=r"theory, $r\to 0$")
        panel.axhline(0.0, color=style.GREY, ls=":", lw=1.0, label="$|u|=|w|$")
        panel.set(xlabel="step", ylabel=r"charge $(u^2-|w|^2)/2$")
        panel.set_title("rescaling: SGD goes to the minimum", loc="right")
        legend(panel)

    orbits = {"start, $|u|=|w|$ at $s=0$": start, "end": end}
    return lines, [titled(curves(orbits), "rescaling: one minimum"), goes]


def factors() -> tuple[list[tuple[str, ...]], list[Draw]]:
    """Two layers U W: symmetric, antisymmetric and elliptic B."""
    ds = run("double_rotation")
    step = ds["step"].values
    found = {
        name: orbit(ds, double_rotation(3, 2, 2, mixing), GRID, frame=0)
        for name, mixing in (("$B$ = (.5, .25; .25, -.5)", STRETCH), ("rotation", TURN), ("elliptic", ELLIPSE))
    }
    stretch, cross = STRETCH, np.array([[0.0, 1.0], [1.0, 0.0]])
    at = style.pick(len(step), 9)
    least = {
        name: np.array([minima(ds, double_rotation(3, 2, 2, mixing), frame) for frame in at])
        for name, mixing in (("$B$ = (.5, .25; .25, -.5)", stretch), ("$B$ = (0, 1; 1, 0)", cross))
    }
    first, last = (pm(*mean(least["$B$ = (.5, .25; .25, -.5)"][k])) for k in (0, -1))
    lines = [
        (
            "double rotation",
            "perceptron, 3-2-2, linear",
            "low rank",
            (
                f"rotations flat, to {ripple(found['rotation'])}; along a symmetric B the minimum of S is at s = "
                f"{first} at the start and {last} at the end"
            ),
        )
    ]

    def goes(panel: Axes) -> None:
        for (name, values), look in zip(least.items(), (style.WORK, style.HEAT), strict=True):
            style.data(panel, step[at], *mean(values), look=look, label=name)
        panel.axhline(0.0, color=style.GREY, lw=1.0)
        panel.set(xlabel="step", ylabel="place $s$ of the minimum")
        panel.set_title("double rotation: SGD goes to the minimum", loc="right")
        legend(panel)

    return lines, [titled(curves(found, relative=True), "double rotation: symmetric B balance"), goes]


def discrete() -> tuple[list[tuple[str, ...]], list[Draw]]:
    """Sign flip and permutation: states that are closed, and whether noise binds SGD to them."""
    flips, units = run("sign_flip"), run("permutation")
    together = frames(run("permutation", **{"theta.spread": 0.0}))
    assert np.array_equal(together[..., :2], together[..., 2:4])
    step, near = flips["step"].values, units["step"].values
    logarithm = np.log(np.abs(frames(flips)[..., 0]))
    theta = frames(units)
    distance = 0.5 * np.log(((theta[..., :2] - theta[..., 2:4]) ** 2).sum(-1) + (theta[..., 4] - theta[..., 5]) ** 2)
    z, e = np.random.default_rng(3).normal(size=(2, 4_000_000))
    exact = [mean(collapse_exponent(-2.0 * z * (0.3 * z + 3.0 * e), rate)) for rate in RATES]
    grown = [mean((path[-1] - path[0]) / step[-1]) for path in logarithm]
    early = len(near) // 5
    parted = [mean((path[early] - path[0]) / near[early]) for path in distance]
    lines = [
        (
            "sign flip",
            "`scalar-chain` of 2",
            "w = 0",
            "; ".join(
                f"ln abs(w) grows by {pm(*found)} in a step at r = {rate}, theory {pm(*known)}"
                for rate, found, known in zip(RATES, grown, exact, strict=True)
            ),
        ),
        (
            "permutation",
            "perceptron, 2-2-1, tanh",
            "identical neurons",
            "identical ones stay so bit for bit; nearly identical ones part by "
            + " and ".join(pm(*found) for found in parted)
            + " in a step at r = 0.02 and 0.2 (logarithm of their distance)",
        ),
    ]

    def binds(panel: Axes) -> None:
        few = style.pick(len(step), 10)
        for path, rate, known, look in zip(logarithm, RATES, exact, (style.WORK, style.HEAT), strict=True):
            style.data(panel, step[few], *mean(path[few] - path[0]), look=look, label=f"$r$ = {rate}")
            style.theory(panel, step, known[0] * step, color=look.color)
        panel.set(xlabel="step", ylabel=r"$\ln|w_t/w_0|$")
        panel.set_title("sign flip: noise binds to a saddle", loc="right")
        legend(panel)

    def parts(panel: Axes) -> None:
        few = style.pick(len(near), 16)
        for path, rate, look in zip(distance, (0.02, 0.2), (style.WORK, style.HEAT), strict=True):
            style.data(panel, near[few], *mean(path[few]), look=look, label=f"$r$ = {rate}")
        panel.set(xlabel="step", ylabel="ln distance of two units")
        panel.set_title("permutation: units part or join", loc="right")
        legend(panel)

    return lines, [binds, parts]


def run(name: str, **changes: object) -> xr.Dataset:
    """A case of this page, with these keys changed."""
    return thermosim.simulate(thermosim.load_case(CASES / f"{name}.toml", changes))


def frames(ds: xr.Dataset) -> np.ndarray:
    """theta (..., F, R, m)."""
    return np.asarray(ds["theta"].transpose(..., "step", "replica", "theta_dim").values)


def mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error over the last axis."""
    return values.mean(-1), values.std(-1, ddof=1) / np.sqrt(values.shape[-1])


def minima(ds: xr.Dataset, symmetry: str | np.ndarray, frame: int) -> np.ndarray:
    """Places of the minimum on the orbits of some replicas, each with rows of its own: (REPLICAS,)."""
    (machine,) = machines(ds)
    section, random = machine.settings.data, np.random.default_rng(frame)
    assert section is not None
    assert machine.model.inputs is not None
    law = linear_law(section, machine.model.inputs(machine.constants), machine.model.targets(machine.constants))
    found = []
    for replica in range(REPLICAS):
        rows = law[0] + random.normal(size=(ROWS, len(law[0]))) @ law[1].T
        one = orbit(ds, symmetry, [-0.1, 0.0, 0.1], replica=replica, frame=frame, rows=rows)
        found.append(float(one["minimum"]))
    return np.array(found)


def least_charge(theta: np.ndarray, along: np.ndarray) -> np.ndarray:
    """(u^2 - |w|^2)/2 of theta (..., 4) moved by s (...)."""
    into, out = (theta[..., :3] ** 2).sum(-1), theta[..., 3] ** 2
    return np.asarray(0.5 * (out * np.exp(2.0 * along) - into * np.exp(-2.0 * along)))


def ripple(found: xr.Dataset) -> str:
    """How much S changes along an orbit, relative."""
    square = found["mean_square_gradient"].values
    return f"{max(np.ptp(square) / square.mean(), 1e-16):.0e}"


def residual_of(ds: xr.Dataset) -> float:
    """The only residual that its check compares."""
    (one,) = thermosim.check(ds).comparisons
    return float(one.measured)


def pm(value: object, error: object) -> str:
    """A number and its error with two digits."""
    value, error = float(value), float(error)  # type: ignore[arg-type]
    digits = max(0, 1 - int(np.floor(np.log10(error))))
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def titled(draw: Draw, title: str, limits: tuple[float, float] | None = None) -> Draw:
    """The same with a title, and limits of the vertical axis."""

    def both(panel: Axes) -> None:
        draw(panel)
        panel.set_title(title, loc="right")
        if limits:
            panel.set_ylim(*limits)

    return both


TEXT = """# Symmetries

Made by `scripts/symmetries.py`; figures are measured, none is typed in. S is the mean squared gradient E|g|^2 over
rows of data; the entropic force of SGD is -r/4 times its slope. s is the place on the orbit exp(s A) theta of a
symmetry of the loss. The table of arXiv 2505.12387, each line with a case of its own,
`thermosim run training/symmetries/NAME`:

| symmetry | model | state in the paper | measured, mean and standard error |
|---|---|---|---|
TABLE

![orbits, and where SGD goes](pictures/symmetries.png)

What is exact: S(s) = E|exp(-s A')g|^2 row by row, strictly convex for a symmetric A with A g not 0 in some row, so
with one minimum where gradients have parts along eigenvalues of both signs, and there E g'A g = 0. The charge
theta'A theta/2 grows by r^2 g'A g/2 in every step of SGD without weight decay, which `thermosim check` compares to
rounding. Isometries, translations included, leave S as it is.

Where the paper is loose, and what holds (derived in `thermosim/exact/symmetry_orbits.py`):

- "No non-compact symmetry survives", "surviving ones preserve the norm": of linear symmetries. A translation is not
  compact, does not preserve the norm, and survives.
- "A unique minimum for every symmetry" needs an A that commutes with its transpose. Along an ellipse of a double
  rotation S is periodic.
- Rescaling leads to E g_u^2 = E|g_w|^2. That is |u| = |w| for a chain of width one; a neuron with several inputs leaves
  |u| = |w| for another place. It is weight decay that pulls to |u| = |w|.
- Identical neurons, low rank and w = 0 are closed under SGD with any batch. That they attract depends on rate and
  noise: near such a state ln of the distance grows by E ln|1 - r (lambda + h)|, h the curvature of a row across it.

## Along an orbit of your own

A model declares its symmetries (`Model.symmetries`, see docs/models.md); any matrix or diagonal will do as well. A loss
that is not the same along the orbit is refused, with the part of its gradient that points along it.

```python
import numpy as np
import thermosim
from thermosim.plots.orbits import figure

ds = thermosim.simulate(thermosim.load_case("training/symmetries/rescaling"))
found = thermosim.analysis.orbit(ds, "layers", np.linspace(-1.0, 1.0, 21), frame=0)
print(float(found.minimum), float(found.minimum_error), float(found.measured_minimum))
print(float(abs(found.mean_square_gradient / found.predicted - 1.0).max()))  # rounding
figure(found).savefig("orbit.png")
```

## What a step does along an orbit

A small move along the orbit of a symmetry, theta + s Q(theta), changes the four potentials of the irreversibility of a
step (arXiv 2605.21933) at the rate -(r/4) E g'(J_Q + J_Q')g, to leading order in the learning rate r (Theorem 6): not
at all for isometries, outwards for scaling, to balance for rescaling and double rotation. Permutations and changes of
sign leave the potentials as they are at any r (Theorem 7). Measured rates of phi_ST and phi_TA over r beside the
formula, E over single rows, and relative changes, for the models of the table. Rotations leave all potentials as
they are, too; rate_ta is the part along the orbit of the vector of phi_TA, which is a gradient to leading order only,
so that a rotation has one of order r^2:

```python
import numpy as np
from thermosim import analysis, load_case, simulate
from thermosim.analysis.irreversibility import field_of_loss, symmetry_breaking_of_loss, under_transformation
from thermosim.exact.symmetry_orbits import double_rotation

ORBITS = {
    "translation": "classes",  # as the models declare them; the last is a matrix of our own
    "scaling": "length",
    "rescaling": "layers",
    "rotation": "rotation",
    "double_rotation": double_rotation(3, 2, 2, np.array([[0.5, 0.25], [0.25, -0.5]])),
}
DISCRETE = {"permutation": np.eye(6)[[2, 3, 0, 1, 5, 4]], "sign_flip": -np.eye(2)}
random, rate = np.random.default_rng(1), 1e-5
for name in (*ORBITS, *DISCRETE):
    case = load_case(f"training/symmetries/{name}", {"run.steps": 1, "ensemble.replicas": 2, "record.every": 1})
    machine = analysis.machines(simulate(case))[0]
    model, constants = machine.model, machine.constants
    theta = random.normal(size=machine.theta(0)[:1].shape)
    rows = random.normal(size=(32, model.row_length(constants)))
    if name == "translation":
        rows[:, -1] = np.arange(32) % 3  # classes
    if name in ORBITS:
        found = symmetry_breaking_of_loss(model, constants, theta, rows, ORBITS[name], rate)
        print(name, *(f"{float(found[key][0]) / rate:.3f}" for key in ("rate_st", "rate_ta", "predicted")))
    else:
        field = field_of_loss(model, constants, rows)
        found = under_transformation(field, theta, lambda there: there @ DISCRETE[name].T, 0.1)
        print(name, float(found["change_st"][0]), float(found["change_ta"][0]))
```
"""

if __name__ == "__main__":
    sys.exit(main())
