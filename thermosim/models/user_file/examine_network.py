"""A network of a user's file looked at before it is used: its start, its loss, and that a gradient is its slope.

Everything is traced before it is run, and nothing runs on a card. Traces are made anew each time, inner functions that
the file has compiled itself too: what differs between two of them comes from outside the arguments.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.model import Model, Values
from thermosim.models.torch_graphs.refused import Refused
from thermosim.models.user_file.blame import MODULE, blamed
from thermosim.models.user_file.examination import Examination, Start
from thermosim.models.user_file.load import PATIENCE, allow, contained
from thermosim.models.user_file.network_file import QUICKLY
from thermosim.network import Network

__all__ = ["examine_network"]

_SHARE = 1e-3  # of the gradient, that a finite difference may differ from it by
_ALIKE = 1e-9  # of loss and gradient, that two ways to the same number in float64 may differ by
_STEPS = (1e-6, 1e-5, 1e-4, 1e-3)  # of finite differences, in units of the parameters
_ADDRESS = re.compile("0x[0-9a-f]+")
_CALLBACKS = ("debug_callback", "pure_callback", "io_callback", "debug_print")
# two words for one precision, of which JAX makes two traces
_TWICE = ("highest", "float32")
_BRANCH = "decides by the value of an array, as `if`, `while` or float() do; write jnp.where or jax.lax.cond"


class _Fault(Exception):
    """What is wrong, as a sentence."""


@dataclass(frozen=True)
class _Looked:
    """A network with parameters of one replica, and rows."""

    network: Network
    theta: dict[str, Any]
    x: np.ndarray
    y: np.ndarray

    def as_type(self, dtype: Any) -> tuple[dict[str, Any], Any, Any]:
        """Arguments of the loss."""
        y = self.y if self.y.dtype.kind == "i" else self.y.astype(dtype)
        return {name: value.astype(dtype) for name, value in self.theta.items()}, self.x.astype(dtype), y


def examine_network(
    model: Model, values: Values, start: Start | None, rows: np.ndarray | None, precision: str
) -> Examination:
    """Look at a network at these constants, with some rows of its data, or with made-up ones."""
    import jax

    found = Examination()
    try:
        with (
            contained(),
            jax.enable_x64(True),
            jax.default_matmul_precision(_TWICE[0]),
            jax.default_device(jax.devices("cpu")[0]),
        ):
            _examine(model, values, start, rows, np.dtype(precision), found)
    except (_Fault, Refused) as fault:
        found.faults.append(str(fault))
    except Exception as error:
        if not (said := blamed(error)):
            raise
        branches = isinstance(error, (jax.errors.ConcretizationTypeError, jax.errors.TracerArrayConversionError))
        found.faults.append(_place(said) + _BRANCH + "." if branches else said)
    return found


def _place(said: str) -> str:
    """The place of an error of JAX, which says much besides."""
    return said.partition(": ")[0] + ": "


def _examine(
    model: Model, values: Values, start: Start | None, rows: np.ndarray | None, dtype: Any, found: Examination
) -> None:
    assert model.network is not None
    x, y = _rows(model, values, rows)
    of = f"{len(x)} rows of the data" if rows is not None else f"{len(x)} random rows"
    allow(PATIENCE)
    theta = _started(model, values, start)
    allow(PATIENCE)
    looked = _Looked(model.network(values), _groups(model, values, theta), x, y)
    for look in (_is_one_number, _is_fixed, _is_in_single):
        allow(PATIENCE)
        look(looked, dtype)
    found.checked.append(f"init and loss are the same in two traces, and in {dtype}")
    allow(PATIENCE)
    _has_gradient(looked, dtype, of)
    allow(PATIENCE)
    if looked.network.reference is not None:
        _is_as_theirs(looked)
        found.checked.append("loss and gradient against those of torch, in float64")
        allow(PATIENCE)
    _gradient_is_slope(looked)
    found.checked.append("the gradient against the slope of the loss, by finite differences")
    _predictions(model, values, looked, dtype)
    found.checked += [] if looked.network.by_row else ["the loss is no mean over rows: rows of a minibatch share"]


def _rows(model: Model, values: Values, rows: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """x (B, n) and y, of data or made up."""
    assert model.inputs is not None
    inputs, count = model.inputs(values), model.targets(values)
    classes = 0 if model.classes is None else model.classes(values)
    if rows is None:
        random = np.random.default_rng(0)
        rows = random.normal(size=(8, inputs + count))
        if classes:
            rows[:, inputs] = np.arange(len(rows)) % classes
    x, y = np.asarray(rows[:, :inputs]), np.asarray(rows[:, inputs:])
    return x, y[:, 0].astype(np.int32) if classes else y


def _started(model: Model, values: Values, start: Start | None) -> np.ndarray:
    """theta (m, 2) of two replicas, the same however often it is made."""
    import jax

    if not model.initial_theta:
        parts = [np.ravel(group.default(values)) for group in model.groups(values)]
        return np.repeat(np.concatenate(parts)[:, None], 2, axis=1)
    name, hyper = (start.name, start.hyper) if start else (next(iter(model.initial_theta)), {})
    random = np.random.default_rng(1)
    m = sum(int(np.prod(group.shape(values))) for group in model.groups(values))
    noise = random.normal(size=(m + 1, 2)), random.random(2)
    made = []
    for precision in _TWICE:
        with jax.default_matmul_precision(precision):
            made.append(np.asarray(model.initial_theta[name](values, hyper, *noise), float))
    if made[0].shape != (m, 2):
        raise _Fault(f"the start {name!r} has shape {made[0].shape}; expected {(m, 2)}: {m} parameters, 2 replicas.")
    if not np.array_equal(made[0], made[1]):
        raise _Fault(
            f"{name} gives other parameters for the same key: it draws from Python, numpy or a state of its own; draw "
            "with jax.random and the key, in a file in torch with torch's own generator."
        )
    if not np.isfinite(made[0]).all():
        raise _Fault(f"{name} gives parameters that are not finite: mend its scale.")
    return made[0]


def _groups(model: Model, values: Values, theta: np.ndarray) -> dict[str, Any]:
    """Of the first replica."""
    found, first = {}, 0
    for group in model.groups(values):
        shape = group.shape(values)
        size = int(np.prod(shape))
        found[group.name] = theta[first : first + size, 0].reshape(shape)
        first += size
    return found


def _is_one_number(looked: _Looked, dtype: Any) -> None:
    import jax

    made = jax.eval_shape(lambda *of: looked.network.loss(*of), *looked.as_type(dtype))
    shape = getattr(made, "shape", None)
    if shape != ():
        what = f"an array of shape {shape}" if shape is not None else f"a {type(made).__name__}"
        raise _Fault(f"loss gives {what}; expected one number, the mean over rows.")
    if not np.issubdtype(made.dtype, np.floating):
        raise _Fault(f"loss gives a number of {made.dtype}; it has no gradient: expected a real number.")


def _is_fixed(looked: _Looked, dtype: Any) -> None:
    """Two traces are one, and call nothing outside."""
    import jax

    traces = []
    for precision in _TWICE:
        with jax.default_matmul_precision(precision):
            traces.append(jax.make_jaxpr(lambda *of: looked.network.loss(*of))(*looked.as_type(dtype)))
    outside = [e.primitive.name for e in _equations(traces[0].jaxpr) if e.primitive.name in _CALLBACKS]
    if outside or traces[0].effects:
        raise _Fault(
            "loss calls Python while it runs (jax.debug.print, a callback): it would for every replica at every step; "
            "take it out."
        )
    texts = [_ADDRESS.sub("", str(trace)) for trace in traces]
    constants = [[np.asarray(c) for c in trace.consts] for trace in traces]
    alike = len(constants[0]) == len(constants[1]) and all(map(_equal, *constants))
    if texts[0] != texts[1] or not alike:
        raise _Fault(
            "loss is another one each time it is traced: it draws from Python or numpy, or counts; make everything it "
            "uses of params and batch, or once when the file is read."
        )


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def _equations(jaxpr: Any) -> Iterator[Any]:
    """All of a trace, those of inner functions too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (tuple, list)) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)


