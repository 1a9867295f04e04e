"""Files of rows, good and odd, of every format, for a model to learn from."""

from __future__ import annotations

import gzip
import os
import random
import struct
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from scripts.fuzzing.cases import BASES, values
from scripts.fuzzing.trial import Trial

__all__ = ["rows"]

_ENDINGS = (
    "npy", "npz", "csv", "tsv", "txt", "parquet", "nc", "h5", "hdf5", "images-idx3-ubyte", "images-idx3-ubyte.gz",
    "NPY",
    "mat", "json", "",
)  # fmt: skip
_LINES = (
    "1,2", "1;2", "1\t2", "1 2", "a,b", "a,1", ",", "", "#", "nan,inf", "1,2,3", '"1","2"', "1e999,0", "0,1", "é,b",
    '"1,2', "1,5;2,5", "0x10,1", "1_0,2", "True,False", "\x00,1", "1,,2", " 1 , 2 ", '"a\nb",2', "1,2 # c", "\ufeff1,2",
)  # fmt: skip


def rows(chance: random.Random, folder: Path) -> Trial:
    """A case of a Gaussian that learns from a file of a random kind."""
    ending = chance.choice(_ENDINGS)
    name = f"data.{ending}" if ending and "idx" not in ending else f"data-{ending}" if ending else "data"
    told = [name, _made(chance, folder / name, folder)]
    if chance.random() < 0.3 and (folder / name).is_file():
        told.append(_spoiled(chance, folder / name))
    section = [f'[data]\nfile = "{name}"']
    if chance.random() < 0.4:
        section.append(f'dataset = "{chance.choice(("a", "a/b", "", "/", "..", "rows", "inputs", "a/b/c", ".", "x"))}"')
    if chance.random() < 0.3:
        more = ("rows", "sets", "digits", "shrink", "encoding", "threshold", "seed", "teacher", "folder")
        section.append(f"{chance.choice(more)} = {values(chance)}")
        told.append(section[-1][:60])
    if chance.random() < 0.15:
        section[0] = f'[data]\nsource = "{chance.choice(("digits", "mnist", "fashion-mnist"))}"\nfolder = "{name}"'
    text = BASES["gaussian"]
    text = text[: text.index("[data]")] + "\n".join(section) + "\n" + text[text.index("[ensemble]") :]
    (folder / "case.toml").write_text(text)
    run = chance.choice((["info", "case.toml", "--no-trial"], ["run", "case.toml", "-o", "out.h5", "--no-plot"]))
    return Trial(f"{told} {section[1:]}"[:300], [run], [["check", "out.h5"], ["extend", "out.h5", "--steps", "1"]])


def _array(chance: random.Random) -> np.ndarray:
    shape = chance.choice(
        ((20, 2), (20, 2), (20, 2), (20,), (20, 3), (0, 2), (2, 0), (), (5, 2, 2), (1, 2), (20, 1, 2))
    )
    kinds = ("f8", "f8", "f8", ">f4", "i1", "u8", "?", "c16", "S3", "O", "M8[s]", "f2", "V4", "U2", [("a", "f8")])
    array: Any = np.random.default_rng(chance.randrange(99)).normal(size=shape)
    odd = chance.random()
    if odd < 0.1 and array.size:
        array.flat[0] = chance.choice((np.nan, np.inf, 1e308, -1e308, 1e200))
    if odd > 0.95:
        array = np.zeros(shape)
    kind = chance.choice(kinds)
    return (
        np.zeros(shape, kind) if kind in ("S3", "M8[s]", "V4", "U2") or isinstance(kind, list) else array.astype(kind)
    )


def _made(chance: random.Random, path: Path, folder: Path) -> str:
    odd = chance.random()
    if odd < 0.12:
        return _no_file(chance, path)
    kind, array = path.suffix.lower().strip("."), _array(chance)
    try:
        if kind == "npy":
            np.save(path.with_suffix(".npy"), array, allow_pickle=True)
            path.with_suffix(".npy").rename(path)
        elif kind == "npz":
            names = chance.choice((("a",), ("inputs", "targets"), ("a", "b"), (), ("a/b",), ("",)))
            np.savez(path, **{name: array if name != "targets" else np.arange(len(array)) for name in names})
        elif kind in ("csv", "tsv", "txt"):
            lines = [chance.choice(_LINES) for _ in range(chance.choice((0, 1, 2, 4)))]
            good = ["1.5,2"] * chance.choice((0, 5, 20))
            path.write_text(chance.choice(("\n", "\r\n", "\r")).join(chance.choice((lines + good, good + lines, good))))
        elif kind in ("h5", "hdf5", "nc"):
            return _hdf5(chance, path, folder, array)
        elif kind == "parquet":
            path.write_bytes(b"PAR1" + chance.randbytes(chance.choice((0, 20, 300))) + b"PAR1")
        elif "idx" in path.name:
            shape = chance.choice(((20, 2, 1), (20, 1, 2), (2**31, 2**31, 2), (0,), (), (3, 2)))
            head = bytes((0, 0, chance.choice((8, 8, 8, 9, 13, 14, 15)), len(shape)))
            content = head + struct.pack(f">{len(shape)}I", *shape) + bytes(chance.choice((40, 40, 40, 0, 41)))
            path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
            if chance.random() < 0.3:
                path.with_name(path.name.replace("images-idx3", "labels-idx1")).write_bytes(content)
        else:
            path.write_bytes(chance.randbytes(100))
    except (TypeError, ValueError, OverflowError) as error:  # numpy or h5py cannot write it either
        path.write_bytes(b"")
        return f"empty, for {error}"
    return f"{array.shape} {array.dtype}"


