"""Position, for attention that by itself knows none.

By rotation: q and k are turned by an angle that grows with the token's place, so that their product knows the distance. Source: Su et
al. 2021 (https://arxiv.org/abs/2104.09864), in the form that turns the two halves of a head against each other. For rows longer than
those of the training, waves are slowed: `SCALINGS`, by their Hugging Face names.

By a bias on the scores, learned for each distance (`RelativeBias`). By waves that are added to embeddings (`sinusoids`).
"""

import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

Rotate = Callable[[Tensor], Tensor]
Scaled = tuple[Tensor, float]  # the speeds of the waves, and a factor on q and k


def _linear(speeds: Tensor, base: float, given: Mapping[str, Any]) -> Scaled:
    """Position interpolation (Chen et al. 2023, https://arxiv.org/abs/2306.15595)."""
    return speeds / given["factor"], 1.0


def _llama3(speeds: Tensor, base: float, given: Mapping[str, Any]) -> Scaled:
    """Llama 3.1: slow waves by the factor, fast ones not, those between by degrees."""
    turns = given["original_max_position_embeddings"] * speeds / (2 * math.pi)  # in the rows of the training
    low, high = given["low_freq_factor"], given["high_freq_factor"]
    fast = ((turns - low) / (high - low)).clamp(0, 1)
    return speeds * (fast + (1 - fast) / given["factor"]), 1.0


def _yarn(speeds: Tensor, base: float, given: Mapping[str, Any]) -> Scaled:
    """YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071, section 3): as llama3, with a ramp over the waves' numbers, and
    sharper attention."""
    factor, longest, width = given["factor"], given["original_max_position_embeddings"], 2 * len(speeds)

    def number(turns: float) -> float:
        """Of the wave that turns so often in the rows of the training."""
        return width * math.log(longest / (turns * 2 * math.pi)) / (2 * math.log(base))

    low, high = number(given.get("beta_fast") or 32), number(given.get("beta_slow") or 1)
    if given.get("truncate", True):
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    slow = ((torch.arange(len(speeds)) - low) / max(high - low, 0.001)).clamp(0, 1)
    sharpness = given.get("attention_factor")
    if sharpness is None:
        sharpness = _sharpness(factor, given.get("mscale"), given.get("mscale_all_dim"))
    return speeds * (1 - slow + slow / factor), sharpness


def _sharpness(factor: float, scale: float | None, all_scale: float | None) -> float:
    def grown(scale: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1.0

    return grown(scale) / grown(all_scale) if scale and all_scale else grown(1.0)


SCALINGS: dict[str, Callable[[Tensor, float, Mapping[str, Any]], Scaled]] = {
    "default": lambda speeds, base, given: (speeds, 1.0),
    "linear": _linear,
    "llama3": _llama3,
    "yarn": _yarn,
}


def scalable(kind: str, given: Mapping[str, Any]) -> bool:
    """Whether these are the keys and values that a scaling needs: its waves come out as numbers."""
    try:
        base = float(given["rope_theta"])
        with torch.device("cpu"):  # also where a model of shapes alone is being made
            speeds, sharpness = SCALINGS[kind](base ** -torch.arange(0, 1, 0.25), base, given)
            sound = bool(speeds.isfinite().all())
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError):
        return False
    return base > 1 and sound and math.isfinite(sharpness)


class Rotary(nn.Module):
    """Turns q and k by their place: (t,) positions -> a function that turns (t, heads, d). Slowest wave: 2 pi * base tokens.

    scaling: {"rope_type": one of SCALINGS, ...} with the keys of that type."""

    def __init__(self, width: int, base: float, scaling: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.width, self.base, self.scaling = width, base, dict(scaling or {})

    def forward(self, positions: Tensor) -> Rotate:
        half = self.width // 2
        speeds = self.base ** (-torch.arange(half, dtype=torch.float32) / half)
        speeds, sharpness = SCALINGS[self.scaling.get("rope_type", "default")](speeds, self.base, self.scaling)
        angle = positions[:, None, None] * speeds.to(positions.device)  # (t, 1, d/2)
        cos, sin = angle.cos() * sharpness, angle.sin() * sharpness

        def rotate(x: Tensor) -> Tensor:
            a, b = x.chunk(2, -1)
            return torch.cat([a * cos - b * sin, b * cos + a * sin], -1).to(x.dtype)

        return rotate


def sinusoids(positions: Tensor, width: int) -> Tensor:
    """(t,) positions -> (t, width): the sines of all waves, then their cosines; the slowest turns once in 10000 * 2 pi tokens (Vaswani et
    al. 2017, section 3.5, which takes them by turns; Marian's order is this)."""
    longest = int(positions.max()) + 1 if len(positions) else 1
    return sinusoid_table(1 << (longest - 1).bit_length(), width).to(positions.device)[positions]


@lru_cache(maxsize=8)  # of a power of two of rows, so that growing rows make few of them
def sinusoid_table(rows: int, width: int) -> Tensor:
    """(rows, width): `sinusoids` of the positions from 0 on."""
    with torch.inference_mode(False):  # kept for training too, whoever asks first
        waves = 10_000.0 ** (-2 * torch.arange((width + 1) // 2, dtype=torch.float64) / width)
        angle = torch.arange(rows, dtype=torch.float64)[:, None] * waves
        return torch.cat([angle.sin(), angle[:, : width // 2].cos()], -1).float()


class RelativeBias(nn.Module):
    """A learned bias for each distance between a query and a key. Near distances have one each, farther ones share buckets that widen
    like a logarithm, up to `furthest`. Raffel et al. 2020 (https://arxiv.org/abs/1910.10683), section 2.1.

    both_ways: half of the buckets are for keys behind the query; else all are for those before it."""

    def __init__(self, heads: int, buckets: int, furthest: int, *, both_ways: bool) -> None:
        super().__init__()
        self.table = nn.Embedding(buckets, heads)
        self.buckets, self.furthest, self.both_ways = buckets, furthest, both_ways

    def forward(self, distances: Tensor) -> Tensor:
        """(..., queries, keys) places of keys less those of queries -> (..., heads, queries, keys)."""
        result: Tensor = self.table(self.bucket(distances)).movedim(-1, -3)
        return result

    def bucket(self, distances: Tensor) -> Tensor:
        number = self.buckets // 2 if self.both_ways else self.buckets
        away = distances.abs() if self.both_ways else (-distances).clamp(min=0)
        exact = number // 2
        far = (away.clamp(min=exact).float() / exact).log() / math.log(self.furthest / exact) * (number - exact)
        found = torch.where(away < exact, away, (exact + far.long()).clamp(max=number - 1))
        return found + number * (distances > 0) if self.both_ways else found
