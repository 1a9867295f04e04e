"""Machine code on the disk: a folder for each kernel, named by a digest of everything that its code depends on.

numba's own cache looks at the time and the lines of the one file that a function is written in: it compiles anew after
an edited comment, and does not notice an edited helper. Here the name of the folder is all there is to know.
"""

from __future__ import annotations

import functools
import itertools
import os
import pickle
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core.caching import CompileResultCacheImpl, FunctionCache, IndexDataCacheFile, _CacheLocator

__all__ = ["KernelCache", "prune", "prune_once", "root"]

_DAYS = 30.0  # that a kernel is kept after it was last used
_MOST = 1000  # kernels that are kept, a fifth of a megabyte each
_IN_USE = 3600.0  # seconds for which nobody takes away what a process may be compiling or reading
_numbers = itertools.count()


class KernelCache(FunctionCache):
    """The compiled form of one function, in a folder of this name."""

    def __init__(self, function: Any, name: str) -> None:
        self._name, self._py_func = name, function
        self._impl = _Code(str(root() / name))
        self._cache_path = self._impl.locator.get_cache_path()
        self._cache_file = IndexDataCacheFile(self._cache_path, self._impl.filename_base, name)
        self.enable()

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled before, or None; what cannot be read is made anew."""
        with suppress(OSError):
            os.utime(self._cache_path)
        try:
            return super().load_overload(sig, target_context)
        except (OSError, EOFError, pickle.UnpicklingError):
            shutil.rmtree(self._cache_path, ignore_errors=True)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, if the disk can."""
        with suppress(OSError):
            super().save_overload(sig, data)
        prune_once()

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return sig, codegen.magic_tuple()


class _Folder(_CacheLocator):
    """Where the files of a kernel are."""

    def __init__(self, path: str) -> None:
        self._path = self._py_file = path

    def get_cache_path(self) -> str:
        return self._path

    def get_source_stamp(self) -> str:
        return ""

    def get_disambiguator(self) -> str:
        return ""


class _Code(CompileResultCacheImpl):
    """How machine code is written down: as numba does."""

    def __init__(self, path: str) -> None:
        self._locator, self._lineno, self._filename_base = _Folder(path), 1, "kernel"


def prune(root: Path, days: float = _DAYS, most: int = _MOST, in_use: float = _IN_USE) -> None:
    """Remove kernels not used for so many days, and the longest unused beyond so many; none used in the last hour.

    Any number of processes may do so at one time.
    """
    now, used = time.time(), []
    for entry in os.scandir(root):
        with suppress(OSError):  # another process was faster
            used.append((entry.stat().st_mtime, entry.path))
    used.sort(reverse=True)
    for place, (when, path) in enumerate(used):
        if now - when > in_use and (place >= most or now - when > 86400.0 * days):
            gone = root / f".removed-{os.getpid()}-{next(_numbers)}"  # nobody opens half a folder
            with suppress(OSError):
                os.rename(path, gone)
                shutil.rmtree(gone, ignore_errors=True)


@functools.cache
def prune_once() -> None:
    """Where kernels are added, old ones are taken away; a process looks once."""
    with suppress(OSError):
        prune(root())


@functools.cache
def root() -> Path:
    """The user's cache folder, or a private temporary one where that cannot be written."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    root = Path(base) / "thermosim" / "kernels"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root):
            return root
    except OSError:
        return Path(tempfile.gettempdir()) / f"thermosim-kernels-{os.getuid()}"
