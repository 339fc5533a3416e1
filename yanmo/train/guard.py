"""What must not reach the weights: a loss or gradient that is not a number and, on request, one far above those before it.

Source of the spike rule: OLMo 2 (2025, section 3), whose optimiser passes over a step whose loss or gradient norm lies more than
six standard deviations above the mean of the last 128.
"""

import math
import statistics
from collections.abc import Sequence

WINDOW = 128  # steps that a spike is measured against
_ENOUGH = 32  # steps before which nothing is called a spike


def fault(loss: float, norm: float, recent: Sequence[Sequence[float]], deviations: float | None) -> str | None:
    """Why a step must not be taken, in words; None when it may. recent: (loss, norm) of the steps before. deviations: above the mean at
    which a number is a spike; None: never."""
    if not (math.isfinite(loss) and math.isfinite(norm)):
        return "not a finite number"
    if deviations is not None and len(recent) >= _ENOUGH:
        for name, value, past in zip(("loss", "gradient norm"), (loss, norm), zip(*recent, strict=True), strict=True):
            mean, spread = statistics.fmean(past), statistics.pstdev(past)
            if value > mean + deviations * spread:
                return f"a spike: the {name} of the last {len(past)} steps was {mean:.4g}, give or take {spread:.2g}"
    return None
