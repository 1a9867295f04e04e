"""Runs on a cluster: the same bytes for any number of workers, whichever of them are lost, shared folder or not."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

import thermosim
from tests.conftest import SPHERE, TRAP
from tests.learning_cases import GAUSSIAN
from thermosim.run import tasks
from thermosim.run.execution import Interrupted
from thermosim.storage import StorageError, parts_folder, read_manifest

distributed = pytest.importorskip("distributed")

ROOT = Path(__file__).parent.parent
BASE = TRAP.replace("every = 7", "every = 5") + (
    '[record.heat]\nkeep = ["mean", "histogram", "ensemble_mean"]\nrange = [-9.0, 9.0]\n'
    '[sweep]\n"x.tau" = { values = [1, 3] }\n'
)
LONG = {"run.steps": 16000, "ensemble.replicas": 2000, "record.every": 800}  # seconds of work
TOTAL = 2 * 16000 * 2000  # replica-steps of it
LOCAL = {
    "threads_per_worker": 1, "dashboard_address": None, "scheduler_kwargs": {"dashboard_address": ":0"},
    "memory_limit": 0, "silence_logs": "CRITICAL",
}  # fmt: skip
MACHINE = """
title = "a machine from files"
[model]
file = "bell.py"
[theta]
dynamics = "sgd"
learning_rate = 0.05
batch = 3
[x]
dynamics = "ula"
time_step = 0.1
initial = "data"
[data]
file = "rows.npy"
[ensemble]
replicas = 300
[run]
steps = 30
[record]
every = 5
"""

privileged = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip") or not shutil.which("unshare"), reason="needs root, ip and unshare"
)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def by_threads(case, folder, **how):
    """Checksum of the file that one process makes of a case."""
    thermosim.simulate(case, folder / "threads.h5", **how).close()
    return digest(folder / "threads.h5")


@pytest.fixture(scope="module")
def long_case(tmp_path_factory):
    """A case that takes seconds, and the checksum of its file."""
    case = thermosim.load_case(BASE, LONG)
    return case, by_threads(case, tmp_path_factory.mktemp("long"))


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(n_workers=2, **LOCAL) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=30)
        yield client
        client.run(unpatch)


def patch(**functions):
    """On a worker: replace functions of its tasks."""
    for name, function in functions.items():
        if not hasattr(tasks, f"{name}_true"):
            setattr(tasks, f"{name}_true", getattr(tasks, name))
        setattr(tasks, name, function)


def unpatch():
    for name in [name for name in vars(tasks) if name.endswith("_true")]:
        setattr(tasks, name.removesuffix("_true"), vars(tasks).pop(name))


def blind(job):
    return False


class Blind(distributed.WorkerPlugin):
    """Workers of other names than 0 do not see the folder."""

    def setup(self, worker):
        if worker.name != 0:
            patch(_sees=blind)


@pytest.mark.parametrize(("workers", "threads"), [(1, 3), pytest.param(4, 2, marks=pytest.mark.exhaustive)])
def test_same_bytes_for_any_number_of_workers_and_threads(workers, threads, tmp_path):
    case = thermosim.load_case(BASE)
    expected = by_threads(case, tmp_path, threads=threads)
    thermosim.simulate(case, tmp_path / "w.h5", workers=workers, threads=threads, segment_frames=4).close()
    assert digest(tmp_path / "w.h5") == expected
    assert not parts_folder(tmp_path / "w.h5").exists()


@pytest.mark.parametrize(
    ("text", "changes"), [(SPHERE, {"ensemble.replicas": 90}), (GAUSSIAN, {"ensemble.replicas": 2000})]
)
def test_same_bytes_of_other_machines(text, changes, tmp_path, cluster):
    case = thermosim.load_case(text, changes)
    thermosim.simulate(case, tmp_path / "w.h5", scheduler=cluster.scheduler_address, segment_frames=1).close()
    assert digest(tmp_path / "w.h5") == by_threads(case, tmp_path, threads=2)


def test_virtual_file_of_workers(tmp_path, cluster):
    case = thermosim.load_case(BASE)
    how = {"scheduler": cluster.scheduler_address, "segment_frames": 4, "virtual": True}
    with thermosim.simulate(case, tmp_path / "v.h5", **how) as virtual, thermosim.simulate(case) as whole:
        for name, variable in whole.data_vars.items():
            np.testing.assert_array_equal(virtual[name], variable)
    known = read_manifest(parts_folder(tmp_path / "v.h5")).files
    left = {path.name for path in parts_folder(tmp_path / "v.h5").iterdir() if path.suffix == ".h5"}
    assert left == known


class Stopping:
    """A report that raises KeyboardInterrupt once so many replica-steps have been made."""

    def __init__(self, made):
        self._made = made

    def __call__(self, progress):
        if progress.made >= self._made:
            raise KeyboardInterrupt


def test_interrupted_by_threads_resumed_by_workers_and_back(long_case, tmp_path, cluster):
    case, expected = long_case
    path = tmp_path / "run.h5"
    with pytest.raises(Interrupted):
        thermosim.simulate(case, path, threads=2, segment_seconds=0.1, report=Stopping(TOTAL // 5))
    workers = {"scheduler": cluster.scheduler_address, "segment_seconds": 0.1}
    with pytest.raises(Interrupted, match="every worker has sealed"):
        thermosim.resume(path, report=Stopping(TOTAL // 5), **workers)
    with thermosim.open_ensemble(path) as partial:
        assert not partial.attrs["completed"]
    assert not list(parts_folder(path).glob("probe-*"))
    thermosim.resume(path, threads=1).close()
    assert digest(path) == expected


@pytest.mark.parametrize(
    ("all_at_once", "times"),
    [(True, 1), *(pytest.param(both, 3, marks=pytest.mark.exhaustive) for both in (False, True))],
)
def test_killed_workers(all_at_once, times, long_case, tmp_path):
    """Also while those that replace them begin, which dask itself does not recover from."""
    case, expected = long_case
    others, kills = {process.pid for process in workers_here()}, []

    def report(progress):
        if len(kills) < times and progress.made > len(kills) * TOTAL / 8:
            mine = [process for process in workers_here() if process.pid not in others]
            for process in mine if all_at_once else mine[:1]:
                process.kill()
            kills.append(progress.made)

    how = {"workers": 2, "threads": 1, "segment_seconds": 0.2}
    thermosim.simulate(case, tmp_path / "w.h5", report=report, **how).close()
    assert len(kills) == times
    assert digest(tmp_path / "w.h5") == expected


def workers_here():
    """Worker processes that this one has started."""
    children = psutil.Process().children()
    return [process for process in children if "spawn_main" in " ".join(process.cmdline())]


@pytest.mark.parametrize("shared", [True, False])
def test_case_with_files(shared, tmp_path, client):
    from tests.test_user_learning_model import MODEL

    rng = np.random.default_rng(0)
    np.save(tmp_path / "rows.npy", rng.normal(0.5, 1.0, (60, 1)))
    (tmp_path / "bell.py").write_text(MODEL)
    (tmp_path / "case.toml").write_text(MACHINE)
    case = thermosim.load_case(tmp_path / "case.toml")
    if not shared:
        client.run(patch, _sees=blind)
    before = unpacked_by_workers(client)
    thermosim.simulate(case, tmp_path / "w.h5", scheduler=client.scheduler.address, segment_frames=2).close()
    assert digest(tmp_path / "w.h5") == by_threads(case, tmp_path)
    assert bool(unpacked_by_workers(client) - before) != shared


def unpacked_by_workers(client):
    """Folders of files that came through the scheduler; workers keep those of runs before."""
    scratch = client.run(lambda dask_worker: dask_worker.local_directory)
    return {path for folder in scratch.values() for path in Path(folder).glob("thermosim-*")}


def test_no_worker_sees_the_folder(long_case, tmp_path, client, cluster):
    """Everything through the scheduler; a killed worker takes nothing along that cannot be made again."""
    case, expected = long_case
    client.register_plugin(Blind(), name="blind")
    client.run(patch, _sees=blind)
    kills = []

    def report(progress):
        if not kills and progress.made > TOTAL / 8:
            kills.extend(nanny.pid for nanny in cluster.workers.values())
            os.kill(kills[0], signal.SIGKILL)

    how = {"scheduler": cluster.scheduler_address, "segment_seconds": 0.2}
    thermosim.simulate(case, tmp_path / "w.h5", report=report, **how).close()
    client.unregister_worker_plugin("blind")
    assert kills
    assert digest(tmp_path / "w.h5") == expected


@pytest.mark.exhaustive
def test_late_worker_that_does_not_see_the_folder(long_case, tmp_path):
    case, expected = long_case
    with (
        distributed.LocalCluster(n_workers=1, **LOCAL) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(Blind())
        seen = []

        def report(progress):
            if not seen:
                cluster.scale(2)
            seen.append(len(client.nthreads()))

        how = {"scheduler": cluster.scheduler_address, "segment_seconds": 0.1}
        thermosim.simulate(case, tmp_path / "w.h5", report=report, **how).close()
        assert max(seen) == 2
    assert digest(tmp_path / "w.h5") == expected


def elsewhere():
    return {"Python": "another"}


def edited(case, blocks, device):
    return {"move of x": "0" * 24}


@pytest.mark.parametrize(
    ("functions", "told"),
    [({"surroundings": elsewhere}, r"Python [\d.]+, now another"), ({"fingerprint": edited}, "the move of x")],
    ids=["at the greeting", "of the case"],
)
def test_workers_that_would_make_other_numbers_are_refused(functions, told, tmp_path, client):
    client.run(patch, **functions)
    with pytest.raises(StorageError, match=f"would make other numbers; there differ: (.*; )?{told}"):
        thermosim.simulate(thermosim.load_case(BASE), tmp_path / "w.h5", scheduler=client.scheduler.address)
    assert not parts_folder(tmp_path / "w.h5").exists()


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nowhere.invalid:8786"])
def test_no_scheduler(address, tmp_path, monkeypatch):
    monkeypatch.setattr("thermosim.run.dask_client._CONNECT_SECONDS", 2.0)
    begin = time.monotonic()
    with pytest.raises(StorageError, match=f"--scheduler {re.escape(address)}: no dask scheduler answers"):
        thermosim.simulate(thermosim.load_case(BASE), tmp_path / "w.h5", scheduler=address)
    assert time.monotonic() - begin < 8.0
    assert not parts_folder(tmp_path / "w.h5").exists()


def test_what_is_no_address_is_refused_at_once(tmp_path):
    with pytest.raises(thermosim.CaseError, match=r"scheduler = 'nowhere': expected an address such as tcp://"):
        thermosim.simulate(thermosim.load_case(BASE), tmp_path / "w.h5", scheduler="nowhere")
    assert list(tmp_path.iterdir()) == []


class Command:
    """The command in a session and a terminal of its own."""

    def __init__(self, *arguments):
        self.terminal, theirs = pty.openpty()
        command = [sys.executable, "-m", "thermosim", *map(str, arguments)]
        self.process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
            env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        )  # fmt: skip
        os.close(theirs)

    def finish(self):
        """Exit code, and all that was printed. One that hangs is killed."""
        text, patience = b"", threading.Timer(60.0, self.process.kill)
        patience.start()
        while True:
            try:
                got = os.read(self.terminal, 65536)
            except OSError:  # the other end is closed
                got = b""
            if not got:
                break
            text += got
        patience.cancel()
        os.close(self.terminal)
        return self.process.wait(30), re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text.decode())


def wait_until(condition, seconds=30.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def sealed(path):
    return len(list(parts_folder(path).glob("frames-*.h5")))


@pytest.fixture
def long_file(tmp_path):
    (tmp_path / "case.toml").write_text(BASE)
    return ["run", tmp_path / "case.toml", *(f"--set={key}={value}" for key, value in LONG.items()), "--no-plot"]


def test_ctrl_c_in_a_terminal(long_case, long_file, tmp_path):
    """The terminal sends it to all processes; none of them, and nothing of dask, may say a word."""
    path = tmp_path / "run.h5"
    command = Command(*long_file, "-o", path, "--workers", 2, "--seal-every", 0.2)
    wait_until(lambda: sealed(path) >= 4)
    os.killpg(command.process.pid, signal.SIGINT)
    begin = time.monotonic()
    code, text = command.finish()
    assert time.monotonic() - begin < 15.0
    assert code == 130
    assert f"thermosim resume {path}" in " ".join(text.split())
    assert not re.search(r"distributed|Traceback|tornado|KeyboardInterrupt|Error", text)
    thermosim.resume(path, threads=2).close()
    assert digest(path) == long_case[1]


def test_killed_client(long_case, long_file, tmp_path):
    """No process stays behind, and the run can be resumed."""
    path = tmp_path / "run.h5"
    command = Command(*long_file, "-o", path, "--workers", 2, "--seal-every", 0.2)
    wait_until(lambda: sealed(path) >= 4)
    workers = psutil.Process(command.process.pid).children(recursive=True)
    os.kill(command.process.pid, signal.SIGKILL)
    assert command.finish()[0] == -signal.SIGKILL
    assert workers
    assert not psutil.wait_procs(workers, timeout=10)[1]
    thermosim.resume(path, threads=2).close()
    assert digest(path) == long_case[1]


def test_scheduler_without_workers(long_file, tmp_path):
    """Waits; Ctrl-C leaves at once, and nothing behind."""
    path = tmp_path / "run.h5"
    with distributed.LocalCluster(n_workers=0, **LOCAL) as cluster:
        command = Command(*long_file, "-o", path, "--scheduler", cluster.scheduler_address)
        wait_until(lambda: list(parts_folder(path).glob("probe-*")))
        time.sleep(0.5)
        assert command.process.poll() is None
        os.killpg(command.process.pid, signal.SIGINT)
        code, text = command.finish()
    assert code == 130
    assert "before the first worker came" in text
    assert not re.search(r"distributed|Traceback|tornado", text)


def test_scheduler_that_goes_away(long_case, tmp_path):
    case, expected = long_case
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    service = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    file = tmp_path / "scheduler.json"
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    scheduler = subprocess.Popen([*service, "--no-dashboard", "--scheduler-file", file], **quiet)
    worker = None
    try:
        wait_until(file.exists)
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", file, "--no-dashboard"]
        worker = subprocess.Popen([*worker, "--nthreads", "1", "--death-timeout", "5"], **quiet)

        def report(progress):
            if progress.made > TOTAL / 8 and scheduler.poll() is None:
                scheduler.kill()
                scheduler.wait()

        address = json.loads(file.read_text())["address"]
        with pytest.raises(StorageError, match="scheduler has gone"):
            thermosim.simulate(case, tmp_path / "w.h5", scheduler=address, segment_seconds=0.2, report=report)
    finally:
        for process in (scheduler, worker):
            if process is not None:
                process.terminate()
                process.wait(30)
    thermosim.resume(tmp_path / "w.h5").close()
    assert digest(tmp_path / "w.h5") == expected


@privileged
def test_full_disk(long_case, tmp_path, cluster):
    """A clear sentence; what was sealed stays, and the run goes on once there is room."""
    case, expected = long_case
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("no mounting here")
    try:
        how = {"scheduler": cluster.scheduler_address, "segment_seconds": 0.2, "force": True}
        with pytest.raises(StorageError, match="No space left on device") as full:
            thermosim.simulate(case, folder / "w.h5", **how)
        assert "thermosim resume" in str(full.value)
        assert sealed(folder / "w.h5")
        subprocess.run(["mount", "-o", "remount,size=200m", folder], check=True)
        thermosim.resume(folder / "w.h5", **how).close()
        assert digest(folder / "w.h5") == expected
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


THERE = """
import json, sys, thermosim
case = thermosim.load_case(sys.argv[1], json.loads(sys.argv[2]))
thermosim.simulate(case, sys.argv[3], scheduler="tcp://10.217.0.1:8786", segment_seconds=0.3).close()
"""


@pytest.mark.exhaustive
@privileged
def test_machines_without_a_common_folder(long_case, tmp_path):
    """Scheduler and workers in network namespaces of their own, the workers without the output folder."""
    output = tmp_path / "output"
    output.mkdir()
    names = f"ts-{os.getpid()}-a", f"ts-{os.getpid()}-b"
    inside = [["ip", "netns", "exec", name] for name in names]
    python = [sys.executable, "-m"]
    how = {"env": os.environ | {"PYTHONPATH": str(ROOT)}, "cwd": tmp_path}
    services = []
    try:
        network(names)
        with open(tmp_path / "log", "w") as log:
            scheduler = ["distributed.cli.dask_scheduler", "--host", "10.217.0.1", "--port", "8786", "--no-dashboard"]
            services.append(subprocess.Popen([*inside[0], *python, *scheduler], stdout=log, stderr=log, **how))
            worker = f"mount -t tmpfs tmpfs {output} && exec {sys.executable} -m distributed.cli.dask_worker "
            worker += "tcp://10.217.0.1:8786 --host 10.217.0.2 --nworkers 2 --nthreads 1 --no-dashboard"
            unshared = [*inside[1], "unshare", "--mount", "sh", "-c", worker]
            services.append(subprocess.Popen(unshared, stdout=log, stderr=log, **how))
            command = [*inside[0], sys.executable, "-c", THERE, BASE, json.dumps(LONG), output / "w.h5"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60, **how)
        assert done.returncode == 0, done.stderr + (tmp_path / "log").read_text()
        assert not done.stderr
        assert digest(output / "w.h5") == long_case[1]
    finally:
        for service in services:
            service.terminate()
            service.wait(30)
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def network(names):
    """Two network namespaces with a cable between them; skips where that is not allowed."""
    steps = [["netns", "add", name] for name in names]
    ends = f"v{os.getpid()}a", f"v{os.getpid()}b"
    steps.append(
        ["link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1]]
    )
    for number, (name, end) in enumerate(zip(names, ends), 1):
        steps.append(["-n", name, "address", "add", f"10.217.0.{number}/24", "dev", end])
        steps += [["-n", name, "link", "set", device, "up"] for device in (end, "lo")]
    for step in steps:
        made = subprocess.run(["ip", *step], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"no network namespaces here: {made.stderr.strip()}")
