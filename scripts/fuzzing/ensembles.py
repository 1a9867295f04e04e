"""Finished ensembles and parts of runs, damaged or foreign, and what is said of them."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from scripts.fuzzing.cases import BASES
from scripts.fuzzing.trial import Trial

__all__ = ["damaged", "original"]


def original(folder: Path, name: str, kind: str) -> Path:
    """The folder of an ensemble to be damaged, made once: a whole file, a virtual one, or parts of a stopped run."""
    import thermosim
    from thermosim.run.execution import Interrupted

    place = folder / f"{name}-{kind}"
    if (place / "done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    stop = (lambda _: signal.raise_signal(signal.SIGINT)) if kind == "interrupted" else None
    with contextlib.suppress(Interrupted):
        case, output = thermosim.load_case(BASES[name]), place / "in.h5"
        thermosim.simulate(case, output, virtual=kind == "virtual", segment_frames=4, report=stop).close()
    (place / "done").touch()
    return place


def damaged(chance: random.Random, folder: Path, originals: Path) -> Trial:
    """An ensemble with one to three damages, and commands that open it."""
    name, kind = chance.choice(list(BASES)), chance.choice(("whole", "whole", "virtual", "interrupted"))
    shutil.copytree(original(originals, name, kind), folder, dirs_exist_ok=True)
    (folder / "done").unlink()
    (folder / "case.toml").write_text(BASES[name])
    output, parts = folder / "in.h5", folder / "in.h5.parts"
    told = []
    if chance.random() < 0.06:
        told.append(_foreign(chance, output))
    else:
        for _ in range(chance.choice((1, 1, 1, 2))):
            inside = sorted(path for path in parts.rglob("*") if path.is_file()) if parts.is_dir() else []
            if not (there := [*[output] * output.is_file() * 2, *inside]):
                break  # nothing is left to damage
            path = chance.choice(there)
            damage = chance.choice(_DAMAGES if path.suffix == ".h5" else _OF_TEXT)
            try:
                told.append(f"{path.name} {damage.__name__[1:]} {damage(chance, path)}")
            except Exception as error:  # the damage before it
                told.append(f"{damage.__name__[1:]}: {error}")
    commands = [["check", "in.h5"], ["check", "in.h5", "--json"], ["plot", "in.h5", "-o", "out.png"], ["info", "in.h5"]]
    commands += [["extend", "in.h5", "--steps", "2", "--no-plot"], ["resume", "in.h5", "--no-plot"]]
    commands += [["extend", "in.h5", "--replicas", str(chance.choice((1, 3))), "--no-plot"]]
    commands += [["resume", "in.h5", "--repair", "--no-plot"], ["run", "case.toml", "-o", "in.h5", "--no-plot"]]
    commands += [["check", "in.h5.parts"], ["info", "in.h5.parts"]]
    chance.shuffle(commands)
    if chance.random() < 0.7:
        commands = [command for command in commands if command[0] != "plot"]  # a picture takes seconds
    return Trial(f"{name} {kind}: {told}"[:300], commands[: chance.choice((1, 2, 3))], ours=("out.", "in.h5", "in.png"))


def _flipped(chance: random.Random, path: Path) -> str:
    data = bytearray(path.read_bytes())
    span = len(data) if chance.random() < 0.5 else min(len(data), 3000)
    places = [chance.randrange(span) for _ in range(chance.choice((1, 2, 10)))]
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return str(places[:3])


def _truncated(chance: random.Random, path: Path) -> str:
    data = path.read_bytes()
    length = chance.choice((0, 1, 100, len(data) // 2, len(data) - 1))
    path.write_bytes(data[:length])
    return str(length)


def _zeroed(chance: random.Random, path: Path) -> str:
    data = bytearray(path.read_bytes())
    place, length = chance.randrange(len(data)), chance.choice((8, 512, 4096))
    data[place : place + length] = bytes(len(data[place : place + length]))
    path.write_bytes(data)
    return f"{place} {length}"


def _gone(chance: random.Random, path: Path) -> str:
    path.unlink()
    return ""


def _other(chance: random.Random, path: Path) -> str:
    """A link, a folder or another text in its place."""
    path.unlink()
    what = chance.choice(("loop", "dangling", "folder", "text", "empty"))
    if what in ("loop", "dangling"):
        path.symlink_to(path.name if what == "loop" else "nowhere.h5")
    elif what == "folder":
        path.mkdir()
    else:
        path.write_text("notes" * (what == "text"))
    return what


def _attribute(chance: random.Random, path: Path) -> str:
    with h5py.File(path, "r+") as file:
        items = [file["/"], *[file[name] for name in file if isinstance(file.get(name), h5py.Dataset)]]
        item = items[0] if chance.random() < 0.7 else chance.choice(items)
        names = [name for name in item.attrs if name not in ("DIMENSION_LIST", "REFERENCE_LIST")]
        if not names:
            return "none"
        name = chance.choice(names)
        del item.attrs[name]
        values = (
            None,
            "",
            "text",
            "{}",
            "[]",
            "3",
            3,
            -1,
            2.5,
            np.nan,
            np.zeros(3),
            b"\xff\xfe",
            '{"a": 1}',
            "null",
            2**40,
        )
        value = chance.choice(values)
        if value is not None:
            item.attrs[name] = value
        return f"{item.name} {name} = {value!r}"


def _setting(chance: random.Random, path: Path) -> str:
    """One value somewhere in the settings."""
    with h5py.File(path, "r+") as file:
        settings = json.loads(file.attrs["settings"])
        at = settings[section := chance.choice([name for name, value in settings.items() if isinstance(value, dict)])]
        if not at:
            return "none"
        key = chance.choice(list(at))
        at[key] = chance.choice((None, "text", -1, 0, 10**6, 1.5, [], {}, True, ["a"], 10**20))
        file.attrs["settings"] = json.dumps(settings)
        return f"{section}.{key} = {at[key]!r}"


def _dataset(chance: random.Random, path: Path) -> str:
    with h5py.File(path, "r+") as file:
        name = chance.choice(list(file))
        what = chance.choice(
            ("delete", "rename", "reshape", "retype", "text", "soft", "external", "group", "nan", "huge")
        )
        old = file[name][()] if isinstance(file[name], h5py.Dataset) else np.zeros(3)
        if what == "rename":
            file.move(name, name + "2")
            return f"{what} {name}"
        if what == "nan" and old.dtype.kind in "fi":
            file[name][...] = np.nan if old.dtype.kind == "f" else -7
            return f"{what} {name}"
        del file[name]
        if what == "reshape":
            file[name] = np.zeros((2, 3, 1, 1))
        elif what == "retype":
            file[name] = np.zeros(np.shape(old), "S3")
        elif what == "text":
            file[name] = ["a", "b"]
        elif what == "soft":
            file[name] = h5py.SoftLink("/nowhere")
        elif what == "external":
            file[name] = h5py.ExternalLink("case.toml", "/x")
        elif what == "group":
            file.create_group(name)
        elif what == "huge":
            file.create_dataset(name, (2**40,), "f8", chunks=(1024,))
        return f"{what} {name}"


def _manifest(chance: random.Random, path: Path) -> str:
    plain = json.loads(path.read_text())
    key = chance.choice(list(plain))
    plain[key] = chance.choice((None, "text", -1, 0, 2.5, [], {}, True, [1], [{}], 10**20))
    path.write_text(json.dumps(plain))
    return f"{key} = {plain[key]!r}"


def _foreign(chance: random.Random, path: Path) -> str:
    """A file that is no ensemble, under the name of one."""
    path.unlink(missing_ok=True)
    shutil.rmtree(path.with_name("in.h5.parts"), ignore_errors=True)
    what = chance.choice(("empty", "text", "hdf5", "netcdf", "netcdf3", "png", "folder", "foreign parts", "missing"))
    if what in ("empty", "text", "png"):
        path.write_bytes({"empty": b"", "text": b"work of months\n", "png": b"\x89PNG\r\n\x1a\n" + bytes(50)}[what])
    elif what == "hdf5":
        with h5py.File(path, "w") as file:
            file["a/b"] = np.zeros(3)
            file.attrs["settings"] = chance.choice(("{}", "text", 3))
    elif what == "netcdf":
        import xarray as xr

        xr.Dataset({"x": ("step", np.zeros(3))}, attrs={"settings": "{}", "format": 2}).to_netcdf(
            path, engine="h5netcdf"
        )
    elif what == "netcdf3":
        import xarray as xr

        xr.Dataset({"x": ("step", np.zeros(3))}).to_netcdf(path, engine="scipy")
    elif what == "folder":
        path.mkdir()
    elif what == "foreign parts":
        path.with_name("in.h5.parts").mkdir()
        (path.with_name("in.h5.parts") / "thesis.txt").write_text("mine")
    return f"foreign {what}"


_DAMAGES: tuple[Callable[[random.Random, Path], str], ...] = (
    _flipped, _flipped, _flipped, _truncated, _zeroed, _gone, _other, _attribute, _attribute, _attribute, _setting,
    _setting, _dataset, _dataset,
)  # fmt: skip
_OF_TEXT: tuple[Callable[[random.Random, Path], str], ...] = (_manifest, _manifest, _flipped, _truncated, _gone, _other)
