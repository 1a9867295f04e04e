"""Going on with a run that was stopped."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.plan.outline import Outline, plan
from thermosim.run import inputs
from thermosim.run.describe import make_manifest
from thermosim.run.execution import Execution
from thermosim.run.fingerprint import changes, fingerprint
from thermosim.run.simulate import complete, first_device, ready, tidied, weigh
from thermosim.storage import Parts, StorageError, clear_remnant, integrity, parts_folder
from thermosim.storage.consolidation import settle
from thermosim.storage.durable import command
from thermosim.storage.manifest import Base, Origin
from thermosim.storage.open import open_ensemble
from thermosim.storage.verification import is_described, verify_file

if TYPE_CHECKING:
    import xarray as xr

    from thermosim.case.load import Case

__all__ = ["anew", "examine", "public", "resume", "same_kernels", "tell_of_edits"]

MakeBase = Callable[[Path], Base]


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
            return _whole(output, repair, execution)
        start = command("run", "CASE", "-o", output)
        raise StorageError(f"{output}: there is no interrupted run here. `{start}` starts one.")
    parts = Parts.reopen(output)
    with tidied(parts):
        virtual = execution.pop("virtual", False) or parts.manifest.virtual
        if not virtual and settle(parts):
            return open_ensemble(output)
        examine(parts, repair)
        if settle(parts):
            return open_ensemble(output)
        if output.exists() and not (parts.manifest.replaces or parts.manifest.virtual):
            raise StorageError(
                f"{output}: exists beside its parts and is not theirs to replace; move it away, then resume."
            )
        origin = parts.manifest.origin
        case = inputs.case_of(origin, folder, parts.manifest.external)
        blocks = plan(case)
        how = Execution(virtual=virtual, **execution)
        same_kernels(output, origin, case, blocks, how)
        tell_of_edits(output, origin, parts.manifest.case_folder)
        weigh(case, blocks, how, output, there=sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()))
        return complete(case, blocks, parts, ready(blocks, how))


def _whole(output: Path, repair: bool, execution: dict[str, Any]) -> xr.Dataset:
    """A file that is complete already: as it is if nothing of it is damaged, or computed anew from its case."""
    open_ensemble(output).close()  # or says what else it is
    faults = verify_file(output)
    if not faults:
        return open_ensemble(output)
    named = "\n".join(faults)
    if not is_described(output):
        raise StorageError(f"{named}\nIts case is damaged too: put it back from a copy, or run the case again.")
    if not repair:
        raise StorageError(
            f"{named}\nThe run is complete, but its file is damaged. Put it back from a copy, or let it be computed "
            f"anew from the case it holds: {command('resume', output, '--repair')}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        origin = inputs.unpack(output, Path(temporary))
        case = inputs.case_of(origin, Path(temporary), {})
        return anew(output, origin, case, None, execution)


def anew(output: Path, origin: Origin, case: Case, base: MakeBase | None, execution: dict[str, Any]) -> xr.Dataset:
    """Put a run of this case in the place of a complete file, which stays until the run is whole.

    `origin` is what the file says of itself, `base` makes a part of the file.
    """
    blocks, how = plan(case), Execution(**execution)
    same_kernels(output, origin, case, blocks, how)
    tell_of_edits(output, origin)
    weigh(case, blocks, how, output, before=None if base is None else origin)
    how = ready(blocks, how)

    def fill(folder: Path) -> dict[str, Any]:
        return inputs.keep(case, blocks, folder) | ({"base": base(folder)} if base is not None else {})

    manifest = make_manifest(case, blocks, first_device(how, blocks))
    manifest = replace(manifest, origin=public(manifest.origin, origin))
    parts = Parts.create(output, manifest, overwrite=True, fill=fill)
    with tidied(parts):
        return complete(case, blocks, parts, how)


def public(now: Origin, before: Origin) -> Origin:
    """The origin of a run that goes on, without the name that the user's model has in the parts."""
    overrides = {key: value for key, value in now.overrides.items() if key != "model.file"}
    named = {key: value for key, value in before.overrides.items() if key == "model.file"}
    return replace(now, overrides=overrides | named)


def examine(parts: Parts, repair: bool) -> None:
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
        f"readable ({command('info', parts.output)}). Put the files back from a copy, or let them be computed anew: "
        f"{command('resume', parts.output, '--repair')}"
    )


def same_kernels(output: Path, origin: Origin, case: Case, blocks: list[Outline], how: Execution) -> None:
    """Raises StorageError when going on would not give the same numbers."""
    if changed := changes(origin.fingerprint, fingerprint(case, blocks, first_device(how, blocks))):
        raise StorageError(
            f"{output}: since it was begun, there have changed: {'; '.join(changed)}. Going on would not give the same "
            f"numbers. It stays readable; go on where it was begun, or start again with another -o."
        )


def tell_of_edits(output: Path, origin: Origin, case_folder: str = "") -> None:
    """Warn where the file of the user's model is no longer that which the run was begun with, and which it keeps to."""
    name = origin.settings["model"].get("file")
    places = [Path(case_folder)] if case_folder else [output.parent, Path()]
    found = next((path for path in (place / str(name) for place in places) if path.is_file()), None)
    if name and found is not None and found.read_text("utf-8-sig", errors="replace") != origin.model_source:
        said = f"{found}: has been edited since the run was begun; it goes on with the text it was begun with."
        warnings.warn(said, stacklevel=3)
