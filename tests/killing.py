"""Kill a run in a forked process, where kernels are compiled already, and see what is left. Run by test_kills.py.

    python tests/killing.py random N | every-operation [N] [virtual] | extension [N] [virtual] [+ ...]

Several ways after each other stand with a + between them. N: so many kills at random instants; of the operations on
files the first and every N-th after it, by default all.

Prints one JSON line for each: how many kills, what they caught, and everything that was found to be wrong.
"""

import collections
import hashlib
import itertools
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

import h5py
import numpy as np
import xarray as xr
from conftest import TRAP

import thermosim
from thermosim.cli.torture import _doing, _stamp, _temporary
from thermosim.storage import parts_folder, read_manifest
from thermosim.storage.manifest import FORMAT

CASE = TRAP.replace("steps = 101", "steps = 60") + '[record.heat]\nkeep = ["mean", "histogram"]\nrange = [-9.0, 9.0]\n'
AIMS = ("anywhere", "anywhere", "a segment", "the manifest", "the file")
SEALS = {"segment_frames": 4, "threads": 1}
MORE = {"steps": 20, "replicas": 70}


def in_child(work):
    """The process id of a fork that does this work."""
    child = os.fork()
    if child:
        return child
    # a child's file is compared by its bytes, here: that the child opens it at the end would take as long as its run
    xr.open_dataset = lambda *_, **__: xr.Dataset(attrs={"settings": "{}", "format": FORMAT})
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def go_on(case, path, **how):
    """Run or resume, whichever it takes."""
    begun = (parts_folder(path) / "manifest.json").exists()
    if begun or path.exists():
        thermosim.resume(path, **how).close()
    else:
        thermosim.simulate(case, path, overwrite=True, **how).close()


def go_on_extending(case, path, **how):
    """Extend a file, or resume that."""
    few, folder = case.settings.ensemble.replicas, parts_folder(path)
    if (folder / "manifest.json").exists():
        longer = begun = read_manifest(folder).replicas > few
    else:
        with h5py.File(path) as file:
            longer, begun = json.loads(file.attrs["settings"])["ensemble"]["replicas"] > few, False
    if begun:
        thermosim.resume(path, **how).close()
    elif not longer:
        thermosim.extend(path, **MORE, **how).close()


def what_is_wrong(path, whole, old=None):
    """Whatever a kill has left must be readable, and equal to the unharmed run as far as it goes.

    Of an ensemble that is being extended what there was must be there, and what is new may be.
    """
    if not path.exists() and not (parts_folder(path) / "manifest.json").exists():
        return ""
    try:
        with warnings.catch_warnings(), thermosim.open_ensemble(path) as left:
            warnings.simplefilter("error")
            for name, variable in left.data_vars.items():
                if "step" not in variable.dims:
                    continue
                expected = whole[name].isel(step=slice(left.sizes["step"]), replica=slice(left.sizes["replica"]))
                same = variable == expected
                there = same if old is None else same[: old.sizes["step"], : old.sizes["replica"]]
                if not there.all() or not (same | variable.isnull()).all():
                    return f"{name} differs"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


class Operations:
    """Counts what changes files, and kills this process just before the n-th."""

    def __init__(self, fatal):
        self._left = fatal
        for module, name in (
            (os, "replace"), (os, "fsync"), (os, "link"), (os, "unlink"), (os, "rmdir"), (Path, "unlink"),
            (Path, "rmdir"), (Path, "mkdir"), (Path, "write_bytes"),
        ):  # fmt: skip
            self._watch(module, name)

    def _watch(self, module, name):
        function = getattr(module, name)

        def watched(*args, **kwargs):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        setattr(module, name, watched)


def is_same(path, whole, reference):
    """The same bytes; of a virtual file, whose segments were cut otherwise, the same values."""
    if not parts_folder(path).exists():
        return digest(path) == reference
    with thermosim.open_ensemble(path) as made:
        return all(np.array_equal(made[name], whole[name]) for name in whole.variables)


