"""What this machine is: device, threads, memory, which library multiplies, and the fingerprint on which bit-exact promises rest."""

import ctypes
import os
import platform
import resource
import sys
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from yanmo.errors import SettingsError
from yanmo.settings import Block


class Machine(Block):
    device: str = Field("auto", description="auto, cpu, cuda, mps ...")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="of the matrix products of training; auto: bfloat16 where a probe shows that this machine gains by it",
    )
    threads: int | None = Field(None, ge=1, description="of torch; null: one for each core")
    workers: int = Field(0, ge=0, description="threads that make training batches ahead of the step; 0: none")


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


@cache
def prefers_onednn() -> bool:
    """Whether oneDNN multiplies float32 matrices with wider instructions here than MKL, by which torch does it: MKL keeps AVX-512 for
    Intel's processors."""
    import torch

    there = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return there and wide and _facts().get("vendor_id") == "AuthenticAMD"


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory() -> int:
    """Of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (1 << 20 if sys.platform == "darwin" else 1 << 10))


def free_memory() -> int:
    """Bytes that a process may still take: what the system says is available, or what is left of the container's limit."""
    try:
        facts = Path("/proc/meminfo").read_text("ascii")
        found = 1024 * int(facts.partition("MemAvailable:")[2].split()[0])
    except (OSError, ValueError, IndexError):  # not Linux
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    group = Path("/sys/fs/cgroup")
    try:
        left = int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no container, or one without a limit
        return found
    return max(0, min(found, left))


def fingerprint() -> dict[str, Any]:
    """What must be equal for a resumed run to be bit-exact: the torch build, its kernels and what steers them, the threads, the kind of
    processor."""
    import torch

    steering = {key: value for key, value in sorted(os.environ.items()) if key.startswith(_STEERING)}
    return {
        "torch": torch.__version__,
        "build": str(torch.version.git_version)[:12],
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "flags": {
            "matmul_precision": torch.get_float32_matmul_precision(),
            "mkldnn": torch.backends.mkldnn.enabled,
            "deterministic": torch.are_deterministic_algorithms_enabled(),
            **steering,
        },
        "threads": torch.get_num_threads(),
        "processor": _processor(),
        "python": ".".join(map(str, sys.version_info[:3])),
    }


_STEERING = (
    "ATEN_",
    "DNNL_",
    "ONEDNN_",
    "MKL_",
    "OMP_",
    "CUBLAS_",
)  # beginnings of variables that libraries choose kernels by


def _processor() -> str:
    """The architecture and, where the system says it, the model: math libraries choose their kernels by it."""
    facts = _facts()
    named = [facts[name] for name in ("model name", "cpu family", "model") if name in facts]
    return " ".join([platform.machine(), *named])


def _facts() -> dict[str, str]:
    """What Linux says of the first processor; nothing elsewhere."""
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text("utf-8").split("\n\n")[0].splitlines()]
    except OSError:
        return {}
    return {name.strip(): value.strip() for name, _, value in lines}
