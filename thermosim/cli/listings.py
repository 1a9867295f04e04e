"""What there is: one case or ensemble described, the models, the cases. Each function returns the exit code."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.cli.exits import Exit
from thermosim.report.console import duration, make_console, size_text

if TYPE_CHECKING:
    from thermosim.model import Model


def info(target: Path, overrides: dict[str, Any], workers: int = 10, trial: bool = True, device: str = "auto") -> Exit:
    """Describe a case, and what it takes on a device, or an ensemble."""
    from rich.markup import escape
    from rich.table import Table

    from thermosim.storage import parts_folder

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    is_case = target.is_file() and target.suffix == ".toml"
    if not is_case and (target.exists() or parts_folder(target).exists()):
        rows, code = _ensemble_rows(target)
    else:
        rows, code = _case_rows(target, overrides, workers, trial, device), Exit.FINE
    for key, value in rows:
        table.add_row(key, escape(value))
    make_console().print(table)
    return code


def _case_rows(
    target: Path, overrides: dict[str, Any], workers: int, trial: bool, device: str
) -> list[tuple[str, str]]:
    from thermosim.case.load import load_case
    from thermosim.case.words import rows_of
    from thermosim.cli.proofs import proofs
    from thermosim.cli.variables import measured_rows

    case = load_case(target, overrides)
    rows = [("case", case.title), *rows_of(case), *measured_rows(case), *proofs(case)]
    return rows + _needs_rows(case, workers, trial, device)


def _needs_rows(case: Any, workers: int, trial: bool, device: str) -> list[tuple[str, str]]:
    """What the run will take."""
    from thermosim.cli.card_rows import device_rows
    from thermosim.run import machine
    from thermosim.run.budget import needs_of_case

    with make_console(stderr=True).status("compiling, then a trial of two seconds" if trial else "weighing"):
        rows, measured = device_rows(case, device)
        needs = needs_of_case(case, trial=trial and bool(measured), device=measured or "cpu")
    if trial and not measured:
        rows.append(("time", "is measured where there is a card that takes the case"))
    if not math.isnan(needs.seconds):
        rate = needs.replica_steps / needs.seconds
        on = f"{needs.threads} threads" if not needs.cards else "1 card" if needs.cards == 1 else f"{needs.cards} cards"
        rows.append(("time", f"{duration(needs.seconds)} here, {on}, {rate:.3g} replica-steps/s"))
    if not math.isnan(needs.seconds) and not needs.cards:
        spread, units = needs.on(workers), f"{workers:,} such machines"
        rows.append(("", f"{duration(spread.seconds)} on {units}: {spread.tasks:,} tasks, {spread.files:,} files"))
    passes = -(-needs.lanes // max(1, needs.lanes_at_once))
    at_once = "all replicas at one time" if passes == 1 else f"{passes} runs of replicas one after the other"
    free = machine.free_disk(Path("here"))
    of = f"{size_text(needs.machine.free)} free of {size_text(needs.machine.total)}"
    rows.append(("memory", f"{size_text(needs.memory)}, {at_once}; {of}{_too_much(needs.memory > needs.machine.free)}"))
    sizes = f"up to {size_text(needs.disk)} while it runs, {size_text(needs.disk_virtual)} with --virtual"
    rows.append(("file", size_text(needs.file)))
    rows.append(("disk", f"{sizes}; {size_text(free)} free here{_too_much(needs.disk > free)}"))
    whole = needs.memory_of_dataset
    rows.append(("no file", f"{size_text(whole)} of memory with simulate(case){_too_much(whole > needs.machine.free)}"))
    return rows


def _too_much(much: bool) -> str:
    return ": more than is free here" if much else ""


def _ensemble_rows(target: Path) -> tuple[list[tuple[str, str]], Exit]:
    """What an ensemble is, and whether every checksum agrees; the exit code is 1 where one does not."""
    import warnings

    from thermosim.report.state import faults_of
    from thermosim.storage.open import open_ensemble

    faults = faults_of(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the faults are told below
        ds = open_ensemble(target, verify=bool(faults))
    try:
        return _rows_of(target, ds, faults), Exit.FAILED if faults else Exit.FINE
    except Exception:
        if not faults:
            raise
        return [("ensemble", str(target)), ("checksums", "\n".join([*faults, "Put it back from a copy."]))], Exit.FAILED


def _rows_of(target: Path, ds: Any, faults: list[str]) -> list[tuple[str, str]]:
    from thermosim.case.settings import Settings
    from thermosim.case.words import moves_words
    from thermosim.storage import parts_folder, read_manifest
    from thermosim.storage.durable import command

    going_on = command("resume", target)
    settings = Settings.from_dict(json.loads(ds.attrs["settings"]))
    state = "complete" if ds.attrs["completed"] else f"interrupted or running: {going_on} goes on"
    folder = parts_folder(target)
    if target.is_file() and folder.is_dir() and not read_manifest(folder).virtual:
        state += f"; a run that is to replace or extend it was begun: {going_on} goes on with that"
    cadences = [
        dim for dim in ds.sizes if str(dim).endswith("step") and "key" not in ds[dim].attrs
    ]  # no axis of a sweep
    steps = [int(ds[dim][-1]) for dim in cadences if ds.sizes[dim]]
    last = max(steps, default=0)
    sizes = ", ".join(f"{dim} {size:,}" for dim, size in ds.sizes.items())
    diverged = int((ds.status != 0).sum())
    return [
        ("ensemble", str(ds.attrs["title"])),
        ("state", state),
        ("model", settings.model.name),
        ("moves", moves_words(settings)),
        ("steps", f"{last:,} of {settings.run.steps:,} recorded"),
        ("sizes", sizes),
        ("variables", ", ".join(str(v) for v in ds.data_vars)),
        ("diverged", f"{diverged:,} of {ds.status.size:,} replicas"),
        ("seed", str(ds.attrs["seed"])),
        ("made by", f"thermosim {ds.attrs['thermosim_version']}, Python {ds.attrs['python']}"),
        ("checksums", "\n".join([*faults, "What is whole stays readable."]) if faults else "all agree"),
    ]


def models(name: str | None, overrides: dict[str, Any] | None = None) -> Exit:
    """List the models, or the keys of one; one that is a user's file is looked at too."""
    from rich.table import Table

    from thermosim.case.faults import CaseError
    from thermosim.models import MODELS

    console, table = make_console(), Table(box=None, pad_edge=False, header_style="bold")
    if name is None:
        table.add_column("model", style="bold")
        table.add_column("what it is", overflow="fold")
        for model in MODELS.values():
            table.add_row(model.name, f"{model.summary} [dim]({model.source})[/dim]")
        console.print(table)
        return Exit.FINE
    if name.endswith(".py"):
        return _users_model(Path(name), overrides or {})
    if name not in MODELS:
        raise CaseError([f"no such model. There are: {', '.join(MODELS)}. Your own: a file that ends in .py."], name)
    _describe(MODELS[name])
    return Exit.FINE


