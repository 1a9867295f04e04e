"""Outputs where nothing may be written or something would be lost, odd words on the command line, odd surroundings."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import h5py

from scripts.fuzzing.cases import BASES
from scripts.fuzzing.ensembles import original
from scripts.fuzzing.trial import Trial

__all__ = ["outputs", "surroundings", "words"]

_NAMES = (
    "", ".", "..", "/", "//", "~", "-", "--", "-x.h5", " ", "a b.h5", "a\nb.h5", "é.h5", "\U0001f600.h5", "n" * 300,
    "no/such/folder/out.h5", "folder", "folder/", "folder/out.h5", "/proc/out.h5", "/dev/null", "/dev/full",
    "case.toml",
    "case.h5", "data.npy", "hard.h5", "link.h5", "loop.h5", "dangling.h5", "foreign.h5", "text.h5", "out.png", "out.py",
    "out", "out.H5", "out.h5.parts", "fifo.h5", "out.h5", "./case.toml", "folder/../data.npy", "[red].h5",
    "theirs.png", "theirs.pdf",
    "out.xyz", "out.svg", "out.jpg", "out.ps", "con.h5", "a" * 250 + ".h5", "in.h5", "in.h5.tmp", "$HOME.h5", "%s.h5",
    "\udcff.h5",
)  # fmt: skip


def outputs(chance: random.Random, folder: Path, originals: Path) -> Trial:
    """A good case, and an output or a picture in an odd place; files of the user's lie about."""
    shutil.copy(original(originals, "gaussian", "whole") / "in.h5", folder / "in.h5")
    text = BASES["gaussian"]
    text = text[: text.index("[data]")] + '[data]\nfile = "data.npy"\n' + text[text.index("[ensemble]") :]
    (folder / "case.toml").write_text(text)
    import numpy as np

    np.save(folder / "data.npy", np.random.default_rng(0).normal(size=(20, 2)))
    for name in ("hard.h5", "foreign.h5", "text.h5", "theirs.png", "theirs.pdf", "in.png", "out.h5.tmp", "in.h5.tmp"):
        (folder / name).write_bytes(b"of the user's")
    (folder / "hard.h5").unlink()
    os.link(folder / "data.npy", folder / "hard.h5")
    with h5py.File(folder / "foreign.h5", "w") as file:
        file.attrs["settings"] = "x"
    (folder / "link.h5").symlink_to("data.npy")
    (folder / "loop.h5").symlink_to("loop.h5")
    (folder / "dangling.h5").symlink_to("precious.h5")
    (folder / "folder").mkdir()
    os.mkfifo(folder / "fifo.h5")
    name = chance.choice(_NAMES)
    over = ["--overwrite"] if chance.random() < 0.7 else []
    run = ["run", "case.toml", "-o", name, *over, *chance.choice(([], ["--no-plot"], ["--virtual"]))]
    others = (["plot", "in.h5", "-o", name], ["check", name], ["info", name, "--no-trial"], ["resume", name])
    more = (["extend", name, "--steps", "1"], ["plot", name], ["resume", name, "--repair"])
    torture = ["torture", "case.toml", "--kills", "1", "--in", name if "." in name.strip("./") else "no"]
    command = run if chance.random() < 0.5 else chance.choice((*others, *more, torture))
    there = {path.name for path in folder.iterdir()}
    free = () if command[0] not in ("run", "plot") or not name.strip("./") or name in there else (name, f"{name}.parts")
    picture = str(Path(name).with_suffix(".png")) if free else ""
    pictures = (picture,) if picture and picture not in there else ()
    ours = ("out.h5.parts", "in.h5", "folder/out", "no", *free, *pictures)
    return Trial(f"{name[:40]!r} {command[0]}", [command], ours=ours)


