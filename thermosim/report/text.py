"""What a check and a plot print: the table of measured against exact, who diverged. Functions return the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from thermosim.report.console import CHECK_FAILED, FINE, NOTHING_TO_CHECK, make_console, size_text

if TYPE_CHECKING:
    from thermosim.analysis.comparison import Comparison
    from thermosim.model import Model

__all__ = ["check", "diverged", "draw", "loaded", "plot", "print_check"]

_DIVERGED_IN = {1: "theta", 2: "x", 3: "phi", 4: "the sums of theta", 5: "the ledger"}


def _short(value: Any) -> str:
    return str(value) if isinstance(value, str) else f"{value:.4g}"


def diverged(ds: Any) -> list[str]:
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


def _opened(file: Path) -> Any:
    """The ensemble. Raises StorageError when some of its frames are lost: nothing can be compared with half of them."""
    import warnings

    from thermosim.storage import StorageError
    from thermosim.storage.open import open_ensemble

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        ds = open_ensemble(file)
    damage = [str(one.message) for one in said if "not all of it is what was sealed" in str(one.message)]
    if damage:
        remedy = f"Compute them anew: thermosim resume {file} --repair"
        raise StorageError("\n".join([*damage, f"It is not compared or drawn without these frames. {remedy}"]))
    return ds


def loaded(ds: Any) -> Any:
    """The ensemble in memory, or nothing and why: it does not fit. Raises StorageError when it is damaged."""
    from thermosim.run.budget import SHARE_OF_MEMORY, memory_of_machine
    from thermosim.storage import StorageError

    if ds.nbytes < SHARE_OF_MEMORY * memory_of_machine():
        try:
            return ds.load()
        except (OSError, RuntimeError) as error:
            file = ds.encoding.get("source", "the ensemble")
            remedy = "thermosim info names what is damaged; put the file back from a copy, or run it again."
            raise StorageError(f"{file}: cannot be read whole ({error}). {remedy}") from None
    print(
        f"The ensemble holds {size_text(ds.nbytes)}, too much to check or draw in one piece here: open it with "
        "thermosim.open_ensemble, which is lazy, and select what to analyse."
    )
    return None


def check(file: Path, as_json: bool) -> int:
    """Print the table of measured against exact."""
    ds = loaded(_opened(file))
    if ds is None:
        return NOTHING_TO_CHECK
    if as_json:
        return _print_json(_comparisons(ds))
    return print_check(ds, make_console())


def _model(ds: Any) -> Model:
    """The model an ensemble was made with; a user's own is in the file."""
    from thermosim.analysis.machine import model_of
    from thermosim.case.faults import CaseError

    try:
        return model_of(ds)
    except ValueError as error:
        raise CaseError([str(error)], "the ensemble's model") from None


def _check_of(model: Model) -> Any:
    """The model's own check, or the one of every learning machine."""
    if model.check is None and model.learns:
        from thermosim.checks import learning as learning_check

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
    model = _model(ds)
    compare = _check_of(model)
    if why := _too_little(ds):
        print(f"Nothing can be compared: {why}.")
        return []
    if compare is None or bool((ds.status != 0).any([d for d in ds.status.dims if d != "replica"]).all()):
        return []
    try:
        return list(compare(_survivors(_at_common_steps(ds))))
    except KeyError as error:
        print(_not_recorded(error, model, ds, "check"))
        return []


def _advice(ds: Any) -> list[str]:
    """What every learning machine tells besides its comparisons."""
    if not _model(ds).learns or _too_little(ds):
        return []
    from thermosim.checks.learning import advice

    whole = (ds.status == 0).all([dim for dim in ds.status.dims if dim != "replica"])
    return advice(_at_common_steps(ds).isel(replica=whole.values)) if int(whole.sum()) > 1 else []


def _at_common_steps(ds: Any) -> Any:
    """What the analysis of a model takes: variables at the cadence of all, no axes of length one."""
    from thermosim.analysis.settings import without_single_axes

    others = [name for name, variable in ds.data_vars.items() if any(str(d).endswith("_step") for d in variable.dims)]
    return without_single_axes(ds.drop_vars(others))


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
    from thermosim.analysis.settings import settings
    from thermosim.case.record import recordable

    text = str(error.args[0])
    name = text.split("'")[1] if "'" in text else text
    if name not in recordable(model, settings(ds)):
        raise error
    where = "which this case does not record at the steps of [record]"
    return f"The {what} needs the variable {name!r}, {where}: add it to record.variables."


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


def print_check(ds: Any, console: Any) -> int:
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
    ds = loaded(_opened(file))
    if ds is not None and draw(ds, output):
        print(output)
        return FINE
    print("No picture was drawn; the ensemble opens in xarray for your own.")
    return NOTHING_TO_CHECK


def draw(ds: Any, output: Path) -> bool:
    """Save the model's picture, if it has one."""
    import matplotlib

    matplotlib.use("Agg")
    model = _model(ds)
    figure = _plot_of(model)
    if figure is None:
        return False
    if why := _too_little(ds):
        print(f"Nothing can be drawn: {why}.")
        return False
    try:
        figure(_at_common_steps(ds)).savefig(output, dpi=150)
    except KeyError as error:
        print(_not_recorded(error, model, ds, "picture"))
        return False
    except (OSError, ValueError) as error:
        from thermosim.storage import StorageError

        if isinstance(error, ValueError) and "is not supported" not in str(error):
            raise
        raise StorageError(f"{output}: the picture cannot be written: {error}. Name a file such as out.png.") from None
    return True
