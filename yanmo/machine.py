"""What this machine is: device, threads, and the fingerprint on which bit-exact promises rest."""

import ctypes
import os
import platform
import sys
from typing import Any, Literal

from pydantic import Field

from yanmo.errors import SettingsError
from yanmo.settings import Block


class Machine(Block):
    device: str = Field("auto", description="auto, cpu, cuda, mps ...")
    precision: Literal["auto", "float32"] = Field("auto", description="of matrix products; auto: float32")
    threads: int | None = Field(None, ge=1, description="of torch; null: one for each core")


def prepare(settings: Machine) -> "torch.device":  # type: ignore[name-defined]  # noqa: F821 (torch is imported when it is needed)
    """Set the threads and answer with the device. Raises SettingsError for a device that is not there."""
    import torch

    torch.set_num_threads(settings.threads or cores())
    _keep_memory()
    name = settings.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"machine.device: '{name}' can't be used here ({str(error).splitlines()[0]}); try device=cpu"
        ) from None
    return device


def _keep_memory() -> None:
    """Ask glibc to keep freed memory for the next step. By default it gives large blocks back to the kernel at once, and every step
    pays for fresh, zeroed pages again. Elsewhere this does nothing."""
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**26)):
            mallopt(option, value)


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # of malloc.h


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fingerprint() -> dict[str, Any]:
    """What must be equal for a resumed run to be bit-exact: the torch build, its kernels, the threads, the kind of processor."""
    import torch

    return {
        "torch": torch.__version__,
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "processor": platform.machine(),
        "python": ".".join(map(str, sys.version_info[:3])),
    }
