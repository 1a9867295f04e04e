"""Writing: what a run pays for its file, for its seals and for the last copy, against plain writes of as many bytes."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, interleaved, target

__all__ = ["rows"]

TITLE = "Storage: isotropic sphere, d = 3"


def _case_text(replicas: int, steps: int, every: int = 1) -> str:
    return f"""
    [model]
    name = "isotropic-sphere"
    [theta]
    dynamics = "sgd"
    constraint = "fixed-elr"
    learning_rate = 0.01
    weight_decay = 0.01
    [ensemble]
    replicas = {replicas}
    seed = 42
    [run]
    steps = {steps}
    [record]
    first = 0
    every = {every}
    variables = ["theta"]
    """


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
    return [*_recording(quick), *_sealing(quick), *_consolidation(quick)]


def _recording(quick: bool) -> list[Row]:
    """Every step recorded: the most that a run can ask of the disk."""
    import thermosim

    case = thermosim.load_case(_case_text(4096, 100 if quick else 2_000))
    with tempfile.TemporaryDirectory() as folder:
        output, plain = Path(folder) / "run.h5", Path(folder) / "plain"

        def stored() -> None:
            thermosim.simulate(case, output, overwrite=True).close()

        stored()
        size = output.stat().st_size
        content = np.random.default_rng(0).bytes(size)

        def written() -> None:
            with plain.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

        runs = {"memory": lambda: thermosim.simulate(case), "file": stored, "plain": written}
        seconds = interleaved(runs, 2 if quick else 3)
    megabytes = size / 1e6
    return [
        Row(
            f"every step recorded: run to a file of {megabytes:.0f} MB",
            f"{seconds['file']:.2f} s",
            f"{megabytes / seconds['file']:.0f} MB/s",
        ),
        Row("the same run in memory", f"{seconds['memory']:.2f} s"),
        Row(
            "plain write and fsync of as many bytes",
            f"{seconds['plain']:.2f} s",
            f"{megabytes / seconds['plain']:.0f} MB/s; the run takes {seconds['file'] / seconds['plain']:.1f} x",
        ),
    ]


def _sealing(quick: bool) -> list[Row]:
    """Modest recording, segments of the default length: what a file costs over the same run in memory."""
    import thermosim

    every = 10 if quick else 1_000
    case = thermosim.load_case(_case_text(16_384, 200 if quick else 150_000, every))
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "run.h5"

        def stored() -> None:
            thermosim.simulate(case, output, overwrite=True).close()

        stored()
        size = output.stat().st_size / 1e6
        runs = {"memory": lambda: thermosim.simulate(case), "file": stored}
        seconds = interleaved(runs, 1 if quick else 2)
    cost = 100.0 * (seconds["file"] / seconds["memory"] - 1.0)
    return [
        Row(
            f"every {every:,}th recorded: run to a file of {size:.0f} MB",
            f"{seconds['file']:.2f} s",
            f"{cost:+.1f} % over {seconds['memory']:.2f} s in memory",
            **({} if quick else target(cost, below=3.0, unit=" %")),
        )
    ]


def _consolidation(quick: bool) -> list[Row]:
    """From sealed segments to the one file, against a copy of as many bytes."""
    import thermosim
    from thermosim.storage import Parts
    from thermosim.storage.consolidation import consolidate

    case = thermosim.load_case(_case_text(4096, 100 if quick else 4_000))
    seconds = dict.fromkeys(("virtual", "file", "copy"), float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        output, copy = Path(folder) / "run.h5", Path(folder) / "copy"
        for _ in range(1 if quick else 3):
            output.unlink(missing_ok=True)
            thermosim.simulate(case, output, virtual=True, segment_frames=250).close()
            for name in ("virtual", "file"):
                output.unlink()
                parts = Parts.reopen(output)
                begin = time.perf_counter()
                consolidate(parts, virtual=name == "virtual")
                seconds[name] = min(seconds[name], time.perf_counter() - begin)
                parts.release()
            begin = time.perf_counter()
            shutil.copyfile(output, copy)
            with copy.open("rb+") as file:
                os.fsync(file.fileno())
            seconds["copy"] = min(seconds["copy"], time.perf_counter() - begin)
        megabytes = output.stat().st_size / 1e6
    return [
        Row(
            f"segments to one file of {megabytes:.0f} MB",
            f"{seconds['file']:.2f} s",
            f"{megabytes / seconds['file']:.0f} MB/s; {seconds['file'] / seconds['copy']:.1f} x a copy with fsync",
        ),
        Row("copy and fsync of as many bytes", f"{seconds['copy']:.2f} s", f"{megabytes / seconds['copy']:.0f} MB/s"),
        Row("segments to a virtual file", f"{seconds['virtual']:.2f} s"),
    ]
