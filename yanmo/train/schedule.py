"""Learning-rate schedules: factors between 0 and 1, pure functions of the step, which counts from 0. All rise to 1 over the first `warmup`
share of the steps and come to 0 behind the last.

- linear falls in a straight line.
- cosine falls by half a wave (Loshchilov & Hutter 2017, https://arxiv.org/abs/1608.03983, equation 5, without restarts).
- wsd (warm-up, stable, decay) stays at 1 and falls over the last tenth: Hu et al. 2024, https://arxiv.org/abs/2404.06395, section 4.2,
  which leaves the form of the fall open; here 1 - sqrt (Hägele et al. 2024, https://arxiv.org/abs/2405.18392, section 4).
"""

import math
from collections.abc import Callable

_DECAY = 0.1  # share of the steps in which wsd falls


def linear(step: int, steps: int, warmup: float) -> float:
    rise = _rise(steps, warmup)
    return (step + 1) / rise if step < rise else _left(step, rise, steps)


def cosine(step: int, steps: int, warmup: float) -> float:
    rise = _rise(steps, warmup)
    return (step + 1) / rise if step < rise else (1 - math.cos(math.pi * _left(step, rise, steps))) / 2


def wsd(step: int, steps: int, warmup: float) -> float:
    rise = _rise(steps, warmup)
    fall = max(rise, steps - max(1, round(_DECAY * steps)))
    return (step + 1) / rise if step < rise else 1 - math.sqrt(1 - _left(step, fall, steps))


SCHEDULES: dict[str, Callable[..., float]] = {"linear": linear, "cosine": cosine, "wsd": wsd}


def _rise(steps: int, warmup: float) -> int:
    return max(1, round(warmup * steps))


def _left(step: int, first: int, steps: int) -> float:
    """The share of the steps from `first` on that is still to do."""
    return min(1.0, max(0.0, (steps - step) / max(1, steps - first)))
