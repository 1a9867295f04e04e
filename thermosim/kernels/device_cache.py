"""Compiled kernels of graphics cards on the disk, beside those of processors: a folder each, named by its contents.

What is kept is what numba-cuda pickles of a kernel: the machine code of one kind of card. Whatever goes wrong on the
way from the disk to a card, another version, a damaged file, a driver that refuses the code, leads to compiling anew.
"""

from __future__ import annotations

import functools
import hashlib
import os
import pickle
import platform
import shutil
import tempfile
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from numba.cuda import serialize

from thermosim.kernels import disk_cache
from thermosim.kernels.identity import identity_of_modules

__all__ = ["DeviceCache", "cached_as"]

_MODULES = ("device_code", "device_arithmetic", "device_cache", "naming", "intrinsics", "types", "machine_code")
_FILE = "kernel.cuda"


def cached_as(code: str, capability: tuple[int, int]) -> str | None:
    """The name of a kernel, by a text that knows all of its source, on cards of this compute capability.

    None where a version cannot be told: then nothing is kept.
    """
    try:
        known = repr((code, tuple(capability), _versions()))
    except Exception:  # of libraries that are not there, or say it in another way
        return None
    return "cuda-" + hashlib.sha256(known.encode()).hexdigest()[:24]


@functools.cache
def _versions() -> tuple[Any, ...]:
    """All that makes machine code of source: packages, NVIDIA's compilers and library, the driver, which may link."""
    from numba.cuda.cudadrv import driver, libs, nvrtc, nvvm

    packages = ("numba", "llvmlite", "numba-cuda", "cuda-bindings", "cuda-core")
    compiler = nvvm.NVVM()
    return (
        platform.python_version(),
        *(metadata.version(package) for package in packages),
        compiler.get_version(),
        compiler.get_ir_version(),
        nvrtc._get_nvrtc_version(),
        hashlib.sha256(libs.open_libdevice()).hexdigest(),
        driver.get_version(),
        identity_of_modules(*(f"thermosim.kernels.{name}" for name in _MODULES)).digest,
    )


class DeviceCache:
    """Where a dispatcher of numba-cuda looks for a kernel, and puts it: see `numba.cuda.dispatcher.CUDACache`."""

    def __init__(self, name: str) -> None:
        self._folder = disk_cache.root() / name

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """A kernel that was compiled before and that the card takes, or None."""
        from numba.cuda.dispatcher import _Kernel

        file = self._folder / _FILE
        if not file.exists():
            return None
        try:
            os.utime(self._folder)
            kernel = _Kernel._rebuild(**pickle.loads(file.read_bytes()))
            kernel.bind()
            return kernel
        except Exception:  # it is compiled anew
            shutil.rmtree(self._folder, ignore_errors=True)
            return None

    def save_overload(self, sig: Any, kernel: Any) -> None:
        """Keep what was compiled, if that and the disk allow it."""
        with suppress(Exception):
            kernel.library._llvm_strs = []  # what it was made of, ten times as long
            data = serialize.dumps(kernel._reduce_states())
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, written = tempfile.mkstemp(dir=self._folder)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            Path(written).replace(self._folder / _FILE)  # nobody reads half a file
        disk_cache.prune_once()
