"""Writing: what a run pays for its file, against a plain write of the same bytes to the same disk."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.timing import Row, interleaved

__all__ = ["rows"]

TITLE = "Storage: isotropic sphere, d = 3, every step recorded"


def _case_text(replicas: int, steps: int) -> str:
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
    every = 1
    variables = ["theta"]
    """


def rows(quick: bool) -> list[Row]:
    """The lines of the table."""
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
            f"run to a file of {megabytes:.0f} MB",
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
