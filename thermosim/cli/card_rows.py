"""What `info` says of graphics cards: which there are, what of a case fits them, and what it costs nothing to add."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from thermosim.report.console import size_text

if TYPE_CHECKING:
    from thermosim.run.on_cards import OnCards

__all__ = ["device_rows"]

Rows = list[tuple[str, str]]

_EXAMPLE = 16e9  # bytes of a small card of a data centre, where there is none to tell of


def device_rows(case: Any, device: str) -> tuple[Rows, str]:
    """Rows about the device of this name, and the device to measure on: none where it cannot run the case."""
    from thermosim.case.engine import of_networks
    from thermosim.case.faults import CaseError
    from thermosim.run.devices import device_faults
    from thermosim.run.on_cards import left_to_processor, on_cards

    engine = case.settings.engine.name if of_networks(case.model, case.settings) else "lanes"
    if device == "auto":
        why = left_to_processor(case)
        if why:
            return [("device", f"cpu; --device auto leaves it to the processor: {why}")], "cpu"
        row, device = ("device", "cuda, which --device auto takes"), "cuda"
    else:
        row = ("device", device)
    if device == "cpu":
        return [row], "cpu"
    faults = device_faults(device, engine=engine)
    if faults and "expected" in faults[0]:
        raise CaseError(faults, "info")
    if faults:
        why = faults[0].partition(": ")[2].partition("; or use --device cpu")[0].partition("; use --device cpu")[0]
        row = ("device", f"{device}: {why}")
    if engine != "lanes":
        return [row, *_of_networks(case, "" if faults else device)], "" if faults else device
    found = on_cards(case, "" if faults else device)
    rows = [row, *_cards(found), ("lanes", _lanes(found)), *_threads(found), *_free_replicas(found)]
    return rows, device if found.cards and found.thread <= found.most_of_thread else ""


def _of_networks(case: Any, device: str) -> Rows:
    from thermosim.run.on_cards import networks_on_cards

    found = networks_on_cards(case, device)
    told = [(f"cuda:{number}", f"{name}, {size_text(memory)}") for number, name, memory in found.cards]
    tile = f"{found.width} replicas go together, and take about {size_text(found.tile)} of a card's memory"
    if not found.cards:
        return [("tile", f"{tile}: 16 GB hold {_rounded(0.8 * _EXAMPLE / found.tile)} such tiles")]
    passes = -(-found.lanes // max(1, found.at_once))
    fit = f"all {found.lanes:,} fit" if passes == 1 else f"{found.at_once:,} of {found.lanes:,} fit at one time"
    return [*told, ("tile", f"{tile}; {fit}")]


def _cards(found: OnCards) -> Rows:
    told = []
    for card in found.cards:
        version = ".".join(map(str, card.capability))
        speed = f"float64 at 1/{card.slower} of the speed of float32"
        speed += "" if card.worthy else ", so a processor may be as fast"
        text = f"{card.name}, compute capability {version}, {size_text(card.memory)}, {speed}"
        told.append((f"cuda:{card.number}", text))
    return told


def _lanes(found: OnCards) -> str:
    each = f"{size_text(found.lane)} of a card's memory each, with a frame of each"
    if not found.cards:
        return f"{each}: {size_text(_EXAMPLE)} hold about {_rounded(0.8 * _EXAMPLE / found.lane)}"
    passes = -(-found.lanes // max(1, found.at_once))
    fit = f"all {found.lanes:,} fit" if passes == 1 else f"{found.at_once:,} of {found.lanes:,} fit at one time"
    launches = "1 launch" if found.launches == 1 else f"{found.launches:,} launches side by side"
    return f"{each}; {fit}, in {launches}"


def _threads(found: OnCards) -> Rows:
    """Whether a thread can hold a lane."""
    if found.thread <= found.most_of_thread:
        return []
    has = f"a thread of {found.cards[0].name if found.cards else 'any card'} can have {size_text(found.most_of_thread)}"
    return [("", f"a lane takes up to {size_text(found.thread)} of a thread's own memory, and {has}: use --device cpu")]


def _free_replicas(found: OnCards) -> Rows:
    from thermosim.run.on_cards import LATENCY_LANES, LATENCY_SECONDS

    if not found.free_replicas:
        return []
    latency = f"a step of a trap took {1e6 * LATENCY_SECONDS:.1f} µs on an H100 with any number of lanes up to there"
    few = f"fewer than about {LATENCY_LANES:,} lanes do not fill a card"
    return [("", f"{few}: ensemble.replicas = {found.free_replicas:,} may take no longer ({latency})")]


def _rounded(number: float) -> str:
    digits = max(0, math.floor(math.log10(max(number, 1.0))) - 1)
    return f"{int(number) // 10**digits * 10**digits:,}"
