"""Twin runs: going on from a frame of a complete ensemble with other keys, and with the noise it had from there on.

Noise has an address, of which the step is a part; so a fork that begins at step s meets at s + 1, s + 2, ... the
normals and the minibatches that the first run met there, and two runs that differ in one key differ by what it does,
not by luck. Steps are counted as before, work and heat from the fork on.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermosim.case.settings import Settings
from thermosim.case.theta import move_of
from thermosim.model import Model
from thermosim.run import inputs
from thermosim.run.simulate import simulate
from thermosim.storage import StorageError
from thermosim.storage.manifest_file import output_of
from thermosim.storage.open import open_ensemble

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["fork"]


def fork(
    file: str | Path, step: int, output: str | Path, changes: Mapping[str, Any] | None = None, **execution: Any
) -> xr.Dataset:
    """Run the case of a complete ensemble again from its frame at `step`, with `changes` of dotted keys.

    The seed stays, and so does the noise of the steps after it: without changes the frames are those of the ensemble,
    to the bit. What no frame tells, the memory of a momentum, cannot be gone on with. Other arguments are those of
    `simulate`. Raises StorageError where there is no complete ensemble or `output` cannot be written, and CaseError
    where theta or x was not recorded at this step, or the case cannot be as changed.
    """
    source = output_of(Path(file))
    open_ensemble(source).close()  # or says what else it is
    if not source.is_file():
        raise StorageError(f"{source}: is not complete, and a fork starts from a complete ensemble.")
    if Path(output).resolve() == source.resolve():
        raise StorageError(f"{source}: is what the fork starts from; give the fork another -o.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        origin = inputs.unpack(source, folder)
        before = inputs.case_of(origin, folder, {})
        before.folder.mkdir(parents=True, exist_ok=True)
        os.symlink(source.resolve(), before.folder / source.name)
        keys = _forked(before.model, before.settings, source.name, step) | dict(changes or {})
        return simulate(inputs.case_of(origin, folder, {}, keys), output, **execution)


def _forked(model: Model, settings: Settings, name: str, step: int) -> dict[str, Any]:
    """The keys of a case that goes on from this frame."""
    frame = {"from": name, "step": step}
    keys: dict[str, Any] = {"run.first_step": step}
    if move_of(model, settings.theta).learns:
        keys |= {"theta.initial": frame, "theta.spread": None}
    if settings.x is not None:
        keys["x.initial"] = frame
    if settings.record.first < step:
        keys["record.first"] = step
    return keys | {
        f"record.{name}.first": step for name, one in settings.record.tables.items() if (one.first or 0) < step
    }
