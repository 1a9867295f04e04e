"""Chunks with their checksums, made here, are byte for byte those that HDF5's own filter makes."""

import h5py
import numpy as np
import pytest

from thermosim.storage.chunks import checked_chunks, room_for
from thermosim.storage.fletcher import fletcher32


def stored(array, chunks):
    """What HDF5 makes of an array: the bytes of every chunk, by its corner."""
    with h5py.File("memory", "w", driver="core", backing_store=False, libver=("v110", "v110")) as file:
        target = file.create_dataset("x", data=array, chunks=chunks, fletcher32=True)
        file.flush()
        corners = [target.id.get_chunk_info(number).chunk_offset for number in range(target.id.get_num_chunks())]
        return {corner: target.id.read_direct_chunk(corner)[1] for corner in corners}


@pytest.mark.parametrize("words", [1, 2, 1023, 1024, 1025, 9_000, 2**18 - 3, 2**18, 600_001])
def test_the_checksum_is_that_of_hdf5(words):
    """Across all edges of rows and of blocks of them; 65535 and 0 are the same number but not the same checksum."""
    rng = np.random.default_rng(words)
    random = rng.integers(0, 2**16, words, np.uint16)
    extreme = rng.choice(np.array([0, 2**16 - 1], np.uint16), words)
    for array in (random, extreme, np.zeros(words, np.uint16), np.full(words, 2**16 - 1, np.uint16)):
        expected = stored(array, array.shape)[(0,)]
        assert fletcher32(array.view(np.uint8)).to_bytes(4, "little") == expected[-4:]
    swapped = random.copy()
    swapped[:2] = random[:2][::-1]
    assert words == 1 or fletcher32(swapped.view(np.uint8)) != fletcher32(random.view(np.uint8))


@pytest.mark.parametrize("dtype", ["float64", "float32", "int64"])
def test_the_chunks_are_those_of_hdf5(dtype):
    """Also those that stand out over the end of the array, in every dimension."""
    shape, chunks = (21, 13, 3), (8, 5, 2)
    array = np.random.default_rng(1).standard_normal(shape).astype(dtype) if dtype != "int64" else np.arange(819)
    array, found = array.reshape(shape), {}
    for start in range(0, 21, 16):
        part = array[start : start + 16]
        space = np.full(room_for(part.shape, chunks, part.itemsize), 255, np.uint8)
        made = checked_chunks(part, (start, 0, 0), chunks, space)
        found |= {corner: data.tobytes() for corner, data in list(made)}
    assert found == stored(array, chunks)
