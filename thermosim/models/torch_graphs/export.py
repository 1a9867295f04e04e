"""A function of a torch.nn.Module and rows, as torch.export sees it, run in JAX.

The graph is that of torch's core operations: pure, without Python, for one shape of rows. Parameters come from outside,
buffers and whatever else is a tensor are constants. What would make the graph another function than the module is
refused: random numbers, buffers that change, branches that depend on values, operations without a counterpart.
"""

from __future__ import annotations

import contextlib
import io
import logging
import operator
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from thermosim.models.torch_graphs.layers import LAYERS
from thermosim.models.torch_graphs.pointwise import POINTWISE
from thermosim.models.torch_graphs.refused import Refused
from thermosim.models.torch_graphs.shapes import SHAPES

__all__ = ["Exported", "apart", "default_type"]

_OPERATIONS: dict[str, Callable[..., Any]] = {**POINTWISE, **SHAPES, **LAYERS}
_OF_MEMORY = ("device", "layout", "pin_memory", "memory_format", "non_blocking", "requires_grad", "implicit")
_NOTHING = ("_assert", "_assert_tensor_metadata", "_assert_scalar", "_assert_async")
_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
# whose forms in other operations have no gradient where an exponential overflows
_WHOLE = ("softplus.default", "log_sigmoid_forward.default", "elu.default")
_LOCK = threading.RLock()  # torch exports one at a time


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """What of torch belongs to the whole process, kept from others: random numbers, warnings, one thread at a time."""
    import torch

    with _LOCK, warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        yield


@contextlib.contextmanager
def default_type(dtype: Any) -> Iterator[None]:
    """Tensors that a module makes have this type, if they are not told another."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if dtype == np.float64 else torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


class Exported:
    """function(module, *rows) for rows of given shapes: called with a dict of parameters and the rows, all of JAX."""

    def __init__(self, function: Callable[..., Any], module: Any, rows: tuple[Any, ...], file: str) -> None:
        self.file = file
        self.program = _exported(function, module, rows, file)
        signature = self.program.graph_signature
        if changed := [name.removeprefix("module.") for name in signature.buffers_to_mutate.values()]:
            raise Refused(
                f"the module changes its buffer {changed[0]} while it runs: state that is not learned has no place "
                "in an ensemble of parameters. BatchNorm takes track_running_stats=False; LayerNorm and GroupNorm have "
                "no such state."
            )
        first = {id(value): name for name, value in module.named_parameters()}
        every = {name: first[id(value)] for name, value in module.named_parameters(remove_duplicate=False)}
        learned = {name for name, value in module.named_parameters() if value.requires_grad}
        self.parameters: dict[str, str] = {}  # of placeholders, the names in the module
        self.constants: dict[str, np.ndarray] = {}
        self.rows: list[str] = []
        kept = {**self.program.state_dict, **self.program.constants}
        for spec in signature.input_specs:
            name, target = spec.arg.name, spec.target
            if target is None:
                self.rows.append(name)
            elif (own := every.get(target.removeprefix("module."))) in learned:
                self.parameters[name] = str(own)
            else:
                self.constants[name] = kept[target].detach().cpu().numpy()
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                _operation(node, file)

    def __call__(self, parameters: Mapping[str, Any], *rows: Any) -> Any:
        import jax.numpy as jnp
        from torch.utils import _pytree as pytree

        values: dict[Any, Any] = {}
        given = dict(zip(self.rows, rows))
        for node in self.program.graph.nodes:
            if node.op == "placeholder":
                if node.name in self.parameters:
                    values[node] = parameters[self.parameters[node.name]]
                elif node.name in self.constants:
                    values[node] = _typed(jnp.asarray(self.constants[node.name]), node)
                else:
                    values[node] = given[node.name]
            elif node.op == "call_function":
                values[node] = _called(node, values, self.file)
            elif node.op == "output":
                made = [_argument(one, values) for one in node.args[0]]
                return pytree.tree_unflatten(made, self.program.call_spec.out_spec)
        raise AssertionError("a graph has an output")


def _exported(function: Callable[..., Any], module: Any, rows: tuple[Any, ...], file: str) -> Any:
    """The program of core operations. Raises Refused, and what the file raises."""
    import torch

    class Called(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *given: Any) -> Any:
            return function(self.module, *given)

    said = io.StringIO()  # torch prints whole graphs where it fails
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            table = torch.export.default_decompositions()
            for name in _WHOLE:
                packet, overload = name.split(".")
                table.pop(getattr(getattr(torch.ops.aten, packet), overload), None)
            return torch.export.export(Called(), rows).run_decompositions(table)
    except Exception as error:
        kinds = {kind.__name__ for kind in type(error).__mro__}
        if kinds & {"GuardOnDataDependentSymNode", "DataDependentOutputException", "UserError"}:
            raise Refused(
                f"{_line_of_error(error, file)}decides by the value of a tensor, as `if`, `while`, float() or .item() "
                "do; write torch.where."
            ) from error
        raise
    finally:
        logging.disable(disabled)


def _line_of_error(error: BaseException, file: str) -> str:
    import traceback

    lines = [line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == file]
    return f"{Path(file).name}, line {lines[-1]}: " if lines else ""


def _line_of(node: Any, file: str) -> str:
    """The line of the user's file that an operation comes from."""
    lines = [line for name, line in _FRAME.findall(node.meta.get("stack_trace") or "") if name == file]
    return f"{Path(file).name}, line {lines[-1]}: " if lines else ""


