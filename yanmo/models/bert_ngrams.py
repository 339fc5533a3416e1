"""BERT that also reads n-grams: to the embedding of a token it adds those of the 2- and 3-grams that end there (frequent ones, learnt
from the training text), and its classifier reads the mean and the maximum over a row.

A BERT folder opened as this family (`model.base=FOLDER model.family=yanmo-bert-ngrams`) is that BERT to begin with, for the vectors of
n-grams begin at 0. Only Yanmo opens what comes of it. Not `yanmo-ngram-bert`, which is another network.
"""

from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models import bert
from yanmo.models.base import Family, answers
from yanmo.models.bert import Bert, BertConfig
from yanmo.models.hf import Rule, Same
from yanmo.nn.embedding import Growth, NgramEmbedding, learn_ngrams
from yanmo.nn.heads import RowHead
from yanmo.nn.linear import Linear
from yanmo.text.batches import Run


@dataclass(frozen=True, kw_only=True)
class BertNgramsConfig(BertConfig):
    ngram_sizes: tuple[int, ...] = (2, 3)
    ngram_rows: int = 20_000  # known n-grams of each size
    ngram_width: int = (
        64  # of an n-gram's vector, which one matrix takes to the hidden size, as ALBERT's does for words
    )
    ngram_dropout: float = 0.0  # share of n-grams that are left out

    def __post_init__(self) -> None:
        super().__post_init__()
        if (
            max(self.ngram_sizes, default=1) * self.vocab_size.bit_length() >= 63
        ):  # the power itself could take for ever
            raise ModelError(f"vocab_size {self.vocab_size} is too large for n-grams of {max(self.ngram_sizes)} tokens")


class Ngrams(nn.Module):
    """What the n-grams of a run add to its embedding: a run of t tokens -> (t, width)."""

    def __init__(self, config: BertNgramsConfig) -> None:
        super().__init__()
        self.tables = nn.ModuleList(
            NgramEmbedding(size, config.ngram_rows, config.vocab_size, config.ngram_width)
            for size in config.ngram_sizes
        )
        self.projection = Linear(config.ngram_width, config.hidden_size, bias=False)
        self.dropout = config.ngram_dropout

    def forward(self, run: Run) -> Tensor:
        found: list[Tensor] = [table(run.ids, run.positions, self.dropout) for table in self.tables]
        result: Tensor = self.projection(sum(found[1:], found[0]))
        return result


def task_head(config: BertNgramsConfig, kind: str) -> nn.Module | None:
    if kind != "classify":
        return bert.task_head(config, kind)
    return RowHead(config.hidden_size, answers(config, kind), place="mean_max", dropout=config.head_dropout)


# BERT's names, and our own for what it lacks.
NAMES = replace(bert.BERT, heads={**bert.BERT.heads, "classify": {"task_head.output": "task_head.output"}})


def rules(config: BertNgramsConfig, head: str, prefix: str) -> list[Rule]:
    tables = [
        f"embeddings.more.tables.{n}.{part}"
        for n in range(len(config.ngram_sizes))
        for part in ("keys", "table.weight")
    ]
    own = [*tables, "embeddings.more.projection.weight"]
    return [*bert.rules(config, head, prefix, NAMES), *(Same(name, f"{prefix}{name}") for name in own)]


def initialise(module: nn.Module, config: BertNgramsConfig) -> None:
    bert.initialise(module, config)
    if isinstance(module, NgramEmbedding):
        module.forget()
    if isinstance(module, Ngrams):  # so that a vector counts for as much as it would without a matrix
        nn.init.normal_(module.projection.weight, 0.0, config.ngram_width**-0.5)


FAMILY: Family = replace(
    bert.FAMILY,
    model_type="yanmo-bert-ngrams",
    about="BERT that also reads n-grams; a BERT folder opens as one, for little labelled text",
    paper="our own; n-grams as in Bojanowski et al. 2017, https://arxiv.org/abs/1607.04606",
    config=BertNgramsConfig,
    module=partial(Bert, task_head=task_head, more=Ngrams),
    heads={kind: name.replace("Bert", "YanmoBertNgrams") for kind, name in bert.FAMILY.heads.items()},
    rules=rules,
    initialise=initialise,
    learn=learn_ngrams,
    vocabulary={**bert.VOCABULARY, r"embeddings\.more\.tables\.\d+\.keys": Growth.keys},
    ignorable=(*bert.FAMILY.ignorable, r"task_head\..*"),
    widens="bert",
)
