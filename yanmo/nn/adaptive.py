"""Adaptive embedding and softmax, for large vocabularies of which most words are rare (Grave et al. 2017,
https://arxiv.org/abs/1609.04309; Baevski and Auli 2018, https://arxiv.org/abs/1809.10853).

The ids are cut into clusters, frequent words first. The words of a rarer cluster may have narrower vectors; its probabilities are
worked out only where they are wanted: the first softmax chooses among the frequent words and the clusters.
Shapes: t tokens, n positions, c clusters, width of the model, inner width of the frequent words' vectors.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def cluster_sizes(vocabulary: int, cutoffs: Sequence[int]) -> list[int]:
    """How many words each cluster has; cutoffs: the first id of each but the first."""
    return [end - start for start, end in pairwise((0, *cutoffs, vocabulary))]


def _tables(sizes: Sequence[int], inner: int, division: int) -> nn.ModuleDict:
    """An embedding a cluster, each `division` times narrower than the one before; one for all where nothing is divided. The last is
    named so: it is the one that grows with the vocabulary."""
    if division == 1:
        sizes = [sum(sizes)]
    names = [*map(str, range(len(sizes) - 1)), "last"]
    return nn.ModuleDict(
        {
            name: nn.Embedding(size, inner // division**number)
            for number, (name, size) in enumerate(zip(names, sizes, strict=True))
        }
    )


class AdaptiveEmbedding(nn.Module):
    """(t,) ids -> (t, width), times the root of width (Vaswani et al. 2017, section 3.4)."""

    def __init__(self, vocabulary: int, cutoffs: Sequence[int], width: int, inner: int, division: int) -> None:
        super().__init__()
        self.width, self.division = width, division
        self.sizes = cluster_sizes(vocabulary, cutoffs)
        self.tables = _tables(self.sizes, inner, division)
        # From a cluster's own width to the model's; where nothing is divided and the widths are equal there is none.
        widths = [table.embedding_dim for table in self.tables.values()]
        self.projections = nn.ParameterList(
            [torch.zeros(width, own) for own in widths] if division > 1 or inner != width else []
        )

    def forward(self, ids: Tensor) -> Tensor:
        tables = list(self.tables.values())
        if len(tables) == 1:
            vectors = self._projected(0, tables[0](ids))
        else:
            vectors = self.projections[0].new_zeros(len(ids), self.width)
            start = 0
            for number, (table, size) in enumerate(zip(tables, self.sizes, strict=True)):
                where = ((ids >= start) & (ids < start + size)).nonzero()[:, 0]
                vectors = vectors.index_copy(0, where, self._projected(number, table(ids[where] - start)))
                start += size
        return vectors * self.width**0.5

    def _projected(self, number: int, vectors: Tensor) -> Tensor:
        return F.linear(vectors, self.projections[number]) if len(self.projections) else vectors


class AdaptiveSoftmax(nn.Module):
    """The probabilities of the next word, beside an embedding of the same clusters.

    tied: the embedding's vectors are the output's too; shared: for each cluster, whether its projection is (used the other way
    round). What is not shared is its own.
    """

    def __init__(self, embedding: AdaptiveEmbedding, inner: int, *, tied: bool, shared: Sequence[bool]) -> None:
        super().__init__()
        self.sizes, division = embedding.sizes, embedding.division
        clusters = len(self.sizes) - 1
        self.tables = None if tied else _tables(self.sizes, inner, division)
        self.biases = nn.ParameterDict(
            {name: torch.zeros(table.num_embeddings) for name, table in embedding.tables.items()}
        )
        self.cluster_weight = nn.Parameter(torch.zeros(clusters, inner)) if clusters else None
        self.cluster_bias = nn.Parameter(torch.zeros(clusters)) if clusters else None
        self.projections = nn.ParameterDict(
            {
                str(number): torch.zeros(embedding.width, inner // division**number)
                for number, share in enumerate(shared)
                if len(embedding.projections) and not share
            }
        )

    def forward(self, hidden: Tensor, embedding: AdaptiveEmbedding) -> Tensor:
        """(n, width) -> (n, vocabulary) log-probabilities."""
        first = self._scores(hidden, embedding, 0).log_softmax(-1)
        frequent, *clusters = first.split([self.sizes[0]] + [1] * (len(self.sizes) - 1), -1)
        rare = [
            cluster + self._scores(hidden, embedding, number).log_softmax(-1)
            for number, cluster in enumerate(clusters, 1)
        ]
        return torch.cat([frequent, *rare], -1)

    def losses(self, hidden: Tensor, embedding: AdaptiveEmbedding, targets: Tensor) -> Tensor:
        """(n, width), (n,) ids -> (n,) minus their log-probabilities; of a cluster only the positions whose word is in it are looked at."""
        starts = torch.tensor(self.sizes).cumsum(0).to(targets.device)
        cluster = torch.bucketize(targets, starts, right=True)
        choice = torch.where(cluster == 0, targets, self.sizes[0] + cluster - 1)
        found = F.cross_entropy(self._scores(hidden, embedding, 0), choice, reduction="none")
        for number in range(1, len(self.sizes)):
            where = (cluster == number).nonzero()[:, 0]
            if len(where):
                scores = self._scores(hidden[where], embedding, number)
                more = F.cross_entropy(scores, targets[where] - starts[number - 1], reduction="none")
                found = found.index_add(0, where, more)
        return found

    def _scores(self, hidden: Tensor, embedding: AdaptiveEmbedding, number: int) -> Tensor:
        """Of a cluster's words; of the first's also the other clusters."""
        weights = [table.weight for table in (self.tables or embedding.tables).values()]
        biases = list(self.biases.values())
        if len(weights) < len(self.sizes):
            weights, biases = list(weights[0].split(self.sizes)), list(biases[0].split(self.sizes))
        weight, bias = weights[number], biases[number]
        if number == 0 and self.cluster_weight is not None and self.cluster_bias is not None:
            weight, bias = torch.cat([weight, self.cluster_weight]), torch.cat([bias, self.cluster_bias])
        if str(number) in self.projections:
            hidden = hidden @ self.projections[str(number)]
        elif len(embedding.projections):
            hidden = hidden @ embedding.projections[number if embedding.division > 1 else 0]
        return F.linear(hidden, weight, bias)
