"""What a run, a check and a plot print: progress line, table, summary. Each function returns the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from thermosim.analysis.comparison import Comparison
    from thermosim.case import Case
    from thermosim.model import Model

FINE, CHECK_FAILED, NOTHING_TO_CHECK, BAD_CASE, DIVERGED, INTERRUPTED = 0, 1, 2, 2, 3, 130


_DIVERGED_IN = {1: "theta", 2: "x", 3: "phi", 4: "the sums of theta", 5: "the ledger"}


def make_console(stderr: bool = False) -> Any:
    from rich.console import Console

    console = Console(stderr=stderr, highlight=False, soft_wrap=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=110)
    return console


def run(case: Case, output: Path, threads: int | None, overwrite: bool, picture: bool) -> int:
    """Run a case with a progress line, then check, draw and summarise."""
    from thermosim.simulation import simulate

    def work(report: Any) -> Any:
        return simulate(case, output, threads=threads, overwrite=overwrite, report=report)

    return _with_progress(case.title, output, work, picture, overwrite)


def resume(file: Path, threads: int | None) -> int:
    """Go on with an interrupted run."""
    from thermosim.simulation import resume as go_on

    def work(report: Any) -> Any:
        return go_on(file, threads=threads, report=report)

    return _with_progress(f"resuming {file}", file, work, picture=True, overwrite=False)


def _with_progress(title: str, output: Path, work: Any, picture: bool, overwrite: bool) -> int:
    import time

    from rich.markup import escape

    from thermosim.simulation import Interrupted

    console, begin = make_console(), time.perf_counter()
    console.print(f"[bold]{escape(title)}[/bold]")
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
    target = output.with_suffix(".png")
    if picture and target.exists() and not overwrite:
        console.print(f"{target} exists and was left alone; thermosim plot {output} draws it anew.")
    elif picture and _draw(ds, target):
        console.print(f"Picture: [bold]{target}[/bold]")
    return DIVERGED if diverged else (CHECK_FAILED if code == CHECK_FAILED else FINE)


def _live(work: Any) -> Any:
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = make_console(stderr=True)
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
            progress.update(
                task, total=state.total, completed=state.done, rate=f"{_si(speed)} replica-steps/s" if speed else ""
            )

        return work(report)


def _si(number: float) -> str:
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.3g} {prefix}"
    return f"{number:.3g} "


def size_text(size: float) -> str:
    return f"{_si(size)}B"


def _done_line(ds: Any, output: Path, seconds: float) -> str:
    settings = json.loads(ds.attrs["settings"])
    replicas = int(np.prod(ds.status.shape))
    work = replicas * settings["run"]["steps"]
    return (
        f"{replicas:,} replicas x {settings['run']['steps']:,} steps in {seconds:.1f} s; "
        f"{output} ({size_text(output.stat().st_size)})"
        if work
        else ""
    )


def _short(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:.4g}"


def _diverged(ds: Any) -> list[str]:
    """A sentence for the first replicas that diverged."""
    where = np.argwhere(ds.status.values != 0)
    if not len(where):
        return []
    dims = ds.status.dims
    lines = [
        f"[red]{len(where)} of {ds.status.size} replicas diverged[/red] and are NaN from there on"
        + ("; the others finished:" if len(where) < ds.status.size else ":")
    ]
    for position in where[:5]:
        at = ", ".join(
            f"{dim} = {_short(ds[dim].values[i])}" if dim in ds.coords else f"{dim} {i}"
            for dim, i in zip(dims, position, strict=True)
        )
        what, step = _DIVERGED_IN[int(ds.status.values[tuple(position)])], int(ds.diverged_step.values[tuple(position)])
        lines.append(f"  {at}: {what} not finite at step {step:,}")
    if len(where) > 5:
        lines.append(f"  ... and {len(where) - 5} more: see the variables status and diverged_step")
    lines.append("A learning rate or time step that is too large is the usual cause; or a start or data far away.")
    return lines


def check(file: Path, as_json: bool) -> int:
    """Print the table of measured against exact."""
    from thermosim.ensemble import open_ensemble

    ds = open_ensemble(file).load()
    if as_json:
        return _print_json(_comparisons(ds))
    return _print_check(ds, make_console())


def _model(ds: Any) -> Model:
    """The model an ensemble was made with; a user's own is in the file."""
    from thermosim.analysis.machine import model_of
    from thermosim.case import CaseError

    try:
        return model_of(ds)
    except ValueError as error:
        raise CaseError([str(error)], "the ensemble's model") from None


def _check_of(model: Model) -> Any:
    """The model's own check, or the one of every learning machine."""
    if model.check is None and model.learns:
        from thermosim.analysis import learning_check

        return learning_check.check
    return model.check


def _plot_of(model: Model) -> Any:
    """The model's own picture, or the one of every learning machine."""
    if model.plot is None and model.learns:
        from thermosim.plots import learning

        return learning.figure
    return model.plot


def _comparisons(ds: Any) -> list[Comparison]:
    """What the model compares, diverged replicas left out."""
    from thermosim.analysis.settings import without_single_axes

    model = _model(ds)
    compare = _check_of(model)
    if why := _too_little(ds):
        print(f"Nothing can be compared: {why}.")
        return []
    if compare is None or bool((ds.status != 0).any([d for d in ds.status.dims if d != "replica"]).all()):
        return []
    try:
        return list(compare(_survivors(without_single_axes(ds))))
    except KeyError as error:
        print(_not_recorded(error, model, ds, "check"))
        return []


