"""The one attention of all families, and the blocks round it: of a row to itself, and to another.

`attend` is a thin cover of torch's `scaled_dot_product_attention`. It knows two shapes of input: rectangles, and rows packed end
to end without padding. Position reaches it only through q and k (rotated by the caller) or through `bias`.

Shapes: b rows, h heads (g key/value heads, g divides h), l queries, s keys, d width of a head, t tokens of all rows together.
Source: Vaswani et al. 2017, section 3.2; grouped heads: Ainslie et al. 2023.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.nn.linear import Linear

Past = Callable[..., Tensor]  # (q, k, v, *, bias, scale, window) -> the mix: one layer of a `cache.KeyValues`
Recall = Callable[..., Tensor]  # (q, *, scale) -> the mix with the keys and values of a memory that it keeps
_recorders: list[list[list[Tensor]]] = []


@contextmanager
def record() -> Iterator[list[list[Tensor]]]:
    """Collect the attention probabilities of every `attend` call inside: a list per call, in it a (b, h, l, s) tensor for each
    kernel call (one for a rectangle, one per distinct length for packed rows). Slower than the fused kernel, and equal to it."""
    seen: list[list[Tensor]] = []
    _recorders.append(seen)
    try:
        yield seen
    finally:
        _recorders.pop()


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None = None,
    mask: Tensor | None = None,
    lengths: Sequence[int] | None = None,
    key_lengths: Sequence[int] | None = None,
    causal: bool = False,
    window: int | None = None,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Attention of queries to keys.

    Rectangles: q (b, h, l, d), k and v (b, g, s, d) -> (b, h, l, d). Packed rows: q (t, h, d), k and v (t', g, d) with `lengths`
    (and `key_lengths` where the keys' rows differ) -> (t, h, d): one kernel call per distinct length, nothing padded or masked.

    bias: added to the scores, broadcastable to (b, h, l, s); for packed rows (h, longest, longest), sliced to each row's length.
    mask: boolean, True where a key may be seen, broadcastable to (b, h, l, s); rectangles only. A query that may see nothing gets 0.
    causal: the last query sees all keys, the one before all but the last, and so on (aligned to the end of k).
    window: with causal, a query sees itself and the window - 1 keys before it only.
    """
    for seen in _recorders:
        seen.append([])
    if lengths is None:
        return _rectangle(q, k, v, bias=bias, mask=mask, causal=causal, window=window, scale=scale, dropout=dropout)
    if mask is not None:
        raise ValueError("packed rows need no mask: give lengths, or rectangles with a mask")
    sizes = tuple(lengths)
    order, groups = _groups(sizes, tuple(key_lengths) if key_lengths is not None else sizes)
    if order is not None:
        q, k, v = q[order.queries], k[order.keys], v[order.keys]
    parts = zip(
        groups,
        _split(q, [rows * size for rows, size, _ in groups]),
        _split(k, [rows * size for rows, _, size in groups]),
        _split(v, [rows * size for rows, _, size in groups]),
        strict=True,
    )
    outputs = []
    for (rows, queries, keys), q_part, k_part, v_part in parts:
        output = _rectangle(
            q_part.view(rows, queries, *q_part.shape[1:]).transpose(1, 2),
            k_part.view(rows, keys, *k_part.shape[1:]).transpose(1, 2),
            v_part.view(rows, keys, *v_part.shape[1:]).transpose(1, 2),
            bias=None if bias is None else bias[..., :queries, :keys],
            mask=None,
            causal=causal,
            window=window,
            scale=scale,
            dropout=dropout,
        )
        outputs.append(output.transpose(1, 2).reshape(rows * queries, *q_part.shape[1:]))
    result = outputs[0] if len(outputs) == 1 else torch.cat(outputs)
    return result if order is None else result[order.back]


def _split(x: Tensor, sizes: list[int]) -> Sequence[Tensor]:
    """By one split, not by slices: its backward is one concatenation, that of n slices n full-size tensors of zeros. What is whole
    stays so, since that concatenation copies."""
    return (x,) if len(sizes) == 1 else torch.split(x, sizes)


class _Order:
    """Where the tokens of rows go when rows of equal length are brought together, and back."""

    def __init__(self, lengths: tuple[int, ...], key_lengths: tuple[int, ...], rows: list[int]) -> None:
        self.queries = _tokens(lengths, rows)
        self.keys = _tokens(key_lengths, rows)
        self.back = torch.empty_like(self.queries)
        self.back[self.queries] = torch.arange(len(self.queries))


def _tokens(lengths: tuple[int, ...], rows: list[int]) -> Tensor:
    starts = [0]
    for length in lengths:
        starts.append(starts[-1] + length)
    return torch.cat([torch.arange(starts[row], starts[row] + lengths[row]) for row in rows])


