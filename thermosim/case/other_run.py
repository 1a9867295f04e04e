"""The state of another run that a case starts from: read from its file, or from what a run of the case kept of it.

    theta.initial = { from = "other.h5" }     x.initial = { from = "other.h5", step = 500 }

Replica r takes the r-th of the other run, so that theta and x of one file are one joint sample; there may be fewer
replicas and samples here, never more, for a state that is used twice makes no independent replicas. Axes of the other
sweep are matched by their keys; a run without one serves every point. Its noise is part of its states: a run that went
on with the same seed would meet that noise a second time, so the seeds of all earlier runs are known and refused.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from thermosim.addresses import series
from thermosim.case.start import OtherRun, others
from thermosim.data.kept import is_absolute, place
from thermosim.model import Model
from thermosim.storage.durable import command
from thermosim.storage.finished import elsewhere, open_finished
from thermosim.storage.parts import INPUTS

if TYPE_CHECKING:
    from thermosim.case.settings import Settings

__all__ = ["Frame", "digest_of_starts", "frame_faults", "kept_starts", "read_frame"]

_MAGIC = b"PK"  # of what is kept: arrays in a zip
_TOLD = "told"  # what they are, as JSON


@dataclass(frozen=True, eq=False)
class Frame:
    """theta or x of all replicas of another run at one step."""

    axes: tuple[tuple[str, tuple[Any, ...]], ...]  # keys and values of its sweep
    values: np.ndarray  # (*axes, R, m) of theta, (*axes, R, S, n) of x
    whole: np.ndarray  # (*axes, R): which replicas have not diverged by then
    model: str
    seeds: tuple[int, ...]  # of the run, and of those that it started from

    def of_lanes(self, at: Mapping[str, Any], replicas: np.ndarray, survivors: bool) -> np.ndarray:
        """The states of replicas (L,) whose keys have the values `at`, each a value or (L,): (..., L).

        Raises ValueError where the other run has not so many, or has no such point.
        """
        point = np.zeros(len(replicas), int)
        for key, values in self.axes:
            point = point * len(values) + [_index(key, values, value) for value in _each(at[key], len(replicas))]
        states = self.values.reshape(-1, *self.values.shape[len(self.axes) :])
        whole, chosen = self.whole.reshape(-1, self.whole.shape[-1]), np.empty(len(replicas), int)
        for number in np.unique(point):
            mine = point == number
            order = np.flatnonzero(whole[number]) if survivors else np.arange(whole.shape[1])
            self._refuse(order, whole[number], int(replicas[mine].max()) + 1, survivors)
            chosen[mine] = order[replicas[mine]]
        return np.ascontiguousarray(np.moveaxis(states[point, chosen], 0, -1))

    @staticmethod
    def _refuse(order: np.ndarray, whole: np.ndarray, wanted: int, survivors: bool) -> None:
        if wanted > len(order):
            left = " that did not diverge" if survivors and not whole.all() else ""
            raise ValueError(
                f"has {len(order)} replicas{left}: two that start from one state are not independent; take "
                f"ensemble.replicas = {len(order)} at most."
            )
        if not whole[order[:wanted]].all():
            bad = order[:wanted][~whole[order[:wanted]]]
            raise ValueError(
                f"{len(bad)} of its first {wanted} replicas diverged, the first of them {bad[0]}; survivors = true "
                "leaves them out, which makes the start a law of survivors."
            )


def _each(value: Any, count: int) -> Iterable[Any]:
    return value if isinstance(value, np.ndarray) else [value] * count


def _index(key: str, values: tuple[Any, ...], value: Any) -> int:
    found = [i for i, one in enumerate(values) if one == value]
    if not found:
        raise ValueError(f"is swept over {key}, and {value!r} is none of its values: {', '.join(map(repr, values))}.")
    return found[0]


def read_frame(other: OtherRun, name: str, folder: Path) -> Frame:
    """theta or x of another run, of a case in this folder. Raises ValueError with a sentence that follows the key."""
    path = _found(other.file, folder)
    if not path.is_file():
        unfinished = path.with_name(f"{path.name}.parts").is_dir()
        remedy = (
            f"is not complete; first `{command('resume', path)}`."
            if unfinished
            else f"no such ensemble (looked for {path}); `thermosim run` makes one."
        )
        raise ValueError(remedy)
    status = path.stat()
    return _read(path, (status.st_ino, status.st_size, status.st_mtime_ns), name, other.step)


def _found(file: str, folder: Path) -> Path:
    """The file, or of an absolute path the copy among the inputs of a run that is going on."""
    if not is_absolute(file):
        return folder / file
    for home in (folder, *folder.parents):
        if home.name == INPUTS and (kept := home.parent / place(file, Path(INPUTS))).is_file():
            return kept
    return Path(file).expanduser()


@functools.lru_cache(maxsize=8)
def _read(path: Path, stamp: tuple[int, int, int], name: str, step: int | None) -> Frame:
    with open(path, "rb") as file:
        kept = file.read(2) == _MAGIC
    try:
        return _read_kept(path.read_bytes(), name, step) if kept else _read_ensemble(path, name, step)
    except (OSError, KeyError, RuntimeError) as error:
        raise ValueError(f"is no complete ensemble of thermosim ({error}).") from None


def _read_ensemble(path: Path, name: str, step: int | None) -> Frame:
    if other := elsewhere(path):
        raise ValueError(f"{other}, which is not read: copy the numbers into it, or make it again.")
    with open_finished(path) as file:
        settings = json.loads(file.attrs["settings"])
        axes = tuple((key, tuple(values)) for key, values in settings.get("sweep", {}).items())
        last = int(file.attrs["steps"].item())
        if not file.attrs["completed"].item():
            raise ValueError("is not complete; finish it first with `thermosim resume`.")
        if step is None and f"state/0/{name}" in file:
            values = _last_state(file, name, settings)
        else:
            values = _recorded(file, name, last if step is None else step)
        diverged = file["diverged_step"][()]
        whole = (diverged < 0) | (diverged > (last if step is None else step))
        seeds = dict.fromkeys([int(file.attrs["seed"].item()), *_seeds_before(file)])
        return Frame(axes, values, whole, settings["model"]["name"], tuple(seeds))


def _last_state(file: h5py.File, name: str, settings: Mapping[str, Any]) -> np.ndarray:
    """The state after the last step, which is kept block by block, series by series: (*axes, R, ...)."""
    ensemble, structural = settings["ensemble"], set(json.loads(file.attrs["structural"]))
    axes = [(key, tuple(values)) for key, values in settings.get("sweep", {}).items()]
    order = [key for key, _ in axes if key in structural] + [key for key, _ in axes if key not in structural]
    sizes = {key: len(values) for key, values in axes}
    each = series(ensemble["replicas"], ensemble.get("added", ()))
    number, parts = math.prod(sizes[key] for key in structural), []
    for part, replicas in enumerate(each):
        blocks = [file[f"state/{part * number + block}/{name}"][()] for block in range(number)]
        if len({block.shape for block in blocks}) > 1:
            raise ValueError("is swept over a key that changes the shape of its states; run that point by itself.")
        states = np.moveaxis(np.stack(blocks), -1, 1)
        parts.append(states.reshape(*(sizes[key] for key in order), replicas, *states.shape[2:]))
    states = np.concatenate(parts, axis=len(order))
    return np.ascontiguousarray(np.moveaxis(states, range(len(order)), [[k for k, _ in axes].index(k) for k in order]))


def _recorded(file: h5py.File, name: str, step: int) -> np.ndarray:
    """A recorded frame: (*axes, R, ...), with a dimension of samples for x."""
    if name not in file:
        raise ValueError(f"has no {name} at step {step}: record {name} there, or start from its last state.")
    steps = file[name].dims[0][0][()]
    frames = np.flatnonzero(steps == step)
    if not len(frames):
        raise ValueError(f"has no {name} at step {step}: recorded are steps {steps[0]}, ..., {steps[-1]}.")
    dims = [dim[0].name.rpartition("/")[2] for dim in file[name].dims]
    values = np.asarray(file[name][int(frames[0])], float)
    return values[..., None, :] if name == "x" and "sample" not in dims else values


def _seeds_before(file: h5py.File) -> Iterator[int]:
    """Seeds of the runs that a run started from, which it kept."""
    found: list[bytes] = []
    if INPUTS in file:
        file[INPUTS].visititems(
            lambda _, item: found.append(item[()].tobytes()) if isinstance(item, h5py.Dataset) else None
        )
    for content in found:
        if content[:2] == _MAGIC and (told := _told(content)) is not None:
            yield from told["seeds"]


def kept_starts(cases: Iterable[Settings], folder: Path) -> dict[str, bytes]:
    """By the names of the files that these settings start from, what is kept of each: arrays in a zip."""
    wanted: dict[str, dict[tuple[str, int | None], Frame]] = {}
    for settings in cases:
        for name, other in others(settings).items():
            wanted.setdefault(other.file, {})[name, other.step] = read_frame(other, name, folder)
    return {file: _kept(frames) for file, frames in wanted.items()}


def _kept(frames: Mapping[tuple[str, int | None], Frame]) -> bytes:
    first = next(iter(frames.values()))
    told = {"axes": first.axes, "model": first.model, "seeds": first.seeds}
    arrays: dict[str, Any] = {_TOLD: np.frombuffer(json.dumps(told).encode(), np.uint8)}
    for (name, step), frame in frames.items():
        arrays |= {f"{name} {step}": frame.values, f"whole {step}": frame.whole}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _told(content: bytes) -> dict[str, Any] | None:
    """What a kept start tells of itself; None for another zip, such as a user's data."""
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as held:
            told: dict[str, Any] | None = json.loads(held[_TOLD].tobytes()) if _TOLD in held else None
            return told
    except (OSError, ValueError):
        return None


