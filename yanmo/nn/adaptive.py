"""Adaptive embedding and softmax, for large vocabularies of which most words are rare (Grave et al. 2017,
https://arxiv.org/abs/1609.04309; Baevski and Auli 2018, https://arxiv.org/abs/1809.10853).

The ids are cut into clusters, frequent words first. The words of a rarer cluster may have narrower vectors, and its probabilities are
worked out only where they are wanted: the first softmax chooses among the frequent words and the clusters.
Shapes: t tokens, n positions, width of the model, inner width of the frequent words' vectors.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yanmo.nn.linear import linear


def table_names(clusters: int, division: int) -> list[str]:
    """A table a cluster, one for all where nothing is divided. The last is named so: it is the one that grows with the vocabulary."""
    return [*map(str, range(clusters - 1 if division > 1 else 0)), "last"]


class Tables(nn.ModuleDict):
    """A table of vectors a cluster, each `division` times narrower than the one before."""

    def __init__(self, sizes: Sequence[int], inner: int, division: int) -> None:
        names, rows = table_names(len(sizes), division), sizes if division > 1 else [sum(sizes)]
        tables = [nn.Embedding(size, inner // division**number) for number, size in enumerate(rows)]
        super().__init__(dict(zip(names, tables, strict=True)))

    def weights(self) -> list[Tensor]:
        return [table.get_parameter("weight") for table in self.values()]


class Projection(nn.Module):
    """From a cluster's own width to the model's. No linear layer: a softmax that shares it uses its weight the other way round."""

    def __init__(self, own: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width, own))


class AdaptiveEmbedding(nn.Module):
    """The words' vectors, times the root of width (Vaswani et al. 2017, section 3.4): (t,) ids -> (t, width).

    cutoffs: the first id of each cluster but the first. division: 1 where all vectors are of the inner width."""

    def __init__(self, vocabulary: int, cutoffs: Sequence[int], width: int, inner: int, division: int) -> None:
        super().__init__()
        self.inner, self.division, self.width = inner, division, width
        self.sizes = [end - start for start, end in pairwise((0, *cutoffs, vocabulary))]
        self.tables = Tables(self.sizes, inner, division)
        own = [weight.shape[1] for weight in self.tables.weights()] if division > 1 or inner != width else []
        self.projections = nn.ModuleList(Projection(size, width) for size in own)

    def forward(self, ids: Tensor) -> Tensor:
        weights, scale = self.tables.weights(), math.sqrt(self.width)
        if len(weights) == 1:
            return scale * self._projected(0, F.embedding(ids, weights[0]))
        vectors, start = weights[0].new_zeros(len(ids), self.width), 0
        for number, (weight, size) in enumerate(zip(weights, self.sizes, strict=True)):
            where = ((ids >= start) & (ids < start + size)).nonzero()[:, 0]
            found = self._projected(number, F.embedding(ids[where] - start, weight))
            vectors, start = vectors.index_copy(0, where, found), start + size
        return scale * vectors

    def projection(self, cluster: int) -> Tensor | None:
        """Of a cluster's words: (width, own width); None where there is none."""
        if not len(self.projections):
            return None
        return self.projections[cluster if self.division > 1 else 0].get_parameter("weight")

    def _projected(self, cluster: int, vectors: Tensor) -> Tensor:
        projection = self.projection(cluster)
        return vectors if projection is None else linear(vectors, projection)


class AdaptiveSoftmax(nn.Module):
    """The log-probabilities of the next word: (n, width) and the embedding with the same clusters -> (n, vocabulary).

    tied: the embedding's vectors are the output's, too. shared: of each cluster, whether the embedding's projection is, used the
    other way round. What is not shared is its own.
    """

    def __init__(self, embedding: AdaptiveEmbedding, *, tied: bool, shared: Sequence[bool]) -> None:
        super().__init__()
        self.sizes, inner, division = embedding.sizes, embedding.inner, embedding.division
        self.tables = None if tied else Tables(self.sizes, inner, division)
        names = table_names(len(self.sizes), division)
        self.biases = nn.ParameterDict(
            {name: torch.zeros(len(weight)) for name, weight in zip(names, embedding.tables.weights(), strict=True)}
        )
        clusters = len(self.sizes) - 1
        self.cluster_weight = nn.Parameter(torch.zeros(clusters, inner)) if clusters else None
        self.cluster_bias = nn.Parameter(torch.zeros(clusters)) if clusters else None
        own = [str(number) for number, share in enumerate(shared) if len(embedding.projections) and not share]
        self.projections = nn.ModuleDict(
            {name: Projection(inner // division ** int(name), embedding.width) for name in own}
        )

    def forward(self, hidden: Tensor, embedding: AdaptiveEmbedding) -> Tensor:
        first = self._scores(hidden, embedding, 0).log_softmax(-1)
        found = [first[:, : self.sizes[0]]]
        for number in range(1, len(self.sizes)):
            cluster = first[:, self.sizes[0] + number - 1, None]
            found.append(cluster + self._scores(hidden, embedding, number).log_softmax(-1))
        return torch.cat(found, -1)

    def losses(self, hidden: Tensor, embedding: AdaptiveEmbedding, targets: Tensor) -> Tensor:
        """(n, width), (n,) ids -> (n,) minus their log-probabilities. A cluster is looked at only where the word is of it."""
        ends = torch.tensor(self.sizes, device=targets.device).cumsum(0)
        cluster = torch.bucketize(targets, ends, right=True)
        choice = torch.where(cluster == 0, targets, self.sizes[0] + cluster - 1)
        found = F.cross_entropy(self._scores(hidden, embedding, 0), choice, reduction="none")
        for number in range(1, len(self.sizes)):
            where = (cluster == number).nonzero()[:, 0]
            scores, words = self._scores(hidden[where], embedding, number), targets[where] - ends[number - 1]
            found = found.index_add(0, where, F.cross_entropy(scores, words, reduction="none"))
        return found

    def _scores(self, hidden: Tensor, embedding: AdaptiveEmbedding, number: int) -> Tensor:
        """Of a cluster's words; of the first's, and then of the other clusters."""
        weights = (embedding.tables if self.tables is None else self.tables).weights()
        biases: list[Tensor] = list(self.biases.values())
        if len(weights) < len(self.sizes):
            weights, biases = list(torch.split(weights[0], self.sizes)), list(torch.split(biases[0], self.sizes))
        weight, bias = weights[number], biases[number]
        if number == 0 and self.cluster_weight is not None and self.cluster_bias is not None:
            weight, bias = torch.cat([weight, self.cluster_weight]), torch.cat([bias, self.cluster_bias])
        own = self.projections[str(number)].get_parameter("weight") if str(number) in self.projections else None
        projection = embedding.projection(number) if own is None else own
        return linear(hidden if projection is None else linear(hidden, projection.t()), weight, bias)
