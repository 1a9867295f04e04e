"""What the commands print: progress line, tables, summaries. Each function returns the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from thermosim.analysis.comparison import Comparison
    from thermosim.case import Case
    from thermosim.simulation import Report

FINE, CHECK_FAILED, NOTHING_TO_CHECK, BAD_CASE, DIVERGED, INTERRUPTED = 0, 1, 2, 2, 3, 130


def _console(stderr: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=110)
    return console


def run(case: Case, output: Path, threads: int | None, overwrite: bool) -> int:
    """Run a case with a progress line, then check and summarise."""
    from thermosim.simulation import simulate

    return _with_progress(
        case.title, output, lambda report: simulate(case, output, threads=threads, overwrite=overwrite, report=report)
    )


def resume(file: Path, threads: int | None) -> int:
    """Go on with an interrupted run."""
    from thermosim.simulation import resume as go_on

    return _with_progress(f"resuming {file}", file, lambda report: go_on(file, threads=threads, report=report))


def _with_progress(title: str, output: Path, work: Any) -> int:
    import time

    from thermosim.simulation import Interrupted

    console, begin = _console(), time.perf_counter()
    console.print(f"[bold]{title}[/bold]")
    try:
        ds = _live(work)
    except Interrupted as stop:
        console.print(f"{stop}. Everything up to here is sealed; to go on: [bold]thermosim resume {output}[/bold]")
        return INTERRUPTED
    ds.load()
    console.print(_done_line(ds, output, time.perf_counter() - begin))
    diverged = _diverged(ds)
    for line in diverged:
        console.print(line)
    code = _print_check(ds, console)
    console.print(f"Picture: [bold]thermosim plot {output}[/bold]")
    return DIVERGED if diverged else (CHECK_FAILED if code == CHECK_FAILED else FINE)


def _live(work: Any) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = _console(stderr=True)
    columns = (
        BarColumn(bar_width=40),
        TextColumn("{task.percentage:>5.1f} %"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("run", total=None, rate="compiling kernels")

        def report(state: Any) -> None:
            speed = state.done / state.seconds if state.seconds > 0 else 0.0
            progress.update(task, total=state.total, completed=state.done, rate=f"{_si(speed)} replica-steps/s" if speed else "")

        return work(report)


def _si(number: float) -> str:
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number:.3g} "


def _size(size: float) -> str:
    return f"{_si(size)}B"


def _done_line(ds: Any, output: Path, seconds: float) -> str:
    settings = json.loads(ds.attrs["settings"])
    replicas = int(np.prod(ds.status.shape))
    work = replicas * settings["run"]["steps"]
    return (
        f"{replicas:,} replicas x {settings['run']['steps']:,} steps in {seconds:.1f} s; "
        f"{output} ({_size(output.stat().st_size)})"
        if work
        else ""
    )


def _diverged(ds: Any) -> list[str]:
    """A sentence for the first replicas that diverged."""
    where = np.argwhere(ds.status.values != 0)
    if not len(where):
        return []
    dims = ds.status.dims
    lines = [f"[red]{len(where)} of {ds.status.size} replicas diverged[/red] and are NaN from there on; the others are complete:"]
    for position in where[:5]:
        at = ", ".join(
            f"{dim} = {ds[dim].values[i]:.4g}" if dim in ds.coords else f"{dim} {i}" for dim, i in zip(dims, position, strict=True)
        )
        lines.append(f"  {at}: not finite at step {int(ds.diverged_step.values[tuple(position)]):,}")
    if len(where) > 5:
        lines.append(f"  ... and {len(where) - 5} more: see the variables status and diverged_step")
    lines.append("A learning rate or time step that is too large is the usual cause.")
    return lines


def check(file: Path, as_json: bool) -> int:
    """Print the table of measured against exact."""
    from thermosim.ensemble import open_ensemble

    ds = open_ensemble(file).load()
    if as_json:
        return _print_json(_comparisons(ds))
    return _print_check(ds, _console())


def _comparisons(ds: Any) -> list[Comparison]:
    from thermosim.case import load_case

    settings = json.loads(ds.attrs["settings"])
    if "file" in settings["model"]:
        case = load_case(ds.attrs["case"] + "\n", json.loads(ds.attrs["overrides"]))
        model = case.model
    else:
        from thermosim.models import MODELS

        model = MODELS[settings["model"]["name"]]
    if model.check is None:
        return []
    comparisons: list[Comparison] = model.check(ds.where(ds.status == 0) if (ds.status != 0).any() else ds)
    return comparisons


def _print_json(comparisons: list[Comparison]) -> int:
    from thermosim.analysis.comparison import FALSE_ALARM_RATE, judge

    verdict = judge(comparisons)
    rows = [
        {
            "quantity": c.quantity,
            "measured": np.asarray(c.measured, float).tolist(),
            "standard_error": np.asarray(c.standard_error, float).tolist(),
            "exact": np.asarray(c.exact, float).tolist(),
            "tolerance": np.asarray(c.tolerance, float).tolist(),
            "z": c.z.tolist(),
            "p_value": c.p_value.tolist(),
            "degrees_of_freedom": c.degrees_of_freedom,
            "reference": c.reference,
        }
        for c in comparisons
    ]
    result = {
        "consistent": verdict.consistent,
        "tests": verdict.tests,
        "false_alarm_rate": FALSE_ALARM_RATE,
        "smallest_p_value": verdict.smallest,
        "threshold": verdict.threshold,
        "comparisons": rows,
    }
    print(json.dumps(result, indent=1))
    return NOTHING_TO_CHECK if not rows else FINE if verdict.consistent else CHECK_FAILED


def _print_check(ds: Any, console: Any) -> int:
    from rich.table import Table

    from thermosim.analysis.comparison import FALSE_ALARM_RATE, judge

    comparisons = _comparisons(ds)
    if not comparisons:
        console.print("Nothing to compare: this model has no exact result for what was recorded.")
        return NOTHING_TO_CHECK
    verdict = judge(comparisons)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("quantity", "measured", "error", "exact", "z"):
        table.add_column(title, justify="left" if title == "quantity" else "right")
    table.add_column("reference", style="dim", overflow="fold")
    for c in comparisons:
        table.add_row(*_row(c, verdict.threshold))
    console.print(table)
    tests = "1 comparison" if verdict.tests == 1 else f"{verdict.tests:,} comparisons"
    word = "[green]consistent[/green]" if verdict.consistent else "[red]not consistent[/red]"
    console.print(
        f"{tests}: {word} with theory. Smallest p-value {verdict.smallest:.2g}; below {verdict.threshold:.1g} one would "
        f"be called a deviation (false-alarm rate of the whole table {FALSE_ALARM_RATE:g})."
    )
    return FINE if verdict.consistent else CHECK_FAILED


def _row(c: Comparison, threshold: float) -> tuple[str, ...]:
    """One line: the number itself, or the worst point of a grid and how the grid as a whole deviates."""
    z, measured = np.atleast_1d(c.z), np.atleast_1d(np.asarray(c.measured, float))
    error, exact = np.broadcast_arrays(c.standard_error, measured)[0], np.broadcast_arrays(c.exact, measured)[0]
    worst = int(np.nanargmax(np.abs(np.ravel(z)))) if np.isfinite(z).any() else 0
    digits = max(2, min(7, 2 + int(np.ceil(np.log10(max(abs(np.ravel(exact)[worst]), 1e-300) / max(np.ravel(error)[worst], 1e-300))))))
    name = c.quantity if z.size == 1 else f"{c.quantity}, worst of {z.size}"
    shown = f"{np.ravel(z)[worst]:+.1f}"
    if z.size > 1:
        shown += f" (rms {np.sqrt(np.nanmean(z**2)):.2f})"
    if (c.p_value < threshold).any():
        shown = f"[red]{shown}[/red]"
    return (
        name,
        f"{np.ravel(measured)[worst]:.{digits}g}",
        f"{np.ravel(error)[worst]:.2g}",
        f"{np.ravel(exact)[worst]:.{digits}g}",
        shown,
        c.reference,
    )


def plot(file: Path, output: Path) -> int:
    """Draw the model's picture."""
    import matplotlib

    matplotlib.use("Agg")
    from thermosim.ensemble import open_ensemble
    from thermosim.models import MODELS

    ds = open_ensemble(file).load()
    settings = json.loads(ds.attrs["settings"])
    model = MODELS.get(settings["model"]["name"])
    if model is None or model.plot is None:
        print(f"{settings['model']['name']} has no picture of its own; the ensemble opens in xarray for yours.")
        return NOTHING_TO_CHECK
    model.plot(ds).savefig(output, dpi=150)
    print(output)
    return FINE


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
    _console().print(table)
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
    axes = ", ".join(f"{axis.name} ({len(axis.values)})" for axis in case.axes) or "none"
    return [
        ("case", case.title),
        ("model", f"{case.model.name}: {case.model.summary}"),
        ("moves", _moves(case.settings)),
        ("sweep", axes),
        ("replicas", f"{case.replicas_in_all:,} in all, {case.settings['ensemble']['replicas']:,} at each point"),
        ("steps", f"{case.settings['run']['steps']:,} ({case.replicas_in_all * case.settings['run']['steps']:.3g} replica-steps)"),
        ("frames", f"{frames:,}, every {case.settings['record']['every']:,} steps from {case.settings['record']['first']:,}"),
        ("variables", ", ".join(variables)),
        ("file", _size(stored)),
        ("one frame", _size(memory)),
    ]


def _moves(settings: Any) -> str:
    theta, x = settings["theta"], settings.get("x")
    parts = [f"theta {theta['dynamics']}" + (f" ({theta['constraint']})" if theta["constraint"] else "")]
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

    console, table = _console(), Table(box=None, pad_edge=False, header_style="bold")
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
    table.add_column("key", style="bold")
    table.add_column("default")
    table.add_column("meaning", overflow="fold")
    for constant in model.constants:
        default = "computed" if callable(constant.default) else "required" if constant.default is None else str(constant.default)
        table.add_row(f"model.{constant.name}", default, constant.meaning)
    for group in model.parameters:
        table.add_row(f"theta.protocol.{group.name}" if model.energy else f"theta: {group.name}", "", group.meaning)
    console.print(table)
    return FINE


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
    _console().print(table)
    return FINE