def _users_model(path: Path, overrides: dict[str, Any]) -> Exit:
    """Describe the model of a file, then say what of it was checked; exit code 2 where something is wrong."""
    from thermosim.case.faults import CaseError
    from thermosim.case.model import trial_constants
    from thermosim.models.user_file.load import load_user_model

    model, faults = load_user_model(path)
    if model is None:
        raise CaseError(faults, str(path))
    given = {key.removeprefix("model."): value for key, value in overrides.items()}
    constants, faults = trial_constants(given, model)
    if faults:
        raise CaseError(faults, str(path))
    if model.has_kernels:
        from thermosim.models.user_file.examine import examine

        found = examine(model, [constants])
    else:
        from thermosim.models.user_file.examine_network import examine_network

        found = examine_network(model, constants, None, None, "float32")
    if found.faults:
        raise CaseError([f"model.file = {path.name!r}: {fault}" for fault in found.faults], str(path))
    _describe(model)
    chosen = ", ".join(f"{name} = {value}" for name, value in constants.items()) or "no constants"
    make_console().print(f"\n[bold]checked:[/bold] {'; '.join(found.checked) or 'its fields'}; with {chosen}")
    return Exit.FINE


def _describe(model: Model) -> None:
    """What a model is, what a case may ask of it, its keys, and what can be recorded of it."""
    from rich.table import Table

    from thermosim.cli.variables import tables_of

    console, table = make_console(), Table(box=None, pad_edge=False, header_style="bold")
    console.print(f"[bold]{model.name}[/bold]: {model.summary}\n{model.source}\n")
    for what, has in abilities(model):
        console.print(f"[bold]{what}[/bold] {has}")
    if model.has_samples:
        console.print()
    table.add_column("key", style="bold")
    table.add_column("default")
    table.add_column("meaning", overflow="fold")
    for constant in model.constants:
        default = (
            "computed"
            if callable(constant.default)
            else "required"
            if constant.default is None
            else str(constant.default)
        )
        chosen = f": {', '.join(constant.choices)}" if constant.choices else ""
        table.add_row(f"model.{constant.name}", default, f"{constant.meaning}{chosen}")
    for group in model.parameters:
        table.add_row(
            f"theta.protocol.{group.name}" if model.has_samples else f"theta: {group.name}", "", group.meaning
        )
    console.print(table)
    for more in tables_of(model):
        console.print(more)


