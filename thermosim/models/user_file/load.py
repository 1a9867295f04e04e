"""A user's own model: one Python file that defines MODEL, or a network's functions, named by the case.

A file is run to be read, and may do anything: what it prints goes to the standard error, what it raises (SystemExit
too) or waits for becomes a sentence, and it stands alone, because only its own text is kept with an ensemble.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import io
import linecache
import os
import signal
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, NoReturn

from thermosim.data.utf8 import why_not_text
from thermosim.model import Model
from thermosim.models.user_file.blame import MODULE, blamed
from thermosim.models.user_file.fields import field_faults
from thermosim.models.user_file.network_file import is_network, network_model
from thermosim.models.user_file.torch_file import as_jax, is_torch
from thermosim.network import INSTALL, INSTALL_TORCH

__all__ = ["allow", "contained", "load_user_model", "model_of_text"]

PATIENCE = 60.0  # seconds until what a user's code does counts as waiting forever

# what is said where a file imports what an extra has
_INSTALLED = {
    **dict.fromkeys(("jax", "jaxlib"), f"; {INSTALL} installs JAX"),
    "torch": f"; {INSTALL_TORCH} installs it",
}

_loaded: dict[str, Model] = {}  # by the text of the file: what was loaded last, for a file may import what has changed


def load_user_model(path: Path) -> tuple[Model | None, list[str]]:
    """The MODEL of a file, made anew, or None and what is wrong with it."""
    key = f"model.file = {path.name!r}"
    if not path.is_file():
        return None, [f"{key}: no such file next to the case (looked for {path})."]
    try:
        content = path.read_bytes()
    except OSError as error:
        return None, [f"{key}: cannot be read: {error.strerror}."]
    if why := why_not_text(content):
        return None, [f"{key}: {why}."]
    text = path.read_text("utf-8-sig")
    if alone := _neighbours(text, path):
        return None, [f"{key}: {fault}" for fault in alone]
    try:
        module = _module(text, str(path))
        model = _model(module, text)
    except ValueError as error:
        return None, [f"{key}: {error}"]
    if "MODEL" in vars(module) and (faults := field_faults(model)):
        return None, [f"{key}: {fault}" for fault in faults]
    _loaded[text] = model
    return model, []


def model_of_text(text: str) -> Model:
    """The model that the text of a file defines: the one loaded last from such a file. Raises ValueError."""
    if text not in _loaded:
        _loaded[text] = _model(_module(text, "model.py"), text)
    return _loaded[text]


def _module(text: str, file: str) -> ModuleType:
    name = MODULE + hashlib.sha256(text.encode()).hexdigest()[:12]
    module = ModuleType(name)
    module.__file__ = file
    module.__dict__["print"] = _print_aside
    sys.modules[name] = module
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    try:
        with contained():
            allow(PATIENCE)
            exec(compile(text, file, "exec"), module.__dict__)
    except SyntaxError as error:
        place = f"{Path(error.filename or file).name}, line {error.lineno}: " if error.lineno else ""
        raise ValueError(f"cannot be imported: {place}{type(error).__name__}: {error.msg}.") from None
    except Exception as error:
        said = blamed(error) or f"{type(error).__name__}: {error}"
        missing = _INSTALLED.get(str(error.name), "") if isinstance(error, ModuleNotFoundError) else ""
        raise ValueError(f"cannot be imported: {said}{missing}.") from None
    return module


def _model(module: ModuleType, text: str) -> Model:
    model = getattr(module, "MODEL", None)
    if isinstance(model, Model):
        return model
    if not is_network(module) and not is_torch(module):
        raise ValueError(
            "defines no MODEL = thermosim.Model(...), and no network: init(key) and loss(params, batch) in JAX, or "
            "module() and loss(module, x, y) in torch."
        )
    try:
        with contained():
            allow(PATIENCE)
            return network_model(as_jax(module) if is_torch(module) else module, text)
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(f"{blamed(error) or f'{type(error).__name__}: {error}'}.") from None


def _print_aside(*values: Any, sep: str = " ", end: str = "\n", file: Any = None, flush: bool = False) -> None:
    """`print` of a user's file: what a command prints is read by other programs."""
    print(*values, sep=sep, end=end, file=file or sys.stderr, flush=flush)


class _Stopped(Exception):
    """What a user's code did that would have ended or stopped this process."""


def allow(seconds: float) -> None:
    """Inside `contained`, the time that what is run next may take; 0 is no limit."""
    if signal.getsignal(signal.SIGALRM) is _stop and threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped(f"still running after {PATIENCE:g} s")


@contextlib.contextmanager
def contained() -> Iterator[None]:
    """Run a user's code so that it cannot end this process, read from or print to the terminal; see `allow`.

    Signals can only be set in the main thread; elsewhere there is no limit of time. Raises what the code raises,
    SystemExit, a KeyboardInterrupt of its own and other such errors as an Exception.
    """
    main = threading.current_thread() is threading.main_thread()
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal interrupted
        interrupted = True
        raise KeyboardInterrupt

    def leave(status: int) -> NoReturn:
        raise _Stopped(f"calls os._exit({status}), which would end thermosim")

    handlers, before = ((signal.SIGALRM, _stop), (signal.SIGINT, interrupt)), dict[int, Any]()
    timer = (0.0, 0.0)
    exit_at_once, stdin = os._exit, sys.stdin
    try:
        if main:
            timer = signal.setitimer(signal.ITIMER_REAL, 0.0)
            before = {number: signal.signal(number, handler) for number, handler in handlers}
            sys.stdin, os._exit = io.StringIO(), leave
        with contextlib.redirect_stdout(sys.stderr) if main else contextlib.nullcontext():
            yield
    except BaseException as error:
        if interrupted or isinstance(error, Exception):
            raise
        raise _Stopped(f"raises {type(error).__name__}, which would end thermosim").with_traceback(
            error.__traceback__
        ) from None
    finally:
        if main:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            sys.stdin, os._exit = stdin, exit_at_once
            for number, handler in before.items():
                signal.signal(number, handler)
            signal.setitimer(signal.ITIMER_REAL, *timer)


def _neighbours(text: str, path: Path) -> list[str]:
    """Files beside the model's that it imports: they are neither kept with an ensemble nor sent to other machines."""
    names = set()
    try:
        tree = ast.parse(text)
    except SyntaxError:  # is told where the file is compiled
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    beside = [n for n in sorted(names) if (path.parent / f"{n}.py").is_file() or (path.parent / n).is_dir()]
    # a folder that is on the path because the command was given there would not be the next time
    elsewhere = [place for place in sys.path if place and Path(place).resolve() != Path.cwd()]
    return [
        f"imports {name!r}, a file beside it. Only the text of the model's own file is kept with an ensemble, so "
        "resume, check and workers would miss it: put what it needs into the file, or its folder on PYTHONPATH."
        for name in beside
        if name not in ("thermosim", *sys.builtin_module_names) and PathFinder.find_spec(name, elsewhere) is None
    ]
