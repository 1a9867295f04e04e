"""Opening a finished file beside others who have it open: in one process HDF5 wants one way of locking of them all."""

from __future__ import annotations

from pathlib import Path

import h5py

__all__ = ["elsewhere", "open_finished"]


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


def elsewhere(path: Path) -> str:
    """What of a finished file lies in another one, wherever that is: thermosim never wrote that. Raises OSError."""
    with open_finished(path) as file:
        for name in file:
            link = file.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                return f"{name} is a link to {link.filename}"
            item = file.get(name)
            if isinstance(item, h5py.Dataset) and item.external:
                return f"{name} has its numbers in {item.external[0][0]}"
            if isinstance(item, h5py.Dataset) and item.is_virtual and not file.attrs.get("virtual"):
                return f"{name} is a view of other files"
    return ""