def _hdf5(chance: random.Random, path: Path, folder: Path, array: np.ndarray) -> str:
    what = chance.choice(
        ("plain", "plain", "attributes", "external raw", "external link", "soft", "virtual", "references", "groups",
        "netcdf",
         "netcdf3", "loop", "compound", "huge", "empty", "scale", "self virtual", "text", "deep", "committed",
         "variable")
    )  # fmt: skip
    secret = folder / "secret"
    secret.write_bytes(bytes(320))
    if what in ("netcdf", "netcdf3"):
        import xarray as xr

        ds = xr.Dataset({"a": ([f"d{i}" for i in range(array.ndim)], array)}, {"d0": np.arange(len(array))})
        ds.to_netcdf(path, engine="h5netcdf" if what == "netcdf" else "scipy")
        return what
    with h5py.File(path, "w") as file:
        if what == "external raw":
            name = chance.choice(("secret", "/etc/passwd", "nowhere", "/dev/zero"))
            file.create_dataset("a", (20, 2), "f8", external=[(name, 0, 320)])
        elif what == "external link":
            file["a"] = h5py.ExternalLink(chance.choice(("data.h5", "secret", "nowhere", "/etc/passwd")), "/a")
        elif what == "soft":
            file["b"] = array
            file["a"] = h5py.SoftLink(chance.choice(("/b", "/a", "/nowhere")))
        elif what in ("virtual", "self virtual"):
            layout = h5py.VirtualLayout((20, 2), "f8")
            layout[:] = h5py.VirtualSource(chance.choice(("secret", ".", "nowhere", "/etc/passwd")), "a", (20, 2))
            file.create_virtual_dataset("a", layout)
        elif what == "references":
            file["b"] = array
            references = [file["b"].ref] if chance.random() < 0.5 else [file["b"].regionref[...]]
            kind = h5py.ref_dtype if isinstance(references[0], h5py.h5r.Reference) else h5py.regionref_dtype
            made = file.create_dataset("a", (1, 1), kind)
            made[0, 0] = references[0]
        elif what == "groups":
            file.create_group("a/b")
        elif what == "loop":
            file["a"] = file["/"]
            file["rows"] = array
        elif what == "compound":
            file["a"] = np.zeros(20, [("x", "f8"), ("y", "f8")])
        elif what == "huge":
            file.create_dataset("a", (2**33, 2**10), "f8", chunks=(1024, 2))
        elif what == "empty":
            file["a"] = h5py.Empty("f8")
        elif what == "scale":
            file["a"] = array
            file["a"].make_scale("x")
        elif what == "text":
            file["a"] = [["x", "y"]] * 3
        elif what == "deep":
            file["/".join(["a"] * 200)] = array
        elif what == "committed":
            file["a"] = np.dtype("f8")
        elif what == "variable":
            file.create_dataset("a", (3, 2), h5py.vlen_dtype("f8"))
        elif what == "attributes":
            file["a"] = array
            name = chance.choice(("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned"))
            odd = ("text", 3, 0, np.nan, np.zeros(3), b"\xff", [], np.array(["a"], "S"), "true", 2.0, h5py.Empty("f8"))
            file["a"].attrs[name] = chance.choice(odd)
        else:
            file["a"] = array
            if chance.random() < 0.2:
                file["b"] = array
    return what


def _no_file(chance: random.Random, path: Path) -> str:
    what = chance.choice(("folder", "missing", "fifo", "dangling", "loop", "device", "unreadable", "empty", "noise"))
    if what == "folder":
        path.mkdir()
        if chance.random() < 0.5:
            os.mkfifo(path / "train-images-idx3-ubyte")
    elif what == "fifo":
        os.mkfifo(path)
    elif what in ("dangling", "loop", "device"):
        path.symlink_to({"dangling": "nowhere", "loop": path.name, "device": "/dev/zero"}[what])
    elif what == "unreadable":
        path.touch(mode=0)
    elif what in ("empty", "noise"):
        path.write_bytes(chance.randbytes(200 * (what == "noise")))
    return what


def _spoiled(chance: random.Random, path: Path) -> str:
    data = bytearray(path.read_bytes())
    if not data:
        return "empty"
    if chance.random() < 0.4:
        path.write_bytes(data[: (length := chance.randrange(len(data)))])
        return f"cut to {length}"
    for _ in range(chance.choice((1, 3, 30))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    path.write_bytes(data)
    return "flipped"
