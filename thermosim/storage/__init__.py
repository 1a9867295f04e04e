"""What a run leaves on the disk. While it goes on: sealed segments and a manifest (`parts`); at the end: one file.

segments        rectangles, lanes x steps, with checksums: writing and reading their files
coverage        what a set of rectangles covers, and from where a run goes on
parts           the folder of a run: who may write in it, its manifest, which states are still needed
integrity       whether all of it is what was sealed
reading         lazy arrays over segments
new_file        an HDF5 file that is whole or not there
consolidation   the one file of a complete run, a copy of the frames or a view of them
verification    whether that file is still what was written
"""

from thermosim.storage.parts import (
    FORMAT,
    MANIFEST,
    PREVIOUS,
    Parts,
    clear_remnant,
    parse_manifest,
    parts_folder,
    read_manifest,
)
from thermosim.storage.segments import StorageError

__all__ = [
    "FORMAT",
    "MANIFEST",
    "PREVIOUS",
    "Parts",
    "StorageError",
    "clear_remnant",
    "parse_manifest",
    "parts_folder",
    "read_manifest",
]
