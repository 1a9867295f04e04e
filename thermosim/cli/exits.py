"""Exit codes, and what is said of an error."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Exit", "explained"]


class Exit(IntEnum):
    """What a command tells the shell."""

    FINE = 0
    FAILED = 1  # a check that is not consistent, checksums that disagree, a torture that lost something
    REFUSED = 2  # a case, a file or arguments that will not do, or nothing there to compare or draw
    DIVERGED = 3
    FAULT = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141


def explained(error: BaseException) -> tuple[str, Exit]:
    """A paragraph for an error, and the exit code."""
    from thermosim.case.faults import CaseError
    from thermosim.data import DataError
    from thermosim.models.user_file.blame import blamed
    from thermosim.run.devices import DeviceError
    from thermosim.storage import StorageError

    if isinstance(error, (CaseError, DataError, DeviceError, StorageError)):
        return str(error), Exit.REFUSED
    if said := blamed(error):
        return f"{said}\nThis arose in the user's model; --debug shows the way there.", Exit.REFUSED
    if isinstance(error, MemoryError):  # what was not foreseen, or was forced
        wanted = f" ({error})" if str(error) else ""
        return (
            f"the memory of this machine is not enough{wanted}. What was sealed is whole; choose fewer replicas, "
            "points or samples, or record less."
        ), Exit.REFUSED
    if isinstance(error, OSError) and error.strerror:  # the machine's, not ours: a full disk, a name too long
        where = "the output" if error.filename is None else str(error.filename)
        return f"{where}: {error.strerror}. Mend that, or name another place.", Exit.REFUSED
    message = f"{type(error).__name__}: {error}\nThis is a fault of the program; --debug shows where."
    return message, Exit.FAULT
