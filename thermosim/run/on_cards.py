"""What a case takes of graphics cards: which there are, what of it fits one at a time, and what fills one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from thermosim.case.load import Case
from thermosim.engines import card_of, engine_of
from thermosim.engines.cuda.cards import Card, cards_of
from thermosim.engines.cuda.memory import LOCAL, bytes_of_lane, bytes_of_thread, group_width, most_of_thread
from thermosim.plan.outline import Outline, plan
from thermosim.run.devices import devices_of, lanes_of_card, why_processor
from thermosim.run.footprint import lanes_at_once, most_lanes
from thermosim.run.kept import bytes_of_sums
from thermosim.run.weighing import Weight, bytes_text, refusal, weight_of

__all__ = [
    "LATENCY_LANES",
    "LATENCY_SECONDS",
    "OnCards",
    "card_faults",
    "left_to_processor",
    "networks_on_cards",
    "on_cards",
]

# measured on an H100 with a prototype of the step loop, a trap in one dimension: docs/scale.md
LATENCY_LANES = 40_000  # of a card, up to which a step takes the same time
LATENCY_SECONDS = 0.7e-6


@dataclass(frozen=True)
class OnCards:
    """What the most demanding block of a case takes. Bytes and numbers."""

    cards: tuple[Card, ...]  # none where there is none to use
    lane: float  # of a card's memory: hyper-parameters, state, running sums and a frame of a lane
    thread: float  # of a thread's memory, were nothing of a lane in registers
    most_of_thread: float  # that a thread may have; of any card, where there is none
    lanes: int  # of the largest block
    points: int  # of the sweep in it
    at_once: int  # of these lanes, on one card at one time; 0 without a card

    @property
    def launches(self) -> int:
        """Side by side on each card that has some of the largest block."""
        lanes = min(lanes_of_card(self.lanes, max(1, len(self.cards))), self.at_once or self.lanes)
        return -(-lanes // group_width(lanes))

    @property
    def free_replicas(self) -> int:
        """Replicas of each point that take no longer than those asked for; 0 where these fill a card."""
        most = LATENCY_LANES // self.points
        return most if most * self.points > self.lanes else 0


def left_to_processor(case: Case) -> str:
    """Why "auto" does not take cards for a case; nothing where it does."""
    return why_processor(plan(case))


def on_cards(case: Case, device: str) -> OnCards:
    """What a case takes of the cards of this name that are there, or of any where `device` is empty."""
    weight = weight_of(case, plan(case))
    cards = cards_of(device) if device else ()
    blocks = [takes.outline for takes in weight.takes]
    hungriest = max(blocks, key=_of_lane)
    names = [f"cuda:{card.number}" for card in cards]
    return OnCards(
        cards=cards,
        lane=_of_lane(hungriest),
        thread=max(bytes_of_thread(block.lane) for block in blocks),
        most_of_thread=min((most_of_thread(card) for card in cards), default=LOCAL),
        lanes=weight.lanes,
        points=weight.points,
        at_once=min(weight.lanes, lanes_at_once(hungriest, devices=names)) if names else 0,
    )


@dataclass(frozen=True)
class NetworksOnCards:
    """The same of networks, whose replicas go in tiles of a width that is part of the case."""

    cards: tuple[tuple[int, str, float], ...]  # number, name, bytes of memory
    width: int
    tile: float  # bytes
    lanes: int
    at_once: int


def networks_on_cards(case: Case, device: str) -> NetworksOnCards:
    """What a case of networks takes of the cards of this name that are there; of none where `device` is empty."""
    weight = weight_of(case, plan(case))
    names = devices_of(device, "networks") if device else ()
    hungriest = max((takes.outline for takes in weight.takes), key=_of_lane)
    found = []
    for name in names:
        called, _, memory = card_of(name, "networks")
        found.append((int(name.partition(":")[2]), called, memory))
    width = hungriest.lane.tile_width
    at_once = min(weight.lanes, lanes_at_once(hungriest, devices=names)) if names else 0
    return NetworksOnCards(tuple(found), width, width * _of_lane(hungriest), weight.lanes, at_once)


def _of_lane(block: Outline) -> float:
    """Bytes of a card's memory."""
    if block.engine == "networks":
        return engine_of(name=block.engine).bytes_per_lane(block.lane)
    return bytes_of_lane(block.lane, engine_of(name=block.engine)) + bytes_of_sums(block)


def card_faults(weight: Weight, devices: Sequence[str], whole: bool) -> list[str]:
    """A paragraph when a card cannot hold what must be there at one time: a cohort; or all replicas, if `whole`."""
    for device in dict.fromkeys(devices):
        most = [most_lanes(takes.outline, device) // devices.count(device) for takes in weight.takes]

        def fits(weight: Weight, most: Sequence[int] = most) -> bool:
            return all(lanes <= there for lanes, there in zip(_at_least(weight, whole), most, strict=True))

        if not fits(weight):
            return [_too_large(weight, device, most, fits, whole)]
    return []


def _at_least(weight: Weight, whole: bool) -> list[int]:
    return [weight.lanes if whole else math.ceil(takes.cohort) for takes in weight.takes]


def _too_large(weight: Weight, device: str, most: Sequence[int], fits: Callable[[Weight], bool], whole: bool) -> str:
    of_blocks = zip(_at_least(weight, whole), most, weight.takes, strict=True)
    lanes, there, takes = max(of_blocks, key=lambda of: of[0] / max(1, of[1]))
    of_lane = _of_lane(takes.outline) * (2 if takes.outline.warm_up else 1)
    what = "without a file all replicas go at one time: that" if whole else "a cohort of replicas"
    name, free, memory = card_of(device, takes.outline.engine)
    has = f"{name} has {bytes_text(free)} free of {bytes_text(memory)}, which holds {there:,}"
    told = f"device = {device!r}: {what} takes {bytes_text(lanes * of_lane)} of a card's memory, {lanes:,} lanes; {has}"
    remedies = ["with an output, -o or simulate(case, output), they go in runs that fit"] if whole else []
    return refusal(weight, told, fits, [*remedies, "--device cpu has the memory of the machine"])
