"""Scale: threads and worker processes against one of each, and how many tasks a scheduler hands out."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.timing import Row, installed, missing, target

__all__ = ["rows"]

TITLE = "Scale: dragged trap, d = 2, and tasks on dask.distributed"

_CASE = """
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
center = {{ kind = "linear", initial = [0.0, 0.0], final = [2.0, 1.0] }}
[x]
dynamics = "ula"
time_step = 0.1
tau = 3
[ensemble]
replicas = {replicas}
seed = 3
[run]
steps = {steps}
[record]
every = {every}
"""


def _case(replicas: int, steps: int, every: int) -> Any:
    import thermosim

    return thermosim.load_case(_CASE.format(replicas=replicas, steps=steps, every=every))


def _stepping(case: Any, output: Path, **how: Any) -> float:
    """Seconds from the first step, workers being there, to the last seal."""
    import thermosim

    ends = [0.0]

    def report(progress: Any) -> None:
        if progress.what == "replica-steps":  # not yet the one file
            ends[0] = progress.seconds

    thermosim.simulate(case, output, overwrite=True, report=report, **how).close()
    return ends[0]


@contextmanager
def _cluster(workers: int) -> Iterator[Any]:
    from distributed import LocalCluster

    # ":0": or dask warns where its usual port is taken
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        dashboard_address=None,
        scheduler_kwargs={"dashboard_address": ":0"},
        memory_limit=0,
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    if not installed("distributed"):
        return [missing("dask.distributed", 'pip install "thermosim-engine[cluster]"')]
    with tempfile.TemporaryDirectory() as folder, _cluster(1) as one, _cluster(2) as two:
        output = Path(folder) / "run.h5"
        return [*_speed_up(output, one.scheduler_address, two.scheduler_address, quick), *_tasks(output, two, quick)]


def _speed_up(output: Path, one: str, two: str, quick: bool) -> list[Row]:
    case = _case(8192, 200 if quick else 40_000, 100 if quick else 4_000)
    ways: dict[str, dict[str, Any]] = {
        "1 thread": {"threads": 1},
        "2 threads": {"threads": 2},
        "1 worker": {"scheduler": one},
        "2 workers": {"scheduler": two},
    }
    for how in ways.values():  # everything imported and compiled, and the disk awake
        _stepping(_case(8192, 200, 100), output, **how)
    seconds = dict.fromkeys(ways, math.inf)
    for _ in range(1 if quick else 2):
        for name, how in ways.items():
            seconds[name] = min(seconds[name], _stepping(case, output, **how))
    enough = (os.cpu_count() or 1) >= 2 and not quick
    found = [Row(name, f"{seconds[name]:.2f} s") for name in ("1 thread", "1 worker")]
    for name, other, least in (
        ("2 threads", "1 thread", 1.8),
        ("2 workers", "1 worker", 1.8),
        ("2 workers", "2 threads", 0.9),
    ):
        ratio = seconds[other] / seconds[name]
        goal = target(ratio, at_least=least, unit=" x") if enough else {}
        found.append(Row(f"{name} against {other}", f"{seconds[name]:.2f} s", f"{ratio:.2f} x as fast", **goal))
    return found


def _tasks(output: Path, cluster: Any, quick: bool) -> list[Row]:
    """Tasks per second: empty ones, and those of a case that has next to nothing to compute."""
    from distributed import Client

    count = 100 if quick else 1_000
    with Client(cluster, set_as_default=False) as client:
        client.gather(client.map(_nothing, range(100), pure=False))
        begin = time.perf_counter()
        client.gather(client.map(_nothing, range(count), pure=False))
        empty = count / (time.perf_counter() - begin)
    # 8 runs of lanes, a frame to a segment: every task makes one step and seals it
    how = {"scheduler": cluster.scheduler_address, "segment_frames": 1}
    _stepping(_case(512, 4, 1), output, **how)
    seconds = _stepping(_case(512, count // 8, 1), output, **how)
    made = (count // 8 + 1) * 8
    return [
        Row("empty tasks", f"{empty:.0f} a second"),
        Row(f"{made} tasks that make and seal a single step", f"{made / seconds:.0f} a second"),
    ]


def _nothing(number: int) -> None:
    pass
