"""The fields of a user's Model: what kind of thing each must be, its arguments, its names, and what needs what.

Nothing of the model's physics is run here; that is `examine.py`.
"""

from __future__ import annotations

import dis
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

from thermosim import kernels
from thermosim.kernels.declare import is_inlined
from thermosim.kernels.identity import names_of
from thermosim.ledger import FUNCTIONALS, Functional
from thermosim.model import Constant, Derived, Model, Observable, Parameter, Symmetry
from thermosim.models.user_file.blame import place_of
from thermosim.network import Measure

__all__ = ["COMPILED", "PLAIN", "field_faults"]

# modules of kernels/ without templates, which need a compiler
_OF_COMPILERS = frozenset(
    {
        "__init__",
        "intrinsics",
        "machine_code",
        "device_code",
        "device_arithmetic",
        "device_cache",
        "naming",
        "disk_cache",
        "free_code",
    }
)
_TILE = "x, derived, constants, shared"
# arguments of the functions that are compiled into the step loop
COMPILED: dict[str, str] = {
    "energy": "x, theta, constants, shared, lane",
    "force": "i, x, theta, constants, shared, lane",
    "drive": "i, x, theta, constants, shared, lane",
    "stochastic_gradient": "theta, normal, constants, shared, loss, gradient, work",
    "prepare": "theta, constants, shared, derived, scratch",
    "surprisal": f"{_TILE}, phi, scratch",
    "surprisal_and_force": f"{_TILE}, phi, force, scratch",
    "parameter_gradient": f"{_TILE}, factor, loss, gradient, scratch",
    "fresh": f"{_TILE}, normal, uniform, scratch",
    "resample": "x, x_new, derived, constants, shared, uniform, scratch",
}
# of those in plain numpy, and whether the model must have them
PLAIN: dict[str, tuple[str, bool]] = {
    **dict.fromkeys(("components", "scratch_rows", "fresh_normals", "fresh_uniforms"), ("constants", True)),
    **dict.fromkeys(("resample_uniforms", "support"), ("constants", True)),
    "bound": ("constants", True),
    "gradient_of_rows": ("rows", False),
    "rows_share": ("constants", True),
    "inputs": ("constants", False),
    "targets": ("constants", True),
    "classes": ("constants", False),
    "tokens": ("constants", False),
    "cross_entropy": ("theta_a, theta_b, constants", False),
    "log_normaliser": ("theta, constants", False),
    "layers": ("theta, constants", False),
    "activations": ("theta, constants, inputs", False),
    "outputs": ("theta, constants, inputs", False),
    "equilibrium": ("theta, constants, temperature, normal", False),
    "propagator": ("theta, constants, time_step, temperature", False),
    "network": ("constants", False),
    "perceptron": ("constants", False),
    "scales": ("constants", False),
    "validate": ("constants, settings", False),
    "validate_rows": ("constants, rows", False),
    "check": ("ds", False),
    "plot": ("ds", False),
}
_TUPLES: dict[str, type] = {
    "constants": Constant,
    "parameters": Parameter,
    "derived": Derived,
    "functionals": Functional,
    "symmetries": Symmetry,
    "measures": Measure,
}
_TABLES: dict[str, Any] = {"initial_theta": FunctionType, "observables": Observable}
_START = "constants, hyper, normal, uniform"
_BOUND = ("COMPONENTS", "PARAMETERS", "DERIVED", "PREPARED", "BACKWARD")
# what the engine binds for its templates: a user's function would see these instead of its own
_BINDS = frozenset(
    {name.upper() for name in FUNCTIONALS}
    | {
        "BATCH",
        "CONSTRAINT",
        "CONTRAST",
        "DECOUPLED",
        "DRIVEN",
        "ROWS_LEFT",
        "ROWS_TOGETHER",
        "TEMPERATURES",
        "TIME_STEPS",
    }
    | {"book_loss", "book_sample", "evaluate", "gradient_of_loss", "gradient_of_rows", *COMPILED}
)
_SECTION = ("name", "file", "formula")  # keys of [model] itself


