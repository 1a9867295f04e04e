"""What a run leaves on the disk. While it goes on: sealed segments and a manifest; at the end: one file.

manifest        what a run says of itself: typed, frozen, in JSON and back
manifest_file   the file of that, replaced atomically
durable, claim  files that are whole or not there; one writer at a time
segments        rectangles, lanes x steps, with checksums: writing and reading their files
coverage        what a set of rectangles covers, and from where a run goes on
parts           the folder of a run: who may write in it, which states are still needed
integrity       whether all of it is what was sealed
layout          where every number of an ensemble belongs
summaries       what is kept of a variable besides its frames
reading         lazy arrays over segments
finished        a finished file, opened beside others who have it open
new_file        an HDF5 file that is whole or not there
chunks          how arrays are cut in the one file
consolidation   the one file of a complete run, a copy of the frames or a view of them
verification    whether that file is still what was written
open            an ensemble as a dataset, from its file or its parts
"""

from thermosim.storage.durable import StorageError
from thermosim.storage.manifest import Manifest
from thermosim.storage.manifest_file import MANIFEST, PREVIOUS, parts_folder, read_manifest
from thermosim.storage.parts import Parts, clear_remnant

__all__ = [
    "MANIFEST",
    "PREVIOUS",
    "Manifest",
    "Parts",
    "StorageError",
    "clear_remnant",
    "parts_folder",
    "read_manifest",
]
