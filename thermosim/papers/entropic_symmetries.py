"""Numbers of arXiv:2505.12387 on symmetries: what the entropic force does along them, and the balances it leads to.

Where SGD is stationary a charge theta'A theta/2 has a constant mean, and it changes at every step by (r^2/2) g'A g: so
E g'A g = 0 over the last part of a run, but for what the charge still moves. Sums of squared gradients are those that
were booked at every step; ratios are of means over replicas, with errors over replicas.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from thermosim import analysis
from thermosim.analysis.machine import Machine, machines
from thermosim.analysis.network_alignment import LinearProblem, linear_problem
from thermosim.exact import symmetry_orbits
from thermosim.exact.entropic_forces import gradient_moments
from thermosim.models.multilayer_perceptron import layers
from thermosim.models.softmax_regression import MODEL as SOFTMAX
from thermosim.papers.claims import Ensembles, Number
from thermosim.papers.numbers import at_rate_zero, of_ratio, of_replicas, surviving

__all__ = [
    "balance_of_decay",
    "balance_of_layers",
    "balance_of_units",
    "balance_on_digits",
    "charge_on_average",
    "charges",
    "least_along_orbits",
    "matrices",
    "matrices_as_printed",
    "place_of_neuron",
    "slope_of_entropic_loss",
    "slope_of_loss",
    "survivors",
    "survivors_that_are_linear",
]

_SAME = 1e-9  # relative change of the mean squared gradient along an orbit that is rounding
_ALONG = (-0.5, 0.0, 0.5)
_SETTLED = 0.02  # of a balance, the error with which it is told


def _orbit(ensembles: Ensembles, name: str, at: str | np.ndarray) -> xr.Dataset:
    """The mean squared gradient along the orbit of a symmetry from where the first replica of an ensemble starts."""
    ds = ensembles[name]
    ds = ds.isel(learning_rate=0) if "learning_rate" in ds.sizes else ds
    return analysis.orbit(ds, at, _ALONG, frame=0)


def _orbits(ensembles: Ensembles) -> dict[str, xr.Dataset]:
    return {
        "translation": _of_classes(),
        "scaling": _orbit(ensembles, "scaling", "length"),
        "rescaling": _orbit(ensembles, "neuron", "layers"),
        "double rotation": _orbit(ensembles, "matrices", _double(np.diag([1.0, -1.0]))),
    }


def _of_classes() -> xr.Dataset:
    """Softmax regression of three classes from three inputs and a bias, with one vector added to all classes."""
    random = np.random.default_rng(0)
    rows = np.column_stack([random.normal(size=(256, 3)), random.integers(0, 3, 256)])
    constants = {"inputs": 3, "classes": 3, "bias": "yes"}
    return analysis.orbit_of_loss(SOFTMAX, constants, random.normal(size=12), rows, "classes", _ALONG)


def _double(mixing: np.ndarray) -> np.ndarray:
    """The generator of W -> exp(s B) W, U -> U exp(-s B) in the case of the matrices."""
    return symmetry_orbits.double_rotation(3, 2, 2, mixing)


def slope_of_entropic_loss(ensembles: Ensembles) -> list[Number]:
    """d ln E|g|^2/ds along orbits of the loss, where F has the symmetry 0: its part of F changes, and L does not."""
    numbers = []
    for name, found in _orbits(ensembles).items():
        if name in ("rescaling", "double rotation"):
            factor = -2.0 / float(found["mean_square_gradient"].sel(along=0.0))
            words, error = f"d ln E|g|^2/ds, {name}", abs(factor) * float(found["balance_error"])
            numbers.append(Number(words, factor * float(found["balance"]), error, claimed=0.0))
    return numbers


def slope_of_loss(ensembles: Ensembles) -> list[Number]:
    """The part of the gradient of l that is along these orbits."""
    return [
        Number(f"part of grad l along the orbit, {name}", found.attrs["non_invariance"], 0.0, claimed=0.0)
        for name, found in _orbits(ensembles).items()
        if name in ("rescaling", "double rotation")
    ]


def _kept(found: xr.Dataset) -> bool:
    square = found["mean_square_gradient"].values
    return bool(np.ptp(square) <= _SAME * square.max())


def survivors(ensembles: Ensembles) -> list[Number]:
    """How many of the non-compact symmetries of table 1 F keeps."""
    kept = {name: _kept(found) for name, found in _orbits(ensembles).items()}
    words = f"of {len(kept)} non-compact symmetries, those that F keeps"
    return [Number(words, float(sum(kept.values())), 0.0, claimed=0.0)]


def survivors_that_are_linear(ensembles: Ensembles) -> list[Number]:
    """The same of those that act linearly, and whether F keeps a rotation."""
    kept = {name: _kept(found) for name, found in _orbits(ensembles).items()}
    linear = sum(value for name, value in kept.items() if name != "translation")
    turned = _orbit(ensembles, "matrices", _double(np.array([[0.0, 1.0], [-1.0, 0.0]])))["mean_square_gradient"].values
    return [
        Number("of 3 linear ones, those that F keeps", float(linear), 0.0, claimed=0.0),
        Number("E|g|^2, rotated over not", float(turned[-1] / turned[1]), 0.0, claimed=1.0),
    ]


def least_along_orbits(ensembles: Ensembles, among: tuple[str, ...]) -> list[Number]:
    """Along how many orbits E|g|^2 has a least value at a finite place."""
    found = _orbits(ensembles)
    finite = sum(bool(np.isfinite(found[name]["measured_minimum"])) for name in among)
    words = f"orbits of {', '.join(among)} with a least E|g|^2"
    return [Number(words, float(finite), 0.0, claimed=float(len(among)))]


def charges(ensembles: Ensembles) -> list[Number]:
    """Charges at the end over what every recorded step makes of those at the start: 1 to rounding."""
    ds = ensembles["chain"]
    rate = float(machines(ds)[0].settings.theta.learning_rate)
    theta = ds["theta"].transpose("step", "replica", "theta_dim").values
    square = np.diff(ds["layer_gradient_square"].transpose("step", "replica", "layer").values[..., 0], axis=0)
    factors = 1.0 - rate**2 * square / theta[:-1, :, 1] ** 2  # g_1 = 2 e x w_2
    charge = theta[..., 1] ** 2 - theta[..., 0] ** 2
    of_chain = charge[-1] / (charge[0] * np.prod(factors, axis=0))
    scaled = ensembles["scaling"]
    rate = float(machines(scaled)[0].settings.theta.learning_rate)
    length = scaled["norm"].transpose("step", "replica").values
    grown = rate**2 * scaled["gradient_square"].transpose("step", "replica", ...).values.reshape(length.shape)
    of_length = length[-1] / (length[0] + grown[-1])
    return [
        Number("u^2 - w^2 over the product of 1 - 4 eta^2 e^2 x^2", _furthest(of_chain), 0.0, claimed=1.0),
        Number("|w|^2, scale-invariant, over its start + sum of eta^2|g|^2", _furthest(of_length), 0.0, claimed=1.0),
    ]


def _furthest(ratios: np.ndarray) -> float:
    """The one that is furthest from 1."""
    return float(ratios[np.argmax(np.abs(ratios - 1.0))])


def charge_on_average(ensembles: Ensembles) -> list[Number]:
    """-ln(E C_t/C_0)/(4 eta^2 s_e^2 s_x^2 t) of a chain at rate 0, from times at which it is about 1."""
    logs, rates = [], []
    for machine in machines(surviving(ensembles["slow chain"])):
        problem, rate = machine.settings.data, float(machine.settings.theta.learning_rate)
        assert problem is not None
        slope = 4.0 * rate**2 * float(np.sum(problem.noise)) * float(np.sum(problem.covariance))
        frame = int(np.argmin(np.abs(slope * machine.steps - 1.0)))
        charge = machine.frames["charge"].transpose("step", "replica").values
        ratio = charge[frame] / charge[0]
        time = slope * machine.steps[frame]
        logs.append((-np.log(ratio.mean()) - (ratio / ratio.mean() - 1.0)) / time)  # its mean is the log of the mean
        rates.append(rate)
    found = at_rate_zero(np.array(rates), np.stack(logs))
    return [of_replicas("rate of E(u^2 - w^2) over 4 eta^2 s_e^2 s_x^2", found, claimed=1.0)]


def balance_of_layers(ensembles: Ensembles) -> list[Number]:
    """E|g_2|^2/E|g_1|^2 over the last half of runs of networks of two layers on fresh rows."""
    neuron = ensembles["neuron"].isel(learning_rate=-1)
    return [_of_layers("a linear neuron", neuron, 0.5), _of_layers("a ReLU network", ensembles["relu"], 0.5)]


def balance_on_digits(ensembles: Ensembles) -> list[Number]:
    """The same over the last quarter of a run on handwritten digits."""
    return [_of_layers("a ReLU network on digits", ensembles["digits"], 0.25)]


def _of_layers(words: str, ds: xr.Dataset, share: float) -> Number:
    first, second = _late(ds, "layer_gradient_square", share).T
    return of_ratio(f"E|g_2|^2/E|g_1|^2, {words}", second, first, 1.0, enough=_SETTLED)


_SIDES = ("incoming", "outgoing")


def balance_of_units(ensembles: Ensembles) -> list[Number]:
    """sum D^2/sum S^2 over hidden units and replicas, D = |g_out|^2 - |g_in|^2 and S their sum.

    From products of two parts of the late run, an eighth of it each with another in between, so that what fluctuates
    does not count.
    """
    ds = surviving(ensembles["relu"])
    into, out = (ds[f"{name}_gradient_square"].transpose("step", "replica", ...).values for name in _SIDES)
    edges = np.linspace(0, len(into) - 1, 9).astype(int)
    parts = [(into[b] - into[a], out[b] - out[a]) for a, b in ((edges[4], edges[5]), (edges[7], edges[8]))]
    (one, other), (third, fourth) = parts
    apart = ((other - one) * (fourth - third)).sum(-1)
    together = ((other + one) * (fourth + third)).sum(-1)
    return [of_ratio("imbalance of hidden units, squared", apart, together, 0.0, enough=0.01)]


def place_of_neuron(ensembles: Ensembles, claimed: float | None) -> list[Number]:
    """|w|^2/u^2 of a neuron with several inputs at rate 0; by theory tr Sx |V|^2/(V Sx V') where none is claimed."""
    everyone = machines(surviving(ensembles["neuron"]))
    ratios = []
    for machine in everyone:
        path = machine.frames["theta"].transpose("step", "replica", "theta_dim").values
        first, second = layers(path[len(path) // 2 :], machine.constants)
        above, below = ((w**2).sum((-2, -1)).mean(0) for w in (first, second))
        ratio = above.mean() / below.mean()
        ratios.append(ratio + (above - ratio * below) / below.mean())
    problem = _problem(everyone[0])
    theory = np.trace(problem.inputs) * np.sum(problem.matrix**2) / (problem.matrix @ problem.inputs @ problem.matrix.T)
    rates = np.array([float(machine.settings.theta.learning_rate) for machine in everyone])
    goal = float(theory[0, 0]) if claimed is None else claimed
    return [of_replicas("|w|^2/u^2 of a neuron with 3 inputs", at_rate_zero(rates, np.stack(ratios)), goal)]


def balance_of_decay(ensembles: Ensembles) -> list[Number]:
    """E g'A g over (4 gamma/eta) E theta'A theta of two layers, for every weight decay 2 gamma."""
    numbers = []
    for machine in machines(surviving(ensembles["decay"])):
        rate, decay = (float(getattr(machine.settings.theta, name)) for name in ("learning_rate", "weight_decay"))
        gradients, weights = (
            np.diff(_late(machine.frames, f"layer_{name}_square", 0.5), axis=-1)[:, 0]
            for name in ("gradient", "weight")
        )
        numbers.append(
            of_ratio(
                f"E g'A g over (4 gamma/eta) E theta'A theta, gamma = {decay / 2.0:g}",
                gradients,
                2.0 * decay / rate * weights,
                1.0,
                allowed=rate * decay / 2.0,
                because="eta gamma, the next order",
                enough=_SETTLED,
            )
        )
    return numbers


def _late(ds: xr.Dataset, name: str, share: float) -> np.ndarray:
    """What was booked over the last share of a run: (R, ...)."""
    booked = surviving(ds)[name].transpose("step", "replica", ...).values
    return np.asarray(booked[-1] - booked[round((1.0 - share) * (len(booked) - 1))])


def matrices(ensembles: Ensembles) -> list[Number]:
    """Entries of W E[G'G] W' - U'E[GG'] U, of f = U W x."""
    before, after, _ = _moments(machines(surviving(ensembles["matrices"]))[0])
    return _entries("W E[G'G] W' - U'E[GG'] U", after - before, after + before)


def matrices_as_printed(ensembles: Ensembles) -> list[Number]:
    """Entries of W E[G'G] W' - U E[GG'] U'."""
    _, after, printed = _moments(machines(surviving(ensembles["matrices"]))[0])
    return _entries("W E[G'G] W' - U E[GG'] U'", after - printed, after + printed)


def _entries(words: str, difference: np.ndarray, total: np.ndarray) -> list[Number]:
    """Of mean matrices (R, 2, 2), over the trace of the sum of both."""
    whole = np.trace(total, axis1=1, axis2=2)
    return [
        of_ratio(f"{words}: entry {i + 1} {j + 1}, over both traces", difference[:, i, j], whole, 0.0, enough=_SETTLED)
        for i, j in ((0, 0), (0, 1), (1, 1))
    ]


def _moments(machine: Machine) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """U'E[GG'] U, W E[G'G] W' and U E[GG'] U', means over the last half of the run: (R, h, h) each.

    The moments of G = dl/d(UW) over fresh rows are in closed form at every theta.
    """
    matrix, inputs, noise = _problem(machine)
    path = machine.frames["theta"].transpose("step", "replica", "theta_dim").values
    first, second = layers(path[len(path) // 2 :], machine.constants)
    gaps = (second @ first - matrix).reshape(-1, *matrix.shape)
    right, left = (
        np.stack(both).reshape(*first.shape[:2], *both[0].shape)
        for both in zip(*(gradient_moments(gap, inputs, noise) for gap in gaps), strict=True)
    )
    turned, back = np.swapaxes(first, -1, -2), np.swapaxes(second, -1, -2)
    return (back @ left @ second).mean(0), (first @ right @ turned).mean(0), (second @ left @ back).mean(0)


def _problem(machine: Machine) -> LinearProblem:
    """V, Sx and Se of a linear network on fresh rows."""
    problem = linear_problem(machine)
    assert problem is not None
    return problem
