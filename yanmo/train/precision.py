"""The precision of training's matrix products: what `machine.precision=auto` comes to on this machine."""

import time
from functools import cache

import torch
from torch.nn import functional as F

from yanmo.nn.linear import linear


def choose(asked: str, device: torch.device) -> str:
    """What `Machine.precision` comes to on a device: "float32" or "bfloat16"."""
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and gain() >= _CLEARLY else "float32"


@cache  # so that one process decides alike
def gain() -> float:
    """How many times faster a small layer learns on this processor in bfloat16, casts and all; about 50 ms of one thread. Counted is that
    thread's own time, whatever else runs here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)  # the run's own random state stays as it is
    x, wide, narrow = (
        torch.randn(*shape, generator=generator, requires_grad=True) for shape in ((256, 256), (512, 256), (256, 512))
    )

    def learn(half: bool) -> float:
        began = time.thread_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = x + linear(F.gelu(linear(x, wide)), narrow)
        y.sum().backward()  # type: ignore[no-untyped-call]
        return time.thread_time() - began

    warm = learn(half=False), learn(half=True)
    # A processor without such products may take a hundred times as long for each.
    times = [(learn(half=False), learn(half=True)) for _ in range(1 if warm[1] > _SLOW else 5)]
    torch.set_num_threads(threads)
    return min(full for full, _ in times) / min(half for _, half in times)


_CLEARLY = 1.5  # a gain below this is not worth the digits
_SLOW = 0.05  # seconds
