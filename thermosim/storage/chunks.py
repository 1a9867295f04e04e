"""How arrays are cut: chunks of the one file, what they come to with all that HDF5 adds, hyperslabs to write it in."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence

from thermosim import cohorts
from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Manifest

__all__ = ["State", "States", "chunks_of", "chunks_of_state", "halved", "size_of_file", "size_of_segments", "slabs"]

_MOST = {"step": 16, "replica": 512}
_CHUNK_BYTES = 4_000_000
_STATE_BYTES = 2**20
_SLAB_BYTES = 16_000_000
_HEADER = 12_000.0  # the root, its index, and attributes that every file has
_OBJECT = 1_500.0  # header, names, attributes and references to dimensions of an array
_INDEXED = 24.0  # of a chunk: address, size, filters, checksum
_SEALED = 4_000.0  # headers of the two files of a segment

# The arrays of the state of a block: shape without the last axis, the lanes, or cohorts where a name says so; item size
State = Mapping[str, tuple[tuple[int, ...], int]]
States = Sequence[tuple[State, int]]  # of all blocks: the different ones, and how many blocks have each


def chunks_of(roles: Sequence[str], shape: Sequence[int], itemsize: int) -> tuple[int, ...] | None:
    """Chunks of 16 steps x 512 replicas of everything else, cut to 4 MB: along axes first, then these two, then others.

    None for an array without values.
    """
    if not all(shape):
        return None
    chunks = [min(size, _MOST.get(role, size)) for role, size in zip(roles, shape)]
    groups = ("axis",), ("replica", "step"), ("tail",)
    return halved(chunks, [[i for i, role in enumerate(roles) if role in group] for group in groups], itemsize)


def chunks_of_state(shape: Sequence[int], itemsize: int) -> tuple[int, ...] | None:
    """Chunks of an array whose last dimension is the long one, of a megabyte; None for one without values."""
    if not all(shape):
        return None
    chunks = [*shape[:-1], min(shape[-1], max(1, _STATE_BYTES // (math.prod(shape[:-1]) * itemsize)))]
    return halved(chunks, [range(len(shape))], itemsize)


def halved(chunks: list[int], groups: Sequence[Sequence[int]], itemsize: int) -> tuple[int, ...]:
    """Halve the largest of a group of dimensions until a chunk is small enough, one group after another."""
    for dims in groups:
        while math.prod(chunks) * itemsize > _CHUNK_BYTES and any(chunks[i] > 1 for i in dims):
            largest = max(dims, key=lambda i: chunks[i])
            chunks[largest] = -(-chunks[largest] // 2)
    return tuple(chunks)


def size_of_file(manifest: Manifest, states: States, inputs: Iterable[float] = (), kept: bool = True) -> float:
    """Bytes of a complete file, with the `states` of its blocks and copies of `inputs` of these sizes.

    `kept` says whether it holds its frames, rather than views of them.
    """
    layout = Layout(manifest, reached=manifest.steps)
    sizes, total = layout.dimension_sizes(), _HEADER
    total += 2.0 * sum(len(str(value)) for value in layout.attributes(completed=True).values())
    for array in layout.arrays():
        chunks = chunks_of(array.roles, array.shape, array.itemsize)
        total += _OBJECT + (_chunked(array.shape, chunks, array.itemsize) if kept or not array.framed else 0.0)
    labelled = {*manifest.cadences, *(axis.name for axis in manifest.axes), "replica"}
    own = {name: len(held.values) for name, held in manifest.coordinates.items() if name != "cohort_replicas"}
    own |= {"cohort_replicas": sizes["cohort"]} if "cohort_replicas" in manifest.coordinates else {}
    total += sum(_OBJECT + 8.0 * sizes[name] for name in labelled)
    total += sum(_OBJECT + 40.0 * bool(name.endswith("_side")) + 8.0 * size for name, size in own.items())
    lasts = _lasts(layout)
    for state, blocks in states:
        for name, (lead, itemsize) in state.items():
            shape = (*lead, lasts[name.startswith("cohorts/")])
            total += blocks * (_OBJECT / 3 + _chunked(shape, chunks_of_state(shape, itemsize), itemsize))
    for size in inputs:
        total += _OBJECT + _chunked((int(size),), chunks_of_state((int(size),), 1), 1)
    return total


def size_of_segments(manifest: Manifest, states: States, reached: int = -1) -> tuple[float, float]:
    """Bytes of what is sealed of a run after step `reached`: its frames, and the state of every lane once."""
    layout = Layout(manifest, reached=manifest.steps)
    frames, lasts = layout.frame_bytes(), _lasts(layout)
    frames -= Layout(manifest, reached=reached).frame_bytes() if reached >= 0 else 0.0
    state = sum(
        float(math.prod(lead)) * lasts[name.startswith("cohorts/")] * itemsize * blocks
        for of_block, blocks in states
        for name, (lead, itemsize) in of_block.items()
    )
    sealed = _SEALED * sum(blocks for _, blocks in states)
    return frames + sealed, state + sealed


def _lasts(layout: Layout) -> tuple[int, int]:
    """Lanes and cohorts of a block of a run to which no replicas were added."""
    lanes, replicas = layout.lanes(0), layout.manifest.replicas
    return lanes, lanes // replicas * cohorts.per_point(replicas)


def _chunked(shape: Sequence[int], chunks: Sequence[int] | None, itemsize: int) -> float:
    """Bytes of an array in whole chunks, and of their index."""
    if not chunks:
        return 0.0
    counts = [-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True)]
    number = float(math.prod(counts))
    return number * (math.prod(chunks) * itemsize + 4.0 + _INDEXED)


def slabs(shape: Sequence[int], chunks: Sequence[int], itemsize: int) -> Iterator[tuple[slice, ...]]:
    """Hyperslabs of whole chunks and bounded size that make up an array, in its order."""
    slab = list(chunks)
    for dim in reversed(range(len(shape))):
        others = math.prod(slab) // slab[dim] * itemsize
        whole = max(1, _SLAB_BYTES // (others * chunks[dim])) * chunks[dim]
        slab[dim] = min(shape[dim], max(chunks[dim], whole))
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(shape, slab))):
        yield tuple(slice(a, min(a + s, n)) for a, s, n in zip(corner, slab, shape))
