"""The loop of a run: tiles to kernels, frames through the guard to storage. Progress, Ctrl-C, going on after a stop.

Tiles advance in parallel by chunks of a tenth of a second; the kernels hold no lock, so Python stays responsive. What
is stored does not depend on the chunks, the tiles, the threads or the segments.
"""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numba.core.errors
import numpy as np

from thermosim.binding import Addresses, addresses_of
from thermosim.case import Case, CaseError, load_case
from thermosim.ensemble import Layout, make_manifest, open_ensemble
from thermosim.kernels import signatures
from thermosim.kernels.advance import advance
from thermosim.kernels.compile import BITS, compiled, source_fingerprint
from thermosim.plan import Block, plan
from thermosim.recording import Frames, recorded_variables
from thermosim.storage import Parts, StorageError, consolidate, parts_folder, read_manifest
from thermosim.tiles import BlockState, rows_of

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Interrupted", "Progress", "resume", "simulate"]

_CHUNK_SECONDS = 0.1
_FIRST_CHUNK = 2e7  # moved components, a few hundredths of a second; later chunks follow the clock
_CHUNK_BYTES = 64_000_000  # of frames gathered by one chunk
_SEGMENT_BYTES = 128_000_000
_SEGMENT_SECONDS = 60.0


class Interrupted(Exception):
    """The run was stopped from outside; everything up to the message's step is sealed."""


@dataclass(frozen=True)
class Progress:
    """Where a run is, for a progress line."""

    done: int  # replica-steps
    total: int
    seconds: float  # since the first step


Report = Callable[[Progress], None]


class _Sink(Protocol):
    """Where sealed frames go."""

    manifest: dict[str, Any]

    def seal(
        self, block: int, step: int, first_frame: int, frames: Mapping[str, np.ndarray], state: Mapping[str, np.ndarray]
    ) -> None: ...

    def read(self, segment: Mapping[str, Any], group: str) -> dict[str, np.ndarray]: ...


class _Memory:
    """Segments kept in memory, for a run without an output file."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self._groups: list[dict[str, Mapping[str, np.ndarray]]] = []

    def seal(self, block: int, step: int, first_frame: int, frames: Any, state: Any) -> None:
        count = len(next(iter(frames.values()), ()))
        self.manifest["segments"].append(
            {"number": len(self._groups), "block": block, "step": step, "first_frame": first_frame, "frames": count}
        )
        self._groups.append({"frames": frames, "state": state})

    def read(self, segment: Mapping[str, Any], group: str) -> dict[str, np.ndarray]:
        return dict(self._groups[segment["number"]][group])


def simulate(
    case: Case,
    output: str | Path | None = None,
    *,
    threads: int | None = None,
    overwrite: bool = False,
    report: Report | None = None,
    tile_width: int | None = None,
    segment_frames: int | None = None,
) -> xr.Dataset:
    """Run a case and return its ensemble: in memory, or backed by the HDF5 file `output`.

    `threads` defaults to all processors; `tile_width` and `segment_frames` (frames per sealed segment) are for tests
    and tuning. The numbers depend on none of them. Raises StorageError when the output cannot be written, and
    Interrupted after Ctrl-C once everything so far is sealed.
    """
    blocks = plan(case)
    variables = recorded_variables(case, blocks[0])
    manifest = make_manifest(case, blocks, variables, source_fingerprint(BITS))
    _prepare(blocks)
    if output is None:
        sink: Any = _Memory(manifest)
    else:
        sink = Parts.create(Path(output), manifest, overwrite)
        _keep_files(case, blocks, sink.folder)
    return _run(case, blocks, sink, threads, report, tile_width, segment_frames)


def resume(
    output: str | Path, *, threads: int | None = None, report: Report | None = None, segment_frames: int | None = None
) -> xr.Dataset:
    """Go on with an interrupted run from its last sealed segment; the result is that of the uninterrupted run.

    Raises StorageError when there is nothing to go on with, or the kernels have changed since.
    """
    output = Path(output)
    folder = parts_folder(output)
    if not folder.is_dir():
        if output.is_file():
            return open_ensemble(output)
        raise StorageError(f"{output}: there is no interrupted run here. `thermosim run CASE -o {output}` starts one.")
    parts = Parts(folder, read_manifest(folder)).claim()
    try:
        case = _case_of(parts)
    except BaseException:
        parts.release()
        raise
    return _run(case, plan(case), parts, threads, report, None, segment_frames)


def _keep_files(case: Case, blocks: list[Block], folder: Path) -> None:
    """Copy the data and recordings that the case names into the parts: going on needs nothing but them."""
    for block in blocks:
        named = (block.settings.get("data") or {}).get("file"), block.settings["theta"]["recording"].get("file")
        for name in filter(None, named):
            if not Path(name).is_absolute() and ".." not in Path(name).parts:
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(case.folder / name, target)


def _case_of(parts: Parts) -> Case:
    """The case that these parts belong to, read once they are claimed. Raises StorageError if it cannot go on."""
    output, folder = parts.output, parts.folder
    manifest = parts.manifest = read_manifest(folder)
    if manifest["fingerprint"] != source_fingerprint(BITS):
        raise StorageError(
            f"{output}: was begun by other kernels (thermosim {manifest['thermosim_version']}, numba "
            f"{manifest['packages']['numba']}, or another processor); going on would not give the same numbers. "
            f"Sealed frames stay readable; start again with another -o."
        )
    overrides = dict(manifest["overrides"])
    if manifest["model_source"]:  # the user's model as it was, whatever became of its file
        (folder / "model.py").write_text(manifest["model_source"], "utf-8")
        overrides["model.file"] = "model.py"
    if output.exists() and not manifest["replaces"]:
        raise StorageError(
            f"{output}: exists beside its parts and is not theirs to replace; move it away, then resume."
        )
    return load_case(manifest["case"] + "\n", overrides, folder)


def _prepare(blocks: list[Block]) -> None:
    """Compile everything, and refuse what cannot be compiled or held in memory, before anything is written."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for block in blocks:
        needed = 8.0 * block.lanes * rows_of(block).total
        if needed > memory:
            message = (
                f"ensemble.replicas, the sweep and x.samples make a state of {needed / 1e9:,.0f} GB, more than the "
                f"{memory / 1e9:,.0f} GB of this machine: take fewer, or split the case."
            )
            raise CaseError([message])
    for block in blocks:
        try:
            addresses_of(block)
        except numba.core.errors.NumbaError as error:
            line = str(error).strip().splitlines()
            raise CaseError(
                [f"model: a function of {block.model.name!r} cannot be compiled: {' '.join(line[:6])[:600]}"]
            ) from None


