"""A user's own network: a file that defines init(key) -> params, a pytree of arrays, and loss(params, batch) in JAX.

A batch is (x, y): x (B, *shape), and y (B,) whole numbers of a class, or (B, k). The file may say more by name:

    shape = (28, 28), or inputs = 784    of x; default what the rows of the data have
    classes = 10, or targets = 3         of y; default the classes of the data, or one target
    outputs(params, x) -> (B, k)         predictions, one of each class: then accuracy is measured
    features(params, x) -> {name: (B, units)}
    name = "my-network"

Every leaf is a group of parameters, named by its path. `init` gets a key made of the address of its replica, so that a
start belongs to the replica wherever it is made. In float32 the functions see JAX as it is by default, without 64 bits.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from thermosim.model import Constant, Model, Parameter, Values
from thermosim.models.network_books import booked_by_group
from thermosim.models.user_file.blame import blamed, place_of
from thermosim.network import INSTALL, Measure, Network

__all__ = ["QUICKLY", "is_network", "network_model"]

_ARGUMENTS = {"init": "key", "loss": "params, batch", "outputs": "params, x", "features": "params, x"}
# rows by which it is found out whether a loss is a mean over them
_ROWS, _HALVES, _ROUNDING = 8, (slice(4), slice(4, None)), 3e-5
_OF_OUTPUTS = ("accuracy", "test_accuracy")
_FROM_DATA = "taken from the data where the file does not say"
QUICKLY = {"xla_backend_optimization_level": 0}  # of what is run a few times only: compiled in a fifth of the time


@dataclass(frozen=True)
class _Leaf:
    name: str
    path: str
    shape: tuple[int, ...]


class _OwnNetwork:
    """What a file defines, and the leaves that its init makes. A digest knows it by its text, which goes along."""

    def __init__(self, module: ModuleType) -> None:
        self.init, self.loss = module.init, module.loss
        self.outputs, self.features = getattr(module, "outputs", None), getattr(module, "features", None)
        # of a file in torch: outputs that it does not name may be none, and its own gradient
        self.implied: bool = getattr(module, "implied", False)
        self.reference: Callable[..., tuple[float, Any]] | None = getattr(module, "reference", None)
        self.tree, self.leaves = _leaves_of(self.init)
        self.shape: tuple[int, ...] | None = None if (shape := getattr(module, "shape", None)) is None else tuple(shape)
        classes, targets = _given(module, "classes"), _given(module, "targets")
        self.lengths = (
            functools.partial(_number, "inputs", _inputs_of(module)),
            functools.partial(_number, "classes", classes if targets is None else 0),
            functools.partial(_number, "targets", targets if classes is None else 1),
        )

    def params(self, groups: Any, like: Any) -> Any:
        """The pytree of groups of parameters; a leaf of no number is no group."""
        import jax
        import jax.numpy as jnp

        leaves = [groups[one.name] if one.name in groups else jnp.zeros(one.shape, like.dtype) for one in self.leaves]
        return jax.tree_util.tree_unflatten(self.tree, leaves)


def is_network(module: ModuleType) -> bool:
    """Whether a file means to be a network."""
    return any(hasattr(module, name) for name in ("init", "loss"))


def network_model(module: ModuleType, text: str) -> Model:
    """The model of a file that defines init and loss. Raises ValueError."""
    _check_names(module)
    own, constants = _OwnNetwork(module), _constants(module)
    known, measures = _known(text), _measures(module)
    inputs, classes, targets = own.lengths
    model = Model(
        name=getattr(module, "name", "own-network"),
        summary=(inspect.getdoc(module) or "a network of your own").splitlines()[0].rstrip("."),
        source="your own file",
        constants=constants,
        inputs=inputs,
        classes=classes,
        targets=targets,
        parameters=tuple(_parameter(leaf) for leaf in own.leaves),
        initial_theta={"init": functools.partial(_start, own, known)},
        network=functools.partial(_network, own, known),
        measures=measures,
    )
    return booked_by_group(model)


def _check_names(module: ModuleType) -> None:
    """Functions that can be called, and numbers that are some. Raises ValueError."""
    for name, said in _ARGUMENTS.items():
        function = getattr(module, name, None)
        if function is None and name in ("init", "loss"):
            other = "loss" if name == "init" else "init"
            raise ValueError(f"defines {other} and no {name}({said}); a network of your own needs both.")
        if function is not None and not callable(function):
            raise ValueError(f"{name} is no function; expected def {name}({said}).")
        if function is not None and not _takes(function, said):
            raise ValueError(
                f"{name} takes {inspect.signature(function)} ({place_of(function)}); it is called as {name}({said})."
            )
    for name, least in (("inputs", 1), ("classes", 2), ("targets", 0)):
        value: Any = getattr(module, name, None)
        if hasattr(module, name) and not (_is_whole(value) and value >= least):
            raise ValueError(f"{name} = {value!r}; expected a whole number, at least {least}.")
    if hasattr(module, "classes") and hasattr(module, "targets"):
        raise ValueError("says both classes and targets; y is one class, or so many numbers: keep one of them.")
    if (shape := getattr(module, "shape", None)) is not None:
        good = isinstance(shape, (tuple, list)) and shape and all(_is_whole(n) and n >= 1 for n in shape)
        if not good:
            raise ValueError(f"shape = {shape!r}; expected the shape of one x, as in (28, 28).")
        if getattr(module, "inputs", math.prod(shape)) != math.prod(shape):
            raise ValueError(f"shape = {shape!r} has {math.prod(shape)} numbers, inputs = {module.inputs}; keep one.")
    if not isinstance(getattr(module, "name", ""), str):
        raise ValueError(f"name = {module.name!r}; expected text.")


def _takes(function: Callable[..., Any], said: str) -> bool:
    try:
        inspect.signature(function).bind(*said.split(", "))
    except TypeError:
        return False
    except ValueError:  # of some functions nothing is known
        return True
    return True


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _inputs_of(module: ModuleType) -> int | None:
    if (shape := getattr(module, "shape", None)) is not None:
        return math.prod(shape)
    return _given(module, "inputs")


def _given(module: ModuleType, name: str) -> int | None:
    return int(getattr(module, name)) if hasattr(module, name) else None


def _number(name: str, given: int | None, constants: Values) -> int:
    return int(constants[name]) if given is None else given


def _constants(module: ModuleType) -> tuple[Constant, ...]:
    """Keys of [model] for what the file leaves open."""
    found = []
    if _inputs_of(module) is None:
        meaning = f"numbers of x in a row, {_FROM_DATA} them as `inputs` or `shape`"
        found.append(Constant("inputs", None, meaning, minimum=1, integer=True))
    if not hasattr(module, "classes") and not hasattr(module, "targets"):
        found.append(Constant("classes", 0, f"classes of y, {_FROM_DATA}; 0 of none", minimum=0, integer=True))
        found.append(Constant("targets", 1, f"numbers of y, {_FROM_DATA}; 1 of classes", minimum=0, integer=True))
    return tuple(found)


def _parameter(leaf: _Leaf) -> Parameter:
    return Parameter(leaf.name, f"leaf {leaf.path}", lambda c: leaf.shape, lambda c: np.zeros(leaf.shape))


def _measures(module: ModuleType) -> tuple[Any, ...]:
    """Those of every network; without outputs not of what it predicts."""
    from thermosim.models.architectures.measures import MEASURES

    def without(model: Any, settings: Any) -> str:
        return f"{model.name!r} has no outputs(params, x) in its file"

    if getattr(module, "implied", False):
        return tuple(_unless_rows(one) if one.name in _OF_OUTPUTS else one for one in MEASURES)
    of_outputs = () if hasattr(module, "outputs") else _OF_OUTPUTS
    return tuple(replace(one, absent=without) if one.name in of_outputs else one for one in MEASURES)


def _unless_rows(measure: Measure) -> Measure:
    """A measure of predictions, where a module may give something else."""

    def absent(model: Any, settings: Any) -> str:
        if why := measure.absent(model, settings):
            return why
        found = model.network(settings.model.constants).outputs is not None
        return (
            "" if found else f"the module of {model.name!r} gives no number for each class; define outputs(module, x)"
        )

    return replace(measure, absent=absent)


def _known(text: str) -> str:
    """What a network is known by: its text, and the versions of packages that it imports."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    versions = []
    for name in sorted(names):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # of Python itself
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return "; ".join([hashlib.sha256(text.encode()).hexdigest(), *versions])