@lru_cache(maxsize=64)  # every layer of a model asks about the same batch
def _groups(lengths: tuple[int, ...], key_lengths: tuple[int, ...]) -> tuple[_Order | None, list[tuple[int, int, int]]]:
    """([order], [(rows, query length, key length)]): runs of rows of equal length; an order only when they don't lie together."""
    pairs = list(zip(lengths, key_lengths, strict=True))
    rows = sorted(range(len(pairs)), key=pairs.__getitem__)
    together = 1 + sum(a != b for a, b in pairwise(pairs)) == len(set(pairs))
    if together:
        rows = list(range(len(pairs)))
    groups: list[tuple[int, int, int]] = []
    for row in rows:
        if groups and groups[-1][1:] == pairs[row]:
            groups[-1] = (groups[-1][0] + 1, *pairs[row])
        else:
            groups.append((1, *pairs[row]))
    with torch.inference_mode(False):  # kept for training too, whoever asks first
        return (None if together else _Order(lengths, key_lengths, rows)), groups


def _rectangle(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    bias: Tensor | None,
    mask: Tensor | None,
    causal: bool,
    window: int | None,
    scale: float | None,
    dropout: float,
) -> Tensor:
    queries, keys = q.shape[-2], k.shape[-2]
    near = window is None or window >= keys
    # torch's own is_causal aligns to the start of k, which is right only without a cache.
    native = causal and near and queries == keys and mask is None and bias is None and not _recorders
    if causal and not native and (queries > 1 or not near):
        earlier = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
        if window is not None and not near:
            earlier = earlier.triu(keys - queries - window + 1)
        mask = earlier if mask is None else mask & earlier
    alive = None
    if mask is not None:
        alive = mask.any(-1, keepdim=True)
        mask = mask | ~alive  # a row of nothing but -inf would be NaN; its output is set to 0 below
        if bias is not None:
            bias = bias.masked_fill(~mask, torch.finfo(bias.dtype).min)
    allowed = mask if bias is None else bias.to(q.dtype)
    grouped = k.shape[-3] != q.shape[-3]
    if _recorders:
        output = _plain(q, k, v, allowed, scale, dropout)
    else:
        output = _kernel(q, k, v, allowed, dropout_p=dropout, is_causal=native, scale=scale, enable_gqa=grouped)
    return output if alive is None else output.masked_fill(~alive, 0.0)


def _kernel(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, **how: Any) -> Tensor:
    """torch's own; for short rows on a processor the textbook's products. In a mixed run on a processor it stays float32: its backward
    takes four times as long in bfloat16 (torch 2.13), more than the run's other products gain."""
    if q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, allowed, **how)
    mixed = torch.is_autocast_enabled("cpu")
    if mixed:
        q, k, v = q.float(), k.float(), v.float()
        if allowed is not None and allowed.dtype != torch.bool:
            allowed = allowed.float()
    with torch.autocast("cpu", enabled=False) if mixed else nullcontext():
        if allowed is None and max(q.shape[-2], k.shape[-2]) <= _SHORT and not how["enable_gqa"]:
            return _products(q, k, v, how["is_causal"], how["scale"], how["dropout_p"])
        return F.scaled_dot_product_attention(q, k, v, allowed, **how)


_SHORT = 64  # tokens; up to here the fused kernel takes longer than the products that it saves (torch 2.13)


def _products(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float | None, dropout: float) -> Tensor:
    """(b, h, l, d), (b, h, s, d) twice -> (b, h, l, d), by one product after another; with causal, l = s."""
    flat_q, flat_k, flat_v = (x.flatten(0, 1) for x in (q, k, v))
    added = _ahead(q.shape[-2], q.dtype) if causal else q.new_zeros(())
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    shares = torch.baddbmm(added, flat_q, flat_k.transpose(1, 2), beta=int(causal), alpha=scale).softmax(-1)
    return torch.bmm(F.dropout(shares, dropout, training=dropout > 0), flat_v).view(*q.shape[:-1], v.shape[-1])


@lru_cache(maxsize=128)
def _ahead(size: int, dtype: torch.dtype) -> Tensor:
    """(size, size): -inf where a key stands behind its query, else 0."""
    with torch.inference_mode(False):  # kept for training too, whoever asks first
        return torch.full((size, size), -math.inf, dtype=dtype).triu(1)