def field_faults(model: Model) -> list[str]:
    """One sentence for each fault, empty when there is none."""
    if faults := [*_types(model), *_arguments(model)]:
        return faults
    if faults := [*_parts(model), *_names(model)]:
        return faults
    return [*_needs(model), *_engine_names(model)]


def _types(model: Model) -> Iterator[str]:
    for field in fields(model):
        name, value = field.name, getattr(model, field.name)
        expected = _expected(name, value)
        if expected:
            yield f"{name} of MODEL is {_shown(value)}; expected {expected}."


def _expected(name: str, value: Any) -> str:
    """What a field must be instead of this value; empty where it is all right."""
    if name in ("name", "summary", "source"):
        return "" if isinstance(value, str) and (value.strip() or name != "name") else "text"
    if name in ("scale_invariant", "normalised", "discrete", "potential"):
        return "" if isinstance(value, bool) else "True or False"
    if name == "formula":
        return "" if value == "" else "nothing: formulas stand in a case, [model.formula]"
    if name == "levels":
        good = isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_number, value))
        return "" if good and value[0] != value[1] else "two different numbers, as in (-1.0, 1.0)"
    if name in _TUPLES:
        kind = _TUPLES[name]
        good = isinstance(value, tuple) and all(isinstance(item, kind) for item in value)
        return "" if good else f"a tuple, as in ({kind.__name__}(...),)"
    if name in _TABLES:
        kind = _TABLES[name]
        good = isinstance(value, Mapping) and all(isinstance(item, kind) for item in value.values())
        good = good and all(isinstance(key, str) for key in value)
        return "" if good else f"a dict from names to {'functions' if kind is FunctionType else 'Observables'}"
    if name in COMPILED:
        good = value is None or (isinstance(value, FunctionType) and not inspect.iscoroutinefunction(value))
        return "" if good else "a plain function (def), without a decorator; it is compiled with the moves"
    needed = PLAIN[name][1]
    return "" if callable(value) or (value is None and not needed) else "a function"


def _arguments(model: Model) -> Iterator[str]:
    """Functions that cannot be called with what they are given."""
    called: list[tuple[str, Any, str]] = [(name, getattr(model, name), said) for name, said in COMPILED.items()]
    called += [(name, getattr(model, name), said) for name, (said, _) in PLAIN.items()]
    if isinstance(model.initial_theta, Mapping):
        called += [(f"initial_theta[{key!r}]", function, _START) for key, function in model.initial_theta.items()]
    if not _expected("observables", model.observables):
        called += [(f"the function of observable {key!r}", o.function, f"{o.of}, constants")
                   for key, o in model.observables.items()]  # fmt: skip
    for name, function, said in called:
        if callable(function):
            yield from _call_fault(name, function, said)


