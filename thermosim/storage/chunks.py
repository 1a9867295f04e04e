"""How arrays are cut: chunks of the one file, and hyperslabs of whole chunks in which it is written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from thermosim.storage.layout import Layout
from thermosim.storage.manifest import Manifest

__all__ = ["chunks_of", "halved", "size_of_file", "slabs"]

_BYTES_OF_HEADERS, _BYTES_OF_OBJECT = 65_536.0, 4_096.0  # case, settings, attributes, what HDF5 keeps of each object
_MOST = {"step": 16, "replica": 512}
_CHUNK_BYTES = 4_000_000
_SLAB_BYTES = 16_000_000


def size_of_file(manifest: Manifest) -> float:
    """Bytes of the variables and coordinates of a complete file: its chunks, which are whole even where they end."""
    layout, total = Layout(manifest, reached=manifest.steps), _BYTES_OF_HEADERS
    for dims, dtype, _ in layout.variables().values():
        shape = layout.shape(dims)
        chunks = chunks_of(layout.roles(dims), shape, dtype.itemsize) or ()
        whole = math.prod(-(-size // chunk) * chunk for size, chunk in zip(shape, chunks))
        total += whole * dtype.itemsize * bool(chunks) + _BYTES_OF_OBJECT
    return total + 8.0 * sum(values.size for _, values, _ in layout.coordinates().values())


def chunks_of(roles: Sequence[str], shape: Sequence[int], itemsize: int) -> tuple[int, ...] | None:
    """Chunks of 16 steps x 512 replicas of everything else, cut to 4 MB: along axes first, then these two, then others.

    None for an array without values.
    """
    if not all(shape):
        return None
    chunks = [min(size, _MOST.get(role, size)) for role, size in zip(roles, shape)]
    groups = ("axis",), ("replica", "step"), ("tail",)
    return halved(chunks, [[i for i, role in enumerate(roles) if role in group] for group in groups], itemsize)


def halved(chunks: list[int], groups: Sequence[Sequence[int]], itemsize: int) -> tuple[int, ...]:
    """Halve the largest of a group of dimensions until a chunk is small enough, one group after another."""
    for dims in groups:
        while math.prod(chunks) * itemsize > _CHUNK_BYTES and any(chunks[i] > 1 for i in dims):
            largest = max(dims, key=lambda i: chunks[i])
            chunks[largest] = -(-chunks[largest] // 2)
    return tuple(chunks)


def slabs(shape: Sequence[int], chunks: Sequence[int], itemsize: int) -> Iterator[tuple[slice, ...]]:
    """Hyperslabs of whole chunks and bounded size that make up an array, in its order."""
    slab = list(chunks)
    for dim in reversed(range(len(shape))):
        others = math.prod(slab) // slab[dim] * itemsize
        whole = max(1, _SLAB_BYTES // (others * chunks[dim])) * chunks[dim]
        slab[dim] = min(shape[dim], max(chunks[dim], whole))
    for corner in itertools.product(*(range(0, n, s) for n, s in zip(shape, slab))):
        yield tuple(slice(a, min(a + s, n)) for a, s, n in zip(corner, slab, shape))
