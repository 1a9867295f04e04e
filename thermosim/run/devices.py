"""On what a run makes its steps: the processor, or graphics cards. Its numbers do not depend on it."""

from __future__ import annotations

from collections.abc import Sequence

from thermosim.engines import engine_of, faults_of_cards, numbers_of_cards
from thermosim.engines.cuda import cards
from thermosim.engines.engine import DeviceError
from thermosim.plan.outline import Outline
from thermosim.run.footprint import most_lanes

__all__ = ["DeviceError", "chosen", "device_faults", "devices_of", "lanes_of_card", "shared", "why_processor"]

_WORTH_A_KERNEL = 3e9  # moved components of all steps: a processor takes ten seconds, as long as a kernel is compiled
_FEWEST_LANES = 50_000  # of a card, below which it is as fast with fewer


def device_faults(device: str, here: bool = True, engine: str = "lanes") -> list[str]:
    """Why an engine cannot use a device, each with the remedy: no such name, or not there, if asked of `here`."""
    if not cards.is_device(device):
        return [f"device = {device!r}: expected cpu, cuda, cuda:1 (the second card, and so on) or auto."]
    return [] if device in ("cpu", "auto") or not here else faults_of_cards(device, engine)


def chosen(device: str, blocks: Sequence[Outline], whole: bool = False) -> str:
    """What "auto" stands for: cards that are worth it for this run, if there are any; any other device stays.

    The lanes of a block go at one time if they go as a `whole`.
    """
    if device != "auto":
        return device
    return "cpu" if why_processor(blocks, whole) else "cuda"


def why_processor(blocks: Sequence[Outline], whole: bool = False) -> str:
    """Why "auto" leaves a run to the processor: part of a sentence; nothing where it takes the cards."""
    if sum(block.lanes * block.made_by(block.steps) * _cost(block) for block in blocks) < _WORTH_A_KERNEL:
        return "a processor takes no longer than a kernel for a card is compiled"
    if faults := faults_of_cards("cuda", blocks[0].engine):
        return faults[0].partition(": ")[2].partition("; or use --device cpu")[0].partition("; use --device cpu")[0]
    if blocks[0].engine == "networks":
        return ""
    for card in cards.cards_of("cuda"):
        if not card.worthy:
            return f"{card.name} makes float64 at 1/{card.slower} of the speed of float32"
        least = min(most_lanes(block, f"cuda:{card.number}") - _at_least(block, whole) for block in blocks)
        if least < 0:
            return f"{card.name} has not the memory for what goes at one time"
    faults = [fault for block in blocks for fault in engine_of("cuda", block.engine).faults(block.cohort)]
    return faults[0].removeprefix("device: ").partition("; use --device cpu")[0] if faults else ""


def _cost(block: Outline) -> float:
    """Components that a step of a replica moves; of a network, multiplied by the rows of its minibatch."""
    rows = (block.lane.batch or block.numbers_of_rows[0]) if block.engine == "networks" else 1
    return float(block.moved * max(1, rows))


def _at_least(block: Outline, whole: bool) -> int:
    return block.lanes if whole else block.cohort.lanes


def lanes_of_card(lanes: int, number: int) -> int:
    """Lanes of a block that each of so many cards is given at most: one that is not filled is as fast with fewer."""
    return lanes if number == 1 else min(lanes, max(_FEWEST_LANES, -(-lanes // number)))


def devices_of(device: str, engine: str = "lanes") -> tuple[str, ...]:
    """Each that makes steps at one time: the processor with all its threads ("auto" too), or every card."""
    if device in ("cpu", "auto"):
        return ("cpu",)
    return tuple(f"cuda:{number}" for number in numbers_of_cards(device, engine))


def shared(devices: tuple[str, ...], workers: int | None, threads: int | None) -> tuple[str, ...]:
    """The same, each as many times as tasks are on it at a time; runs here take it alone.

    A worker has a task for each of its threads, all on one device.
    """
    return devices if workers is None else devices * (-(-workers // len(devices)) * (threads or 1))
