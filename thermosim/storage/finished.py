"""Opening a finished file beside others who have it open: in one process HDF5 wants one way of locking of them all."""

from __future__ import annotations

from pathlib import Path

import h5py

__all__ = ["open_finished"]


def open_finished(path: Path) -> h5py.File:
    """A finished file to be read, locked as xarray does it, or without a lock where somebody here has it open so.

    Raises OSError.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        if "locking flag" not in str(error):
            raise
        return h5py.File(path, "r", locking=False)
