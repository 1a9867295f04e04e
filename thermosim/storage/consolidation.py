"""From the segments of a complete run to the one file that xarray opens, and whether such a file is still whole.

Everything is written in an order that the layout alone decides, so the file is the same to the byte however the run was
cut. HDF5 keeps checksums of its metadata and, by Fletcher32, of each chunk: any reader notices a flipped bit. What it
leaves without one (long strings and references) is covered by the checksums in the attribute `sha256`.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5netcdf
import h5py
import numpy as np

from thermosim.storage.chunks import chunks_of, chunks_of_state, halved, slabs
from thermosim.storage.claim import WHOLE
from thermosim.storage.durable import StorageError, command, digest, reason, remedy, sync
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Output
from thermosim.storage.new_file import Written, new_file
from thermosim.storage.parts import Parts
from thermosim.storage.reading import StoredFrames, final_pieces, states
from thermosim.storage.segments import Folder
from thermosim.storage.verification import checksums_of

__all__ = ["consolidate", "settle"]

_FLUSH_BYTES = 128_000_000

OnBytes = Callable[[int, int], None]  # is told the bytes of frames done and in all


def consolidate(parts: Parts, virtual: bool = False, report: OnBytes | None = None) -> Path:
    """Write the one file of a complete run, and remove the parts.

    A virtual file has views of the frames, which stay in the parts. A kill at any instant leaves the parts, or the
    whole file: see `settle`. Raises StorageError when the run is not complete, or the file cannot be written.
    """
    output, layout = parts.output, Layout(parts.manifest)
    if not layout.is_complete:
        raise StorageError(f"{output}: not all of it is sealed yet; {command('resume', output)}")
    temporary = parts.folder / WHOLE
    try:
        with new_file(temporary, track_order=True) as (file, written):
            _declare(file, layout, virtual)
            source = Folder(parts.folder, parts.manifest.run)
            if virtual:
                _map_frames(file, source, layout)
            else:
                _copy_frames(file, written, source, layout, report)
            _write_states(file, Folder(parts.folder, parts.manifest.run, verify=True), layout)
            for name in sorted(kept.name for kept in parts.manifest.inputs):
                _write_input(file, parts.folder, name)
            file.attrs["sha256"] = json.dumps(checksums_of(file))
        # From here on what has this name and is this file is the result; parts of a virtual one are never removed.
        parts.update(completed=True, virtual=virtual, output=_output(temporary, virtual))
        os.replace(temporary, output)
        sync(output.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(
            f"{output}: could not be written: {reason(error)}. All segments are whole in {parts.folder}; "
            f"{remedy(error)}, then: {command('resume', output)}"
        ) from None
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if not virtual:
        parts.remove()
    return output


def _output(path: Path, virtual: bool) -> Output:
    """What the output is known by: its checksum where it is small, else what only a copy would change."""
    status = path.stat()
    return Output(status.st_ino, status.st_mtime_ns, status.st_size, digest(path) if virtual else None)


def settle(parts: Parts) -> bool:
    """Whether the output is already what these parts become: the run was killed before they were removed.

    If so they are removed, unless it has views of them.
    """
    expected = parts.manifest.output
    # a new run of the same case over a result: that is an older file
    if expected is None or not parts.output.is_file() or not Layout(parts.manifest).is_complete:
        return False
    found = _output(parts.output, virtual=expected.sha256 is not None)
    if expected.sha256 is not None:  # a virtual file may have been moved or copied with its parts
        return found.sha256 == expected.sha256
    if found == expected:
        parts.remove()
    return found == expected


def _declare(file: h5py.File, layout: Layout, virtual: bool) -> None:
    """Dimensions, coordinates, attributes, and all variables but virtual ones, without values."""
    with h5netcdf.File(file, "w") as ensemble:
        ensemble.dimensions = layout.dimension_sizes()
        for name, (dims, values, attributes) in layout.coordinates().items():
            text = values.dtype == object
            kind = h5py.string_dtype() if text else values.dtype
            cut = halved([*values.shape], [range(values.ndim)], values.dtype.itemsize)
            checked = {} if text or not values.size else {"fletcher32": True, "chunks": cut}
            ensemble.create_variable(name, dims, kind, data=values, **checked).attrs.update(attributes)
        for name, (dims, dtype, attributes) in layout.variables().items():
            if virtual and layout.is_framed(name):
                continue
            chunks = chunks_of(layout.roles(dims), layout.shape(dims), dtype.itemsize)
            checked = {"fletcher32": True, "chunks": chunks} if chunks else {}
            ensemble.create_variable(name, dims, dtype, **checked).attrs.update(attributes)
        ensemble.attrs.update(layout.attributes(completed=True) | {"virtual": int(virtual)})


def _copy_frames(file: h5py.File, written: Written, source: Folder, layout: Layout, report: OnBytes | None) -> None:
    """All frames, slab by slab: while one is written the next is read, and those before are on their way to disk."""
    names = [name for name in layout.variables() if layout.is_framed(name) and file[name].size]
    done, total = 0, sum(file[name].nbytes for name in names)
    spaces = [np.empty(0, np.uint8), np.empty(0, np.uint8)]

    def read(frames: StoredFrames, slab: tuple[slice, ...], number: int) -> np.ndarray:
        size = math.prod(s.stop - s.start for s in slab) * frames.dtype.itemsize
        if spaces[number % 2].size < size:
            spaces[number % 2] = np.empty(size, np.uint8)
        return frames.read(slab, spaces[number % 2][:size].view(frames.dtype))

    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as flusher:
        flushed, flushing = 0, flusher.submit(os.fdatasync, written.fileno())
        for name in names:
            frames, target = StoredFrames(layout, source, name), file[name]
            pieces = list(slabs(target.shape, target.chunks, target.dtype.itemsize))
            coming = reader.submit(read, frames, pieces[0], 0)
            for number, slab in enumerate(pieces):
                values = coming.result()
                if number + 1 < len(pieces):
                    coming = reader.submit(read, frames, pieces[number + 1], number + 1)
                target[slab] = values
                written.check()
                done += values.nbytes
                if done - flushed > _FLUSH_BYTES and flushing.done():
                    flushed, flushing = done, flusher.submit(os.fdatasync, written.fileno())
                if report:
                    report(done, total)


def _map_frames(file: h5py.File, source: Folder, layout: Layout) -> None:
    """Variables whose frames are views of those in the segments, found beside the file whatever its folder is."""
    for name, (dims, dtype, attributes) in layout.variables().items():
        if not layout.is_framed(name):
            continue
        shape = layout.shape(dims)
        view = h5py.VirtualLayout(shape, dtype)
        frames = StoredFrames(layout, source, name)
        for piece in frames.pieces:
            path = f"{source.path.name}/{piece.file.name}".replace("%", "%%")  # HDF5 takes %b for a number
            viewed = h5py.VirtualSource(path, name if piece.of_base else f"frames/{name}", piece.file_shape)
            numbers, in_file = slice(piece.start, piece.stop), piece.start - piece.file_start
            there = slice(in_file, in_file + piece.stop - piece.start)
            for index, lanes in layout.pieces(piece.block, piece.first, piece.count, layout.over(name)):
                first = piece.first + lanes.start - piece.file_first
                taken = index if piece.of_base else (slice(first, first + lanes.stop - lanes.start),)
                view[(numbers, *index)] = viewed[(there, *taken)]
        if frames.pieces:
            file.create_virtual_dataset(name, view, fillvalue=np.nan if dtype.kind == "f" else 0)
        else:
            file.create_dataset(name, shape, dtype)
        file[name].attrs.update(attributes)
        for number, dim in enumerate(dims):
            file[name].dims[number].attach_scale(file[dim])


def _write_states(file: h5py.File, source: Folder, layout: Layout) -> None:
    """The state after the last step, which a longer run goes on from, and what follows from it."""
    for block in layout.blocks:
        for first, lanes, step, state in states(layout, source, block):
            for name, index, values in final_pieces(layout, block, first, lanes, step, state):
                if file[name].size:
                    file[name][index] = values
            for name in sorted(state):
                over = "cohort" if name.startswith("cohorts/") else "replica"
                path, (start, count) = f"state/{block}/{name}", layout.span(block, over, first, lanes)
                if path not in file:
                    whole = layout.span(block, over, 0, layout.lanes(block))[1]
                    _create(file, path, (*state[name].shape[:-1], whole), state[name].dtype)
                if file[path].size:
                    file[path][..., start : start + count] = state[name]


def _create(file: h5py.File, path: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
    """An array whose last dimension is the long one, in chunks with checksums."""
    chunks = chunks_of_state(shape, dtype.itemsize)
    checked = {"chunks": chunks, "fletcher32": True} if chunks else {}
    return file.create_dataset(path, shape, dtype, **checked)


def _write_input(file: h5py.File, folder: Path, name: str) -> None:
    """The bytes of a file that the case names, at its path in the parts."""
    content = np.fromfile(folder / name, np.uint8)
    target = _create(file, name, content.shape, content.dtype)
    if content.size:
        target[...] = content
