"""What a run will take before it runs: time by a short trial, memory, disk, files and tasks."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass

import numpy as np

from thermosim import cohorts
from thermosim.case.load import Case
from thermosim.plan.outline import Outline, plan, with_replicas
from thermosim.run import machine
from thermosim.run.devices import devices_of, lanes_of_card
from thermosim.run.footprint import lanes_at_once
from thermosim.run.stepper import Stepper, compile_all
from thermosim.run.weighing import BYTES_OF_KERNELS, weight_of

__all__ = [
    "RUNS_PER_SLOT",
    "TASK_SECONDS",
    "Needs",
    "Spread",
    "needs_of_case",
    "seconds_per_replica_step",
]

TASK_SECONDS = 30.0  # of a worker between two seals
RUNS_PER_SLOT = 4  # runs of lanes for each thread of a cluster, so that none waits long for the last one
TASKS_PER_SECOND = 100.0  # that one scheduler hands out and that seal, measured by scripts/bench.py

_TRIALS = 6  # blocks of a structural sweep that are tried; the cost of others lies between theirs
_LANES_PER_THREAD = 2048
_LANES_OF_CARD = 1 << 17  # tried at most: they fill any card


@dataclass(frozen=True)
class Needs:
    """What a case takes. Bytes, seconds and numbers."""

    replica_steps: float
    seconds: float  # of one machine such as this, all its threads or cards
    threads: int
    cards: int  # that make the steps; 0 where a processor does
    lanes: int  # of the largest block
    lanes_at_once: int  # of them, on this machine
    memory: float  # while so many run at a time
    memory_of_dataset: float  # of a run without a file
    machine: machine.Memory
    file: float  # frames, summaries, state and inputs in the finished file
    disk: float  # the most that lies there at one time: segments, states, and the file made of them
    disk_virtual: float  # the same when the frames stay in their segments

    def on(self, workers: int) -> Spread:
        """The same on so many machines such as this."""
        runs = RUNS_PER_SLOT * workers * self.threads
        seconds = self.seconds / workers
        tasks = runs * max(1, math.ceil(seconds * workers * self.threads / runs / TASK_SECONDS))
        seconds = max(seconds, tasks / TASKS_PER_SECOND)
        return Spread(seconds, tasks, 2 * tasks)


@dataclass(frozen=True)
class Spread:
    """A run on several machines."""

    seconds: float
    tasks: int
    files: int


def needs_of_case(case: Case, seconds: float = 1.5, trial: bool = True, device: str = "cpu") -> Needs:
    """Measure for about so many seconds, after everything has been compiled, and work out the rest.

    Without a trial the time is nan, as it is of what does not fit the memory. The device is one that is there.
    """
    blocks = plan(case)
    devices = devices_of(device, blocks[0].engine)
    weight = weight_of(case, blocks, devices[0])
    hungriest = max(weight.takes, key=lambda takes: takes.running(weight.lanes)).outline
    at_once, here = min(weight.lanes, lanes_at_once(hungriest, devices=devices)), machine.memory()
    fits = max(takes.running(math.ceil(takes.cohort)) for takes in weight.takes) + BYTES_OF_KERNELS <= here.free
    return Needs(
        replica_steps=float(sum(block.lanes * block.made_by(block.steps) for block in blocks)),
        seconds=_seconds(blocks, seconds, devices) if trial and fits else math.nan,
        threads=os.cpu_count() or 1,
        cards=0 if devices[0] == "cpu" else len(devices),
        lanes=weight.lanes,
        lanes_at_once=at_once,
        memory=max(takes.running(at_once) for takes in weight.takes) + BYTES_OF_KERNELS,
        memory_of_dataset=weight.memory_of_dataset() + BYTES_OF_KERNELS,
        machine=here,
        file=weight.file,
        disk=weight.disk(),
        disk_virtual=weight.disk(virtual=True),
    )


def _seconds(blocks: list[Outline], seconds: float, devices: tuple[str, ...]) -> float:
    """Time of all blocks on this machine, a few of them measured."""
    chosen = np.unique(np.linspace(0, len(blocks) - 1, min(_TRIALS, len(blocks))).astype(int))
    compile_all([_few(blocks[i], devices) for i in chosen], devices[0])
    costs = [seconds_per_replica_step(blocks[i], seconds / len(chosen), devices) for i in chosen]
    moves = np.array([float(block.moved) for block in blocks])
    order = np.argsort(moves[chosen])
    each = np.interp(moves, moves[chosen][order], np.array(costs)[order])
    return float(sum(cost * block.lanes * block.steps_to_make for cost, block in zip(each, blocks, strict=True)))


def _tried(block: Outline, devices: tuple[str, ...]) -> int:
    """Lanes that are tried, at most: what one card is given of it, for below its latency it is as fast with fewer."""
    if devices[0] == "cpu":
        return _LANES_PER_THREAD * (os.cpu_count() or 1)
    return min(lanes_of_card(block.lanes, len(devices)), _LANES_OF_CARD)


def _few(block: Outline, devices: tuple[str, ...]) -> Outline:
    """The same block with no more replicas than are tried."""
    return with_replicas(block, min(block.replicas, _tried(block, devices)))


def seconds_per_replica_step(block: Outline, seconds: float, devices: tuple[str, ...] = ("cpu",)) -> float:
    """Time of one step of one replica, recording included, with all threads, or all cards, of this machine busy.

    One card is tried; as many others as are given lanes make as many steps meanwhile.
    """
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    few, tried = _few(block, devices), _tried(block, devices)
    of_point = cohorts.per_point(few.replicas)
    wanted = max(1, min(tried, lanes_at_once(few, devices=devices)) * of_point // few.replicas)
    lanes = cohorts.lanes_of(few.replicas, 0, min(wanted, few.lanes // few.replicas * of_point))[1]
    stepper = Stepper(few, 0, lanes, threads=threads, warm_up=False, device=devices[0])
    try:
        touched = min(few.first_step + 2, block.steps)  # memory, for the first time
        while stepper.step < touched:
            stepper.advance_chunk(touched)
        steps, begin = 0, time.perf_counter()
        while stepper.step < block.steps and (time.perf_counter() - begin < seconds or not steps):
            steps += stepper.advance_chunk(block.steps)
            if stepper.full:
                stepper.take()
        elapsed = time.perf_counter() - begin
    finally:
        stepper.close()
    busy = -(-block.lanes // lanes_of_card(block.lanes, len(devices)))
    return elapsed / (lanes * max(steps, 1)) / min(busy, len(devices))