def _read_kept(content: bytes, name: str, step: int | None) -> Frame:
    told = _told(content)
    if told is None:
        raise ValueError("is no ensemble of thermosim.")
    with np.load(io.BytesIO(content), allow_pickle=False) as held:
        axes = tuple((key, tuple(values)) for key, values in told["axes"])
        return Frame(axes, held[f"{name} {step}"], held[f"whole {step}"], told["model"], tuple(told["seeds"]))


def digest_of_starts(cases: Iterable[Settings], folder: Path) -> str:
    """A digest of all states that these settings start from."""
    digest, frames = hashlib.sha256(), [(other, name) for each in cases for name, other in others(each).items()]
    for other, name in dict.fromkeys(frames):
        frame = read_frame(other, name, folder)
        digest.update(frame.values.tobytes() + frame.whole.tobytes())
    return digest.hexdigest()[:24]


def frame_faults(name: str, other: OtherRun, model: Model, settings: Settings, folder: Path) -> list[str]:
    """Why theta or x cannot start from another run, at this combination of values."""
    key = f"{name}.initial.from = {other.file!r}"
    try:
        frame = read_frame(other, name, folder)
        at = {axis: settings.value(axis) for axis, _ in frame.axes}
        wanted = min(settings.ensemble.replicas, frame.whole.shape[-1] + 1)  # one too many is refused as any more are
        states = frame.of_lanes(at, np.arange(wanted), other.survivors)
    except ValueError as error:
        return [f"{key}: {error}"]
    except KeyError as error:
        return [f"{key}: is swept over {error.args[0]}, a key that this case has not; run that point by itself."]
    found = _x_faults(model, settings, states) if name == "x" else _theta_faults(model, settings, states, frame)
    goes_on = 0 < settings.run.first_step == other.step  # with the noise of later steps, which its states do not know
    if settings.ensemble.seed in frame.seeds and not goes_on:
        other_seed = next(seed for seed in range(1, 2**31) if seed not in frame.seeds)
        found.append(
            f"ensemble.seed = {settings.ensemble.seed}: is that of {other.file}, or of a run that it started from, so "
            f"its states know this noise already; take another, such as {other_seed}."
        )
    mine = others(settings)
    if len({one.step for one in mine.values() if one.file == other.file}) > 1:
        found.append(f"{key}: theta and x are taken from different steps, which is no state of it; give both one step.")
    return [fault if fault.startswith(("ensemble", key)) else f"{key}: {fault}" for fault in found]