def _run(
    case: Case,
    blocks: list[Block],
    sink: Any,
    threads: int | None,
    report: Report | None,
    tile_width: int | None,
    segment_frames: int | None,
) -> xr.Dataset:
    threads = threads or os.cpu_count() or 1
    last = sink.manifest["segments"][-1] if sink.manifest["segments"] else None
    clock = _Clock(report, sum(block.lanes * block.steps for block in blocks))
    with _tidied(sink), ThreadPoolExecutor(threads) as pool, _stop_requests() as stop:
        for block in blocks:
            if last is not None and block.number < last["block"]:
                clock.skip(block.lanes * block.steps)
                continue
            state = BlockState.at_start(block, threads, tile_width)
            if last is not None and block.number == last["block"]:
                state.restore(sink.read(last, "state"), last["step"])
                clock.skip(block.lanes * last["step"])
            _run_block(case, block, state, sink, pool, clock, stop, segment_frames)
        layout = Layout(sink.manifest)
        if isinstance(sink, Parts):  # still under the lock: no other process may take the parts meanwhile
            return open_ensemble(consolidate(sink, layout))
        return layout.dataset(sink, completed=True)


@contextmanager
def _tidied(sink: Any) -> Iterator[None]:
    """A run that fails before anything is sealed leaves nothing behind; others may write again when it ends."""
    try:
        yield
    except Interrupted:
        raise
    except BaseException:
        if isinstance(sink, Parts) and not sink.manifest["segments"]:
            sink.remove()
        raise
    finally:
        if isinstance(sink, Parts):
            sink.release()


@contextmanager
def _stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets. The run stops between two chunks, where its state is whole: soon."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def request(number: int, frame: Any) -> None:
        event.set()

    for number in previous:
        signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class _Clock:
    """Counts replica-steps and reports them."""

    def __init__(self, report: Report | None, total: int) -> None:
        self._report, self._total = report, total
        self._done = 0
        self._begin: float | None = None

    def skip(self, replica_steps: int) -> None:
        self._done += replica_steps

    def tick(self, replica_steps: int) -> None:
        now = time.perf_counter()
        self._begin = self._begin if self._begin is not None else now
        self._done += replica_steps
        if self._report:
            self._report(Progress(self._done, self._total, now - self._begin))


