"""A model's functions as plain Python on small tiles, where a mistake is an exception and not a crash.

What is compiled reads past the end of an array without a word. Here an index that is out of range raises, inputs are
read-only, and whatever a function has to write holds NaN before, so that what it leaves out is seen.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from thermosim.kernels.declare import Part, scope_of
from thermosim.kernels.elementary import fma
from thermosim.kernels.evaluate import Evaluator, energy_bindings
from thermosim.kernels.interpreted import Binder
from thermosim.model import Model, Values
from thermosim.models.user_file import load
from thermosim.models.user_file.blame import blamed
from thermosim.models.user_file.fields import COMPILED
from thermosim.models.user_file.load import allow
from thermosim.streams import INITIAL

__all__ = ["ModelFault", "Plain", "outcome"]


def _rounded_twice(a: float, b: float, c: float) -> float:
    return a * b + c


_BINDER = Binder({fma: _rounded_twice})  # exactly it takes five times as long, and nothing is compared to the last bit


class ModelFault(Exception):
    """What is wrong with a user's model, as a sentence."""


def outcome(name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns; NaN where one that is compiled does arithmetic without a result, no error there.

    Raises ModelFault, which names the function and the line, for any other error.
    """
    allow(load.PATIENCE)
    try:
        with np.errstate(all="ignore"):
            return function(*arguments)
    except ModelFault:
        raise
    except Exception as error:
        if name in COMPILED and _has_no_result(error):
            return np.nan
        raise ModelFault(f"{name} raises an error: {blamed(error) or repr(error)}.{_hint(name, error)}") from error
    finally:
        allow(0.0)


def _has_no_result(error: Exception) -> bool:
    """Of a division by zero, an overflow, a logarithm of nothing."""
    return isinstance(error, ArithmeticError) or "math domain" in str(error) or "expected a positive" in str(error)


def _hint(name: str, error: Exception) -> str:
    if "read-only" in str(error):
        return " What a function is given to read must not be written to."
    if isinstance(error, IndexError) and (name in COMPILED or name.startswith("book")):
        return " Compiled, it would read or write past the end of an array."
    return ""


class Plain:
    """A model at given constants, one number for each scalar: everything is for tiles of any width L."""

    def __init__(self, model: Model, values: Values) -> None:
        self.model, self.values = model, dict(values)
        names = model.names(values)
        self.components, self.parameters, self._derived = names["COMPONENTS"], names["PARAMETERS"], names["DERIVED"]
        self._scalars, self._shared = model.packed(values)
        self._scratch = int(outcome("scratch_rows", model.scratch_rows, self.values))
        self.slow = False  # whether what is asked `of_many` is compiled
        bindings: dict[str, Any] = {"BACKWARD": False} | energy_bindings(model, values)
        for name in ("drive", "parameter_gradient", "stochastic_gradient", "fresh", "resample"):
            if getattr(model, name) is not None:
                bindings[name] = getattr(model, name)
        self._scope = scope_of(bindings)

    def columns(self, lanes: int) -> np.ndarray:
        """Scalar constants (C, L), the same in every lane."""
        return np.repeat(self._scalars[:, None], lanes, axis=1)

    def function(self, name: str, **more: Any) -> Callable[..., Any]:
        """One of the model's functions with its names bound."""
        part = self._scope[name]
        return _BINDER.bound(Part(part.function, {**part.scope, **more}))

    def book(self, function: Any, *arguments: np.ndarray) -> None:
        """Call `book` of a functional; all but the last argument are read."""
        book = _BINDER.bound(Part(function, scope_of(self.model.names(self.values))))
        outcome(f"book ({function.__name__})", book, *map(_read, arguments[:-1]), arguments[-1])

    def prepared(self, theta: np.ndarray, constants: np.ndarray) -> np.ndarray:
        """What functions of a tile read in place of theta: (D, L) or theta itself."""
        if self.model.prepare is None:
            return _read(theta)
        derived = np.full((self._derived, theta.shape[1]), np.nan)
        outcome("prepare", self.function("prepare"), *self._inputs(theta, constants), derived, self._rows(theta))
        return _read(derived)

    def phi_and_force(self, x: np.ndarray, theta: np.ndarray, constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """phi (L) and -d phi/dx (n, L), NaN where the model has none; theta of one column serves all lanes."""
        phi, force = np.full(x.shape[1], np.nan), np.full(x.shape, np.nan)
        if self.model.energy is not None:
            energy, slope = self.function("energy"), self.function("force")
            inputs = (_read(x), *self._spread(_read(theta), constants, x.shape[1]), _read(self._shared))
            for lane in range(x.shape[1]):
                phi[lane] = self._number("energy", outcome("energy", energy, *inputs, lane))
                for i in range(self.components):
                    force[i, lane] = self._number("force", outcome("force", slope, i, *inputs, lane))
            return phi, force
        derived = self.prepared(theta, constants)
        inputs = (_read(x), *self._spread(derived, constants, x.shape[1]), _read(self._shared))
        if self.model.surprisal_and_force is not None:
            function = self.function("evaluate")
            outcome("surprisal_and_force", function, *inputs, phi, force, self._rows(x))
        else:
            outcome("surprisal", self.function("surprisal"), *inputs, phi, self._rows(x))
        return phi, force

    def phi(self, x: np.ndarray, theta: np.ndarray, constants: np.ndarray) -> np.ndarray:
        """phi (L)."""
        if self.model.energy is None:
            return self.phi_and_force(x, theta, constants)[0]
        energy, lanes = self.function("energy"), range(x.shape[1])
        inputs = (_read(x), *self._spread(_read(theta), constants, x.shape[1]), _read(self._shared))
        return np.array([self._number("energy", outcome("energy", energy, *inputs, lane)) for lane in lanes])

    def phi_of_many(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """phi (L), alone in a lane where it is not finite among others; compiled where that is worth its while."""
        if self.slow:
            return self.evaluator.surprisal(x.T, np.broadcast_to(theta.T, (x.shape[1], len(theta))))
        constants = self.columns(theta.shape[1])
        phi = self.phi(x, theta, constants)
        for lane in np.flatnonzero(~np.isfinite(phi)) if x.shape[1] > 1 else ():
            row = theta[:, lane : lane + 1] if theta.shape[1] > 1 else theta
            phi[lane] = self.phi(x[:, lane : lane + 1], row, constants[:, :1])[0]
        return phi

    def force_of_many(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """-d phi/dx (n, L) at theta (m, 1)."""
        if self.slow:
            return self.evaluator.force(x.T, np.broadcast_to(theta.T, (x.shape[1], len(theta)))).T
        return self.phi_and_force(x, theta, self.columns(1))[1]

    def gradient_of_many(self, x: np.ndarray, theta: np.ndarray) -> np.ndarray:
        """d phi/d theta (m, L) at theta (m, 1)."""
        if self.slow:
            return self.evaluator.gradient(x.T, np.broadcast_to(theta.T, (x.shape[1], len(theta)))).T
        slope = np.zeros((self.parameters, x.shape[1]))
        self.add_gradient(x, theta, self.columns(1), 1.0, np.zeros(x.shape[1]), slope)
        return slope

    def fresh_of_many(self, theta: np.ndarray, count: int) -> np.ndarray:
        """Exact samples (n, L) at theta (m, 1)."""
        if self.slow:
            return self.evaluator.draw(np.broadcast_to(theta.T, (count, len(theta))), 6, INITIAL, 0).T
        random = np.random.default_rng(6)
        rows = [int(getattr(self.model, name)(self.values)) for name in ("fresh_normals", "fresh_uniforms")]
        normal, uniform = random.normal(size=(rows[0], count)), 1.0 - random.random(size=(rows[1], count))
        return self.fresh(theta, self.columns(1), normal, uniform)

    @functools.cached_property
    def evaluator(self) -> Evaluator:
        """The same, compiled."""
        return Evaluator(self.model, self.values)

    def drive(self, x: np.ndarray, theta: np.ndarray, constants: np.ndarray) -> np.ndarray:
        """The part of the force that is no gradient: (n, L)."""
        drive, inputs = self.function("drive"), (_read(x), *self._inputs(theta, constants))
        rows = [[self._number("drive", outcome("drive", drive, i, *inputs, lane)) for lane in range(x.shape[1])]
                for i in range(self.components)]  # fmt: skip
        return np.array(rows)

    def add_gradient(
        self,
        x: np.ndarray,
        theta: np.ndarray,
        constants: np.ndarray,
        factor: float,
        loss: np.ndarray,
        slope: np.ndarray,
    ) -> None:
        """Add factor phi to loss (L) and factor d phi/d theta to slope (m, L)."""
        inputs = (_read(x), *self._spread(self.prepared(theta, constants), constants, x.shape[1]), _read(self._shared))
        function = self.function("parameter_gradient")
        outcome("parameter_gradient", function, *inputs, factor, loss, slope, self._rows(x))

    def add_gradient_of_rows(
        self, rows: np.ndarray, theta: np.ndarray, constants: np.ndarray, loss: np.ndarray, slope: np.ndarray
    ) -> None:
        """The same of several rows (R, n, L) at a time, by the function for so many."""
        count, n, lanes = rows.shape
        of_model = outcome("gradient_of_rows", self.model.gradient_of_rows or _none_of, count)
        if not callable(of_model):
            raise ModelFault(f"gradient_of_rows gives {of_model!r:.80}; expected the function for so many rows.")
        function = _BINDER.bound(Part(of_model, self._scope["parameter_gradient"].scope))
        x, source = rows.reshape(count * n, lanes), self._spread(self.prepared(theta, constants), constants, lanes)
        scratch = np.full((count * self._scratch, lanes), np.nan)
        outcome("gradient_of_rows", function, _read(x), *source, _read(self._shared), 1.0, loss, slope, scratch)

    def gradient(self, x: np.ndarray, theta: np.ndarray, constants: np.ndarray) -> np.ndarray:
        """d phi/d theta (m, L)."""
        slope = np.zeros(theta.shape)
        self.add_gradient(x, theta, constants, 1.0, np.zeros(theta.shape[1]), slope)
        return slope

    def noisy_gradient(
        self, theta: np.ndarray, normal: np.ndarray, constants: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Loss (L) and gradient (m, L) of a model that draws its noise itself."""
        loss, slope = np.full(theta.shape[1], np.nan), np.full(theta.shape, np.nan)
        inputs = _read(theta), _read(normal), *self._inputs(theta, constants)[1:]
        work = np.full((4, theta.shape[1]), np.nan)
        outcome("stochastic_gradient", self.function("stochastic_gradient"), *inputs, loss, slope, work)
        return loss, slope

    def fresh(self, theta: np.ndarray, constants: np.ndarray, normal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Exact samples (n, L); theta of one column serves all lanes."""
        x = np.full((self.components, normal.shape[1]), np.nan)
        derived, constants = self._spread(self.prepared(theta, constants), constants, normal.shape[1])
        inputs = (derived, constants, _read(self._shared), _read(normal), _read(uniform))
        outcome("fresh", self.function("fresh"), x, *inputs, self._rows(x))
        return x

    def resample(
        self, x: np.ndarray, theta: np.ndarray, constants: np.ndarray, uniform: np.ndarray, backward: bool = False
    ) -> np.ndarray:
        """One sweep from x, (n, L)."""
        after = np.full(x.shape, np.nan)
        derived, constants = self._spread(self.prepared(theta, constants), constants, x.shape[1])
        inputs = (derived, constants, _read(self._shared), _read(uniform))
        outcome("resample", self.function("resample", BACKWARD=backward), _read(x), after, *inputs, self._rows(x))
        return after

    def _spread(self, source: np.ndarray, constants: np.ndarray, lanes: int) -> tuple[np.ndarray, np.ndarray]:
        """One column of theta, or of what is derived from it, and of constants for each lane."""
        both = (source, constants)
        columns = [part if part.shape[1] == lanes else np.repeat(part[:, :1], lanes, axis=1) for part in both]
        return _read(columns[0]), _read(columns[1])

    def _inputs(self, theta: np.ndarray, constants: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return _read(theta), _read(constants), _read(self._shared)

    def _rows(self, like: np.ndarray) -> np.ndarray:
        return np.full((self._scratch, like.shape[1]), np.nan)

    def _number(self, name: str, value: Any) -> float:
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            kind = "None (is there a return?)" if value is None else f"{type(value).__name__} {value!r}"[:80]
            raise ModelFault(f"{name} returns {kind}; expected a number.")
        return float(value)


def _none_of(rows: int) -> None:
    return None


def _read(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
