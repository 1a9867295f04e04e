"""From the segments of a complete run to the one file that xarray opens, and whether such a file is still whole.

Everything is written in an order that the layout alone decides, so the file is the same to the byte however the run was
cut. HDF5 keeps checksums of its metadata and, by Fletcher32, of each chunk: any reader notices a flipped bit. What it
leaves without one (long strings and references) is covered by the checksums in the attribute `sha256`.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5netcdf
import h5py
import numpy as np

from thermosim.storage.coverage import frontier, partition
from thermosim.storage.layout import Finals, Layout
from thermosim.storage.new_file import Written, new_file
from thermosim.storage.parts import Parts
from thermosim.storage.reading import Frames, final_arrays, states
from thermosim.storage.segments import Folder, StorageError, described, digest, sync
from thermosim.storage.summaries import finals as finals_of_run
from thermosim.storage.verification import checksums_of

__all__ = ["consolidate", "finished", "settle", "size_of_file"]

_BYTES_OF_HEADERS, _BYTES_OF_OBJECT = 65_536.0, 4_096.0  # case, settings, attributes, what HDF5 keeps of each object
_CHUNK = {"step": 16, "replica": 512}
_CHUNK_BYTES = 4_000_000
_SLAB_BYTES = 16_000_000
_FLUSH_BYTES = 128_000_000

Report = Callable[[int, int], None]


def consolidate(
    parts: Parts, layout: Layout, finals: Finals = finals_of_run, virtual: bool = False, report: Report | None = None
) -> Path:
    """Write the one file of a complete run, and remove the parts. `report` is told the bytes of frames done and in all.

    A virtual file has views of the frames, which stay in the parts. A kill at any instant leaves the parts, or the
    whole file: see `settle`. Raises StorageError when the run is not complete, or the file cannot be written.
    """
    manifest, output = parts.manifest, parts.output
    for block in range(layout.blocks):
        if any(step < manifest["steps"] for _, _, step in frontier(manifest, block, layout.lanes)):
            raise StorageError(f"{output}: not all of it is sealed yet; thermosim resume {output}")
    temporary = output.with_name(output.name + ".tmp")
    try:
        with new_file(temporary, track_order=True) as (file, written):
            _declare(file, layout, virtual)
            if virtual:
                _map_frames(file, parts, layout)
            else:
                _copy_frames(file, written, parts, layout, report)
            _write_states(file, parts, layout, finals)
            for name in sorted(manifest["inputs"]):
                _write_input(file, parts, name)
            file.attrs["sha256"] = json.dumps(checksums_of(file))
        # From here on what has this name and is this file is the result; parts of a virtual one are never removed.
        parts.update(completed=True, virtual=virtual, output=_named(temporary, output, virtual))
        os.replace(temporary, output)
        sync(output.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        number = getattr(error, "errno", None)
        raise StorageError(
            f"{output}: could not be written: {os.strerror(number) if number else error}. All segments are whole in "
            f"{parts.folder}; make room, then: thermosim resume {output}"
        ) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if not virtual:
        parts.remove()
    return output


def _named(temporary: Path, output: Path, virtual: bool) -> dict[str, Any]:
    """What the output is known by: its checksum where it is small, else what only a copy would change."""
    status = temporary.stat()
    identity = {"inode": status.st_ino, "modified": status.st_mtime_ns, "bytes": status.st_size}
    return (described(temporary) if virtual else identity) | {"file": output.name}


def finished(parts: Parts) -> bool:
    """Whether the output is already what these parts become: the run was killed before they were removed."""
    return _kind(parts) is not None


def settle(parts: Parts) -> bool:
    """Whether the output is already what these parts become. If so they are removed, unless it has views of them."""
    kind = _kind(parts)
    if kind == "real":
        parts.remove()
    return kind is not None


def _kind(parts: Parts) -> str | None:
    """Whether the output is the complete result of this very run, and then whether it holds its frames itself."""
    manifest, layout = parts.manifest, Layout(parts.manifest)
    if not parts.output.is_file():
        return None
    for block in range(layout.blocks):  # a new run of the same case over a result: that is an older file
        if any(step < manifest["steps"] for _, _, step in frontier(manifest, block, layout.lanes)):
            return None
    expected, status = manifest.get("output") or {}, parts.output.stat()
    if "sha256" in expected:
        return "virtual" if expected["sha256"] == digest(parts.output) else None
    found = {"inode": status.st_ino, "modified": status.st_mtime_ns, "bytes": status.st_size}
    return "real" if found.items() <= expected.items() else None


def _declare(file: h5py.File, layout: Layout, virtual: bool) -> None:
    """Dimensions, coordinates, attributes, and all variables but virtual ones, without values."""
    with h5netcdf.File(file, "w") as ensemble:
        ensemble.dimensions = layout.dimension_sizes()
        for name, (dims, values, attributes) in layout.coordinates().items():
            text = values.dtype == object
            kind = h5py.string_dtype() if text else values.dtype
            checked = {} if text or not values.size else {"fletcher32": True, "chunks": values.shape}
            ensemble.create_variable(name, dims, kind, data=values, **checked).attrs.update(attributes)
        for name, (dims, dtype, attributes) in layout.variables().items():
            if virtual and _is_framed(layout, name):
                continue
            shape = [ensemble.dimensions[dim].size for dim in dims]
            chunks = _chunks(_roles(layout, dims), shape, dtype.itemsize)
            checked = {"fletcher32": True, "chunks": chunks} if chunks else {}
            ensemble.create_variable(name, dims, dtype, **checked).attrs.update(attributes)
        ensemble.attrs.update(layout.attributes(completed=True) | {"virtual": int(virtual)})


def _is_framed(layout: Layout, name: str) -> bool:
    return bool(layout.manifest["variables"].get(name, {}).get("cadence"))


def size_of_file(layout: Layout) -> float:
    """Bytes of the variables and coordinates of a complete file: its chunks, which are whole even where they end."""
    steps = {name: cadence[2] for name, cadence in layout.manifest["cadences"].items()}
    sizes, total = layout.dimension_sizes() | steps, _BYTES_OF_HEADERS
    for dims, dtype, _ in layout.variables().values():
        shape = [sizes[dim] for dim in dims]
        chunks = _chunks(_roles(layout, dims), shape, dtype.itemsize) or ()
        whole = math.prod(-(-size // chunk) * chunk for size, chunk in zip(shape, chunks))
        total += whole * dtype.itemsize * bool(chunks) + _BYTES_OF_OBJECT
    return total + 8.0 * (sum(steps.values()) + sum(values.size for _, values, _ in layout.coordinates().values()))


def _roles(layout: Layout, dims: Sequence[str]) -> list[str]:
    """What each dimension is: step, axis, replica or tail."""
    names = {"replica": "replica", "cohort": "replica"} | dict.fromkeys(layout.axis_names, "axis")
    names |= dict.fromkeys(layout.manifest["cadences"], "step")
    return [names.get(dim, "tail") for dim in dims]


def _chunks(roles: Sequence[str], shape: Sequence[int], itemsize: int) -> tuple[int, ...] | None:
    """Chunks of 16 steps x 512 replicas of everything else, cut to 4 MB: along axes first, then these two, then others.

    None for an array without values.
    """
    if not all(shape):
        return None
    chunks = [min(size, _CHUNK.get(role, size)) for role, size in zip(roles, shape)]
    groups = ("axis",), ("replica", "step"), ("tail",)
    _cut(chunks, [[i for i, role in enumerate(roles) if role in group] for group in groups], itemsize)
    return tuple(chunks)


def _cut(chunks: list[int], groups: Sequence[Sequence[int]], itemsize: int) -> None:
    """Halve the largest of a group of dimensions until a chunk is small enough, one group after another."""
    for dims in groups:
        while math.prod(chunks) * itemsize > _CHUNK_BYTES and any(chunks[i] > 1 for i in dims):
            largest = max(dims, key=lambda i: chunks[i])
            chunks[largest] = -(-chunks[largest] // 2)


def _slabs(shape: Sequence[int], chunks: Sequence[int], itemsize: int) -> Iterator[tuple[slice, ...]]:
    """Hyperslabs of whole chunks and bounded size that make up an array, in its order."""
    slab = list(chunks)
    for dim in reversed(range(len(shape))):
        others = math.prod(slab) // slab[dim] * itemsize
        whole = max(1, _SLAB_BYTES // (others * chunks[dim])) * chunks[dim]
        slab[dim] = min(shape[dim], max(chunks[dim], whole))
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(shape, slab))):
        yield tuple(slice(a, min(a + s, n)) for a, s, n in zip(corner, slab, shape))


def _copy_frames(file: h5py.File, written: Written, parts: Parts, layout: Layout, report: Report | None) -> None:
    """All frames, slab by slab: while one is written the next is read, and those before are on their way to disk."""
    partitions = [partition(parts.manifest, block, layout.lanes) for block in range(layout.blocks)]
    source = Folder(parts.folder, parts.run)
    names = [name for name in layout.variables() if _is_framed(layout, name) and file[name].size]
    done, total = 0, sum(file[name].nbytes for name in names)
    spaces = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def read(frames: Frames, slab: tuple[slice, ...], number: int) -> np.ndarray:
        size = math.prod(s.stop - s.start for s in slab) * frames.dtype.itemsize
        if spaces[number % 2].size < size:
            spaces[number % 2] = np.empty(size, np.uint8)
        return frames.read(slab, spaces[number % 2][:size].view(frames.dtype))

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as flusher:
        flushed, flushing = 0, flusher.submit(os.fdatasync, written.fileno())
        for name in names:
            frames, target = Frames(layout, parts.manifest, source, name, partitions), file[name]
            slabs = list(_slabs(target.shape, target.chunks, target.dtype.itemsize))
            coming = reader.submit(read, frames, slabs[0], 0)
            for number, slab in enumerate(slabs):
                values = coming.result()
                if number + 1 < len(slabs):
                    coming = reader.submit(read, frames, slabs[number + 1], number + 1)
                target[slab] = values
                written.check()
                done += values.nbytes
                if done - flushed > _FLUSH_BYTES and flushing.done():
                    flushed, flushing = done, flusher.submit(os.fdatasync, written.fileno())
                if report:
                    report(done, total)


def _map_frames(file: h5py.File, parts: Parts, layout: Layout) -> None:
    """Variables whose frames are views of those in the segments, found beside the file whatever its folder is."""
    manifest, sizes = parts.manifest, layout.dimension_sizes()
    partitions = [partition(manifest, block, layout.lanes) for block in range(layout.blocks)]
    for name, (dims, dtype, attributes) in layout.variables().items():
        if not _is_framed(layout, name):
            continue
        shape = tuple(sizes[dim] for dim in dims)
        view = h5py.VirtualLayout(shape, dtype)
        frames = Frames(layout, manifest, Folder(parts.folder, parts.run), name, partitions)
        for piece in frames.pieces:
            path = f"{parts.folder.name}/{piece.file['file']}".replace("%", "%%")  # HDF5 takes %b for a number
            source = h5py.VirtualSource(path, name if piece.of_base else f"frames/{name}", piece.file_shape)
            numbers, in_file = slice(piece.start, piece.stop), piece.start - piece.file_start
            there = slice(in_file, in_file + piece.stop - piece.start)
            for index, lanes in layout.pieces(piece.block, piece.first, piece.count, layout.over(name)):
                first = piece.first + lanes.start - piece.file_first
                taken = index if piece.of_base else (slice(first, first + lanes.stop - lanes.start),)
                view[(numbers, *index)] = source[(there, *taken)]
        if frames.pieces:
            file.create_virtual_dataset(name, view, fillvalue=np.nan if dtype.kind == "f" else 0)
        else:
            file.create_dataset(name, shape, dtype)
        file[name].attrs.update(attributes)
        for number, dim in enumerate(dims):
            file[name].dims[number].attach_scale(file[dim])


def _write_states(file: h5py.File, parts: Parts, layout: Layout, finals: Finals) -> None:
    """The state after the last step, which a longer run goes on from, and what follows from it."""
    source = Folder(parts.folder, parts.run, verify=True)
    for block in range(layout.blocks):
        for first, lanes, step, state in states(layout, parts.manifest, source, block):
            for name, values in final_arrays(layout, parts.manifest, state, step, finals).items():
                over = layout.over(name)
                for index, part in layout.pieces(block, *layout.span(over, first, lanes), over):
                    target = file[name]
                    sizes = [i.stop - i.start for i in index if isinstance(i, slice)]
                    if target.size:
                        target[index] = values[part].reshape(*sizes, *values.shape[1:])
            for name in sorted(state):
                over = "cohort" if name.startswith("cohorts/") else "replica"
                path, (start, count) = f"state/{block}/{name}", layout.span(over, first, lanes)
                if path not in file:
                    whole = layout.span(over, 0, layout.lanes)[1]
                    _create(file, path, (*state[name].shape[:-1], whole), state[name].dtype)
                if file[path].size:
                    file[path][..., start : start + count] = state[name]


def _create(file: h5py.File, path: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
    """An array whose last dimension is the long one, in chunks with checksums."""
    if not all(shape):
        return file.create_dataset(path, shape, dtype)
    chunks = [*shape[:-1], min(shape[-1], max(1, 2**20 // (math.prod(shape[:-1]) * dtype.itemsize)))]
    _cut(chunks, [list(range(len(shape)))], dtype.itemsize)
    return file.create_dataset(path, shape, dtype, chunks=tuple(chunks), fletcher32=True)


def _write_input(file: h5py.File, parts: Parts, name: str) -> None:
    """The bytes of a file that the case names, at its path in the parts."""
    content = np.fromfile(parts.folder / name, np.uint8)
    target = _create(file, name if name.startswith("inputs/") else f"inputs/{name}", content.shape, content.dtype)
    if content.size:
        target[...] = content
