"""Learning-rate schedules: factors between 0 and 1, pure functions of the step."""


def linear(step: int, steps: int, warmup: float) -> float:
    """Rises to 1 over the first `warmup` share of the steps, then falls to 0 at the end. `step` counts from 0."""
    rise = max(1, round(warmup * steps))
    if step < rise:
        return (step + 1) / rise
    return max(0.0, (steps - step) / max(1, steps - rise))
