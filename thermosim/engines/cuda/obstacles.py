"""Why this machine has no card to use: what the driver and the libraries of CUDA say, as a user is told it.

The texts are those of numba-cuda 0.30 and names of results of CUDA's driver interface (CUresult); the last word is
always what to do about it.
"""

from __future__ import annotations

import importlib.util
import os
import re
import warnings

__all__ = ["hidden", "is_of_cuda", "oldest_capability", "said_of_failure", "why_no_card", "why_no_compiler"]

_INSTALL = 'pip install "thermosim-engine[cuda]"'
_CPU = "or use --device cpu."
_DRIVERS = {12: 525, 13: 580}  # the first of each version of CUDA: NVIDIA, CUDA Compatibility, Table 1

# words or results by which the driver answers, or by which numba-cuda says that it does not, and what they mean
_ANSWERS = {
    "driver library cannot be found": (
        "no driver of NVIDIA is installed here, so there is no card to use (a container must be started with its "
        "cards, as by `docker run --gpus all`)"
    ),
    "NUMBA_DISABLE_CUDA": "NUMBA_DISABLE_CUDA is set, which forbids cards; unset it",
    "STUB_LIBRARY": (
        "the libcuda.so that is found first is a stub that comes with a toolkit, not the driver; take its folder out "
        "of LD_LIBRARY_PATH"
    ),
    "SYSTEM_DRIVER_MISMATCH": (
        "the driver was updated, and what runs of it in the kernel is still the old one; restart the machine, which "
        "needs the administrator"
    ),
    "COMPAT_NOT_SUPPORTED_ON_DEVICE": (
        "a package for compatibility with newer toolkits is installed that does not know this card; take its folder "
        "out of LD_LIBRARY_PATH"
    ),
    "DEVICE_UNAVAILABLE": "another process has the card for itself (`nvidia-smi` names it); wait for it",
    "HostAlloc results in CUDA_ERROR_OUT_OF_MEMORY": (
        "the memory of this machine is not enough for the frames that are copied to it; choose fewer replicas"
    ),
    "OUT_OF_MEMORY": (
        "the memory of the card ran out, which other processes may share (`nvidia-smi` names them); choose fewer "
        "replicas or record less"
    ),
    "is not found": (
        "the driver is too old for the libraries of CUDA installed here: it lacks a function; update it, which needs "
        "the administrator"
    ),
    "ECC_UNCORRECTABLE": "the memory of the card has a fault, which needs the administrator",
    "UNSUPPORTED_PTX_VERSION": (
        "the driver is too old for the libraries of CUDA installed here; update it, which needs the administrator"
    ),
    "SYSTEM_NOT_READY": (
        "the cards are not ready: where they are joined by NVSwitch nvidia-fabricmanager must run, which needs the "
        "administrator"
    ),
}


def why_no_card() -> str:
    """Empty where there is a card and a driver that answers; a sentence with the remedy where not."""
    if importlib.util.find_spec("numba_cuda") is None:
        return f"kernels for cards are compiled by numba-cuda, which is not installed: {_INSTALL}; {_CPU}"
    try:
        from numba import config, cuda

        with warnings.catch_warnings():  # of a driver older than the libraries: see `why_no_compiler`
            warnings.simplefilter("ignore")
            count = 1 if config.ENABLE_CUDASIM else len(cuda.gpus)
    except Exception as error:  # whatever the driver, or what looks for it, says
        return f"{_said(error)}; {_CPU}"
    return "" if count else f"{_none_visible()}; {_CPU}"


def is_of_cuda(error: BaseException) -> bool:
    """Whether the driver, or what talks to it, raised this: numba-cuda or cuda.core."""
    return any(base.__module__.startswith(("cuda.", "numba.cuda.")) for base in type(error).__mro__)


def said_of_failure(error: BaseException) -> str:
    """What a failure of a card, or of the driver, means to a user: part of a sentence."""
    text = " ".join(str(error).split())
    for words, meaning in _ANSWERS.items():
        if words in text:
            return meaning
    return _brief(text)


def _brief(text: str) -> str:
    """Without the number of the result, which stands after its name, and not too long."""
    return re.sub(r" ?[([]<?CUresult\.[^>)\]]*>?[)\]]", "", text).strip()[:300]


def _said(error: Exception) -> str:
    text = " ".join(str(error).removeprefix("Error at driver init:").split()).rstrip(":")
    if any(words in text for words in _ANSWERS):
        return said_of_failure(error)
    if "NO_DEVICE" in text:
        return _none_visible()
    if "error occurred during load" in text:
        return f"the driver is found and cannot be loaded: {text.partition('during load: ')[2][:300]}"
    if "CUDA_ERROR" in text:
        return f"the driver does not answer ({_brief(text)}); `nvidia-smi` may say more"
    return f"numba-cuda cannot be used here ({type(error).__name__}: {text[:300]}); {_INSTALL} brings what was tested"


def _none_visible() -> str:
    if said := hidden():
        return f"no card is visible to this process, for {said}"
    return (
        "the driver shows no card to this process; ask the scheduler, or the container, for one (srun --gres=gpu:1, "
        "docker run --gpus all)"
    )


def hidden() -> str:
    """What hides cards, or nothing."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return "" if visible is None else f"CUDA_VISIBLE_DEVICES = {visible!r}"


def why_no_compiler() -> str:
    """Empty where kernels can be compiled for cards that there are, and loaded; a sentence with the remedy where not.

    A driver runs what libraries of its own major version, or an older one, have compiled.
    """
    from numba import config

    if config.ENABLE_CUDASIM:
        return ""
    from numba.cuda.cudadrv import driver, libs, nvvm, runtime

    try:
        made_for = runtime.get_version()
        nvvm.NVVM().get_version()
        libs.open_libdevice()
    except Exception as error:  # of what is not found
        line = " ".join(str(error).split()).partition(",")[0][:160]
        return f"there is a card, but not all libraries of CUDA that compile for it ({line}): {_INSTALL}; {_CPU}"
    knows = driver.driver.get_version()
    if knows[0] >= made_for[0]:
        return ""
    said = f"the driver knows CUDA up to {_dotted(knows)}, and the libraries installed here are of CUDA {made_for[0]}"
    if knows[0] < 12:
        needed = _DRIVERS.get(made_for[0], 580)
        return f"{said}; update the driver, to {needed} or later, which needs the administrator; {_CPU}"
    return f"{said}: {_INSTALL} brings those of CUDA 12; {_CPU}"


def oldest_capability() -> tuple[int, int]:
    """The least compute capability that the libraries compile for; they are there."""
    from numba import config

    if config.ENABLE_CUDASIM:
        return 0, 0
    from numba.cuda.cudadrv import nvrtc

    return tuple(min(nvrtc.get_supported_ccs()))[:2]


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
