"""What the parts of a run say of themselves: everything needed to go on with it, or to read it."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import json
import math
import platform
from typing import Any

import numpy as np

from thermosim import __version__, cohorts
from thermosim.case.load import Case
from thermosim.plan.outline import Outline
from thermosim.run.fingerprint import fingerprint
from thermosim.run.recording import recorded
from thermosim.storage import FORMAT

__all__ = ["differences", "make_manifest", "package_versions", "stored_bytes"]


def make_manifest(case: Case, blocks: list[Outline]) -> dict[str, Any]:
    """The manifest of a run that has made no step."""
    axes = [{"name": a.name, "key": a.key, "values": list(a.values), "structural": a.structural} for a in case.axes]
    described: dict[str, Any] = {
        "case": case.source,
        "overrides": dict(case.overrides),
        "settings": case.settings.as_dict(),
        "model_source": case.model_source(),
        "title": case.title,
        "seed": case.settings.ensemble.seed,
        "thermosim_version": __version__,
        "python": platform.python_version(),
        "packages": package_versions(),
        "fingerprint": fingerprint(case, blocks),
        "data_sha256": "" if blocks[0].data is None else blocks[0].data.sha256,
        "inputs": {},
        "steps": case.settings.run.steps,
        "axes": axes,
        "replicas": case.settings.ensemble.replicas,
        "cohorts": cohorts.per_point(case.settings.ensemble.replicas),
        "blocks": [list(block.index) for block in blocks],
        **recorded(blocks[0]),
    }
    progress: dict[str, Any] = {"segments": [], "base": None, "replaces": False, "completed": False, "virtual": False}
    whole = {"format": FORMAT, "run": _run_of(described), **described, **progress}
    manifest: dict[str, Any] = json.loads(json.dumps(whole))
    return manifest


def _run_of(described: dict[str, Any]) -> str:
    """What a computation is known by: all that its numbers depend on but its length; a longer run is the same."""
    settings = {key: value for key, value in described["settings"].items() if key != "title"}
    run = {key: value for key, value in settings["run"].items() if key != "steps"}
    of_numbers = [settings | {"run": run}, *(described[key] for key in ("model_source", "fingerprint", "data_sha256"))]
    return hashlib.sha256(json.dumps(of_numbers, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def package_versions() -> dict[str, str]:
    """The distributions that numbers or files depend on, under the names that install them."""
    packages = ("numpy", "numba", "llvmlite", "scipy", "h5py", "xarray")
    return {"thermosim-engine": __version__} | {name: importlib.metadata.version(name) for name in packages}


def stored_bytes(manifest: dict[str, Any]) -> float:
    """Bytes of all recorded variables once the run is complete."""
    points = math.prod(len(axis["values"]) for axis in manifest["axes"])
    total = 0.0
    for variable in manifest["variables"].values():
        frames = manifest["cadences"][variable["cadence"]][2] if variable["cadence"] else 1
        over = manifest["replicas"] if variable["over"] == "replica" else manifest["cohorts"]
        total += float(np.dtype(variable["dtype"]).itemsize) * frames * points * over * math.prod(variable["shape"])
    return total


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The settings in which two manifests differ, each as "key: value, now value"."""
    old, new = _flat(before["settings"]), _flat(now["settings"])
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    found = [f"{key}: {old.get(key, 'absent')!r}, now {new.get(key, 'absent')!r}" for key in keys]
    found += ["model.file: its text has changed"] if before["model_source"] != now["model_source"] else []
    return found + (["data: their rows have changed"] if before["data_sha256"] != now["data_sha256"] else [])


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in table.items():
        result |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) and value else {f"{prefix}{key}": value}
    return result
