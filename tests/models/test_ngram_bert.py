"""The n-gram encoder against loops that say what its parts do."""

import math

import torch
from torch import Tensor

from tests.families import CASES, Case
from tests.measured import STATES, within
from tests.models.test_contracts import fresh, packed, rectangle
from yanmo.text.batches import Batch

ODD = next(case for case in CASES if case.family == "yanmo-ngram-bert" and case.name == "odd")


def turned(x: Tensor, place: int, base: float) -> Tensor:
    """A head (d,) at a place: each of its halves' pairs of numbers as a complex one, multiplied by a wave."""
    half = len(x) // 2
    waves = torch.tensor([place * base ** (-n / half) for n in range(half)])
    pairs = torch.complex(x[:half], x[half:]) * torch.polar(torch.ones(half), waves)
    return torch.cat([pairs.real, pairs.imag])


def gelu(x: Tensor) -> Tensor:
    """Hendrycks and Gimpel 2016, section 2, the approximation by tanh."""
    return 0.5 * x * (1 + torch.tanh((2 / math.pi) ** 0.5 * (x + 0.044715 * x**3)))


def by_loops(model: torch.nn.Module, ids: Tensor) -> Tensor:
    config, parts = model.config, model.embeddings
    x = torch.zeros(len(ids), config.hidden_size)
    for place in range(len(ids)):
        x[place] = parts.word.weight[ids[place]]
        for ngram in parts.ngrams:
            known = {int(key): row for row, key in enumerate(ngram.keys)}
            if place >= ngram.size - 1:
                number = sum(int(ids[place - back]) * config.vocab_size**back for back in range(ngram.size))
                if number in known:
                    x[place] += ngram.table.weight[known[number]]
    x = parts.norm(x)
    conv, reach, mixed = parts.conv, config.kernel_size // 2, torch.zeros_like(x)
    for place in range(len(ids)):
        for tap in range(config.kernel_size):
            if 0 <= place + tap - reach < len(ids):
                mixed[place] += conv.weight[tap] * x[place + tap - reach]
    x = x + conv.output(gelu(conv.norm(mixed)))
    width = config.hidden_size // config.num_attention_heads
    for layer in model.layers:
        part, normed, heads = layer.attention.part, layer.attention.norm(x), []
        q, k, v = part.query(normed), part.key(normed), part.value(normed)
        for head in range(config.num_attention_heads):
            own = slice(head * width, (head + 1) * width)
            turn = [[turned(row[own], n, config.rotary_base) for n, row in enumerate(part)] for part in (q, k)]
            scores = torch.stack(turn[0]) @ torch.stack(turn[1]).t() / width**0.5
            heads.append(scores.softmax(-1) @ v[:, own])
        x = x + part.output(torch.cat(heads, -1))
        x = x + layer.feedforward.part.down(gelu(layer.feedforward.part.up(layer.feedforward.norm(x))))
    result: Tensor = model.norm(x)
    return result


def test_by_loops() -> None:
    model = fresh(Case(ODD.name, ODD.family, None, {**ODD.values, "hidden_size": 24}), "base")
    ids, mask, _ = rectangle(ODD.values["vocab_size"])
    run = packed(ids, mask)
    with torch.no_grad():
        found = model.hidden(Batch(run))
        expected = torch.cat([by_loops(model, row) for row in run.ids.split(run.lengths)])
    within("yanmo-ngram-bert", ODD.name, STATES, "loops of what its parts do", found - expected)
    assert any((ngram.keys >= 0).any() for ngram in model.embeddings.ngrams)