def words(chance: random.Random, folder: Path) -> Trial:
    """Arguments that are none."""
    (folder / "case.toml").write_text(BASES["trap"])
    some = (
        "run", "resume", "extend", "check", "plot", "info", "models", "moves", "cases", "schema", "torture",
        "--debug", "-o",
        "--output", "--set", "--threads", "0", "-1", "1e9", "nan", "--workers", "99999999999999999999", "--json",
        "--steps",
        "--help", "-h", "--version", "case.toml", "out.h5", "", " ", "-", "--", "--no-plot", "--seal-every",
        "--kills", "é",
        "--scheduler", "tcp://", "garbage", "\U0001f600", "\n", "[red]", "[/red]", "run.steps=3", "=", "x=",
        "harmonic-trap", "sgd", "adamw", "--check", "--overwrite", "--virtual", "--in", "--minutes", "--seed", "runn",
        "\udcff",
    )  # fmt: skip
    known = ("run", "resume", "extend", "check", "plot", "info", "models", "moves", "cases", "schema", "torture", "")
    line = [chance.choice(known), *(chance.choice(some) for _ in range(chance.choice((0, 1, 2, 3, 5))))]
    line = [word for word in line if word != "torture" or "--help" in line]
    command = [word for word in line if word not in ("--workers", "--debug")]
    return Trial(f"{line!r}"[:200], [command], ours=("out.", "case.h5", "case.png"))


def surroundings(chance: random.Random, folder: Path, originals: Path) -> Trial:
    """A process of its own, in an environment that is odd, short of something or closed."""
    shutil.copy(original(originals, "gaussian", "whole") / "in.h5", folder / "in.h5")
    name = chance.choice(list(BASES))
    (folder / "case.toml").write_text(BASES[name].replace('title = "', 'title = "é Θ \U0001f600 $x_1$ ', 1))
    environment: dict[str, str | None] = {}
    for _ in range(chance.choice((1, 1, 2, 3))):
        environment |= chance.choice(_SURROUNDINGS)
    shell = chance.choice(("", "", "", ">&-", "2>&-", "<&-", ">&- 2>&-", "> /dev/full", "| head -1", "> /dev/null"))
    commands = (
        ["run", "case.toml", "-o", "out.h5"], ["check", "in.h5"], ["check", "in.h5", "--json"], ["plot", "in.h5"],
        ["info", "case.toml", "--no-trial"], ["info", "in.h5"], ["cases"], ["models", "gaussian"],
        ["run", "é\U0001f600.toml"],
        ["extend", "in.h5", "--steps", "2"], ["moves"], ["run", "case.toml", "-o", "out.h5", "--set", "x.é=3"],
    )  # fmt: skip
    told = f"{environment} {shell}"
    ours = ("out.", "in.", "relative")  # the last a cache of matplotlib
    return Trial(told[:300], [chance.choice(commands)], ours=ours, environment=environment, shell=shell, apart=True)


_SURROUNDINGS: tuple[dict[str, str | None], ...] = (
    {"LANG": "C", "LC_ALL": "C"},
    {"LC_ALL": "nonsense"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "latin-1"},
    {"PYTHONIOENCODING": "cp1252"},
    {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"},
    {"TERM": "dumb"},
    {"TERM": None},
    {"COLUMNS": "1"},
    {"COLUMNS": "40"},
    {"COLUMNS": "0"},
    {"COLUMNS": "nonsense"},
    {"NO_COLOR": "1"},
    {"FORCE_COLOR": "1"},
    {"MPLBACKEND": "nonsense"},
    {"MPLBACKEND": "TkAgg", "DISPLAY": None},
    {"MPLCONFIGDIR": "/proc/nowhere"},
    {"HOME": None},
    {"HOME": "/nowhere"},
    {"HOME": "/proc"},
    {"HOME": ""},
    {"TMPDIR": "/nowhere"},
    {"NUMBA_CACHE_DIR": "/proc/nowhere"},
    {"NUMBA_CACHE_DIR": "/dev/null"},
    {"XDG_CACHE_HOME": "/proc/nowhere", "HOME": "/proc"},
    {"XDG_CACHE_HOME": "relative"},
    {"NUMBA_NUM_THREADS": "nonsense"},
    {"NUMBA_NUM_THREADS": "0"},
    {"NUMBA_DISABLE_JIT": "nonsense"},
    {"OMP_NUM_THREADS": "nonsense", "OPENBLAS_NUM_THREADS": "0"},
    {"THERMOSIM_DATA": ""},
    {"THERMOSIM_DATA": "/dev/zero"},
    {"HDF5_USE_FILE_LOCKING": "FALSE"},
    {"HDF5_USE_FILE_LOCKING": "nonsense"},
    {"HDF5_USE_FILE_LOCKING": "BEST_EFFORT"},
    {"PYTHONWARNINGS": "error"},
    {"PYTHONOPTIMIZE": "2"},
)