def every_operation(case, whole, reference, folder, how, stride, begun=None):
    """Kill before the first operation on files and every `stride`-th after it, until a run comes through; resume each.

    begun: the folder of a file, which is then extended.
    """
    caught, faults = collections.Counter(), []
    work, old = (go_on, None) if begun is None else (go_on_extending, thermosim.open_ensemble(begun / "out.h5"))
    status, fatal = 1, 1 - stride
    while status != 0:
        fatal += stride
        path = folder / f"at-{fatal}" / "out.h5"
        if begun is None:
            path.parent.mkdir()
        else:
            shutil.copytree(begun, path.parent)

        def run(fatal=fatal, path=path):
            Operations(fatal)
            work(case, path, **SEALS, **how)

        _, status = os.waitpid(in_child(run), 0)
        caught[_doing(path)] += status != 0
        faults += check(path, whole, f"before operation {fatal}", old)
        _, failed = os.waitpid(in_child(lambda path=path: work(case, path, threads=2, **how)), 0)
        if failed or not is_same(path, whole, reference):
            faults.append(f"before operation {fatal}: not resumed to the same bytes")
        shutil.rmtree(path.parent)
    return caught, faults


def kill(child, path, aim, delay):
    """Kill when the time has come and the run is at what is aimed at, if it ever is. How the child ended."""
    begin, old = time.perf_counter(), _stamp(_temporary(path))
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        late = time.perf_counter() - begin > delay
        if aim != "nothing" and late and aim in ("anywhere", _doing(path, old)):
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.0001)


def at_random(case, whole, reference, folder, kills):
    """Kill at random instants, again and again until so many kills have been made, and every aim was met.

    An aim is seldom met by chance where files are written fast: then there are more kills, four times as many at most.
    """
    chance, caught, faults, aims = random.Random(1), collections.Counter(), [], itertools.cycle(AIMS)
    begin = time.perf_counter()
    os.waitpid(in_child(lambda: go_on(case, folder / "timed.h5", **SEALS)), 0)
    seconds = time.perf_counter() - begin
    number = 0

    def enough():
        made = sum(caught.values())
        return made >= kills and (set(AIMS[2:]) <= caught.keys() or made >= 4 * kills)

    while not enough():
        number += 1
        path = folder / f"random-{number}.h5"
        for life in itertools.count():
            spared = enough() or life > 20
            threads = chance.choice([1, 2, 3])
            child = in_child(lambda path=path, threads=threads: go_on(case, path, segment_frames=1, threads=threads))
            aim = "nothing" if spared else next(aims)  # in turn: none is left out by chance
            status = kill(child, path, aim, chance.uniform(0.0, 1.2 if aim == "anywhere" else 0.8) * seconds)
            if os.WIFSIGNALED(status):
                caught[_doing(path)] += 1
                faults += check(path, whole, f"kill {sum(caught.values())}")
                continue
            if status or not is_same(path, whole, reference):
                faults.append(f"run {number}: did not come out to the same bytes")
            break
    return caught, faults


def check(path, whole, when, old=None):
    """A list with a sentence for what is wrong."""
    wrong = what_is_wrong(path, whole, old)
    return [f"{when}: {wrong}"] if wrong else []


def killed(mode, *rest):
    """Kills of one mode: how many, what they caught, and the faults."""
    case = thermosim.load_case(CASE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unharmed = folder / "unharmed.h5"
        how, stride = {"virtual": True} if "virtual" in rest else {}, int([*filter(str.isdigit, rest), 1][0])
        whole = thermosim.simulate(case, unharmed, **SEALS).load()
        reference = digest(unharmed)
        if mode == "random":
            caught, faults = at_random(case, whole, reference, folder, int(rest[0]))
        elif mode == "extension":
            begun = folder / "begun"
            begun.mkdir()
            thermosim.simulate(case, begun / "out.h5", **SEALS, **how).close()
            whole = thermosim.extend(unharmed, **MORE, **SEALS).load()
            caught, faults = every_operation(case, whole, digest(unharmed), folder, {}, stride, begun)
        else:
            caught, faults = every_operation(case, whole, reference, folder, how, stride)
    return {"kills": sum(caught.values()), "caught": caught, "faults": faults}


def main():
    for words in " ".join(sys.argv[1:]).split("+"):
        print(json.dumps(killed(*words.split())))


if __name__ == "__main__":
    main()
