"""Going on: with a run that was stopped, and past the end of one that is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.case.settings import Settings
from thermosim.plan.outline import Outline, plan
from thermosim.run import inputs
from thermosim.run.describe import make_manifest
from thermosim.run.execution import Execution
from thermosim.run.fingerprint import changes, fingerprint
from thermosim.run.simulate import complete, tidied
from thermosim.schedules import with_its_end
from thermosim.storage import Parts, StorageError, clear_remnant, integrity, parts_folder
from thermosim.storage.consolidation import settle
from thermosim.storage.manifest import Base, Origin, SealedFile
from thermosim.storage.open import open_ensemble
from thermosim.storage.verification import verify_file

if TYPE_CHECKING:
    import xarray as xr

    from thermosim.case.load import Case

__all__ = ["extend", "resume"]


def resume(output: str | Path, *, repair: bool = False, **execution: Any) -> xr.Dataset:
    """Go on with an interrupted run from what is sealed; the result is that of the uninterrupted run.

    `repair` throws away what is damaged and computes it anew. Other arguments are those of `simulate`: threads,
    workers, scheduler, virtual, report. Raises StorageError when there is nothing to go on with, something is damaged,
    or the kernels or data have changed since.
    """
    output = Path(output)
    folder = parts_folder(output)
    if not folder.is_dir() or clear_remnant(folder):
        if output.is_file():
            return open_ensemble(output)
        raise StorageError(f"{output}: there is no interrupted run here. `thermosim run CASE -o {output}` starts one.")
    parts = Parts.reopen(output)
    with tidied(parts):
        virtual = execution.pop("virtual", False) or parts.manifest.virtual
        if not virtual and settle(parts):
            return open_ensemble(output)
        _examine(parts, repair)
        if settle(parts):
            return open_ensemble(output)
        if output.exists() and not (parts.manifest.replaces or parts.manifest.virtual):
            raise StorageError(
                f"{output}: exists beside its parts and is not theirs to replace; move it away, then resume."
            )
        origin = parts.manifest.origin
        case = inputs.case_of(origin, folder, parts.manifest.external)
        blocks = plan(case)
        _same_kernels(output, origin, case, blocks)
        return complete(case, blocks, parts, Execution(virtual=virtual, **execution))


def extend(output: str | Path, steps: int, **execution: Any) -> xr.Dataset:
    """Go on past the end of a complete run for `steps` more steps; the file is replaced when they are done.

    The result is that of one run of all the steps whose schedules end where the first run ended, and hold their last
    value from there. Raises StorageError when the run is not complete or cannot go on.
    """
    output = Path(output)
    output = output.resolve() if output.is_symlink() else output
    if steps < 1:
        raise StorageError(f"steps = {steps}: expected at least one step more.")
    folder = parts_folder(output)
    if not output.is_file():
        if folder.is_dir():
            raise StorageError(f"{output}: is not complete; first `thermosim resume {output}`.")
        raise StorageError(f"{output}: no such ensemble. `thermosim run CASE -o {output}` makes one.")
    if folder.is_dir():
        return _extend_parts(output, steps, execution)
    open_ensemble(output).close()  # or says what else it is
    if faults := verify_file(output):
        raise StorageError("\n".join(faults) + "\nIt cannot be extended: put it back from a copy, or run it again.")
    with tempfile.TemporaryDirectory() as temporary:
        origin = inputs.unpack(output, Path(temporary))
        case = _longer(origin, Path(temporary), {}, steps)
        blocks = plan(case)
        _same_kernels(output, origin, case, blocks)
        new = make_manifest(case, blocks)
        parts = Parts.create(
            output,
            replace(new, origin=_public(new.origin, origin)),
            overwrite=True,
            fill=lambda folder: inputs.keep(case, blocks, folder) | {"base": _base(output, folder, origin)},
        )
        with tidied(parts):
            return complete(case, blocks, parts, Execution(**execution))


def _extend_parts(output: Path, steps: int, execution: dict[str, Any]) -> xr.Dataset:
    """Go on with an ensemble whose frames lie in its parts: they stay where they are."""
    parts = Parts.reopen(output)
    try:
        if not (parts.manifest.completed and parts.manifest.virtual):
            raise StorageError(f"{output}: is not complete; first `thermosim resume {output}`.")
        _examine(parts, repair=False)
        begun = parts.manifest
        case = _longer(begun.origin, parts.folder, begun.external, steps)
        blocks = plan(case)
        _same_kernels(output, begun.origin, case, blocks)
        longer = make_manifest(case, blocks)
        kept = ("run", "segments", "inputs", "external", "base", "virtual")
        sealed = {name: getattr(begun, name) for name in kept}
        parts.adopt(replace(longer, origin=_public(longer.origin, begun.origin), replaces=True, **sealed))
        return complete(case, blocks, parts, Execution(**execution | {"virtual": True}))
    finally:
        parts.release()


def _longer(origin: Origin, folder: Path, external: Mapping[str, str], steps: int) -> Case:
    """The case with more steps. Raises StorageError when its steps have no continuation."""
    settings = Settings.from_dict(origin.settings)
    direction = settings.run.direction
    if direction != "forward":
        raise StorageError(f"run.direction = {direction!r}: such a run ends where its path ends; run a longer case.")
    made = settings.run.steps
    changes: dict[str, Any] = {"run.steps": made + steps, "record.every": settings.record.every}
    for key, value in settings.sweep.items():
        if any(with_its_end(given, made) != given for given in value):
            raise StorageError(
                f'sweep."{key}": its schedules end where the run ended; give them an `end`, and run again.'
            )
    given = {f"{section}.{key}": v for section in ("theta", "x") for key, v in getattr(settings, section) or ()}
    given |= {f"theta.protocol.{name}": value for name, value in settings.theta.protocol.items()}
    ended = {key: with_its_end(value, made) for key, value in given.items()}
    changes |= {key: value for key, value in ended.items() if value != given[key]}
    return inputs.case_of(origin, folder, external, changes)


def _public(longer: Origin, before: Origin) -> Origin:
    """The origin of an extension, without the name that the user's model has in the parts."""
    overrides = {key: value for key, value in longer.overrides.items() if key != "model.file"}
    named = {key: value for key, value in before.overrides.items() if key == "model.file"}
    return replace(longer, overrides=overrides | named)


