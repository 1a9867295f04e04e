"""A user's own network in torch: a file that defines module() -> torch.nn.Module and loss(module, x, y).

It becomes what a file in JAX defines: parameters are a dict by their names in the module, init(key) is module() under
a seed of the key, and the loss is run as `torch_graphs` translates it. The same names say more: shape, inputs, classes,
targets, name, outputs(module, x), which is module(x) where that gives a row of numbers, and features(module, x).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

import numpy as np

from thermosim.models.user_file.blame import place_of
from thermosim.network import INSTALL_TORCH

__all__ = ["as_jax", "is_torch"]

_SAID = {"module": (), "loss": ("module", "x", "y"), "outputs": ("module", "x"), "features": ("module", "x")}
_KEPT = ("shape", "inputs", "classes", "targets", "name")
_MOST = 64  # programs kept, one for every function, shape and type of rows


def is_torch(module: ModuleType) -> bool:
    """Whether a file means to be a network in torch."""
    return hasattr(module, "module")


def as_jax(module: ModuleType) -> ModuleType:
    """What the same file would define in JAX. Raises ValueError."""
    try:
        import torch  # noqa: F401
    except ImportError:
        raise ValueError(f"is a network in torch, which is not installed; {INSTALL_TORCH} installs it.") from None
    _check_functions(module)
    own = _Own(module)
    own.check()
    made = ModuleType(module.__name__)
    made.__doc__ = module.__doc__
    made.__file__ = module.__file__
    for name in _KEPT:
        if hasattr(module, name):
            setattr(made, name, getattr(module, name))
    vars(made).update(init=own.init, loss=own.loss, outputs=own.outputs, reference=own.reference)
    vars(made).update(implied=not hasattr(module, "outputs"))
    if hasattr(module, "features"):
        vars(made).update(features=own.features)
    return made


def _check_functions(module: ModuleType) -> None:
    for name, said in _SAID.items():
        function, shown = getattr(module, name, None), f"{name}({', '.join(said)})"
        if function is None and name == "loss":
            raise ValueError(f"defines module and no {shown}; a network in torch needs both.")
        if function is None:
            continue
        import torch

        if isinstance(function, torch.nn.Module) or not callable(function):
            raise ValueError(f"{name} is {type(function).__name__}; expected a function, def {shown}.")
        try:
            inspect.signature(function).bind(*said)
        except TypeError:
            raise ValueError(
                f"{name} takes {inspect.signature(function)} ({place_of(function)}); it is called as {shown}."
            ) from None


class _Own:
    """The functions of a file, of parameters by name."""

    def __init__(self, module: ModuleType) -> None:
        self._make, self._file = module.module, str(module.__file__)
        self._functions = {
            "loss": module.loss,
            "outputs": getattr(module, "outputs", lambda net, x: net(x)),
            "features": getattr(module, "features", None),
        }
        self._programs: dict[Any, Any] = {}

    def check(self) -> None:
        """A module with parameters, and nothing else that differs between starts. Raises ValueError."""
        one, other = self._made(1), self._made(2)
        if not _learned(one):
            raise ValueError("module() gives a module without a parameter that learns.")
        if wrong := [n for n, p in one.named_parameters() if p.requires_grad and not p.dtype.is_floating_point]:
            raise ValueError(f"the parameter {wrong[0]} is not real; parameters are real numbers.")
        for (name, a), b in zip(_fixed(one).items(), _fixed(other).values()):
            if a.shape != b.shape or not np.array_equal(_array(a), _array(b), equal_nan=True):
                raise ValueError(
                    f"module() draws {name}, which does not learn, anew for every seed: all replicas share what is no "
                    "parameter. Draw it from a torch.Generator with a seed of its own, or let it be a parameter that "
                    "theta.learn leaves out."
                )

    def init(self, key: Any) -> dict[str, np.ndarray]:
        """Parameters as module() makes them under the seed of a key of JAX."""
        import jax

        high, low = (int(word) for word in np.asarray(jax.random.key_data(key)))
        made = self._made(high << 32 | low)
        return {_word(name): _array(value) for name, value in _learned(made).items()}

    def loss(self, params: Mapping[str, Any], batch: tuple[Any, Any]) -> Any:
        x, y = batch
        return self._called("loss", params, x, y)

    def outputs(self, params: Mapping[str, Any], x: Any) -> Any:
        return self._called("outputs", params, x)

    def features(self, params: Mapping[str, Any], x: Any) -> Any:
        return self._called("features", params, x)

    def reference(
        self, params: Mapping[str, np.ndarray], batch: tuple[Any, Any]
    ) -> tuple[float, dict[str, np.ndarray]]:
        """Loss and gradient in float64 by torch itself."""
        import torch

        from thermosim.models.torch_graphs.export import apart, default_type

        with apart(), default_type(np.float64):
            made = self._made(0).double()
            learned = _learned(made)
            with torch.no_grad():
                for name, value in learned.items():
                    value.copy_(torch.tensor(np.asarray(params[_word(name)])))
            value = self._functions["loss"](made, *(_tensor(rows, np.float64) for rows in batch))
            found = torch.autograd.grad(value, list(learned.values()), allow_unused=True)
        gradient = {
            _word(n): np.zeros(tuple(learned[n].shape)) if g is None else _array(g) for n, g in zip(learned, found)
        }
        return float(value.detach()), gradient

    def _made(self, seed: int) -> Any:
        import torch

        from thermosim.models.torch_graphs.export import apart

        with apart():
            torch.manual_seed(seed)
            made = self._make()
        if not isinstance(made, torch.nn.Module):
            raise ValueError(f"module() gives {type(made).__name__}; expected a torch.nn.Module.")
        return made.cpu()

    def _called(self, name: str, params: Mapping[str, Any], *rows: Any) -> Any:
        """A function of the file for rows of these shapes and types, exported anew where JAX traces it anew."""
        import jax

        from thermosim.models.torch_graphs.export import Exported, apart, default_type

        dtype, config = np.dtype(rows[0].dtype), cast(Any, jax.config)
        key = (name, *((tuple(r.shape), np.dtype(r.dtype)) for r in rows), config.jax_default_matmul_precision)
        with apart(), default_type(dtype):
            if key not in self._programs:
                made = self._made(0)
                made = made.double() if dtype == np.float64 else made
                given = tuple(_tensor(np.zeros(r.shape, r.dtype), dtype) for r in rows)
                program = Exported(self._functions[name], made, given, self._file)
                while len(self._programs) >= _MOST:
                    self._programs.pop(next(iter(self._programs)))
                self._programs[key] = program
            program = self._programs[key]
            return program({name: params[_word(name)] for name in program.parameters.values()}, *rows)


def _learned(module: Any) -> dict[str, Any]:
    return {name: value for name, value in module.named_parameters() if value.requires_grad}


def _word(name: str) -> str:
    """Parts of an nn.Sequential are numbers, and groups of parameters are words."""
    return f"layer_{name}" if name[:1].isdigit() else name


def _tensor(rows: Any, dtype: Any) -> Any:
    """Classes in 64 bits, as losses of torch expect them."""
    import torch

    array = np.asarray(rows)
    return torch.tensor(array.astype(dtype if array.dtype.kind == "f" else np.int64))


def _array(value: Any) -> np.ndarray:
    return value.detach().cpu().numpy()


def _fixed(module: Any) -> dict[str, Any]:
    """Tensors of a module that do not learn, by name."""
    import torch

    found = {name: value for name, value in module.named_parameters() if not value.requires_grad}
    found |= dict(module.named_buffers())
    for name, part in module.named_modules():
        plain = {k: v for k, v in vars(part).items() if isinstance(v, torch.Tensor)}
        found |= {f"{name}.{key}".lstrip("."): value for key, value in plain.items()}
    return found