def _x_faults(model: Model, settings: Settings, states: np.ndarray) -> list[str]:
    samples, n = states.shape[:2]
    components = model.components(settings.model.constants)
    if n != components:
        return [f"its x has {n} components, that of this model {components}."]
    if settings.of_x.samples > samples:
        return [f"has {samples} samples in each replica, fewer than x.samples = {settings.of_x.samples}; take as many."]
    if model.discrete and not np.isin(states, model.levels).all():
        return [f"its x takes other values than {model.levels}, those of model {model.name!r}."]
    return []


def _theta_faults(model: Model, settings: Settings, states: np.ndarray, frame: Frame) -> list[str]:
    m = sum(math.prod(group.shape(settings.model.constants)) for group in model.parameters)
    if frame.model != model.name:
        return [f"its theta is that of model {frame.model!r}, not of {model.name!r}; give values instead."]
    if len(states) != m:
        return [f"its theta has {len(states)} parameters, that of this model {m}."]
    if settings.theta.constraint == "fixed-sphere":
        radius = np.sqrt((states**2).sum(axis=0))
        if np.max(np.abs(radius / settings.theta.radius - 1.0)) > 1e-9:
            there = f"its |w| reach from {radius.min():.6g} to {radius.max():.6g}"
            return [f"{there}, off the sphere of theta.radius = {settings.theta.radius}; start from 'random'."]
    return []
