"""Cases that are wrong, odd or merely strange: mutations of whole ones, and files that are no cases at all."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

from scripts.fuzzing.trial import Trial

__all__ = ["BASES", "ends", "hostile", "values"]

_RUN = "[ensemble]\nreplicas = 6\nseed = 3\n[run]\nsteps = 12\n[record]\nevery = 1\n"
BASES = {
    "trap": """title = "a trap"
[model]
name = "harmonic-trap"
dimension = 2
[theta]
dynamics = "protocol"
[theta.protocol]
center = { kind = "linear", initial = [0.0, 0.0], final = [2.0, 1.0] }
stiffness = [[1.0, 0.3], [0.3, 2.0]]
[x]
dynamics = "ula"
time_step = 0.1
tau = 3
"""
    + _RUN,
    "sphere": """title = "a sphere"
[model]
name = "isotropic-sphere"
dimension = 5
noise = 0.7
[theta]
dynamics = "sgd"
constraint = "fixed-elr"
learning_rate = 0.1
weight_decay = 0.02
initial = "stationary"
"""
    + _RUN
    + '[sweep]\n"theta.learning_rate" = { values = [0.1, 0.2] }\n',
    "gaussian": """title = "a machine"
[model]
name = "gaussian"
dimension = 2
[theta]
dynamics = "sgd"
learning_rate = 0.15
batch = 2
learn = ["mean"]
initial = { mean = [1.0, -0.5], log_precision = [0.4, 1.1] }
spread = { mean = 0.3 }
[x]
dynamics = "ula"
time_step = 0.2
tau = 3
[data]
source = "gaussian"
rows = 40
covariance = [[1.0, 0.5], [0.5, 0.7]]
mean = [0.2, 0.6]
"""
    + _RUN,
    "rbm": """title = "bars"
[model]
name = "rbm"
dimension = 64
hidden = 2
[theta]
dynamics = "langevin"
learning_rate = 0.05
temperature = 0.1
[x]
dynamics = "gibbs"
initial = "data"
tau = 2
samples = 2
[data]
source = "digits"
rows = 20
encoding = "binary"
"""
    + _RUN,
    "well": """title = "wells"
