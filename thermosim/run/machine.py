"""What this machine has for a run: memory, within the limits that a container or a shell sets, and room on a disk."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Memory", "free_disk", "memory"]

_CGROUPS = Path("/sys/fs/cgroup")
_NO_LIMIT = 2.0**62  # where version 1 of cgroups has none it says a little less than 2^63
# limit, use, and what of the use is a cache of files that the kernel gives back: versions 2 and 1
_FILES = (
    ("memory.max", "memory.current", ("inactive_file", "active_file")),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", ("total_inactive_file", "total_active_file")),
)


@dataclass(frozen=True)
class Memory:
    """Bytes that this process could have at most, and that it can have beyond what it has by now."""

    total: float
    free: float


def memory() -> Memory:
    """The memory of this machine, or the least of what limits this process."""
    total = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    found = [Memory(total, _available(total)), *cgroup_limits()]
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY:
        found.append(Memory(float(limit), limit - _address_space()))
    return Memory(min(each.total for each in found), max(0.0, min(each.free for each in found)))


def free_disk(path: Path) -> float:
    """Free bytes of the file system that a file of this path would be on."""
    folder = path.absolute().parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return float(shutil.disk_usage(folder).free)


def cgroup_limits(root: Path = _CGROUPS, own: Path = Path("/proc/self/cgroup")) -> Iterator[Memory]:
    """The limits of the control groups of this process and of those they are in; none where there are no such groups.

    A container may see its group at the root, whatever the path it is told.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, place = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        top, names = (root / "memory", _FILES[1]) if controllers else (root, _FILES[0])
        group = top / place.strip("/")
        for folder in {top, *(one for one in (group, *group.parents) if one.is_relative_to(top))}:
            if (found := _limit(folder, *names)) is not None:
                yield found


def _limit(folder: Path, limit: str, use: str, caches: tuple[str, ...]) -> Memory | None:
    try:
        most = float(_text(folder, limit))  # "max" is no number
        if most >= _NO_LIMIT:
            return None
        used = float(_text(folder, use))
        told = dict(line.split() for line in _text(folder, "memory.stat").splitlines())
    except (OSError, ValueError):
        return None
    return Memory(most, most - used + sum(float(told.get(name, 0)) for name in caches))


def _text(folder: Path, name: str) -> str:
    with open(os.path.join(folder, name)) as file:
        return file.read()


def _available(total: float) -> float:
    """What the kernel can give without swapping."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024.0 * next(float(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return total


def _address_space() -> float:
    """Bytes of addresses that this process has taken."""
    try:
        return float(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0.0
