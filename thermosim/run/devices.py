"""On what a run makes its steps: the processor, or graphics cards. Its numbers do not depend on it."""

from __future__ import annotations

from collections.abc import Sequence

from thermosim.engines import engine_of
from thermosim.engines.cuda import cards
from thermosim.engines.engine import DeviceError
from thermosim.plan.outline import Outline

__all__ = ["DeviceError", "chosen", "device_faults", "devices_of"]

_WORTH_A_KERNEL = 3e9  # moved components of all steps: a processor takes ten seconds, as long as a kernel is compiled


def device_faults(device: str) -> list[str]:
    """Why a device cannot be used, each with the remedy: not known by this name, or not there."""
    if not cards.is_device(device):
        return [f"device = {device!r}: expected cpu, cuda, cuda:1 (the second card, and so on) or auto."]
    return [] if device in ("cpu", "auto") else cards.device_faults(device)


def chosen(device: str, blocks: Sequence[Outline]) -> str:
    """What "auto" stands for: cards that are worth it for this run, if there are any; any other device stays."""
    if device != "auto":
        return device
    if sum(block.lanes * block.steps * block.moved for block in blocks) < _WORTH_A_KERNEL:
        return "cpu"
    if cards.device_faults("cuda") or not all(card.worthy for card in cards.cards_of("cuda")):
        return "cpu"
    return "cpu" if any(engine_of("cuda").faults(block.cohort) for block in blocks) else "cuda"


def devices_of(device: str) -> tuple[str, ...]:
    """Each that makes steps at one time: the processor with all its threads, or every card."""
    return ("cpu",) if device == "cpu" else tuple(f"cuda:{card.number}" for card in cards.cards_of(device))