@contextlib.contextmanager
def _as_by_default(double: bool = False) -> Iterator[None]:
    """JAX as a user knows it: without 64 bits, unless the parameters have them."""
    import jax

    with jax.enable_x64(double):
        yield


def _leaves_of(init: Callable[[Any], Any]) -> tuple[Any, tuple[_Leaf, ...]]:
    """The structure of what init makes, and its leaves in order. Raises ValueError."""
    try:
        import jax
    except ImportError:
        raise ValueError(
            f"is a network, which runs in JAX, and that is not installed; {INSTALL} installs it."
        ) from None

    with _as_by_default(), jax.default_device(jax.devices("cpu")[0]):
        try:
            made = jax.eval_shape(init, _key(0.5))
        except Exception:  # init may be no more than Python
            made = _called(init)
    paths, tree = jax.tree_util.tree_flatten_with_path(made)
    if not paths:
        raise ValueError(f"init gives {type(made).__name__} without an array; expected a pytree of parameters.")
    leaves, taken = [], dict[str, str]()
    for path, value in paths:
        shown = jax.tree_util.keystr(path) or "params"
        if not hasattr(value, "dtype") and not isinstance(value, float):
            raise ValueError(
                f"init gives the leaf {shown} of type {type(value).__name__}; parameters are arrays of real numbers: "
                "keep what does not learn in the file, outside of them."
            )
        dtype = getattr(value, "dtype", np.dtype(float))
        if not jax.numpy.issubdtype(dtype, np.floating):
            raise ValueError(
                f"init gives the leaf {shown} of {dtype}; parameters are real numbers: make it a float, or keep it in "
                "the file, outside of them."
            )
        name = _name(path)
        if name in taken:
            raise ValueError(f"the leaves {taken[name]} and {shown} would both be called {name!r}; rename one.")
        taken[name] = shown
        leaves.append(_Leaf(name, shown, tuple(int(n) for n in np.shape(value))))
    return tree, tuple(leaves)


