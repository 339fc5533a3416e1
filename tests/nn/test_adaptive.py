"""Adaptive embedding and softmax: against torch's own, and word by word."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from yanmo.nn.adaptive import AdaptiveEmbedding, AdaptiveSoftmax
from yanmo.nn.embedding import Growth


def test_equal_to_that_of_torch() -> None:
    """torch has no vectors in common with an embedding, no projection of the frequent words and no biases of the rare ones."""
    torch.manual_seed(0)
    theirs = torch.nn.AdaptiveLogSoftmaxWithLoss(16, 50, [10, 25], div_value=2.0, head_bias=True)
    ours = AdaptiveSoftmax(AdaptiveEmbedding(50, (10, 25), 16, 16, 2), tied=False, shared=(False, False, False))
    with torch.no_grad():
        ours.tables["0"].weight.copy_(theirs.head.weight[:10])
        ours.biases["0"].copy_(theirs.head.bias[:10])
        ours.cluster_weight.copy_(theirs.head.weight[10:])
        ours.cluster_bias.copy_(theirs.head.bias[10:])
        ours.projections["0"].weight.copy_(torch.eye(16))
        for number, name in ((1, "1"), (2, "last")):
            ours.projections[str(number)].weight.copy_(theirs.tail[number - 1][0].weight.t())
            ours.tables[name].weight.copy_(theirs.tail[number - 1][1].weight)
    hidden, targets = torch.randn(30, 16), torch.randint(0, 50, (30,))
    unused = AdaptiveEmbedding(50, (10, 25), 16, 16, 2)
    torch.testing.assert_close(ours(hidden, unused), theirs.log_prob(hidden), atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.losses(hidden, unused, targets), -theirs(hidden, targets).output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("shared", [(False, True, True), (True, True, True), (False, False, False)], ids=str)
@pytest.mark.parametrize(("inner", "division"), [(8, 1), (6, 1), (8, 2), (12, 3)])
def test_word_by_word(tied: bool, shared: tuple[bool, ...], inner: int, division: int) -> None:
    torch.manual_seed(0)
    embedding = AdaptiveEmbedding(20, (5, 9), 8, inner, division)
    softmax = AdaptiveSoftmax(embedding, tied=tied, shared=shared)
    for parameter in [*embedding.parameters(), *softmax.parameters()]:
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    edges, hidden = (0, 5, 9, 20), torch.randn(3, 8)

    def cluster_of(word: int) -> int:
        return sum(word >= edge for edge in edges[1:])

    def vector(tables: torch.nn.ModuleDict, word: int) -> torch.Tensor:
        rows = list(tables.values())
        return rows[0].weight[word] if division == 1 else rows[cluster_of(word)].weight[word - edges[cluster_of(word)]]

    def bias(word: int) -> torch.Tensor:
        rows = list(softmax.biases.values())
        return rows[0][word] if division == 1 else rows[cluster_of(word)][word - edges[cluster_of(word)]]

    def projection(cluster: int) -> torch.Tensor:
        if inner == 8 and division == 1:
            return torch.eye(8)
        return embedding.projections[cluster if division > 1 else 0].weight

    def seen(cluster: int) -> torch.Tensor:
        own = str(cluster) in softmax.projections
        assert own == ((inner, division) != (8, 1) and not shared[cluster])
        return hidden @ (softmax.projections[str(cluster)].weight if own else projection(cluster))

    with torch.no_grad():
        tables = embedding.tables if tied else softmax.tables
        for word in range(20):
            expected = projection(cluster_of(word)) @ vector(embedding.tables, word) * 8**0.5
            torch.testing.assert_close(embedding(torch.tensor([word]))[0], expected, atol=1e-5, rtol=0)

        scores = torch.stack([seen(cluster_of(w)) @ vector(tables, w) + bias(w) for w in range(20)], 1)
        clusters = seen(0) @ softmax.cluster_weight.t() + softmax.cluster_bias
        first = torch.cat([scores[:, :5], clusters], 1).softmax(1)
        rare = [first[:, 5 + n, None] * scores[:, a:b].softmax(1) for n, (a, b) in enumerate(((5, 9), (9, 20)))]
        expected = torch.cat([first[:, :5], *rare], 1)
        found = softmax(hidden, embedding)
    torch.testing.assert_close(found.exp(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.exp().sum(1), torch.ones(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        found.softmax(1), expected, atol=1e-5, rtol=0
    )  # log-probabilities are logits of themselves
    for word in range(20):
        losses = softmax.losses(hidden, embedding, torch.full((3,), word))
        torch.testing.assert_close(losses, F.nll_loss(found, torch.full((3,), word), reduction="none"))


def test_the_last_cluster_grows() -> None:
    """A table of the rarest words only: a new token's row is the mean of those of its pieces that are among them."""
    growth = Growth(10, 13, {10: [0, 8, 9], 11: [1, 2], 12: [7]})
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 2)))  # tokens 6 to 9
    grown = growth.rows(table)
    assert grown.shape == (7, 2) and torch.equal(grown[:4], table)
    torch.testing.assert_close(grown[4:], torch.stack([table[2:].mean(0), table.mean(0), table[1]]))