def _advice(ds: Any) -> list[str]:
    """What every learning machine tells besides its comparisons."""
    from thermosim.analysis.settings import without_single_axes

    if not _model(ds).learns or _too_little(ds):
        return []
    from thermosim.analysis.learning_check import advice

    whole = (ds.status == 0).all([dim for dim in ds.status.dims if dim != "replica"])
    return advice(without_single_axes(ds).isel(replica=whole.values)) if int(whole.sum()) > 1 else []


def _too_little(ds: Any) -> str:
    """Why an ensemble allows no statistics; empty when it does."""
    if ds.sizes["step"] < 3:
        return f"{ds.sizes['step']} frames are recorded, and three at least are needed (record.first, record.every)"
    if ds.sizes["replica"] < 2:
        return "one replica gives no error bars (ensemble.replicas)"
    return ""


def _survivors(ds: Any) -> Any:
    """The ensemble without the replicas that diverged anywhere in a sweep."""
    good = (ds.status == 0).all([dim for dim in ds.status.dims if dim != "replica"])
    if bool(good.all()):
        return ds
    rest = "; the others are a biased sample" if bool(good.any()) else ""
    print(f"{int((~good).sum())} of {good.size} replicas diverged and are not compared{rest}.")
    return ds.isel(replica=good.values)


def _not_recorded(error: KeyError, model: Model, ds: Any, what: str) -> str:
    """A sentence, when the variable that was missed is one this case could have recorded."""
    from thermosim.rules import recordable

    text = str(error.args[0])
    name = text.split("'")[1] if "'" in text else text
    if name not in recordable(model, json.loads(ds.attrs["settings"])):
        raise error
    return f"The {what} needs the variable {name!r}, which this case does not record: add it to record.variables."


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
        "consistent": bool(verdict.consistent) if comparisons else None,
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
    for line in _advice(ds):
        console.print(line)
    if not comparisons:
        console.print("Nothing to compare with an exact result.")
        return NOTHING_TO_CHECK
    verdict = judge(comparisons)
    references = list(dict.fromkeys(c.reference for c in comparisons))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("quantity")
    for title in ("points", "measured", "error", "exact", "z", "rms z"):
        table.add_column(title, justify="right")
    table.add_column("")
    for c in comparisons:
        table.add_row(*_row(c, verdict.threshold), f"[dim]({references.index(c.reference) + 1})[/dim]")
    console.print(table)
    for number, reference in enumerate(references, 1):
        console.print(f"[dim]({number}) {reference}[/dim]")
    if any(np.size(c.z) > 1 for c in comparisons):
        console.print(
            "[dim]Of several points the one with the largest |z| is shown; rms z is 1 when errors are right.[/dim]"
        )
    tests = "1 comparison" if verdict.tests == 1 else f"{verdict.tests:,} comparisons"
    word = "[green]consistent[/green]" if verdict.consistent else "[red]not consistent[/red]"
    console.print(
        f"{tests}, {word} with theory: smallest p-value {verdict.smallest:.2g}; below {verdict.threshold:.1g} it would "
        f"be called a deviation, which keeps the false-alarm rate of the whole table below {FALSE_ALARM_RATE:g}."
    )
    return FINE if verdict.consistent else CHECK_FAILED


def _row(c: Comparison, threshold: float) -> tuple[str, ...]:
    """One line: the number itself, or the worst point of several."""
    z = np.ravel(c.z)
    measured, error, exact, tolerance = (
        np.ravel(np.broadcast_to(np.asarray(v, float), np.shape(c.z)))
        for v in (c.measured, c.standard_error, c.exact, c.tolerance)
    )
    worst = int(np.nanargmax(np.abs(z))) if np.isfinite(z).any() else 0
    decimals = max(0, 1 - int(np.floor(np.log10(error[worst])))) if 0 < error[worst] < np.inf else 6
    number = f"{{:.{decimals}f}}" if decimals < 7 else "{:.3g}"
    shown = f"{z[worst]:+.1f}"
    if (np.ravel(c.p_value) < threshold).any():
        shown = f"[red]{shown}[/red]"
    return (
        c.quantity.replace("_", " "),
        f"{z.size:,}",
        number.format(measured[worst]),
        f"{error[worst]:.2g}",
        number.format(exact[worst]) + (f" ± {tolerance[worst]:.1g}" if tolerance[worst] > 0.05 * error[worst] else ""),
        shown,
        f"{np.sqrt(np.nanmean(z**2)):.2f}" if z.size > 1 and np.isfinite(z).any() else "",
    )


def plot(file: Path, output: Path) -> int:
    """Draw the model's picture."""
    from thermosim.ensemble import open_ensemble

    ds = open_ensemble(file).load()
    if _draw(ds, output):
        print(output)
        return FINE
    print("No picture was drawn; the ensemble opens in xarray for your own.")
    return NOTHING_TO_CHECK


def _draw(ds: Any, output: Path) -> bool:
    """Save the model's picture, if it has one."""
    import matplotlib

    matplotlib.use("Agg")
    from thermosim.analysis.settings import without_single_axes

    model = _model(ds)
    draw = _plot_of(model)
    if draw is None:
        return False
    if why := _too_little(ds):
        print(f"Nothing can be drawn: {why}.")
        return False
    try:
        draw(without_single_axes(ds)).savefig(output, dpi=150)
    except KeyError as error:
        print(_not_recorded(error, model, ds, "picture"))
        return False
    except (OSError, ValueError) as error:
        from thermosim.storage import StorageError

        if isinstance(error, ValueError) and "is not supported" not in str(error):
            raise
        raise StorageError(f"{output}: the picture cannot be written: {error}. Name a file such as out.png.") from None
    return True