def _called(init: Callable[[Any], Any]) -> Any:
    try:
        return init(_key(0.5))
    except Exception as error:
        raise ValueError(f"init(key) fails: {blamed(error) or f'{type(error).__name__}: {error}'}.") from error


def _name(path: tuple[Any, ...]) -> str:
    """A word that a case can write, of the path of a leaf."""
    parts = [str(next((getattr(k, a) for a in ("key", "idx", "name") if hasattr(k, a)), k)) for k in path]
    parts = parts[:-1] if parts[1:] and str(path[-1]) == ".value" else parts  # as variables of flax are wrapped
    name = re.sub(r"\W+", "_", "_".join(parts)).strip("_")
    return f"leaf_{name}" if name[:1].isdigit() else name or "theta"


def _key(uniform: float) -> Any:
    """JAX's key of a replica: the 52 bits of the uniform at its address."""
    import jax

    bits = int((1.0 - uniform) * 2.0**52)
    words = jax.numpy.asarray([bits >> 32, bits & 0xFFFFFFFF], "uint32")
    return jax.random.wrap_key_data(words, impl="threefry2x32")


def _start(own: _OwnNetwork, known: str, constants: Values, hyper: Values, normal: Any, uniform: Any) -> np.ndarray:
    """What init makes of the key of every replica, one after another, on the processor: theta (m, R)."""
    import jax

    def flat(key: Any) -> Any:
        return [jax.numpy.ravel(jax.numpy.asarray(leaf, float)) for leaf in jax.tree_util.tree_leaves(own.init(key))]

    theta = np.empty((sum(math.prod(leaf.shape) for leaf in own.leaves), len(uniform)))
    with _as_by_default(), jax.default_device(jax.devices("cpu")[0]):
        made: Any = jax.jit(flat, compiler_options=QUICKLY)
        try:
            made(_key(0.5))
        except jax.errors.JAXTypeError:  # it decides by values
            made = flat
        for replica, number in enumerate(uniform):
            theta[:, replica] = np.concatenate([np.asarray(leaf) for leaf in made(_key(float(number)))])
    return theta