def _call_fault(name: str, function: Callable[..., Any], said: str) -> Iterator[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of built-in functions nothing is known
        return
    try:
        signature.bind(*said.split(", "))
    except TypeError:
        place = place_of(function)
        where = f" ({place})" if place else ""
        yield f"{name} takes {signature}{where}; it is called as {name.split('[')[0].split(' ')[-1]}({said})."


def _parts(model: Model) -> Iterator[str]:
    """Fields of constants, parameters, derived rows, observables and functionals."""
    for constant in model.constants:
        of = f"the constant {constant.name!r}"
        if constant.shape is not None and not callable(constant.shape):
            yield f"{of}: shape is {_shown(constant.shape)}; expected a function, as in lambda c: (3,)."
        elif constant.choices:
            words = isinstance(constant.choices, tuple) and all(isinstance(word, str) for word in constant.choices)
            if constant.shape is not None or not words or constant.default not in (None, *constant.choices):
                yield f"{of}: choices are a tuple of words, without a shape, and the default is one of them."
        elif not _is_default(constant.default):
            yield f"{of}: default is {_shown(constant.default)}; expected a number, None, or a function of constants."
        for limit in (constant.minimum, constant.maximum):
            if limit is not None and not _is_number(limit):
                yield f"{of}: minimum and maximum are numbers or None, not {_shown(limit)}."
    groups: tuple[Parameter | Derived, ...] = (*model.parameters, *model.derived)
    for group in groups:
        of = f"the {'group of parameters' if isinstance(group, Parameter) else 'derived rows'} {group.name!r}"
        if not callable(group.shape):
            yield f"{of}: shape is {_shown(group.shape)}; expected a function, as in lambda c: (1,)."
        if isinstance(group, Parameter) and not callable(group.default):
            yield f"{of}: default is {_shown(group.default)}; expected a function, as in lambda c: np.zeros(1)."
        if isinstance(group, Parameter) and not (_is_number(group.spread) and group.spread >= 0.0):
            yield f"{of}: spread is {_shown(group.spread)}; expected a number that is not negative."
    for name, observable in model.observables.items():
        if observable.of not in ("theta", "x"):
            yield f'the observable {name!r} is of {observable.of!r}; expected "theta" or "x".'
        if not all(isinstance(text, str) for text in (observable.units, observable.long_name, observable.equation)):
            yield f"the observable {name!r}: units, long_name and equation are texts."


def _names(model: Model) -> Iterator[str]:
    """Names that are none, that stand for two things, or that the engine gives a meaning of its own."""
    kinds: list[tuple[str, Sequence[Any]]] = [
        ("constant", model.constants),
        ("group of parameters", model.parameters),
        ("set of derived rows", model.derived),
    ]
    taken: dict[str, str] = {}
    for kind, items in kinds:
        for item in items:
            if not isinstance(item.name, str) or not item.name.isidentifier():
                yield f"a {kind} is called {item.name!r}; expected a plain word: letters, digits and _."
                continue
            bound = item.name.upper()
            if kind == "constant" and item.name in _SECTION:
                yield f"a constant is called {item.name!r}, as a key of [model] is; rename it."
            elif bound in taken:
                yield (
                    f"a {kind} and a {taken[bound]} are both called {item.name!r}, so {bound} would mean both in "
                    "compiled functions; rename one."
                )
            elif bound in _BOUND or bound in _of_engine():
                yield f"a {kind} is called {item.name!r}, but {bound} has a meaning in compiled functions; rename it."
            taken.setdefault(bound, kind)
    for name in model.initial_theta:
        if not name.isidentifier():
            yield f"a start of initial_theta is called {name!r}; expected a plain word: letters, digits and _."
    for name in (*model.observables, *(functional.name for functional in model.functionals)):
        if not isinstance(name, str) or not name.isidentifier():
            yield f"an observable or functional is called {name!r}; expected a plain word: letters, digits and _."


def _needs(model: Model) -> Iterator[str]:
    """What is missing beside a function that is there."""
    has = {name: getattr(model, name) is not None for name in (*COMPILED, *PLAIN)}
    of_tile = has["surprisal"] or has["surprisal_and_force"]
    learns = has["parameter_gradient"] or has["network"]
    phi = "surprisal_and_force (or surprisal, where x is discrete)"
    rules = (
        (has["energy"] and not has["force"], "has an energy and no force: give force(i, x, ...) = -d phi/d x_i."),
        (has["force"] and not has["energy"], "has a force and no energy: give the energy it is the slope of."),
        (has["drive"] and not has["energy"], "has a drive and no energy: give an energy and its force (0.0 if none)."),
        (has["energy"] and of_tile, f"has phi twice, as energy and as {phi}: keep one form."),
        (has["surprisal"] and has["surprisal_and_force"], "has surprisal and surprisal_and_force: keep one form."),
        (
            has["surprisal"] and not model.discrete,
            ("has a surprisal without force and x is not discrete: give surprisal_and_force, or set discrete=True."),
        ),
        (has["surprisal_and_force"] and model.discrete, "is discrete and has surprisal_and_force: give surprisal."),
        (has["energy"] and model.discrete, "is discrete and has energy and force: give surprisal for a tile."),
        (
            has["parameter_gradient"] and not of_tile and not has["inputs"],
            (
                f"has a parameter_gradient and neither {phi} nor inputs: say how many inputs a row of data has, as in "
                "inputs=lambda c: 3, and how many targets, where it is a loss."
            ),
        ),
        (has["inputs"] and not learns, "has inputs and no parameter_gradient: give its loss."),
        (has["inputs"] and (of_tile or has["energy"]), "has inputs and an energy of x: a loss has no x, keep one."),
        (has["network"] and not has["inputs"], "has a network and no inputs: say how many numbers its x has."),
        (has["classes"] and not has["inputs"], "has classes and no inputs."),
        (
            has["parameter_gradient"] and has["stochastic_gradient"],
            ("has parameter_gradient and stochastic_gradient: theta learns by one of them."),
        ),
        (has["fresh"] and not of_tile, f"has fresh and no {phi}."),
        (has["resample"] and not has["surprisal"], "has resample and no surprisal (with discrete=True)."),
        (has["equilibrium"] and not has["energy"] and not of_tile, "has equilibrium and no energy."),
        (has["propagator"] and not has["energy"] and not of_tile, "has a propagator and no energy."),
        (has["prepare"] and not model.derived, "has prepare and no derived rows for it to write."),
        (bool(model.derived) and not has["prepare"], "has derived rows and no prepare to write them."),
        (
            has["prepare"] and has["energy"],
            ("has prepare beside energy and force, which read theta itself: give surprisal_and_force."),
        ),
        (
            (learns or has["stochastic_gradient"]) and not model.parameters,
            ("has a gradient and no parameters."),
        ),
        (
            any(o.of == "x" for o in model.observables.values()) and not (has["energy"] or of_tile),
            ("has an observable of x and no energy, so no x."),
        ),
        (
            not any((has["energy"], of_tile, has["stochastic_gradient"], learns)),
            ("has neither an energy nor a gradient: nothing could move."),
        ),
    )
    return (f"MODEL {said}" for wrong, said in rules if wrong)


def _engine_names(model: Model) -> Iterator[str]:
    """Globals of compiled functions that the engine binds to something of its own."""
    own = {name for name in COMPILED if getattr(model, name) is not None}
    items: tuple[Constant | Parameter | Derived, ...] = (*model.constants, *model.parameters, *model.derived)
    bound = {item.name.upper() for item in items} | {*_BOUND}
    functions = [(name, getattr(model, name)) for name in COMPILED]
    functions += [(f"book of {functional.name!r}", functional.book) for functional in model.functionals]
    for name, function in functions:
        if not isinstance(function, FunctionType):
            continue
        names = _globals_of(function)
        if "print" in names:
            yield f"{name} ({place_of(function)}) prints; it is compiled, and runs once for every move: take print out."
        for used in names - bound:
            known = function.__globals__.get(used)
            its_own = used in own and getattr(model, used) is known
            if known is not None and used in _BINDS and not its_own:
                yield f"{name} uses {used!r} of its file, a name that the engine binds to its own: rename it."
            elif not isinstance(known, FunctionType) or is_inlined(known) or its_own:
                continue
            elif known.__module__ == function.__module__:
                marked = "mark it @inlined, from thermosim.kernels.declare, so that it is compiled too"
                yield f"{name} calls {used} ({place_of(known)}): {marked}."


def _globals_of(function: FunctionType) -> set[str]:
    """Global names that the code of a function loads."""
    codes, names = [function.__code__], set[str]()
    for code in codes:
        names |= {
            str(step.argval) for step in dis.get_instructions(code) if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")
        }
        codes += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return names


@functools.cache
def _of_engine() -> frozenset[str]:
    """Names in capitals that templates of kernels use: there they would become those of the model."""
    home, used = Path(kernels.__path__[0]), set[str]()
    for file in home.rglob("*.py"):
        if file.stem not in _OF_COMPILERS:
            module = import_module(".".join((kernels.__name__, *file.relative_to(home).with_suffix("").parts)))
            functions = [f for f in vars(module).values() if isinstance(f, FunctionType) and not is_inlined(f)]
            used.update(*(names_of(function.__code__) for function in functions))
    return frozenset({name for name in used if name.lstrip("_").isupper()}) | _BINDS


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_default(value: Any) -> bool:
    if value is None or callable(value) or _is_number(value):
        return True
    return isinstance(value, (list, tuple)) or hasattr(value, "dtype")


def _shown(value: Any) -> str:
    """A value as a message shows it: addresses of objects say nothing."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if callable(value):
        return f"a function or object of type {type(value).__name__}"
    return f"{type(value).__name__} {value!r}"[:120] if value is not None else "None"