def _run_block(
    case: Case,
    block: Block,
    state: BlockState,
    sink: _Sink,
    pool: ThreadPoolExecutor,
    clock: _Clock,
    stop_request: threading.Event,
    segment_frames: int | None,
) -> None:
    """All steps of one block. On Ctrl-C the frames so far are sealed before Interrupted is raised."""
    kernel = compiled(advance, signatures.ADVANCE)
    frames = Frames(case, block, sink.manifest["variables"])
    per_chunk = max(1, _CHUNK_BYTES // max(1, frames.bytes_per_frame))
    per_segment = segment_frames or max(1, _SEGMENT_BYTES // max(1, frames.bytes_per_frame))
    moves = block.parameters + block.samples * block.components * (block.settings.get("x") or {}).get("tau", 0)
    chunk = max(1, int(_FIRST_CHUNK / (block.lanes * moves)))
    sealed, sealed_at = frames.due_before(state.recorded + 1), time.perf_counter()
    gathered: list[dict[str, np.ndarray]] = []
    addresses = addresses_of(block)
    sealing: Future[None] | None = None
    clock.tick(0)
    try:
        while state.recorded < block.steps:
            start, begin = state.step, time.perf_counter()
            room = min(per_chunk, per_segment - sum(map(_count, gathered)))
            stop = frames.last_step_within(state.recorded, min(start + chunk, block.steps), room)
            gathered.append(_advance_tiles(kernel, block, state, frames, stop, addresses, pool))
            clock.tick(block.lanes * (stop - start))
            if stop_request.is_set():
                raise KeyboardInterrupt
            elapsed = time.perf_counter() - begin
            chunk = max(1, int((stop - start) * min(4.0, max(0.25, _CHUNK_SECONDS / max(elapsed, 1e-6)))))
            full = sum(map(_count, gathered)) >= per_segment or time.perf_counter() - sealed_at > _SEGMENT_SECONDS
            if full or state.step == block.steps:
                sealing = _seal(block, state, sink, sealed, gathered, pool, sealing)
                sealed += sum(map(_count, gathered))
                gathered, sealed_at = [], time.perf_counter()
        if sealing is not None:
            sealing.result()
    except KeyboardInterrupt:
        if sealing is not None:
            sealing.result()
        if gathered:
            _seal(block, state, sink, sealed, gathered, pool, None).result()
        raise Interrupted(f"interrupted after step {state.step:,} of {block.steps:,}") from None


def _count(arrays: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(arrays.values())))


def _seal(
    block: Block,
    state: BlockState,
    sink: _Sink,
    first_frame: int,
    gathered: list[dict[str, np.ndarray]],
    pool: ThreadPoolExecutor,
    previous: Future[None] | None,
) -> Future[None]:
    """Seal frames in the background, after the segment before them."""
    if previous is not None:
        previous.result()
    frames = {name: np.concatenate([part[name] for part in gathered]) for name in gathered[0]}
    return pool.submit(sink.seal, block.number, state.step, first_frame, frames, state.snapshot())


def _advance_tiles(
    kernel: Any,
    block: Block,
    state: BlockState,
    frames: Frames,
    stop: int,
    addresses: Addresses,
    pool: ThreadPoolExecutor,
) -> dict[str, np.ndarray]:
    """Advance every tile to step `stop` and return the frames met: variable -> (frames, lanes, ...)."""
    start = state.step
    steps, next_frame = frames.between(state.recorded, stop)
    theta_factor, x_factor = block.factors(start + 1, max(stop, start + 1))
    theta_table, x_table = block.tables(start + 1, max(stop, start + 1))
    settings, gathered = block.settings, frames.empty(len(steps))
    x = settings.get("x") or {}
    seed, tau, restarts = settings["ensemble"]["seed"], x.get("tau", 0), x.get("restart", False)
    row_count = block.data.rows if block.data is not None else 0

    def run(position: int) -> None:
        tile = state.tiles[position]
        buffers = frames.buffers(position, tile, len(steps))
        kernel(
            seed, block.first_replica + tile.first, start, stop - start, block.turn, tau, next_frame, frames.every,
            row_count, block.theta_dynamics != "frozen", block.reversed, restarts,
            tile.theta, tile.memory, tile.x, tile.theta_path, tile.x_path,
            state.constants[position], state.shared, state.data, state.first_rows[position],
            state.theta_hyper[position], theta_factor, state.x_hyper[position], x_factor, theta_table, x_table,
            *addresses, *buffers, tile.scratch,
        )  # fmt: skip
        bad = state.guard(position, buffers, steps)
        frames.gather(tile, buffers, len(steps), bad, gathered)

    for future in [pool.submit(run, position) for position in range(len(state.tiles))]:
        future.result()
    state.step = state.recorded = stop
    return gathered