def _operation(node: Any, file: str) -> Callable[..., Any] | None:
    """What runs a node; None of an assertion. Raises Refused."""
    import torch

    target = node.target
    if target is operator.getitem:
        return operator.getitem
    name = str(target).removeprefix("aten.")
    packet = name.partition(".")[0]
    if torch.Tag.nondeterministic_seeded in getattr(target, "tags", ()):
        raise Refused(
            f"{_line_of(node, file)}the module draws random numbers ({packet}), which would have no address and be "
            "others in every run: leave dropout out (p=0, or .eval() of the part) and other noise too."
        )
    if packet in _NOTHING:
        return None
    found = _OPERATIONS.get(name) or _OPERATIONS.get(packet)
    if found is None or not str(target).startswith("aten."):
        raise Refused(
            f"{_line_of(node, file)}the operation {target} of torch has no counterpart in JAX here; write it with "
            "others, or the network as init(key) and loss(params, batch) in JAX (docs/networks.md)."
        )
    return found


def _called(node: Any, values: dict[Any, Any], file: str) -> Any:
    function = _operation(node, file)
    if function is None:
        return None
    args = [_argument(value, values) for value in node.args]
    keywords = {name: _argument(value, values) for name, value in node.kwargs.items() if name not in _OF_MEMORY}
    if function is operator.getitem:
        return args[0][args[1]]
    try:
        made = function(*args, **keywords)
    except NotImplementedError as error:
        raise Refused(f"{_line_of(node, file)}{error}") from None
    return made if isinstance(made, (tuple, list)) else _typed(made, node)


def _typed(value: Any, node: Any) -> Any:
    """A value of the type and the shape that torch says it has; numbers of 64 bits are what JAX has for them."""
    import jax

    expected = node.meta["val"]
    dtype = jax.dtypes.canonicalize_dtype(_dtype(expected.dtype))
    value = value if value.dtype == dtype else value.astype(dtype)
    assert value.shape == tuple(expected.shape), (str(node.target), value.shape, tuple(expected.shape))
    return value


def _argument(value: Any, values: dict[Any, Any]) -> Any:
    """What a node is called with: tensors, and numbers, lists and types as Python and numpy know them."""
    import torch

    if isinstance(value, torch.fx.Node):
        return values[value]
    if isinstance(value, (list, tuple)):
        return [_argument(one, values) for one in value]
    if isinstance(value, torch.dtype):
        return _dtype(value)
    return None if isinstance(value, (torch.device, torch.layout, torch.memory_format)) else value


def _dtype(dtype: Any) -> Any:
    return np.dtype(str(dtype).removeprefix("torch.").replace("bfloat16", "float32"))
