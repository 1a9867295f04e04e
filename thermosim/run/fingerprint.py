"""What the bits of a run depend on beside its case, part by part: equal parts make equal numbers.

Of what is compiled, the code of the kernels, as the engine tells it; of what numpy does, the code of the functions and
modules that do it, and the packages they call. A comment, a docstring or another model is no part of it; a machine is
one only where its rounding matters (`rounding`).
"""

from __future__ import annotations

import functools
import importlib.metadata
import re
import sys
from collections.abc import Mapping
from typing import Any

from thermosim.case.load import Case
from thermosim.case.other_run import digest_of_starts
from thermosim.case.start import others
from thermosim.engines import engine_of
from thermosim.engines.engine import Engine
from thermosim.kernels import apply
from thermosim.kernels.identity import Identity, combined, identity_of, identity_of_modules
from thermosim.kernels.noise import fill_normal_pair, fill_uniform
from thermosim.model import Model
from thermosim.plan.outline import Outline
from thermosim.run.rounding import machine_parts

__all__ = ["changes", "fingerprint", "surroundings"]

_PLAN = (
    "thermosim.plan.outline",
    "thermosim.plan.block",
    "thermosim.plan.timetable",
    "thermosim.data.sources",
    "thermosim.cohorts",
)
_STARTS = ("thermosim.plan.starts", "thermosim.plan.warm_up", "thermosim.run.warm_up")
_SCHEDULES = ("thermosim.schedules",)
_DATA = ("thermosim.data.generators", "thermosim.data.load", "thermosim.data.tables")
_RECORDING = ("thermosim.run.recording", "thermosim.run.kept", "thermosim.run.stepper", "thermosim.run.guard")
_SUMMARIES = ("thermosim.run.fold", "thermosim.kernels.folding", "thermosim.storage.summaries")

_DIGEST = re.compile("[0-9a-f]{24}")


def fingerprint(case: Case, blocks: list[Outline], device: str = "cpu") -> dict[str, str]:
    """Digests of everything that decides the bits of a case's numbers, and versions of packages, by name.

    The device is one that is there; it decides bits of networks only.
    """
    record, generator = case.settings.record, identity_of(fill_normal_pair, fill_uniform).digest
    observables = case.model.observables
    parts = {
        "starts": identity_of(_modules(*_STARTS), generator, *_of_starts(case.model)),
        "plan": identity_of(_modules(*_PLAN), case.model.propagator, case.model.components),
        "observables": identity_of([observables[n].function for n in record.variables or () if n in observables]),
    }
    if case.settings.data:
        parts["data"] = identity_of(_modules(*_DATA), generator)
    if record.tables:
        tables = [observables[name].function for name in record.tables if name in observables]
        parts["summaries"] = identity_of(_modules(*_SUMMARIES), tables)
    of_blocks = [_engine(block, device).fingerprint(block.cohort) for block in blocks]
    of_engine = {name: combined(each[name] for each in of_blocks) for name in of_blocks[0]}
    if any(others(block.settings) for block in blocks):
        of_engine["states it starts from"] = digest_of_starts([block.settings for block in blocks], case.folder)
    of_numpy = {name: part.digest for name, part in parts.items()} | machine_parts(blocks)
    return of_engine | of_numpy | _common() | _versions(*parts.values())


def _engine(block: Outline, device: str) -> Engine:
    return engine_of(device if block.engine == "networks" else "cpu", block.engine)


def surroundings() -> dict[str, str]:
    """The parts of a fingerprint that are the same for every case of lanes; each is absent from those of networks."""
    return engine_of().versions() | _common() | _versions()


def changes(before: Any, now: Mapping[str, str]) -> list[str]:
    """The parts in which a stored fingerprint differs from one of now, each as a few words."""
    if not isinstance(before, Mapping):
        return ["the kernels"]
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    return [_change(name, before.get(name, "absent"), now.get(name, "absent")) for name in names]


def _change(name: str, old: str, new: str) -> str:
    if _DIGEST.fullmatch(old) or _DIGEST.fullmatch(new):
        return f"the {name}"
    return f"{name} {old}, now {new}"


def _modules(*names: str) -> str:
    return identity_of_modules(*names).digest


def _of_starts(model: Model) -> list[Any]:
    """What the first state is made of."""
    groups = [(group.name, group.shape, group.default, group.spread) for group in model.parameters]
    samplers = [model.initial_theta, model.equilibrium, model.fresh, model.fresh_normals, model.fresh_uniforms]
    return [groups, samplers, model.levels, model.prepare, apply.draw]


def _common() -> dict[str, str]:
    return {
        "schedules": _modules(*_SCHEDULES),
        "recording": _modules(*_RECORDING),
    }


def _versions(*parts: Identity) -> dict[str, str]:
    """Packages that do the arithmetic: numpy, and those that functions of the model call."""
    packages = {"numpy"}.union(*(part.packages for part in parts)) - {"numba", "llvmlite"}
    return {name: _version(name) for name in sorted(packages)}


@functools.cache
def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # the distribution has another name
        return str(getattr(sys.modules.get(package), "__version__", "of unknown version"))
