"""A linear-chain conditional random field (Lafferty et al. 2001; over a network's states Collobert et al. 2011, section 3.3.2).

    score of tags y of a row = start[y_1] + emissions[1, y_1] + sum over i > 1 of transitions[y_(i-1), y_i] + emissions[i, y_i] + end[y_n]

Rows of unequal lengths stand packed end to end. The steps of time are a loop, the rows in each are one operation: rows are sorted by
length, and a row that has ended takes no part any more, so nothing is computed for padding.
Shapes: n words of all rows, k tags, rows of at least one word each (rows without words add nothing: leave them out).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

IMPOSSIBLE = -1e4  # below every score, and finite: a row that no path fits still has a best one, and sums stay numbers


class Chain(NamedTuple):
    """What tags say of their neighbours."""

    transitions: Tensor  # (k, k) from, to
    start: Tensor  # (k,)
    end: Tensor  # (k,)

    def within(self, legal: "Chain") -> "Chain":
        """The same where `legal` (booleans) is true, IMPOSSIBLE elsewhere."""
        return Chain(*(mine.masked_fill(~allowed, IMPOSSIBLE) for mine, allowed in zip(self, legal, strict=True)))

    def backwards(self) -> "Chain":
        return Chain(self.transitions.T, self.end, self.start)

    def double(self) -> "Chain":
        return Chain(*(part.double() for part in self))


class CRF(nn.Module):
    """A chain that is learnt: `scale` times the parameters, so that one rate serves them and a network that wants small steps. It begins
    at 0, where every tag is judged by itself."""

    def __init__(self, tags: int, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        self.transitions = nn.Parameter(torch.zeros(tags, tags))
        self.start = nn.Parameter(torch.zeros(tags))
        self.end = nn.Parameter(torch.zeros(tags))

    @property
    def chain(self) -> Chain:
        return Chain(*(self.scale * part for part in (self.transitions, self.start, self.end)))


class _Order:
    """Packed rows by step of time: the first words of all rows, then the second ones ... The longest row comes first."""

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        sizes = np.asarray(lengths)
        by_length = np.argsort(-sizes, kind="stable")
        starts = (np.cumsum(sizes) - sizes)[by_length]
        steps = np.arange(sizes.max(initial=0))
        self.counts: list[int] = np.searchsorted(-sizes[by_length], -steps, side="left").tolist()  # rows in each step
        places = np.concatenate([starts[:count] + step for step, count in zip(steps, self.counts, strict=True)])
        self.places = torch.from_numpy(places).to(device)  # (n,) where each word stands in the packed rows
        self.rows = torch.from_numpy(by_length).to(device)  # (rows,) their numbers

    def steps(self, packed: Tensor) -> list[Tensor]:
        """Packed (n, ...) -> for each step (rows in it, ...)."""
        return list(torch.split(packed[self.places], self.counts))

    def packed(self, steps: Sequence[Tensor]) -> Tensor:
        """The inverse."""
        found = torch.cat(list(steps))
        return torch.empty_like(found).index_copy(0, self.places, found)


def forward(emissions: Tensor, lengths: Sequence[int], chain: Chain) -> Tensor:
    """(n, k): the log of the sum over all beginnings of a row that end in this word with this tag."""
    order = _Order(lengths, emissions.device)
    found: list[Tensor] = []
    for said in order.steps(emissions):
        if not found:
            found.append(chain.start + said)
        else:
            before = found[-1][: len(said), :, None]  # rows, from, 1
            found.append(torch.logsumexp(before + chain.transitions, 1) + said)
    return order.packed(found)


def _ends(lengths: Sequence[int], device: torch.device) -> Tensor:
    return torch.from_numpy(np.cumsum(lengths) - 1).to(device)


def log_partition(emissions: Tensor, lengths: Sequence[int], chain: Chain) -> Tensor:
    """(rows,): the log of the sum over all tags of a row."""
    last = forward(emissions, lengths, chain)[_ends(lengths, emissions.device)]
    return torch.logsumexp(last + chain.end, -1)


def _path(emissions: Tensor, lengths: Sequence[int], tags: Tensor, chain: Chain) -> Tensor:
    """(n,): what each word adds to the score of its row's tags; the row's end is not in it."""
    said = emissions.gather(1, tags[:, None])[:, 0]
    begins = _ends(lengths, tags.device) + 1 - torch.tensor(lengths, device=tags.device)
    first = torch.zeros(len(tags), dtype=torch.bool, device=tags.device).index_fill(0, begins, True)
    return said + torch.where(first, chain.start[tags], chain.transitions[tags.roll(1), tags])


def score(emissions: Tensor, lengths: Sequence[int], tags: Tensor, chain: Chain) -> Tensor:
    """() the sum over rows of the score of these tags, (n,)."""
    return _path(emissions, lengths, tags, chain).sum() + chain.end[tags[_ends(lengths, tags.device)]].sum()


def negative_log_likelihood(emissions: Tensor, lengths: Sequence[int], tags: Tensor, chain: Chain) -> Tensor:
    """() of the tags (n,), summed over rows."""
    return log_partition(emissions, lengths, chain).sum() - score(emissions, lengths, tags, chain)


def viterbi(emissions: Tensor, lengths: Sequence[int], chain: Chain) -> Tensor:
    """(n,): the best tags of each row (Viterbi 1967)."""
    order = _Order(lengths, emissions.device)
    best: list[Tensor] = []
    came: list[Tensor] = []  # from which tag
    for said in order.steps(emissions):
        if not best:
            best.append(chain.start + said)
        else:
            reached, tag = (best[-1][: len(said), :, None] + chain.transitions).max(1)
            best.append(reached + said)
            came.append(tag)
    found: list[Tensor] = []
    for step in reversed(range(len(best))):
        now = (best[step] + chain.end).argmax(-1)  # of the rows that end here, which stand behind the others
        if found:
            going_on = len(found[-1])
            now[:going_on] = came[step].gather(1, found[-1][:, None])[:, 0]
        found.append(now)
    return order.packed(found[::-1])


def _both_ways(emissions: Tensor, lengths: Sequence[int], chain: Chain) -> tuple[Tensor, Tensor, Tensor]:
    """(`forward`; (n, k) the same of what comes behind each word, without its own emission; (n,) the log of the sum over all tags of its
    row)."""
    before = forward(emissions, lengths, chain)
    device = emissions.device
    sizes, lasts = torch.tensor(lengths, device=device), _ends(lengths, device)
    mirror = torch.repeat_interleave(2 * lasts + 1 - sizes, sizes) - torch.arange(len(emissions), device=device)
    after = forward(emissions[mirror], lengths, chain.backwards())[mirror] - emissions
    return before, after, torch.repeat_interleave(torch.logsumexp(before[lasts] + chain.end, -1), sizes)


def marginals(emissions: Tensor, lengths: Sequence[int], chain: Chain) -> Tensor:
    """(n, k) in double precision: how probable each tag is of each word, whatever the others bear (Rabiner 1989, section III.B)."""
    before, after, total = _both_ways(emissions.double(), lengths, chain.double())
    return (before + after - total[:, None]).exp()


def span_probabilities(
    emissions: Tensor, lengths: Sequence[int], tags: Tensor, chain: Chain, starts: Tensor, ends: Tensor
) -> Tensor:
    """(spans,): how probable it is that the words from `starts` to `ends` (both in the span, in one row) bear these tags (n,), whatever
    the words around them do (Culotta & McCallum 2004)."""
    emissions, chain = emissions.double(), chain.double()  # long sums of large numbers are subtracted
    before, after, total = _both_ways(emissions, lengths, chain)
    path = _path(emissions, lengths, tags, chain).cumsum(0)
    begun, left = (part.gather(1, tags[:, None])[:, 0] for part in (before, after))
    return (begun[starts] - path[starts] + path[ends] + left[ends] - total[ends]).exp().clamp(max=1)