def abilities(model: Model) -> list[tuple[str, str]]:
    """What a case may ask of a model with samples x, or of a loss."""
    from thermosim.case.start import listed, possible_starts
    from thermosim.moves import THETA_MOVES, possible_moves
    from thermosim.network import MOVES

    if model.is_loss:
        able = [move.name for move in THETA_MOVES.values() if move.learns and move.lacks(model) is None]
        able = able if model.has_kernels else [name for name in able if name in MOVES]
        kind = "inputs and targets" if model.tokens is None else "tokens, of which each is predicted by those before it"
        from_data = f"rows of data, {kind}; there is no x"
        if model.normalised:
            from_data = "rows x of data, by ln p(x); no samples x move with it"
        rows = [("learns from:", from_data), ("moves of theta:", ", ".join(able))]
        rows += [("exact sampler:", "yes, for the analysis")] if model.normalised and model.fresh is not None else []
        return rows + ([("symmetries:", ", ".join(one.name for one in model.symmetries))] if model.symmetries else [])
    if not model.has_samples:
        return []
    if model.normalised:
        phi = "surprisal -ln p, normaliser included"
    elif model.log_normaliser is not None:
        phi = "energy without its normaliser; the analysis finds it where it can"
    else:
        phi = "energy without its normaliser"
    sampler = "yes" if model.fresh is not None or model.equilibrium is not None else "no"
    rows = [("phi:", phi), ("exact sampler:", sampler), ("moves of x:", ", ".join(possible_moves(model)))]
    rows.append(("x starts from:", listed(possible_starts(model))))
    if not model.learns:
        return rows
    learns = "likelihood or contrast" if model.normalised else "contrast with its own samples"
    return [*rows, ("theta learns by:", learns)]


def moves(name: str | None) -> Exit:
    """List the moves of theta and x with the keys that are numbers of every lane, or say all of one name."""
    from rich.markup import escape
    from rich.table import Table

    from thermosim.case.faults import CaseError
    from thermosim.moves import THETA_MOVES, X_MOVES

    everything = [("theta", move) for move in THETA_MOVES.values()] + [("x", move) for move in X_MOVES.values()]
    console, table = make_console(), Table(box=None, pad_edge=False, header_style="bold")
    if name is None:
        for title in ("move", "update", "keys"):
            table.add_column(title, style="bold" if title == "move" else "", overflow="fold")
        for section, move in everything:
            table.add_row(f"{section} {move.name}", escape(move.summary), ", ".join(move.keys))
        console.print(table)
        return Exit.FINE
    found = [(section, move) for section, move in everything if move.name == name]
    if not found:
        names = ", ".join(dict.fromkeys(move.name for _, move in everything))
        raise CaseError([f"no such move. There are: {names}."], name)
    for section, move in found:
        console.print(f"[bold]{move.name}[/bold], a move of {section}: {escape(move.summary)}\n{escape(move.source)}")
        claims = {"density": "has a density", "invariant": "leaves exp(-phi/T) invariant at any time step"}
        said = [words for claim, words in claims.items() if getattr(move, claim)]
        for what, has in (("keys:", move.keys), ("books:", move.books), ("it", said)):
            if has:
                console.print(f"[bold]{what}[/bold] {', '.join(has)}")
    return Exit.FINE


def schedules(kind: str | None) -> Exit:
    """List the kinds of schedules, or the keys of one."""
    from rich.table import Table

    from thermosim.case.faults import CaseError
    from thermosim.schedules import KINDS

    console, table = make_console(), Table(box=None, pad_edge=False, header_style="bold")
    if kind is None:
        for title in ("kind", "value", "keys"):
            table.add_column(title, style="bold" if title == "kind" else "", overflow="fold")
        for name, described in KINDS.items():
            table.add_row(name, described.summary, ", ".join(described.keys))
        console.print(table)
        return Exit.FINE
    if kind not in KINDS:
        raise CaseError([f"no such schedule. There are: {', '.join(KINDS)}."], kind)
    console.print(f"[bold]{kind}[/bold]: {KINDS[kind].summary}\n")
    for title in ("key", "needed", "meaning"):
        table.add_column(title, style="bold" if title == "key" else "", overflow="fold")
    for key, meaning in KINDS[kind].keys.items():
        table.add_row(key, "yes" if key in KINDS[kind].needed else "", meaning)
    console.print(table)
    return Exit.FINE


def schema_text() -> Exit:
    """Every section and key of a case: type, default and meaning."""
    from rich.markup import escape
    from rich.table import Table

    from thermosim.case.schema import key_rows

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("key", "type", "default", "meaning"):
        table.add_column(title, style="bold" if title == "key" else "", no_wrap=title == "key", overflow="fold")
    for row in key_rows():
        table.add_row(*map(escape, row))
    make_console().print(table)
    return Exit.FINE


def cases() -> Exit:
    """List the cases that come with thermosim, under the names that `run` takes."""
    from rich.table import Table

    from thermosim.case import library

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case", style="bold", no_wrap=True)
    table.add_column("what it asks", overflow="fold")
    for name, title in library.listing().items():
        table.add_row(name, title)
    make_console().print(table)
    return Exit.FINE
