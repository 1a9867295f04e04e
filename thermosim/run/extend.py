"""Going on past the end of a complete run: with more steps, and with more replicas.

What is there stays as it is. Replicas that are added are a series of their own, whose noise has addresses after all
others (`thermosim.addresses`): so the result is that of one run of the longer case, which names them in
`ensemble.added`. Without a sweep addresses are those of one run of all replicas, and so are all numbers of replicas.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.case.settings import Settings
from thermosim.plan.outline import plan
from thermosim.run import inputs
from thermosim.run.describe import make_manifest
from thermosim.run.execution import Execution
from thermosim.run.resume import anew, examine, public, same_kernels, tell_of_edits
from thermosim.run.simulate import complete, first_device, ready, weigh
from thermosim.schedules import with_its_end
from thermosim.storage import Parts, StorageError, clear_remnant, parts_folder
from thermosim.storage.durable import command
from thermosim.storage.manifest import Base, Manifest, Origin, SealedFile
from thermosim.storage.manifest_file import BASE
from thermosim.storage.open import open_ensemble
from thermosim.storage.verification import verify_file

if TYPE_CHECKING:
    import xarray as xr

    from thermosim.case.load import Case

__all__ = ["extend"]


def extend(output: str | Path, steps: int = 0, *, replicas: int = 0, **execution: Any) -> xr.Dataset:
    """Go on past the end of a complete run for `steps` more steps, or add `replicas` to every point, or both.

    The file is replaced when they are done. The result is that of one run of all the steps, whose schedules end where
    the first run ended and hold their last value from there, and of all the replicas: of a sweep, of a run with
    `ensemble.added`, for the addresses of noise go through the points. Cohorts of the replicas that were there, and of
    those added, stay apart; so do the runs of replicas that are dealt to data sets. Other arguments are those of
    `simulate`. Raises StorageError when the run is not complete or cannot go on.
    """
    output = Path(output)
    output = Path(os.path.realpath(output)) if output.is_symlink() else output
    if min(steps, replicas) < 0 or steps == replicas == 0:
        raise StorageError(f"steps = {steps}, replicas = {replicas}: expected at least one step or one replica more.")
    more, folder = _More(steps, replicas), parts_folder(output)
    has_parts = folder.is_dir() and not clear_remnant(folder)
    if not output.is_file():
        if has_parts:
            raise StorageError(f"{output}: is not complete; first `{command('resume', output)}`.")
        raise StorageError(f"{output}: no such ensemble. `{command('run', 'CASE', '-o', output)}` makes one.")
    if has_parts:
        return _extend_parts(output, more, execution)
    open_ensemble(output).close()  # or says what else it is
    if faults := verify_file(output):
        raise StorageError(
            "\n".join(faults)
            + f"\nIt cannot be extended: put it back from a copy, or: {command('resume', output, '--repair')}"
        )
    with tempfile.TemporaryDirectory() as temporary:
        origin = inputs.unpack(output, Path(temporary))
        case = more.of(origin, Path(temporary), {})
        return anew(output, origin, case, lambda folder: _base(output, folder, origin), execution)


def _extend_parts(output: Path, more: _More, execution: dict[str, Any]) -> xr.Dataset:
    """Go on with an ensemble whose frames lie in its parts: they stay where they are."""
    parts = Parts.reopen(output)
    try:
        if not (parts.manifest.completed and parts.manifest.virtual):
            raise StorageError(f"{output}: is not complete; first `{command('resume', output)}`.")
        examine(parts, repair=False)
        begun = parts.manifest
        case = more.of(begun.origin, parts.folder, begun.external)
        blocks = plan(case)
        how = Execution(**execution | {"virtual": True})
        same_kernels(output, begun.origin, case, blocks, how)
        tell_of_edits(output, begun.origin, begun.case_folder)
        weigh(case, blocks, how, output, before=begun.origin)
        how = ready(blocks, how)
        parts.adopt(_with_parts_of(begun, make_manifest(case, blocks, first_device(how, blocks))))
        return complete(case, blocks, parts, how)
    finally:
        parts.release()


def _with_parts_of(begun: Manifest, longer: Manifest) -> Manifest:
    """The manifest of a longer run that has sealed what another one has."""
    kept = ("run", "segments", "inputs", "external", "case_folder", "virtual")
    base = begun.base and replace(begun.base, replicas=begun.base.replicas or begun.replicas)
    sealed = {name: getattr(begun, name) for name in kept} | {"base": base}
    return replace(longer, origin=public(longer.origin, begun.origin), replaces=True, **sealed)


@dataclass(frozen=True)
class _More:
    """By what a run is to become longer."""

    steps: int
    replicas: int

    def of(self, origin: Origin, folder: Path, external: Mapping[str, str]) -> Case:
        """The longer case. Raises StorageError when its steps have no continuation."""
        settings = Settings.from_dict(origin.settings)
        changes: dict[str, Any] = {"record.every": settings.record.every}
        changes |= _more_steps(settings, self.steps) if self.steps else {}
        changes |= _more_replicas(settings, self.replicas) if self.replicas else {}
        return inputs.case_of(origin, folder, external, changes)


def _more_replicas(settings: Settings, replicas: int) -> dict[str, Any]:
    """The keys of a case with replicas added."""
    ensemble = settings.ensemble
    return {"ensemble.replicas": ensemble.replicas + replicas, "ensemble.added": [*ensemble.added, replicas]}


def _more_steps(settings: Settings, steps: int) -> dict[str, Any]:
    """The keys of a case with more steps. Raises StorageError when its steps have no continuation."""
    if settings.run.direction != "forward":
        raise StorageError(
            f"run.direction = {settings.run.direction!r}: such a run ends where its path ends. Run a longer case; "
            "replicas can be added to this one (--replicas)."
        )
    made = settings.run.steps
    for key, value in settings.sweep.items():
        if any(with_its_end(given, made) != given for given in value):
            raise StorageError(
                f'sweep."{key}": its schedules end where the run ended; give them an `end`, and run again.'
            )
    given = {f"{name}.{key}": value for name in ("theta", "x") for key, value in getattr(settings, name) or ()}
    given |= {f"theta.protocol.{name}": value for name, value in settings.theta.protocol.items()}
    ended = {key: with_its_end(value, made) for key, value in given.items()}
    return {"run.steps": made + steps} | {key: value for key, value in ended.items() if value != given[key]}


def _base(output: Path, folder: Path, origin: Origin) -> Base:
    """The ensemble so far, as a part of the new one: the same file under a second name, or a copy of it."""
    base = folder / BASE
    try:
        os.link(output, base)
    except OSError:  # a file system without links
        shutil.copyfile(output, base)
    return Base(SealedFile.of(base), origin.settings["run"]["steps"], origin.settings["ensemble"]["replicas"])