def _network(own: _OwnNetwork, known: str, constants: Values) -> Network:
    return _made(own, *(of(constants) for of in own.lengths))


@functools.lru_cache(maxsize=16)
def _made(own: _OwnNetwork, inputs: int, classes: int, targets: int) -> Network:
    import jax

    def rows(x: Any) -> Any:
        return x if own.shape is None else x.reshape(x.shape[0], *own.shape)

    def as_theirs(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(groups: Any, x: Any, *more: Any) -> Any:
            with _as_by_default(double=x.dtype == np.float64):
                params = own.params(groups, x)
                return function(params, (rows(x), *more)) if more else function(params, rows(x))

        return called

    loss, outputs = as_theirs(own.loss), None if own.outputs is None else as_theirs(own.outputs)
    if own.implied and not _gives_rows(own, outputs, inputs, classes or targets):
        outputs = None

    def reference(groups: Any, x: Any, y: Any) -> tuple[float, dict[str, Any]]:
        assert own.reference is not None
        value, gradient = own.reference(own.params(groups, x), (rows(x), y))
        return value, dict(zip((leaf.name for leaf in own.leaves), jax.tree_util.tree_leaves(gradient)))

    return Network(
        loss=loss,
        outputs=outputs,
        features=None if own.features is None else as_theirs(own.features),
        by_row=_is_mean(own, loss, inputs, classes, targets),
        reference=None if own.reference is None else reference,
    )


def _gives_rows(own: _OwnNetwork, outputs: Any, inputs: int, wanted: int) -> bool:
    """Whether predictions have the shape that accuracies are made of."""
    import jax

    groups = {leaf.name: np.zeros(leaf.shape, np.float32) for leaf in own.leaves}
    try:
        return jax.eval_shape(outputs, groups, np.zeros((_ROWS, inputs), np.float32)).shape == (_ROWS, wanted)
    except Exception:  # what is wrong is told where the loss is looked at
        return False


def _is_mean(own: _OwnNetwork, loss: Callable[..., Any], inputs: int, classes: int, targets: int) -> bool:
    """Whether the loss of some rows is the mean of those of their halves, near a start."""
    import jax

    random = np.random.default_rng(0)
    x = random.normal(size=(_ROWS, inputs)).astype(np.float32)
    y: Any = random.normal(size=(_ROWS, targets)).astype(np.float32)
    y = np.arange(_ROWS, dtype=np.int32) % classes if classes else y
    groups = {
        leaf.name: np.asarray(random.normal(size=leaf.shape) / math.sqrt(max((1, *leaf.shape[-2:-1]))), np.float32)
        for leaf in own.leaves
    }
    try:
        with jax.default_device(jax.devices("cpu")[0]):
            of_rows = jax.jit(loss, compiler_options=QUICKLY)
            whole, *halves = (float(of_rows(groups, x[part], y[part])) for part in (slice(None), *_HALVES))
    except Exception:  # what is wrong is told where the loss is looked at
        return True
    return abs(whole - sum(halves) / 2.0) <= _ROUNDING * max(abs(whole), *map(abs, halves))
