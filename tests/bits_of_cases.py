"""The bits that an engine makes of the tiny cases, as digests: the table in `bits.toml`, the same on every machine.

    python -m tests.bits_of_cases            compares, and names every array that differs; NUMBA_DISABLE_JIT=1 works too
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

import numba
import numpy as np

import thermosim
from tests.tiny_cases import CASES, COMPILED_ONLY, write_files
from thermosim.case.load import Case
from thermosim.case.record import recordable
from thermosim.engines import engine_of
from thermosim.engines.engine import Engine, Lanes
from thermosim.plan.block import Block
from thermosim.plan.outline import Outline, plan
from thermosim.plan.starts import initial_state
from thermosim.plan.timetable import Timetable
from thermosim.plan.warm_up import warming
from thermosim.run.guard import Guard, limits_of_theta
from thermosim.streams import WARM_UP

TABLE = Path(__file__).with_name("bits.toml")
Bits = dict[str, str]  # "block 0, start, theta": digest
Arrays = Mapping[str, np.ndarray]


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
    start = initial_state(outline, 0, outline.lanes)
    made = _advanced(outline, engine, {name: _rounded(array) for name, array in start.items()})
    for part, arrays in {"plan": _planned(outline.block()), "start": start, **made}.items():
        for name, array in arrays.items():
            if np.size(array):
                yield part, name, digest(array)


def _planned(block: Block) -> Arrays:
    names = ("constants", "shared", "theta_hyper", "x_hyper", "data", "first_rows")
    changing = zip(("theta_factor", "x_factor"), block.timetable.factors(1, block.steps), strict=True)
    tables = zip(("theta_table", "x_table"), block.timetable.tables(1, block.steps), strict=True)
    return {name: getattr(block, name) for name in names} | dict(changing) | dict(tables)


def _advanced(outline: Outline, engine: Engine, state: Arrays) -> dict[str, Arrays]:
    """What is "delivered" of a block, (frames, lanes, ...), and its "state" at the end.

    Half way its state is taken up by lanes that are opened anew. Lanes that diverge are quarantined, as in a run.
    """
    block, half, frames = outline.block(), outline.steps // 2, dict[str, np.ndarray]()
    exact = {field.name: getattr(block.timetable, field.name) for field in fields(Timetable)}
    block = replace(block, timetable=_Rounded(**exact))
    guard = Guard(block.lanes, block.theta_rows, limits_of_theta(outline.model.parameters, block.model_constants))
    if outline.warm_up:
        lanes = _opened(engine, warming(block), state, WARM_UP)
        lanes.advance(WARM_UP + outline.warm_up, 2 * WARM_UP, 1, _nothing)
        state = {name: lanes.state()[name] for name in ("theta", "x")}
        lanes.close()
    for begin, stop, steps in ((0, half, [0, half]), (half, block.steps, [block.steps])):
        lanes = _opened(engine, block, state, begin)

        def take(piece: slice, given: Arrays, lanes: Lanes = lanes, steps: list[int] = steps) -> None:
            bad = guard.examine(piece, given, np.array(steps), lanes.quarantine)
            for name, array in given.items():
                room = frames.setdefault(name, np.full((3, block.lanes, *array.shape[2:]), np.nan))
                for lane, first in enumerate(bad):
                    room[2 * (len(steps) == 1) :][:first, piece.start + lane] = array[:first, lane]

        lanes.advance(stop, steps[0], half, take)
        state = guard.snapshot(lanes.state())
        lanes.close()
    return {"delivered": frames, "state": state}


def _opened(engine: Engine, block: Block, state: Arrays, step: int) -> Lanes:
    lanes = engine.open(block, 1, block.lanes if numba.config.DISABLE_JIT else None)
    lanes.restore(state, step)
    return lanes


def _nothing(piece: slice, given: Arrays) -> None:
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
    without = COMPILED_ONLY if numba.config.DISABLE_JIT else ()
    names, expected = arguments or [name for name in CASES if name not in without], stored()
    found = all_bits(names)
    wrong = [line for name in names for line in differences(name, found[name], expected.get(name, {}))]
    print("\n".join(wrong) or f"{len(names)} cases: every bit as in {TABLE.name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
