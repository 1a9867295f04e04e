"""What the parts of a run say of themselves: everything needed to go on with it, or to read it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from thermosim import __version__
from thermosim.addresses import series
from thermosim.case.load import Case
from thermosim.plan.outline import Outline
from thermosim.run.fingerprint import fingerprint
from thermosim.run.recording import recorded
from thermosim.storage.manifest import Manifest, Origin

__all__ = ["differences", "make_manifest", "package_versions", "sketch"]

_DIGITS = 16  # that a computation is known by


def make_manifest(case: Case, blocks: list[Outline], device: str = "cpu", in_memory: bool = False) -> Manifest:
    """The manifest of a run that has made no step. One in memory is never gone on with, so it needs no fingerprint."""
    origin = replace(
        _origin_of(case),
        fingerprint={} if in_memory else fingerprint(case, blocks, device),
        data_sha256="" if blocks[0].data is None else blocks[0].data.sha256,
    )
    ensemble = case.settings.ensemble
    manifest = _manifest_of(case, blocks, origin, _run_of(origin), ensemble.replicas, tuple(ensemble.added))
    return Manifest.from_json(json.loads(json.dumps(manifest.to_json())))  # as it will be read again


def sketch(case: Case, blocks: list[Outline]) -> Manifest:
    """A manifest to weigh a run by: of one replica of each point, without a fingerprint. Nothing is read or made."""
    return _manifest_of(case, blocks, _origin_of(case), run=_DIGITS * "0", replicas=1)


def _origin_of(case: Case) -> Origin:
    """Where a run comes from, apart from what its numbers depend on beside the case."""
    return Origin(
        title=case.title,
        case=case.source,
        overrides=dict(case.overrides),
        settings=case.settings.as_dict(),
        model_source=case.model_source(),
        seed=case.settings.ensemble.seed,
        thermosim_version=__version__,
        python=platform.python_version(),
        packages=package_versions(),
        fingerprint={},
        data_sha256="",
    )


def _manifest_of(
    case: Case, blocks: list[Outline], origin: Origin, run: str, replicas: int, added: tuple[int, ...] = ()
) -> Manifest:
    """Of blocks that record what the first of them does."""
    return Manifest(
        run=run,
        origin=origin,
        steps=blocks[0].steps,
        replicas=replicas,
        added=added,
        axes=case.axes,
        blocks=tuple(block.index for block in blocks),
        **recorded(blocks[0], series(replicas, added)),
    )


def _run_of(origin: Origin) -> str:
    """What a computation is known by: all that its numbers depend on but its length; a longer run is the same."""
    settings = {key: value for key, value in origin.settings.items() if key != "title"}
    run = {key: value for key, value in settings["run"].items() if key != "steps"}
    of_numbers = [settings | {"run": run}, origin.model_source, origin.fingerprint, origin.data_sha256]
    return hashlib.sha256(json.dumps(of_numbers, sort_keys=True).encode()).hexdigest()[:_DIGITS]


@functools.cache
def package_versions() -> dict[str, str]:
    """The distributions that numbers or files depend on, under the names that install them."""
    packages = ("numpy", "numba", "llvmlite", "scipy", "h5py", "xarray")
    return {"thermosim-engine": __version__} | {name: importlib.metadata.version(name) for name in packages}


def differences(before: Origin, now: Origin) -> list[str]:
    """The settings in which two runs differ, each as "key: value, now value"."""
    old, new = _flat(before.settings), _flat(now.settings)
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    found = [f"{key}: {old.get(key, 'absent')!r}, now {new.get(key, 'absent')!r}" for key in keys]
    found += ["model.file: its text has changed"] if before.model_source != now.model_source else []
    return found + (["data: their rows have changed"] if before.data_sha256 != now.data_sha256 else [])


def _flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in table.items():
        result |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return result
