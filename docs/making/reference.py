"""Sphinx: pages of the reference, written from the declarations each time the site is built."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from docs.making.markdown import code, escaped, pre, prose, table

__all__ = ["PAGES", "setup"]


def setup(app: Any) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir) / "reference"))
    return {"version": "1", "parallel_read_safe": True}


def write(folder: Path) -> None:
    """Write every page into a folder, where it is new or has changed."""
    folder.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, text = folder / f"{name}.md", page()
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def models() -> str:
    """Every model: what it is, what a case may ask of it, its keys, parameters and variables, its formulas."""
    from thermosim.models import MODELS

    said = "# Models\n\nEvery model that comes with thermosim, from its declaration; "
    said += "`thermosim models NAME` says the same in a\n"
    said += "terminal. [Your own](../models.md) is one file, or [a network in JAX](../networks.md).\n\n"
    rows = [(f"[{name}](#{_anchor(name)})", escaped(one.summary), escaped(one.source)) for name, one in MODELS.items()]
    return said + table(("model", "what it is", "source"), rows) + "".join(map(_model, MODELS.values()))


def _model(model: Any) -> str:
    from thermosim.cli.listings import abilities

    said = f"\n## {model.name}\n\n{escaped(model.summary)}. Source: {escaped(model.source)}.\n\n"
    told = _module_of(model)
    said += prose(told.__doc__ or "") if told else ""
    said += table(("", ""), [(f"**{what.rstrip(':')}**", escaped(has)) for what, has in abilities(model)])
    said += table(("key", "default", "meaning"), list(map(_constant, model.constants)))
    groups = [(code(one.name), escaped(one.meaning)) for one in model.parameters]
    said += table(("group of theta", "meaning"), groups)
    measured = [*model.observables.items(), *((one.name, one) for one in (*model.functionals, *model.measures))]
    rows = [(code(name), one.units, escaped(one.long_name), code(one.equation)) for name, one in measured]
    said += table(("variable of its own", "unit", "meaning", "equation"), rows)
    symmetries = [(code(one.name), escaped(one.meaning)) for one in model.symmetries]
    return said + table(("symmetry", "of"), symmetries)


def _module_of(model: Any) -> Any:
    """The file that declares a model."""
    named = sys.modules.get("thermosim.models." + model.name.replace("-", "_"))
    inside = (one for name, one in sys.modules.items() if name.startswith("thermosim.models."))
    return named or next((one for one in inside if getattr(one, "MODEL", None) is model), None)


def _constant(constant: Any) -> tuple[str, str, str]:
    default = constant.default
    said = "computed" if callable(default) else "required" if default is None else code(str(default))
    limits = [f"one of {', '.join(map(code, constant.choices))}"] if constant.choices else []
    if constant.minimum is not None:
        limits += [f"{'above' if constant.exclusive else 'at least'} {constant.minimum:g}"]
    limits += [f"at most {constant.maximum:g}"] if constant.maximum is not None else []
    meaning = escaped(constant.meaning) + (f" ({', '.join(limits)})" if limits else "")
    return code(f"model.{constant.name}"), said, meaning


def moves() -> str:
    """Every move of theta and of x: its update, keys, what it books, what is true of it, its source."""
    from thermosim.models import MODELS
    from thermosim.moves import THETA_MOVES, X_MOVES

    said = "# Moves\n\nHow theta and x move: `theta.dynamics` and `x.dynamics`. "
    said += "A property that is not claimed here is taken to be\n"
    said += "false, and no theorem that needs it is compared. `thermosim moves` lists them in a terminal.\n"
    for section, found in (("theta", THETA_MOVES), ("x", X_MOVES)):
        said += f"\n## Moves of {section}\n\n"
        rows = [(f"[{name}](#{section}-{name})", code(move.summary)) for name, move in found.items()]
        said += table(("move", "update"), rows)
        for name, move in found.items():
            able = [model.name for model in MODELS.values() if move.lacks(model) is None and _has(model, section)]
            said += f"\n(#{section}-{name})=\n".replace("(#", "(") + f"### {section}: {name}\n\n"
            said += pre(move.summary) + f"Source: {escaped(move.source)}.\n\n"
            facts = [("keys", ", ".join(code(f"{section}.{key}") for key in move.keys))]
            facts += [("books", ", ".join(f"[{code(one)}](variables.md)" for one in move.books))]
            facts += [("true of it", "; ".join(words for claim, words in _CLAIMS.items() if getattr(move, claim)))]
            facts += [("models", ", ".join(f"[{one}](models.md#{_anchor(one)})" for one in able))]
            said += table(("", ""), [(f"**{what}**", has) for what, has in facts if has])
    return said


_CLAIMS = {
    "density": "it has a transition density, whose log ratio is booked",
    "invariant": "it leaves exp(-phi/T) invariant at any time step",
    "fresh": "the new x does not depend on the old one",
    "explicit": "an explicit step, unstable where the time step is too large for the force",
    "descent": "theta' is linear in theta, the velocity and the gradient",
    "retraces": "it is undone by the same minibatches at the opposite rate, to leading order",
    "moments": "the step is made of moments of the gradient",
    "judges": "it accepts by the loss, which must be a function of theta alone",
    "whole_data": "it takes all rows of data at every step",
    "on_sphere": "it has forms for scale-invariant parameters (`theta.constraint`)",
    "rates_by_group": "groups of parameters may have rates of their own",
    "preconditioned": "it may have a matrix of learning rates",
    "temperatures": "every component may have a temperature of its own",
    "mobilities": "every component may have a mobility of its own",
}


def _has(model: Any, section: str) -> bool:
    return bool(model.has_samples or model.has_kernels) if section == "x" else True


def variables() -> str:
    """Signs and units of the ledger, and every variable that an ensemble can hold."""
    from thermosim import ledger

    said = "# Variables and the ledger\n\n" + prose(ledger.__doc__ or "")
    said += "\n## What can be recorded\n\nOf every model; a model may have [more of its own](models.md). "
    said += "Dimensions come after `step`, those of a\n"
    said += "sweep, and `replica`.\n\n"
    rows = [
        (code(name), one.units, ", ".join(one.dims), escaped(one.long_name), code(one.equation))
        for name, one in ledger.VARIABLES.items()
    ]
    said += table(("variable", "unit", "dimensions", "meaning", "equation"), rows)
    said += (
        "\n## Units\n\nIf phi and temperatures grow by a factor c, and times and rates by 1/c, the paths are the same "
    )
    said += "and a\n"
    units = [(code(name), f"c^{power}" if power else "1") for name, power in ledger.UNITS.items()]
    return said + "number of the unit grows by this factor.\n\n" + table(("unit", "factor"), units)


def case_keys() -> str:
    """Every key of a case."""
    from thermosim.case.schema import key_rows

    said = "# Keys of a case\n\n`thermosim schema --text` prints this table, "
    said += "`thermosim schema` the JSON schema for an editor.\n"
    section = ""
    rows: list[tuple[str, ...]] = []
    for key, kind, default, meaning in [*key_rows(), ("", "", "", "")]:
        name = "schedules" if key.startswith(("{", " ")) else key.partition(".")[0]
        if rows and (name != section or not key):
            said += f"\n## {section}\n\n" + table(("key", "type", "default", "meaning"), rows)
            rows = []
        section = name
        rows.append((code(key.strip()), escaped(kind), code(default) if default else "", escaped(meaning)))
    return said


def analysis() -> str:
    """Every function of thermosim.analysis, below what its file says of formulas, conditions and sources."""
    from thermosim import analysis as whole
    from thermosim.analysis import irreversibility

    said = "# Analysis\n\nEvery function takes a Dataset, "
    said += "as `thermosim.open_ensemble` or xarray opens it, whole or a part, and returns a\n"
    said += "Dataset with a standard error `NAME_error` for every estimate, "
    said += "and the attribute `condition`, which says when it\n"
    said += "is exact. Functions are grouped by the files they stand in, which state formulas and sources.\n"
    for title, module in (("", whole), ("irreversibility: ", irreversibility)):
        files: dict[str, list[tuple[str, Any]]] = {}
        for name in module.__all__:
            one = getattr(module, name)
            files.setdefault(one.__module__, []).append((name, one))
        for file in sorted(files):
            said += (
                f"\n## {title}{file.rpartition('.')[2].replace('_', ' ')}\n\n{prose(sys.modules[file].__doc__ or '')}"
            )
            said += "".join(_function(name, one) for name, one in files[file])
    return said


def _function(name: str, one: Any) -> str:
    try:
        signature = str(inspect.signature(one)).replace("xr.", "").replace("np.", "")
    except (TypeError, ValueError):
        signature = ""
    text = f"{name}{signature}"
    if len(text) > 100 and ", " in signature:
        text = text.replace("(", "(\n    ", 1).replace(", ", ",\n    ")
    return f"\n### {name}\n\n```py\n{text}\n```\n\n{prose(inspect.getdoc(one) or '')}"


def commands() -> str:
    """What every command of the command line says of itself."""
    import typer

    from thermosim.cli.commands import app

    root = typer.main.get_command(app)
    said = "# Commands\n\nAs `thermosim COMMAND --help` prints them.\n"
    context = root.make_context("thermosim", [], resilient_parsing=True)
    for name in sorted(getattr(root, "commands", {})):
        command = root.commands[name]
        own = type(context)(command, info_name=name, parent=context, terminal_width=100, max_content_width=100)
        said += f"\n## {name}\n\n" + pre(command.get_help(own))
    return said


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-")


PAGES: dict[str, Callable[[], str]] = {
    "models": models,
    "moves": moves,
    "variables": variables,
    "case": case_keys,
    "analysis": analysis,
    "commands": commands,
}
