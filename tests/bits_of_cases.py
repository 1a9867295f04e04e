"""The bits that an engine makes of the tiny cases, as digests: the table in `bits.toml`, the same on every machine.

    python -m tests.bits_of_cases            compares, and names every array that differs
    python -m tests.bits_of_cases --write    writes the table anew

A digest is the first 16 hexadecimal digits of the SHA-256 of an array as little-endian doubles, every NaN the same one.
Of each block there are the plan (what numpy makes of the case for every lane and step), the start (numpy's too), what
the engine delivers, frame after frame, and its state at the end. So a reader of a difference can tell whose it is: the
engine is given start and propagators rounded to 2^-16, so that their last bits, which are numpy's, do not reach it.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

import thermosim
from tests.tiny_cases import CASES, write_files
from thermosim.case.load import Case
from thermosim.case.record import recordable
from thermosim.engines import engine_of
from thermosim.engines.engine import Engine, Take
from thermosim.plan.block import Block
from thermosim.plan.outline import Outline, plan
from thermosim.plan.starts import initial_state
from thermosim.plan.timetable import Timetable
from thermosim.plan.warm_up import warming
from thermosim.streams import WARM_UP

TABLE = Path(__file__).with_name("bits.toml")
Bits = dict[str, str]  # "block 0, start, theta": digest


def digest(array: np.ndarray) -> str:
    """Of an array of numbers, whatever its strides."""
    plain = np.where(np.isnan(array), np.nan, np.asarray(array, float))
    return hashlib.sha256(np.ascontiguousarray(plain, "<f8").tobytes()).hexdigest()[:16]


def case_of(name: str, folder: Path) -> Case:
    """The case, which records all that it can unless it says what it records."""
    case = thermosim.load_case(CASES[name], folder=folder)
    if "variables" in CASES[name]["record"]:
        return case
    everything = recordable(case.model, case.settings)
    return thermosim.load_case(CASES[name], {"record.variables": everything}, folder=folder)


def bits_of_case(name: str, folder: Path, engine: Engine | None = None) -> Bits:
    """Digests of all arrays of one case, by block, part and name. `folder` holds what `write_files` wrote."""
    found: Bits = {}
    for outline in plan(case_of(name, folder)):
        for part, array, of_array in _parts(outline, engine or engine_of()):
            found[f"block {outline.number}, {part}, {array}"] = of_array
    return found


@dataclass(frozen=True, eq=False)
class _Rounded(Timetable):
    """The same, with propagators whose last bits are nobody's."""

    def tables(self, first: int, last: int) -> tuple[np.ndarray, np.ndarray]:
        theta, x = super().tables(first, last)
        return theta, _rounded(x)


def _rounded(array: np.ndarray) -> np.ndarray:
    return np.round(array * 65536.0) / 65536.0


def _parts(outline: Outline, engine: Engine) -> Iterator[tuple[str, str, str]]:
    block = outline.block(0, outline.lanes)
    start = initial_state(outline, 0, outline.lanes)
    made = advanced(engine, block, {name: _rounded(array) for name, array in start.items()}, outline.warm_up)
    for part, arrays in {"plan": _planned(block), "start": start, **made}.items():
        for name, array in arrays.items():
            if np.size(array):
                yield part, name, digest(array)


def _planned(block: Block) -> dict[str, np.ndarray]:
    names = ("constants", "shared", "theta_hyper", "x_hyper", "data", "first_rows")
    changing = zip(("theta_factor", "x_factor"), block.timetable.factors(1, block.steps), strict=True)
    tables = zip(("theta_table", "x_table"), block.timetable.tables(1, block.steps), strict=True)
    return {name: getattr(block, name) for name in names} | dict(changing) | dict(tables)


def advanced(
    engine: Engine, block: Block, start: Mapping[str, np.ndarray], warm_up: int = 0
) -> dict[str, dict[str, np.ndarray]]:
    """What is "delivered" of a block, (frames, lanes, ...), and its "state" at the end.

    Half way its state is taken up by lanes that are opened anew.
    """
    half, frames = block.steps // 2, dict[str, np.ndarray]()
    exact = {field.name: getattr(block.timetable, field.name) for field in fields(Timetable)}
    block, state = replace(block, timetable=_Rounded(**exact)), start
    if warm_up:
        made = _advanced(engine, warming(block), state, WARM_UP, WARM_UP + warm_up, WARM_UP + warm_up + 1, _nothing)
        state = {name: made[name] for name in ("theta", "x")}
    for begin, stop, first in ((0, half, 0), (half, block.steps, block.steps)):

        def take(lanes: slice, given: Mapping[str, np.ndarray], first: int = first) -> None:
            for name, array in given.items():
                room = frames.setdefault(name, np.full((3, block.lanes, *array.shape[2:]), np.nan))
                room[2 if first else slice(0, 2), lanes] = array

        state = _advanced(engine, block, state, begin, stop, first, take)
    return {"delivered": frames, "state": dict(state)}


def _advanced(
    engine: Engine, block: Block, state: Mapping[str, np.ndarray], begin: int, stop: int, first: int, take: Take
) -> Mapping[str, np.ndarray]:
    """The state after `stop`, frames being delivered at the first step and half a run later."""
    lanes = engine.open(block)
    lanes.restore(state, begin)
    lanes.advance(stop, first, max(1, block.steps // 2), take)
    state = lanes.state()
    lanes.close()
    return state


def _nothing(lanes: slice, given: Mapping[str, np.ndarray]) -> None:
    """There are no frames before step 0."""


def stored() -> dict[str, Bits]:
    """The table."""
    return tomllib.loads(TABLE.read_text())


def differences(name: str, found: Bits, expected: Bits) -> list[str]:
    """Each array of a case whose bits are not those of the table."""
    return [
        f"{name}: {array}: {found.get(array, 'absent')}, not {expected.get(array, 'absent')}"
        for array in dict.fromkeys([*expected, *found])
        if found.get(array) != expected.get(array)
    ]


def all_bits(names: list[str], engine: Engine | None = None) -> dict[str, Bits]:
    """Digests of these cases."""
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder))
        return {name: bits_of_case(name, Path(folder), engine) for name in names}


def _text(table: Mapping[str, Any]) -> str:
    lines = ["# The bits of the tiny cases; written by python -m tests.bits_of_cases --write.\n"]
    for name, bits in table.items():
        lines += [f'\n["{name}"]\n', *(f'"{array}" = "{of_array}"\n' for array, of_array in bits.items())]
    return "".join(lines)


def _main(arguments: list[str]) -> int:
    if arguments == ["--write"]:
        TABLE.write_text(_text(all_bits(list(CASES))))
        return 0
    names, expected = arguments or list(CASES), stored()
    found = all_bits(names)
    wrong = [line for name in names for line in differences(name, found[name], expected.get(name, {}))]
    print("\n".join(wrong) or f"{len(names)} cases: every bit as in {TABLE.name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