def _base(output: Path, folder: Path, origin: Origin) -> Base:
    """The ensemble so far, as a part of the new one: the same file under a second name, or a copy of it."""
    base = folder / "base.h5"
    try:
        os.link(output, base)
    except OSError:  # a file system without links
        shutil.copyfile(output, base)
    return Base(SealedFile.of(base), origin.settings["run"]["steps"])


def _examine(parts: Parts, repair: bool) -> None:
    """Raises StorageError that names everything damaged, or throws it away."""
    faults = integrity.examine(parts.folder, parts.manifest)
    if not faults:
        return
    if repair:
        inputs.restore(parts.folder, parts.manifest, [fault.file for fault in faults])
        whole = integrity.without(parts.manifest, faults)
        parts.update(segments=whole.segments, base=whole.base, output=None, completed=False)
        parts.tidy()
        return
    named = "\n".join(f"  {fault}" for fault in faults)
    raise StorageError(
        f"{parts.output}: cannot go on, for these files are not what was sealed:\n{named}\nWhat is whole stays "
        f"readable (thermosim info {parts.output}). Put the files back from a copy, or let them be computed anew: "
        f"thermosim resume {parts.output} --repair"
    )


def _same_kernels(output: Path, origin: Origin, case: Case, blocks: list[Outline]) -> None:
    """Raises StorageError when going on would not give the same numbers."""
    if changed := changes(origin.fingerprint, fingerprint(case, blocks)):
        raise StorageError(
            f"{output}: since it was begun, there have changed: {'; '.join(changed)}. Going on would not give the same "
            f"numbers. It stays readable; start again with another -o."
        )