def _plain(q: Tensor, k: Tensor, v: Tensor, allowed: Tensor | None, scale: float | None, dropout: float) -> Tensor:
    """The textbook form, for recording."""
    repeats = q.shape[-3] // k.shape[-3]
    k, v = k.repeat_interleave(repeats, -3), v.repeat_interleave(repeats, -3)
    scores = q @ k.transpose(-1, -2) * (scale if scale is not None else 1 / math.sqrt(q.shape[-1]))
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -math.inf) if allowed.dtype == torch.bool else scores + allowed
    probabilities = scores.softmax(-1)
    for seen in _recorders:
        seen[-1].append(probabilities)
    return F.dropout(probabilities, dropout, training=dropout > 0) @ v


class SelfAttention(nn.Module):
    """Projections, heads and `attend`: (t, width) packed rows -> (t, width). Linear layers are separate, since adapters name them.

    groups: key/value heads, each shared by heads / groups query heads. head_width: where it is not width / heads. bias: of the
    projections; output_bias: of the last layer, where it differs. norm: makes a norm of q and of k, head by head. scale: of the
    scores; None: 1 / sqrt(head width).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        groups: int | None = None,
        head_width: int | None = None,
        bias: bool = True,
        output_bias: bool | None = None,
        dropout: float = 0.0,
        causal: bool = False,
        window: int | None = None,
        norm: Callable[[int], nn.Module] | None = None,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.groups, size = heads, groups or heads, head_width or width // heads
        self.query = Linear(width, heads * size, bias=bias)
        self.key = Linear(width, self.groups * size, bias=bias)
        self.value = Linear(width, self.groups * size, bias=bias)
        self.output = Linear(heads * size, width, bias=bias if output_bias is None else output_bias)
        self.query_norm = norm(size) if norm else nn.Identity()
        self.key_norm = norm(size) if norm else nn.Identity()
        self.dropout, self.causal, self.window, self.scale = dropout, causal, window, scale

    def forward(
        self,
        x: Tensor,
        *,
        lengths: Sequence[int],
        rotate: Callable[[Tensor], Tensor] | None = None,
        bias: Tensor | None = None,
        past: Past | None = None,
    ) -> Tensor:
        """rotate: what turns q and k by position (`position.Rotary`). bias: on the scores (`position.RelativeBias`). past: attends to
        what was decoded before, too."""
        q = self.query_norm(self.query(x).unflatten(-1, (self.heads, -1)))
        k = self.key_norm(self.key(x).unflatten(-1, (self.groups, -1)))
        v = self.value(x).unflatten(-1, (self.groups, -1))
        if rotate is not None:
            q, k = rotate(q), rotate(k)
        if past is not None:
            mixed = past(q, k, v, bias=bias, window=self.window, scale=self.scale)
        else:
            mixed = attend(
                q,
                k,
                v,
                bias=bias,
                lengths=lengths,
                causal=self.causal,
                window=self.window,
                scale=self.scale,
                dropout=self.dropout if self.training else 0.0,
            )
        result: Tensor = self.output(mixed.flatten(-2))
        return result


class CrossAttention(nn.Module):
    """Queries of one run of rows, keys and values of another, the memory: (t, width) and (s, width) -> (t, width). Vaswani et al. 2017,
    section 3.2.3. head_width: where it is not width / heads. bias: of the linear layers. scale: None: 1 / sqrt(head width)."""

    def __init__(
        self,
        width: int,
        heads: int,
        *,
        head_width: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        scale: float | None = None,
    ) -> None:
        super().__init__()
        self.heads, size = heads, head_width or width // heads
        self.query = Linear(width, heads * size, bias=bias)
        self.key = Linear(width, heads * size, bias=bias)
        self.value = Linear(width, heads * size, bias=bias)
        self.output = Linear(heads * size, width, bias=bias)
        self.dropout, self.scale = dropout, scale

    def keep(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and the values of a memory (s, width): (s, heads, d) each."""
        return self.key(memory).unflatten(-1, (self.heads, -1)), self.value(memory).unflatten(-1, (self.heads, -1))

    def forward(
        self,
        x: Tensor,
        *,
        lengths: Sequence[int],
        memory: tuple[Tensor, Sequence[int]] | None = None,
        recall: Recall | None = None,
    ) -> Tensor:
        """memory: its states and lengths; or recall: what attends to one that a `cache.KeyValues` keeps."""
        q = self.query(x).unflatten(-1, (self.heads, -1))
        if recall is not None:
            mixed = recall(q, scale=self.scale)
        elif memory is not None:
            k, v = self.keep(memory[0])
            drop = self.dropout if self.training else 0.0
            mixed = attend(q, k, v, lengths=lengths, key_lengths=memory[1], scale=self.scale, dropout=drop)
        else:
            raise ValueError("this decoder attends to a memory; give it one, or a state that keeps one")
        result: Tensor = self.output(mixed.flatten(-2))
        return result