def _is_in_single(looked: _Looked, dtype: Any) -> None:
    """Nothing is computed in float64, where that is not the precision."""
    import jax

    if dtype == np.float64:
        return
    trace = jax.make_jaxpr(lambda *of: looked.network.loss(*of))(*looked.as_type(np.float32))
    for equation in _equations(trace.jaxpr):
        if any(getattr(of.aval, "dtype", None) == np.float64 for of in equation.outvars):
            raise _Fault(
                f"{_line_of(equation)}computes in float64 where engine.precision is float32: a constant or a cast "
                "makes it so; give constants the dtype of x, or set engine.precision = 'float64'."
            )


def _line_of(equation: Any) -> str:
    """The line of the user's file that an operation comes from."""
    traceback = getattr(equation.source_info, "traceback", None)
    for frame in traceback.frames if traceback is not None else ():
        if str(frame.file_name) in _users_files():
            return f"{Path(frame.file_name).name}, line {frame.line_num}: "
    return ""


def _users_files() -> set[str]:
    import sys

    return {str(module.__file__) for name, module in list(sys.modules.items()) if name.startswith(MODULE)}


def _gradient_of(looked: _Looked) -> Callable[..., Any]:
    import jax

    return jax.jit(jax.value_and_grad(lambda *of: looked.network.loss(*of)), compiler_options=QUICKLY)


