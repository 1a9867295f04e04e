"""How a run is carried out, and how it is followed and stopped: the result depends on none of this."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = ["Clock", "Execution", "Interrupted", "Listener", "Progress", "stop_requests"]

_ADDRESS = re.compile(r"(\w+://)?[^\s/:]+(:\d+)(/.*)?|(\w+://)\S+")


class Interrupted(Exception):
    """The run was stopped from outside; everything up to the message's step is sealed."""


@dataclass(frozen=True)
class Progress:
    """Where a run is, for a progress line."""

    done: int  # replica-steps, those before a stop included; or bytes of the file that is made at the end
    made: int  # since the first step of this process
    total: int
    seconds: float  # since the first step
    what: str = "replica-steps"
    note: str = ""  # a sentence that is to stay when the line has gone


Listener = Callable[[Progress], None]


@dataclass(frozen=True)
class Execution:
    """How a run is carried out; its result depends on none of this."""

    threads: int | None = None
    workers: int | None = None  # of a cluster on this machine
    scheduler: str | None = None  # address of a cluster that exists
    report: Listener | None = None
    virtual: bool = False  # leave the frames in the segments, and make the file of views of them
    force: bool = False  # also what does not fit the memory or the disk
    device: str = "cpu"  # what makes the steps: cpu, cuda, cuda:1, or auto
    tile_width: int | None = None
    segment_frames: int | None = None
    segment_seconds: float | None = None
    lanes_at_once: int | None = None

    def faults(self, output: Any) -> list[str]:
        """What cannot be combined."""
        faults = []
        if self.workers is not None and self.scheduler is not None:
            faults.append("workers, scheduler: a cluster is either started here or exists already; give one of them.")
        if self.scheduler is not None and not _ADDRESS.fullmatch(self.scheduler):
            faults.append(f"scheduler = {self.scheduler!r}: expected an address such as tcp://10.0.0.1:8786.")
        if output is None and (self.workers is not None or self.scheduler is not None or self.virtual):
            faults.append("workers, scheduler, virtual: need an output file that the segments can lie beside.")
        return faults


@contextmanager
def stop_requests() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets. The run stops between two chunks, where its state is whole: soon."""
    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def request(number: int, frame: Any) -> None:
        event.set()

    for number in previous:
        signal.signal(number, request)
    try:
        yield event
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


class Clock:
    """Counts replica-steps and reports them."""

    def __init__(self, report: Listener | None, total: int) -> None:
        self._report, self._total = report, total
        self._done = self._made = 0
        self._begin: float | None = None

    def skip(self, replica_steps: int) -> None:
        """Steps made before this run."""
        self._done += replica_steps

    def say(self, what: str) -> None:
        """What is going on while no steps are made."""
        if self._report:
            self._report(Progress(self._done, 0, self._total, 0.0, what))

    def note(self, sentence: str) -> None:
        """What is to be known of how the run is carried out."""
        if self._report:
            self._report(Progress(self._done, 0, self._total, 0.0, "starting", sentence))

    def tick(self, replica_steps: int) -> None:
        """Steps just made."""
        now = time.perf_counter()
        self._begin = self._begin if self._begin is not None else now
        self._done += replica_steps
        self._made += replica_steps
        if self._report:
            self._report(Progress(self._done, self._made, self._total, now - self._begin))
