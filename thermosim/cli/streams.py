"""stdout and stderr as they may be: closed, full, of an old encoding, or with a reader that has gone."""

from __future__ import annotations

import contextlib
import io
import os
import sys

__all__ = ["close_what_is_broken", "flush_streams", "open_streams"]


def open_streams() -> None:
    """See that there are three streams that take any character.

    What is closed is opened to nowhere: the next file that is opened, an ensemble, would have its number and receive
    what libraries print.
    """
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(handle)
    sys.stdout = sys.stdout or open(os.devnull, "w")  # noqa: SIM115  open to the end
    sys.stderr = sys.stderr or open(os.devnull, "w")  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def flush_streams() -> None:
    """Write what is still held back. Raises OSError where that cannot be done."""
    sys.stdout.flush()
    sys.stderr.flush()


def close_what_is_broken() -> None:
    """Point what cannot be written to nowhere, or the end of the process would be a second failure."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            with contextlib.suppress(OSError):  # a stream that is no file
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