def _has_gradient(looked: _Looked, dtype: Any, of: str) -> None:
    """Loss and gradient are finite at the start, and there is one for every leaf near it."""
    both = _gradient_of(looked)
    theta, x, y = looked.as_type(dtype)
    value, gradient = both(theta, x, y)
    if not np.isfinite(value):
        raise _Fault(f"loss is {float(value):g} at the start, of {of}: mend init, the loss, or the encoding of [data].")
    wrong = [name for name, g in gradient.items() if not np.isfinite(g).all()]
    if wrong:
        raise _Fault(
            f"the gradient for {_listed(wrong)} is not finite at the start, although the loss is {float(value):g}: a "
            "square root, norm or logarithm at 0, perhaps; add a small number inside it."
        )
    still = [name for name, g in gradient.items() if not np.any(g)]
    if still:  # at a start of zeros, what comes before has no gradient yet
        gradient = both(_near(theta, 0.1), x, y)[1]
        still = [name for name in still if not np.any(gradient[name])]
    if still:
        raise _Fault(
            f"the loss has no gradient for {_listed(still)}, at the start and near it: it does not depend on "
            f"{'it' if len(still) == 1 else 'them'}, or through steps and whole numbers alone; use what init makes, "
            "or keep it in the file, outside of params."
        )


def _near(theta: Mapping[str, Any], share: float) -> dict[str, Any]:
    """Parameters a random step away, a share of their own size."""
    random = np.random.default_rng(2)
    return {name: (w + share * _size(w) * random.normal(size=w.shape)).astype(w.dtype) for name, w in theta.items()}


def _size(w: Any) -> float:
    return float(np.sqrt(np.mean(w * w))) or 1.0


def _gradient_is_slope(looked: _Looked) -> None:
    """Along a random direction, in float64, at one of several steps: kinks and rounding spoil others."""
    theta, x, y = looked.as_type(np.float64)
    both, random = _gradient_of(looked), np.random.default_rng(3)
    theta = _near(theta, 0.01)
    along = {name: _size(w) * random.normal(size=w.shape) for name, w in theta.items()}
    gradient = both(theta, x, y)[1]
    told = sum(float(np.vdot(gradient[name], direction)) for name, direction in along.items())
    slopes = []
    for step in _STEPS:
        ends = [both({n: w + s * step * along[n] for n, w in theta.items()}, x, y)[0] for s in (1.0, -1.0)]
        slopes.append(float(ends[0] - ends[1]) / (2.0 * step))
    least = sum(float(np.vdot(gradient[n] * d, gradient[n] * d)) for n, d in along.items()) ** 0.5
    best = min(slopes, key=lambda slope: abs(slope - told))
    if not abs(best - told) <= _SHARE * max(abs(told), abs(best), least):
        raise _Fault(
            f"the gradient gives {told:.6g} along a random direction, where the slope of the loss is {best:.6g} "
            "(finite differences in float64): stop_gradient or a rule of your own makes the two differ; the ledger "
            "needs a loss whose slope the gradient is."
        )


def _is_as_theirs(looked: _Looked) -> None:
    """Loss and gradient are those of what the network was translated from, in float64 near the start."""
    assert looked.network.reference is not None
    theta, x, y = looked.as_type(np.float64)
    theta = _near(theta, 0.01)
    value, gradient = _gradient_of(looked)(theta, x, y)
    told, slopes = looked.network.reference(theta, x, y)
    if not abs(value - told) <= _ALIKE * max(abs(told), 1.0):
        raise _Fault(
            f"the loss is {told:.12g} in torch and {float(value):.12g} as translated to JAX: an operation was "
            "translated wrongly, or the loss keeps a state."
        )
    size = sum(float(np.vdot(g, g)) for g in slopes.values()) ** 0.5
    wrong = [name for name, g in slopes.items() if not np.abs(g - gradient[name]).max(initial=0.0) <= _ALIKE * size]
    if wrong:
        raise _Fault(
            f"torch's gradient for {_listed(wrong)} is not the slope of the loss: detach(), torch.no_grad() or an "
            "autograd.Function of your own makes the two differ; the ledger needs a loss whose slope the gradient is."
        )


def _predictions(model: Model, values: Values, looked: _Looked, dtype: Any) -> None:
    """Outputs and features have their shapes."""
    import jax

    theta, x, _ = looked.as_type(dtype)
    network, rows = looked.network, len(x)
    classes = 0 if model.classes is None else model.classes(values)
    wanted = classes or model.targets(values)
    if (outputs := network.outputs) is not None:
        shape = jax.eval_shape(lambda *of: outputs(*of), theta, x).shape
        if len(shape) != 2 or shape[0] != rows or (wanted and shape[1] != wanted):
            each = "one for each class" if classes else "one for each target"
            raise _Fault(f"outputs gives shape {shape} for {rows} rows; expected ({rows}, {wanted}), {each}.")
    if (features := network.features) is not None:
        made = jax.eval_shape(lambda *of: features(*of), theta, x)
        if not isinstance(made, dict) or any(a.ndim != 2 or a.shape[0] != rows for a in made.values()):
            raise _Fault(f"features gives {_shapes(made)} for {rows} rows; expected a dict of arrays ({rows}, units).")


def _shapes(made: Any) -> str:
    if isinstance(made, dict):
        return "; ".join(f"{name} of shape {getattr(array, 'shape', None)}" for name, array in made.items())
    return f"a {type(made).__name__}"


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more leaves" if len(names) > 5 else shown
