"""The chain against an enumeration of all tags of a row, for rows of unequal lengths, and its gradients."""

import itertools

import pytest
import torch
from torch import Tensor

from yanmo.nn import crf
from yanmo.nn.crf import Chain

LENGTHS = {"one": (1,), "equal": (3, 3, 3), "unequal": (1, 4, 2, 4, 1, 3), "falling": (4, 2, 1), "rising": (1, 2, 4)}
TAGS = 3


def drawn(lengths: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Chain, Tensor]:
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64) * 2

    chain = Chain(random(TAGS, TAGS), random(TAGS), random(TAGS))
    tags = torch.randint(0, TAGS, (sum(lengths),), generator=generator)
    return random(sum(lengths), TAGS), chain, tags


def score(row: Tensor, path: tuple[int, ...], chain: Chain) -> Tensor:
    """From the equation, word by word."""
    total = chain.start[path[0]] + chain.end[path[-1]] + sum(row[i, tag] for i, tag in enumerate(path))
    return total + sum(chain.transitions[a, b] for a, b in itertools.pairwise(path))


def paths(length: int) -> list[tuple[int, ...]]:
    return list(itertools.product(range(TAGS), repeat=length))


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_likelihood(lengths: tuple[int, ...]) -> None:
    emissions, chain, tags = drawn(lengths)
    expected = torch.zeros((), dtype=torch.float64)
    sums = []
    for row, truth in zip(emissions.split(lengths), tags.split(lengths), strict=True):
        sums.append(torch.stack([score(row, path, chain) for path in paths(len(row))]).logsumexp(0))
        expected += sums[-1] - score(row, tuple(truth.tolist()), chain)
    assert torch.allclose(crf.log_partition(emissions, lengths, chain), torch.stack(sums))
    assert torch.allclose(crf.negative_log_likelihood(emissions, lengths, tags, chain), expected)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("seed", range(5))
def test_viterbi(lengths: tuple[int, ...], seed: int) -> None:
    emissions, chain, _ = drawn(lengths, seed)
    expected = [max(paths(len(row)), key=lambda path: score(row, path, chain)) for row in emissions.split(lengths)]
    assert [tuple(row.tolist()) for row in crf.viterbi(emissions, lengths, chain).split(lengths)] == expected


def test_gradients() -> None:
    lengths = LENGTHS["unequal"]
    emissions, chain, tags = drawn(lengths)

    def loss(*parts: Tensor) -> Tensor:
        return crf.negative_log_likelihood(parts[0], lengths, tags, Chain(*parts[1:]))

    assert torch.autograd.gradcheck(loss, [part.requires_grad_() for part in (emissions, *chain)])


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_span_probabilities(lengths: tuple[int, ...]) -> None:
    emissions, chain, tags = drawn(lengths)
    places, expected = [], []
    begin = 0
    for row, truth in zip(emissions.split(lengths), tags.split(lengths), strict=True):
        weights = {path: float(score(row, path, chain).exp()) for path in paths(len(row))}
        for start, end in itertools.combinations_with_replacement(range(len(row)), 2):
            told = tuple(truth[start : end + 1].tolist())
            agreeing = sum(weight for path, weight in weights.items() if path[start : end + 1] == told)
            expected.append(agreeing / sum(weights.values()))
            places.append((begin + start, begin + end))
        begin += len(row)
    starts, ends = torch.tensor(places).T
    found = crf.span_probabilities(emissions.float(), lengths, tags, chain, starts, ends)
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-5)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_marginals(lengths: tuple[int, ...]) -> None:
    emissions, chain, _ = drawn(lengths)
    expected = torch.zeros_like(emissions)
    begin = 0
    for row in emissions.split(lengths):
        weights = {path: float(score(row, path, chain).exp()) for path in paths(len(row))}
        for path, weight in weights.items():
            for place, tag in enumerate(path, begin):
                expected[place, tag] += weight / sum(weights.values())
        begin += len(row)
    assert torch.allclose(crf.marginals(emissions, lengths, chain), expected)


def test_what_is_impossible_is_never_decoded_nor_probable() -> None:
    """Tag 1 only behind tag 0, never first; no row ends in 0."""
    lengths = LENGTHS["unequal"]
    emissions, chain, _ = drawn(lengths)
    emissions[:, :2] += 50
    legal = Chain(
        torch.tensor([[True] * 3, [True, False, True], [True, False, True]]),
        torch.tensor([True, False, True]),
        torch.tensor([False, True, True]),
    )

    def fits(path: tuple[int, ...]) -> bool:
        inner = all(bool(legal.transitions[a, b]) for a, b in itertools.pairwise(path))
        return inner and bool(legal.start[path[0]]) and bool(legal.end[path[-1]])

    within = chain.within(legal)
    found = crf.viterbi(emissions, lengths, within)
    for row, tags in zip(emissions.split(lengths), found.split(lengths), strict=True):
        expected = max(filter(fits, paths(len(row))), key=lambda path: score(row, path, chain))
        assert tuple(tags.tolist()) == expected and fits(expected)
    places = torch.arange(sum(lengths))
    wrong = crf.span_probabilities(emissions, lengths, torch.ones_like(found), within, places, places)
    begins = [sum(lengths[:i]) for i in range(len(lengths))]
    assert float(wrong[begins].max()) == 0.0


def test_a_row_that_nothing_fits_still_has_an_answer() -> None:
    emissions, chain, _ = drawn((2,))
    none = chain.within(Chain(*(torch.zeros_like(part, dtype=torch.bool) for part in chain)))
    tags = crf.viterbi(emissions, (2,), none)
    assert len(tags) == 2
    places = torch.arange(2)
    assert crf.span_probabilities(emissions, (2,), tags, none, places, places).isfinite().all()


def test_it_learns_what_emissions_do_not_say() -> None:
    """Tags that alternate, from states that say nothing."""
    torch.manual_seed(0)
    part = crf.CRF(2)
    lengths = (6, 3, 5)
    tags = torch.cat([torch.arange(length) % 2 for length in lengths])
    emissions = torch.zeros(sum(lengths), 2)
    optimiser = torch.optim.Adam(part.parameters(), lr=0.3)
    for _ in range(30):
        optimiser.zero_grad()
        crf.negative_log_likelihood(emissions, lengths, tags, part.chain).backward()
        optimiser.step()
    assert torch.equal(crf.viterbi(emissions, lengths, part.chain), tags)
