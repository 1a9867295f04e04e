"""What there is: one case or ensemble described, the models, the cases. Each function returns the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim.terminal import FINE, make_console, size_text

if TYPE_CHECKING:
    from thermosim.model import Model


def info(target: Path, overrides: dict[str, Any]) -> int:
    """Describe a case or an ensemble."""
    from rich.table import Table

    from thermosim.storage import parts_folder

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    if target.is_file() and target.suffix == ".toml":
        rows = _case_rows(target, overrides)
    elif target.exists() or parts_folder(target).exists():
        rows = _ensemble_rows(target)
    else:
        rows = _case_rows(target, overrides)
    for key, value in rows:
        table.add_row(key, value)
    make_console().print(table)
    return FINE


def _case_rows(target: Path, overrides: dict[str, Any]) -> list[tuple[str, str]]:
    from thermosim.case import load_case
    from thermosim.plan import plan as make_plan
    from thermosim.recording import Frames, recorded_variables

    case = load_case(target, overrides)
    blocks = make_plan(case)
    variables = recorded_variables(case, blocks[0])
    frames = len(case.frame_steps())
    stored = 8 * sum(int(np.prod(v["shape"])) for v in variables.values()) * frames * case.replicas_in_all
    memory = Frames(case, blocks[0], variables).bytes_per_frame
    steps = case.settings["run"]["steps"]
    axes = ", ".join(f"{axis.name} ({len(axis.values)})" for axis in case.axes) or "none"
    return [
        ("case", case.title),
        ("model", f"{case.model.name}: {case.model.summary}"),
        ("moves", _moves(case.settings)),
        ("sweep", axes),
        ("replicas", f"{case.replicas_in_all:,} in all, {case.settings['ensemble']['replicas']:,} at each point"),
        (
            "steps",
            f"{steps:,} ({case.replicas_in_all * steps:.3g} replica-steps)",
        ),
        (
            "frames",
            f"{frames:,}, every {case.settings['record']['every']:,} steps from {case.settings['record']['first']:,}",
        ),
        ("variables", ", ".join(variables)),
        ("file", size_text(stored)),
        ("one frame", size_text(memory)),
    ]


def _moves(settings: Any) -> str:
    theta, x = settings["theta"], settings.get("x")
    details = [str(theta["constraint"])] if theta["constraint"] else []
    details += [f"batch {theta['batch']}"] if theta["batch"] else []
    details += [str(theta["gradient"])] if theta["gradient"] else []
    parts = [f"theta {theta['dynamics']}" + (f" ({', '.join(details)})" if details else "")]
    if x:
        parts.append(f"x {x['dynamics']}, {x['tau']} per step")
    return "; ".join(parts)


def _ensemble_rows(target: Path) -> list[tuple[str, str]]:
    from thermosim.ensemble import open_ensemble

    ds = open_ensemble(target)
    settings = json.loads(ds.attrs["settings"])
    state = "complete" if ds.attrs["completed"] else "interrupted or running: thermosim resume goes on"
    last = int(ds.step[-1]) if ds.sizes["step"] else 0
    sizes = ", ".join(f"{dim} {size}" for dim, size in ds.sizes.items())
    diverged = int((ds.status != 0).sum())
    return [
        ("ensemble", str(ds.attrs["title"])),
        ("state", state),
        ("model", settings["model"]["name"]),
        ("moves", _moves(settings)),
        ("steps", f"{last:,} of {settings['run']['steps']:,} recorded"),
        ("sizes", sizes),
        ("variables", ", ".join(str(v) for v in ds.data_vars)),
        ("diverged", f"{diverged:,} of {ds.status.size:,} replicas"),
        ("seed", str(ds.attrs["seed"])),
        ("made by", f"thermosim {ds.attrs['thermosim_version']}, Python {ds.attrs['python']}"),
    ]


def models(name: str | None) -> int:
    """List the models, or the keys of one."""
    from rich.table import Table

    from thermosim.case import CaseError
    from thermosim.models import MODELS

    console, table = make_console(), Table(box=None, pad_edge=False, header_style="bold")
    if name is None:
        table.add_column("model", style="bold")
        table.add_column("what it is", overflow="fold")
        for model in MODELS.values():
            table.add_row(model.name, f"{model.summary} [dim]({model.source})[/dim]")
        console.print(table)
        return FINE
    if name not in MODELS:
        raise CaseError([f"no such model. There are: {', '.join(MODELS)}."], name)
    model = MODELS[name]
    console.print(f"[bold]{model.name}[/bold]: {model.summary}\n{model.source}\n")
    for what, has in _abilities(model):
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
        table.add_row(f"model.{constant.name}", default, constant.meaning)
    for group in model.parameters:
        table.add_row(
            f"theta.protocol.{group.name}" if model.has_samples else f"theta: {group.name}", "", group.meaning
        )
    console.print(table)
    return FINE


def _abilities(model: Model) -> list[tuple[str, str]]:
    """What a case may ask of a model with samples x."""
    from thermosim.rules import possible_moves

    if not model.has_samples:
        return []
    if model.normalised:
        phi = "surprisal -ln p, normaliser included"
    elif model.log_normaliser is not None:
        phi = "energy without its normaliser; the analysis finds it where it can"
    else:
        phi = "energy without its normaliser"
    sampler = "yes" if model.fresh is not None or model.equilibrium is not None else "no; start from data"
    if not model.learns:
        return [("phi:", phi), ("exact sampler:", sampler), ("moves of x:", ", ".join(possible_moves(model)))]
    learns = "likelihood or contrast" if model.normalised else "contrast with its own samples"
    rows = [("phi:", phi), ("exact sampler:", sampler)]
    return [*rows, ("moves of x:", ", ".join(possible_moves(model))), ("theta learns by:", learns)]


def cases() -> int:
    """List the case files of the checkout."""
    import tomllib

    from rich.table import Table

    folder = Path(__file__).parent.parent / "cases"
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("case", style="bold", no_wrap=True)
    table.add_column("what it asks", overflow="fold")
    for path in sorted(folder.rglob("*.toml")):
        table.add_row(str(path.relative_to(folder.parent)), tomllib.loads(path.read_text("utf-8")).get("title", ""))
    make_console().print(table)
    return FINE
