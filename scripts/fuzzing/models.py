"""User's model files: mutations of the double well of the tutorial, and what a file may do while it is read."""

from __future__ import annotations

import functools
import random
import re
from pathlib import Path

from scripts.fuzzing.trial import Trial

__all__ = ["users"]

TUTORIAL = Path(__file__).resolve().parents[2] / "docs" / "tutorials" / "own_energy.md"
_AT_IMPORT = (
    "raise ValueError('no')", "raise SystemExit(3)", "1 / 0", "import nowhere", "exit()", "raise KeyboardInterrupt",
    "import sys; sys.exit('gone')", "print('hello')", "input()", "raise Exception", "raise BaseException('x')",
    "import os; os._exit(4)", "MODEL = None", "del MODEL", "def f(: pass", "x = \x00", "raise ValueError('[/red] {}')",
    "open('no.txt')", "raise MemoryError", "raise UnicodeError('\udcff')",
    "class E(Exception):\n    def __str__(self):\n        raise E\nraise E", "def f():\n    f()\nf()",
)  # fmt: skip
_VALUES = (
    "None", "1", "-1", "0", "''", "'a'", "[]", "()", "{}", "True", "float('nan')", "1e400", "object()", "lambda: 1",
    "lambda *a: None", "lambda c: 0", "lambda c: -1", "lambda c: 2", "lambda c: 10**9", "lambda c: 'a'", "np.zeros(3)",
    "lambda c: 1 / 0", "lambda c: (2,)", "lambda c: np.zeros((2, 2))", "lambda c: np.full(1, np.nan)",
    "lambda c: (-1,)",
    "energy", "force", "Model", "(None,)", "{'right': 3}", "lambda x, c: x", "lambda x, c: x[0]", "lambda x, c: 3",
    "lambda x, c: 'a'", "lambda x, c: x[..., 5]", "lambda x, c: c['no']", "lambda x, c: x.sum()", "'x y'", "'$x_1$'",
)  # fmt: skip
_FORMULAS = (
    ("x[0, lane]", "x[1, lane]"), ("x[0, lane]", "x[lane, 0]"), ("x[0, lane]", "x[0]"), ("-4.0", "4.0"),
    ("constants[BARRIER, lane]", "constants[HEIGHT, lane]"), ("theta[TILT, lane]", "theta[7, lane]"),
    ("- 1.0", "/ 0.0"),
    ("return", "yield"), ("return", "pass #"), ("return", "return None and"), ("q * q", "undefined(q)"), ("lane]", "]"),
    ("constants[BARRIER, lane]", "np.random.normal()"), ("q * q", "np.log(-q * q)"), ("i, x, theta", "x, theta"),
    ("x, theta, constants, shared, lane", "x"), ("x[0, lane]", "x[0, lane - 1]"), ("q * q", "str(q)"),
    ("x[..., 0] > 0", "x > 0"), ("x[..., 0] > 0", "undefined > c['barrier']"), ("import numpy as np", "import numpy"),
    ("from thermosim", "from numpy"), ("q * q", "1e300 * 1e300 * q"), ("return", "raise ValueError('q')\n    return"),
    ("2.0, ", "-2.0, "), ("2.0, ", "'a', "), ("minimum", "minimal"),
)  # fmt: skip


@functools.cache
def _of_tutorial() -> tuple[str, str]:
    """The model and its case, made small."""
    text = TUTORIAL.read_text("utf-8")
    names = ("python double_well.py", "toml well.toml")
    model, case = (re.findall(rf"```{name}\n(.*?)```", text, re.DOTALL)[0] for name in names)
    return model, case.replace("replicas = 1000", "replicas = 6").replace("steps = 2000", "steps = 12")


def users(chance: random.Random, folder: Path) -> Trial:
    """A user's model with one to three mutations, and a command that reads it."""
    model, case = _of_tutorial()
    lines, told = model.splitlines(), []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        mutate = chance.choice((_removed, _renamed, _replaced, _replaced, _value, _value, _added, _cut))
        told.append(f"{mutate.__name__[1:]} {mutate(chance, lines)}")
    (folder / "double_well.py").write_bytes("\n".join(lines).encode("utf-8", "replace") + b"\n")
    if chance.random() < 0.15:
        changed = chance.choice(("double_well", ".", "no.py", "double_well.py/x", "case.toml", "/dev/null", ""))
        case = case.replace("double_well.py", changed)
        told.append(changed)
    (folder / "case.toml").write_text(case)
    run = ["run", "case.toml", "-o", "out.h5", "--no-plot"]
    first = chance.choice((run, ["info", "case.toml", "--no-trial"], ["models", "double_well.py"]))
    after = [["check", "out.h5"], ["extend", "out.h5", "--steps", "2", "--no-plot"], ["info", "out.h5"]]
    return Trial(f"model: {told}"[:300], [first], [chance.choice(after)], ours=("out.", "__pycache__"))


def _removed(chance: random.Random, lines: list[str]) -> str:
    return lines.pop(chance.randrange(len(lines))) if len(lines) > 1 else ""


def _renamed(chance: random.Random, lines: list[str]) -> str:
    """A name, here and there or everywhere."""
    names = sorted(set(re.findall(r"[A-Za-z_]{3,}", "\n".join(lines)))) or ["x"]
    name, new = chance.choice(names), chance.choice((*names, "x", "lane", "é", "None", "class", "numpy"))
    some = range(len(lines)) if chance.random() < 0.5 else [chance.randrange(len(lines))]
    for number in some:
        lines[number] = re.sub(rf"\b{name}\b", new, lines[number])
    return f"{name} -> {new}"


def _replaced(chance: random.Random, lines: list[str]) -> str:
    """A formula by another."""
    old, new = chance.choice(_FORMULAS)
    lines[:] = "\n".join(lines).replace(old, new, chance.choice((1, 1, 99))).splitlines() or [""]
    return f"{old} -> {new}"


def _value(chance: random.Random, lines: list[str]) -> str:
    """A value of a field of MODEL."""
    fields = [number for number, line in enumerate(lines) if re.match(r"    \w+=", line)] or [0]
    number, value = chance.choice(fields), chance.choice(_VALUES)
    lines[number] = f"{lines[number].partition('=')[0]}={value},"
    return lines[number].strip()


def _added(chance: random.Random, lines: list[str]) -> str:
    """A statement at the top or at the end, perhaps one that fails."""
    statement = chance.choice(_AT_IMPORT)
    lines.insert(0 if chance.random() < 0.3 else len(lines), statement)
    return statement


def _cut(chance: random.Random, lines: list[str]) -> str:
    del lines[chance.randrange(1, len(lines) + 1) :]
    return str(len(lines))