[model]
name = "double-well"
[theta]
dynamics = "sgd"
learning_rate = { kind = "cosine", initial = 0.1, final = 0.01, warm_up = 2 }
batch = 4
[x]
dynamics = "mala"
time_step = 0.05
tau = 2
samples = 3
[data]
source = "mixture"
centers = [[-1.0], [1.0]]
deviation = 0.3
"""
    + _RUN,
}
WORDS = (
    "steps", "replicas", "theta", "x", "model", "name", "dynamics", "learning_rate", "tau", "samples", "batch", "kind",
    "values", "file", "source", "first", "every", "variables", "seed", "tables", "keep", "titel", "Steps", "sweep",
    "weight_decay", "temperature", "radius", "constraint", "recording", "protocol", "spread", "learn", "gradient",
    "momentum", "beta", "start", "persistent", "rows", "sets", "digits", "shrink", "encoding", "threshold", "folder",
    "dataset", "engine", "dimension", "noise", "friction", "mass", "adamw", "nesterov", "metropolis", "initial",
)  # fmt: skip
_ODD = (
    "true", "false", '""', '"text"', "[]", "{}", "[[]]", "nan", "inf", "-inf", "-0.0", "0", "1", "-1", "2", "3", "1.5",
    "1e308", "1e-320", "-1e308", "1e5", "9223372036854775807", "9223372036854775808", "18446744073709551616", "1e400",
    "-9223372036854775809", "0x10", "1_000", '"nan"', '"1"', '"[1]"', '"\\u0000"', '"\U0001f600"', '"\\n"', '"$x_1$"',
    '"$"', '"\\\\frac{"', '"[red]x[/red]"', '"[/]"', '"a/../b"', '"/dev/zero"', '"."', '".."', '"~"', '"-"', '"é"',
    "1979-05-27T07:32:00Z", "1979-05-27", "07:32:00", '[1, "a", true]', "[1.0, nan]", "[[1, 2], [3]]", "[1, [2]]",
    '{ kind = "linear" }', '{ kind = "linear", initial = 0.1, final = inf }', '{ kind = "nonsense" }', "{ kind = 3 }",
    '{ kind = "step", at = [], values = [] }', '{ kind = "linear", initial = 0.1, final = 0.2, begin = 9, end = 2 }',
    '{ kind = "table", steps = [0, 0], values = [1, 2] }', '{ kind = "constant", value = true }', '{ a = { b = [] } }',
    '{ values = [1, 2] }', '{ kind = "cosine", initial = 1, final = 0, warm_up = -1 }', '{ file = "case.toml" }',
    '{ file = "no.h5", replica = 1.5 }', '{ file = 3 }', '{ mean = [1, 2, 3] }', '{ mean = "a" }', '{ "" = 1 }',
    '"stationary"', '"fixed-lr"', '"mean"', '["mean"]', '["mean", "mean"]', '["heat", "x", "theta"]', '[""]', "[true]",
    '"sgd"', '"langevin"', '"adam"', '"frozen"', '"protocol"', '"gibbs"', '"exact"', '"exact-ou"', '"data"', "[0]",
    '"data.npy"', '"case.toml"', '"gaussian"', '"digits"', '"teacher"', '"mnist"', '[[["deep"]]]',
    '"' + "a" * 300 + '"',
)  # fmt: skip
_HUGE = ("1000000000", "4294967296", "99999999", "2147483647", "1e12", '"' + "z" * 5_000_000 + '"')
_SPECS = (
    "{ values = [] }", "{ values = [1] }", "{ values = [1, 1] }", "{ values = [1, 1.0] }", "{ values = [nan, nan] }",
    '{ values = ["a", 1] }', "{ values = [true, false] }", "{ values = [[1, 2], [2, 1]] }", "{ values = 3 }", "[1, 2]",
    "{ logspace = [0.01, 0.1], num = 3 }", "{ logspace = [0, 1], num = 2 }", "{ linspace = [0.1, 0.2], num = 0 }",
    "{ linspace = [0.1, inf], num = 2 }", "{ linspace = [1e308, -1e308], num = 3 }", "{ linspace = [1, 2], num = 2.0 }",
    "{ linspace = [0.1, 0.1], num = 2 }", "{ linspace = [1, 2], num = 1e9 }", "{ logspace = [1e-300, 1e300], num = 3 }",
    "{ values = [2, 3] }", "{ values = [0.1, 0.2] }", "{ values = [1, 2], num = 2 }", "{}", "3", '"a"', "[[1]]",
    '{ values = ["sgd", "adam"] }', '{ values = [{ mean = 1.0 }, { mean = 2.0 }] }', "{ values = [1979-05-27] }",
    '{ values = [{ kind = "linear", initial = 0.1, final = 0.2 }, 0.1] }', "{ values = [0.1, 1e999] }",
    '{ values = ["ula", "mala"] }', '{ values = [9223372036854775808, 1] }', '{ values = ["", "\\u0000"] }',
)  # fmt: skip
_RECORDS = (
    "first = 100", "every = 0", "first = -1", "every = -3", "every = 100", "first = 12\nevery = 12", "every = 1.0",
    'variables = ["x"]', 'variables = ["nonsense"]', 'variables = []', 'variables = ["heat", "heat"]', "every = nan",
    'variables = "x"', '[record.x]\nkeep = ["mean"]', '[record.x]\nkeep = []', '[record.phi]\nkeep = ["final"]',
    '[record.phi]\nkeep = ["mean"]\ncohort = 2', '[record.x]\ncohorts = 0', '[record.nonsense]\nkeep = ["mean"]',
    '[record.theta]\nkeep = ["mean", "variance", "nonsense"]', '[record.theta]\nfirst = 99', '[record.""]\nkeep = 3',
    '[record.theta]\nlast = 3', '[record.x]\nkeep = ["sum"]\nevery = 0', 'tables = {}', '[record.x.keep]\na = 1',
)  # fmt: skip


def values(chance: random.Random) -> str:
    """A value in TOML that fits hardly anywhere."""
    if chance.random() < 0.02:
        return chance.choice(_HUGE)
    if chance.random() < 0.1:
        return repr(chance.choice((-1, 1)) * 10 ** chance.uniform(-320, 308))
    return chance.choice(_ODD)


def hostile(chance: random.Random, folder: Path, originals: Path) -> Trial:
    """A case with one to three mutations, or a file that is none."""
    if chance.random() < 0.08:
        return _no_case(chance, folder)
    name = chance.choice(list(BASES))
    lines, told = BASES[name].splitlines(), []
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
        mutate = chance.choice(_MUTATIONS)
        told.append(f"{mutate.__name__[1:]} {mutate(chance, lines)}")
    content = "\n".join(lines).encode() + b"\n"
    if chance.random() < 0.08:
        spoil = chance.choice(_SPOILED)
        told.append(spoil.__name__[1:])
        content = spoil(chance, content)
    (folder / "case.toml").write_bytes(content)
    if b"other.h5" in content:
        from scripts.fuzzing.ensembles import original

        shutil.copy(original(originals, chance.choice((name, "gaussian")), "whole") / "in.h5", folder / "other.h5")
    changes = []
    while chance.random() < 0.15:
        changes += ["--set", _change(chance, lines)]
    return Trial(f"{name}: {'; '.join(told)[:300]} {changes}"[:400], *_commands(chance, changes))


def ends(chance: random.Random, folder: Path) -> Trial:
    """A good case, perhaps with an odd title or record, from its run to what can be done with its file."""
    name = chance.choice(list(BASES))
    lines = BASES[name].splitlines()
    told = [_title(chance, lines)] if chance.random() < 0.7 else []
    if chance.random() < 0.4:
        told.append(chance.choice((_record, _small))(chance, lines))
    (folder / "case.toml").write_text("\n".join(lines) + "\n")
    run = ["run", "case.toml", "-o", "out.h5", *chance.choice(([], ["--no-plot"], ["--virtual", "--no-plot"]))]
    file, picture = ["out.h5"], chance.choice(([], ["--no-plot"], ["--no-plot"]))
    after = [["check", *file], ["check", *file, "--json"], ["plot", *file, "-o", "out.pdf"], ["info", *file]]
    after += [["resume", *file], ["extend", *file, "--steps", str(chance.choice((1, 3, 10))), *picture]]
    after += [["extend", *file, "--replicas", str(chance.choice((1, 2, 7))), *picture], ["check", *file]]
    return Trial(f"{name}: {told}"[:300], [run], [command for command in after if chance.random() < 0.6])


def _commands(chance: random.Random, changes: list[str]) -> tuple[list[list[str]], list[list[str]]]:
    if chance.random() < 0.4:
        return [["info", "case.toml", "--no-trial", *changes]], []
    picture = ["--no-plot"] if chance.random() < 0.9 else []
    run = ["run", "case.toml", "-o", "out.h5", *changes, *picture]
    after = [["check", "out.h5", "--json"], ["plot", "out.h5", "-o", "out.svg"], ["info", "out.h5"]]
    after += [["extend", "out.h5", "--steps", "2", "--no-plot"], ["resume", "out.h5"]]
    after += [["extend", "out.h5", "--replicas", "2", "--steps", "1", "--no-plot"]]
    return [run], [command for command in after if chance.random() < 0.2]


def _keys(lines: list[str]) -> list[int]:
    return [number for number, line in enumerate(lines) if " = " in line and not line.startswith("[")] or [0]


def _heads(lines: list[str]) -> list[int]:
    return [number for number, line in enumerate(lines) if line.startswith("[")] or [0]


def _change(chance: random.Random, lines: list[str]) -> str:
    section = chance.choice(("theta", "x", "model", "data", "record", "run", "ensemble", "sweep", "theta.protocol", ""))
    key = f"{section}.{chance.choice(WORDS)}" if chance.random() < 0.8 else chance.choice(("", ".", "..", "a.", ".b"))
    return chance.choice((f"{key}={values(chance)[:1000]}", key, f"{key}=", f"{key}==3", f"title={key}"))


def _value(chance: random.Random, lines: list[str]) -> str:
    number, value = chance.choice(_keys(lines)), values(chance)
    lines[number] = f"{lines[number].partition(' = ')[0]} = {value}"
    return lines[number][:80]


def _schedule(chance: random.Random, lines: list[str]) -> str:
    """A schedule in place of a number or an array, most of them good."""
    places = [number for number in _keys(lines) if lines[number].partition(" = ")[2][:1] in "0123456789[{"]
    number = chance.choice(places or _keys(lines))
    lines[number] = f"{lines[number].partition(' = ')[0]} = {_of_steps(chance, 0)}"
    return lines[number][:120]


def _of_steps(chance: random.Random, depth: int) -> str:
    """A schedule in TOML: parts of a piecewise one may be schedules."""
    number = lambda: chance.choice(("0.1", "0.05", "0.2", "1", "2.5", "[0.1, 0.2]", "-0.1", "0", values(chance)))  # noqa: E731
    step = lambda: chance.choice(("0", "1", "3", "6", "12", "13", "1.0", "-1", "2.5", values(chance)))  # noqa: E731
    kind = chance.choice(("sinusoidal", "piecewise", "table", "exponential", "step", "linear"))
    keys = {
        "sinusoidal": ("mean = 0.1", f"amplitude = {number()}", f"period = {chance.choice(('4', '1e-9', number()))}"),
        "table": (f"steps = [0, {step()}]", f"values = [{number()}, {number()}]"),
        "step": (f"value = {number()}", f"factor = {number()}", f"at = [{step()}, {step()}]"),
    }.get(kind, (f"initial = {number()}", f"final = {number()}"))
    if kind == "piecewise":
        part = lambda: _of_steps(chance, depth + 1) if depth < 3 and chance.random() < 0.5 else number()  # noqa: E731
        keys = (f"at = [{chance.choice(('0', '0', step()))}, {step()}]", f"values = [{part()}, {part()}]")
    more = [f"{name} = {step()}" for name in ("begin", "end", "warm_up", "phase") if chance.random() < 0.2]
    kept = [key for key in keys if chance.random() < 0.95]
    return f'{{ kind = "{kind}", {", ".join([*kept, *more])} }}'


def _start(chance: random.Random, lines: list[str]) -> str:
    """A start of x or theta: from another run, from a law, after moves."""
    froms = ('"other.h5"', '"other.h5"', '"zero"', '"normal"', '"data"', '"equilibrium"', '"no.h5"', values(chance))
    keys = [f"from = {chance.choice(froms)}"] if chance.random() < 0.95 else []
    more = {"warm_up": ("3", "0", "20"), "step": ("0", "5", "12", "99"), "survivors": ("true", "false"), "mean": ("1",),
            "deviation": ("0.5", "0")}  # fmt: skip
    for name, some in more.items():
        if chance.random() < 0.3:
            keys.append(f"{name} = {chance.choice((*some, values(chance)))}")
    section = chance.choice(("[x]", "[x]", "[theta]"))
    lines[:] = [line for line in lines if not line.startswith("initial = ")]
    if section not in lines:
        return ""
    lines.insert(lines.index(section) + 1, f"initial = {{ {', '.join(keys)} }}")
    if chance.random() < 0.7:  # not the seed of the other run
        lines[:] = ["seed = 4" if line == "seed = 3" else line for line in lines]
    return f"{section} {', '.join(keys)}"[:150]


def _removed(chance: random.Random, lines: list[str]) -> str:
    return lines.pop(chance.choice(_keys(lines))) if len(lines) > 1 else ""


def _doubled(chance: random.Random, lines: list[str]) -> str:
    number = chance.choice(_keys(lines))
    lines.insert(number, lines[number])
    return lines[number]


def _misspelt(chance: random.Random, lines: list[str]) -> str:
    number = chance.choice(_keys(lines))
    key, equals, value = lines[number].partition(" = ")
    at = chance.randrange(len(key) + 1)
    twisted = chance.choice(
        (key[:at] + key[at + 1 :], key[:at] + "z" + key[at:], key.upper(), f'"{key} "', f'"{key}."')
    )
    lines[number] = (twisted or '""') + equals + value
    return lines[number][:80]


def _added(chance: random.Random, lines: list[str]) -> str:
    number = chance.choice(_heads(lines))
    lines.insert(number + 1, f"{chance.choice(WORDS)} = {values(chance)}")
    return f"{lines[number]} {lines[number + 1][:80]}"


def _section(chance: random.Random, lines: list[str]) -> str:
    number = chance.choice(_heads(lines))
    inner = lines[number].strip("[]")
    other = (f"[[{inner}]]", f"[{inner}x]", f"[{inner}.{inner}]", "", f"[{inner}]\n[{inner}]", f"[a.{inner}]", '[""]')
    lines[number] = chance.choice((*other, f"{inner} = {values(chance)}", f"[{inner.upper()}]"))
    return f"{inner} -> {lines[number][:80]}"


def _sweep(chance: random.Random, lines: list[str]) -> str:
    keys = ("theta.learning_rate", "x.tau", "x.time_step", "model.dimension", "theta.batch", "data.rows", "data.seed")
    odd = (
        "x",
        "",
        ".",
        "model.name",
        "run.steps",
        "theta.dynamics",
        "x.dynamics",
        "theta.spread.mean",
        "x.x",
        "theta.x",
    )
    more = (
        "data.file",
        "data.mean",
        "theta.initial",
        "model.noise",
        "x.samples",
        "a.replica",
        "x.step",
        "theta.recording",
    )
    key = chance.choice((*keys, *odd, *more, f"theta.{chance.choice(WORDS)}", f"x.{chance.choice(WORDS)}"))
    if "[sweep]" not in lines:
        lines.append("[sweep]")
    lines.append(f'"{key}" = {chance.choice(_SPECS)}')
    return lines[-1]


def _record(chance: random.Random, lines: list[str]) -> str:
    place = lines.index("[record]") if "[record]" in lines else len(lines) - 1
    more = chance.choice(_RECORDS).split("\n")
    if more[0].partition(" = ")[0] == "every" and place + 1 < len(lines):
        lines.pop(place + 1)
    at = place + 2 if more[0].startswith("[") else place + 1
    lines[at:at] = more
    return " ".join(more)


def _small(chance: random.Random, lines: list[str]) -> str:
    """Few replicas or steps: too little for statistics."""
    for number, line in enumerate(lines):
        if line.startswith(("replicas", "steps")):
            lines[number] = f"{line.partition(' = ')[0]} = {chance.choice((1, 2, 3, 5))}"
    return "few"


def _title(chance: random.Random, lines: list[str]) -> str:
    odd = ("$x_1$", "$", "\\\\frac{", "_", "^", "$\\\\frac{$", "\U0001f600", "a\\nb", "\\u0000", "t" * 10_000, "", " ")
    odd += (
        "[red]",
        "[/red]",
        "[bold]x",
        "$$",
        "%s {} {0}",
        "\\u202e",
        "\\u001b[31m",
        "é",
        "$\\\\alpha$ $",
        "#",
        "\\u0085",
    )
    lines[0] = f'title = "{chance.choice(odd)}"'
    return lines[0][:60]


def _truncated(chance: random.Random, content: bytes) -> bytes:
    return content[: chance.randrange(len(content))]


def _flipped(chance: random.Random, content: bytes) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice((1, 1, 3, 20))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data)


def _marked(chance: random.Random, content: bytes) -> bytes:
    return b"\xef\xbb\xbf" * chance.choice((1, 1, 2)) + content


def _dos(chance: random.Random, content: bytes) -> bytes:
    return content.replace(b"\n", chance.choice((b"\r\n", b"\r")))


def _encoded(chance: random.Random, content: bytes) -> bytes:
    return (
        content.replace(b'title = "', 'title = "é'.encode(), 1)
        .decode()
        .encode(chance.choice(("latin-1", "utf-16", "utf-16-le", "utf-32")), "replace")
    )


def _noise(chance: random.Random, content: bytes) -> bytes:
    return chance.choice((b"", b"\0", b"\n", chance.randbytes(500), b"\x89HDF\r\n\x1a\n" + chance.randbytes(50)))


def _deep(chance: random.Random, content: bytes) -> bytes:
    depth = chance.choice((50, 900, 5000))
    deep = (b"[" * depth + b"]" * depth, b"{a=" * depth + b"1" + b"}" * depth)
    more = (b"a = " + chance.choice(deep), b".".join([b"a"] * depth) + b" = 1", b"[" + b".".join([b"x"] * depth) + b"]")
    return content + chance.choice(more) + b"\n"


def _long(chance: random.Random, content: bytes) -> bytes:
    return (
        content + chance.choice((b"# " + b"x" * 3_000_000, b"a = [" + b"1," * 300_000 + b"]", b"[x]\n" * 1000)) + b"\n"
    )


def _no_case(chance: random.Random, folder: Path) -> Trial:
    """Something that is no file, under the name of a case."""
    path, what = folder / "case.toml", chance.choice(_NO_FILES)
    name = "case.toml"
    if what == "directory":
        path.mkdir()
    elif what == "fifo":
        os.mkfifo(path)
    elif what == "dangling":
        path.symlink_to("nowhere.toml")
    elif what == "looping":
        path.symlink_to("case.toml")
    elif what == "unreadable":
        path.write_text(BASES["trap"])
        path.chmod(0)
    elif what == "name":
        odd = (
            "",
            ".",
            "..",
            "/",
            "~",
            "-",
            "a\nb.toml",
            "a b.toml",
            "é.toml",
            "n" * 300 + ".toml",
            "\U0001f600",
            "a\x1b[1m",
        )
        name = chance.choice((*odd, "ideal_gas", "ideal_gas/fixed", "cases/", "[red]x", "case.toml/x"))
    elif what == "device":
        name = chance.choice(("/dev/zero", "/dev/null", "/dev/stdin", "/dev/tty", "/proc/self/mem", "/proc/kmsg"))
    commands: tuple[list[str], ...] = (["run", name, "-o", "out.h5"], ["info", name, "--no-trial"], ["check", name])
    more = (["plot", name, "-o", "out.png"], ["resume", name], ["extend", name, "--steps", "3"])
    if what != "unreadable":  # which the superuser reads, and tortures for minutes
        commands += (["torture", name],)
    return Trial(f"no case: {what} {name[:40]!r}", [chance.choice((*commands, *more))])


_MUTATIONS = (
    _value, _value, _value, _value, _removed, _doubled, _misspelt, _added, _added, _section, _sweep, _sweep, _record,
    _title, _small, _schedule, _schedule, _start, _start,
)  # fmt: skip
_SPOILED = (_truncated, _flipped, _flipped, _marked, _dos, _encoded, _noise, _deep, _long)
_NO_FILES = ("directory", "missing", "fifo", "dangling", "looping", "unreadable", "name", "name", "device")
