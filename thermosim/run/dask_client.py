"""A client of dask.distributed: of a scheduler that exists, or of worker processes started on this machine."""

from __future__ import annotations

import importlib
import logging
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

from thermosim.run.execution import Execution, Interrupted
from thermosim.storage import StorageError

__all__ = ["connected"]

_CONNECT_SECONDS = 20.0


@contextmanager
def connected(execution: Execution, stop: threading.Event) -> Iterator[tuple[Any, Callable[[], object]]]:
    """A client, and what to call now and then: it replaces workers that died while they began, which dask gives up."""
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError:
        raise StorageError('workers need dask: pip install "thermosim-engine[cluster]"') from None
    with ExitStack() as stack:
        stack.enter_context(_silence())
        if execution.scheduler is not None:
            client, mend = _connect(distributed, execution.scheduler, stop), lambda: None
        else:
            cluster = stack.enter_context(_local_cluster(distributed, execution))
            client = distributed.Client(cluster, set_as_default=False)
            mend = partial(cluster.scale, execution.workers or 1)
        try:
            yield client, mend
        finally:
            with suppress(Exception):  # a scheduler that has gone
                client.close(timeout=5)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep what dask says of lost workers and connections from the terminal; what matters to a user is raised."""
    names = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "asyncio")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    settings = {
        "distributed.admin.large-graph-warning-threshold": "1 TB",
        "distributed.nanny.pre-spawn-environ.DASK_LOGGING__DISTRIBUTED": "critical",
    }
    dask: Any = importlib.import_module("dask")
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with dask.config.set(settings):
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)


def _connect(distributed: Any, address: str, stop: threading.Event) -> Any:
    """A client of the scheduler there, tried for some seconds, for it may just be starting."""
    deadline = time.monotonic() + _CONNECT_SECONDS
    while True:
        try:
            return distributed.Client(address, timeout=_CONNECT_SECONDS / 4, set_as_default=False)
        except (OSError, ValueError) as error:
            if time.monotonic() > deadline or isinstance(error, ValueError):
                reason = str(error).splitlines()[0]
                raise StorageError(f"--scheduler {address}: no dask scheduler answers there ({reason}).") from None
        if stop.wait(0.2):
            raise Interrupted("interrupted before the scheduler answered")


@contextmanager
def _local_cluster(distributed: Any, execution: Execution) -> Iterator[Any]:
    """Worker processes on this machine. They, and those that replace them, are deaf to Ctrl-C: it is meant for us."""
    workers = execution.workers or 1
    threads = execution.threads or max(1, (os.cpu_count() or 1) // workers)
    scratch = Path(tempfile.gettempdir()) / "dask-scratch-space"
    resource_tracker.ensure_running()  # it would unblock the signals when it is started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:  # threads and processes that begin meanwhile inherit the mask
        cluster = distributed.LocalCluster(
            n_workers=workers, threads_per_worker=threads, processes=True, dashboard_address=None, memory_limit=0,
            silence_logs=False, local_directory=str(scratch), scheduler_kwargs={"dashboard_address": ":0"},
        )  # fmt: skip
    except (OSError, RuntimeError) as error:
        raise StorageError(f"--workers {workers}: they could not be started ({error}).") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    try:
        yield cluster
    finally:
        with suppress(Exception):  # a worker that hangs: it ends with this process
            cluster.close(timeout=10)
        with suppress(OSError):  # others may be using it
            for name in ("global.lock", "purge.lock"):
                (scratch / name).unlink(missing_ok=True)
            scratch.rmdir()
