"""Data sets a model learns from: generated, packaged, or a file of the user's own."""

from thermosim.data.load import Data, load
from thermosim.data.rules import faults
from thermosim.data.section import DataSection
from thermosim.data.tables import DataError

__all__ = ["Data", "DataError", "DataSection", "faults", "load"]
