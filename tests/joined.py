"""Tiny models of every task whose answers can be joined, made and not trained, as folders; and texts that they answer for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.models import ModelSettings
from yanmo.tasks import TASKS, make
from yanmo.tasks.base import attach
from yanmo.text import tokenizer
from yanmo.text.tokenizer import TokenizerSettings

SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
TEXTS = ["Ann met the tall man in Rome", "a good film", "the man was not in Rome", "good"]
RELATED = ["<e1>Ann</e1> met <e2>the man</e2>", "the <e2>film</e2> was not <e1>good</e1> in Rome"]
PAIRS = [(one, other) for one in TEXTS for other in TEXTS if one != other]


@dataclass(frozen=True)
class Kind:
    """A task, the labels of its answers, and what it is asked."""

    name: str
    labels: tuple[str, ...] = ()
    settings: tuple[tuple[str, Any], ...] = ()
    given: Sequence[Any] = tuple(TEXTS)


CLASSES, SPANS = ("a", "b", "c"), ("O", "B-X", "I-X", "B-Y", "I-Y")
KINDS = {
    "classify": Kind("classify", CLASSES),
    "classify, several": Kind("classify", CLASSES, (("several", True),)),
    "rate": Kind("rate", ("rating",), (("levels", []), ("middle", 3.0), ("spread", 2.0))),
    "rate, levels": Kind("rate", ("1", "2", "4"), (("levels", [1.0, 2.0, 4.0]),)),
    "relate": Kind("relate", CLASSES, given=[{"text": text} for text in RELATED]),
    "tag": Kind("tag", SPANS, (("units", "words"),)),
    "tag, with a chain": Kind("tag", SPANS, (("units", "words"), ("crf", True))),
    "tag, parts of speech": Kind("tag", ("NOUN", "VERB", "ADJ"), (("units", "words"),)),
    "answer": Kind("answer", given=[("who met the man?", text) for text in TEXTS]),
    "embed": Kind("embed"),
    "embed, pairs": Kind("embed", given=PAIRS),
    "rerank": Kind("rerank", ("LABEL_0",), given=PAIRS),
}


def write(folder: Path, kind: Kind, seed: int, *, vocabulary: str = "word", **changes: Any) -> Path:
    """A model whose weights a seed decides: those of one that begins as all others do, and moves a little (changes: config keys; `moved`,
    how far; `labels`, `settings`)."""
    labels = changes.pop("labels", kind.labels)
    moved = changes.pop("moved", 0.1)
    settings = dict(kind.settings) | changes.pop("settings", {})
    cutter = tokenizer.train(TEXTS * 3, TokenizerSettings(kind=vocabulary, vocab=100))
    task = make(TASKS[kind.name][0](**settings), cutter, labels)
    numbered = {str(number): label for number, label in enumerate(labels)}
    size = {**SMALL, "max_position_embeddings": 64, **changes}
    family, config = models.configure(ModelSettings(size=size), vocab_size=cutter.size, id2label=numbered)
    torch.manual_seed(0 if moved else seed)
    model = checkpoint.create(family, config, task.head)
    attach(model, task, config.hidden_size)  # type: ignore[attr-defined]
    _move(model, 0.3)
    torch.manual_seed(seed)
    _move(model, moved)
    if kind.name == "classify" and settings.get("several"):
        task.take({"thresholds": 0.4 + 0.2 * torch.rand(len(labels))})
    checkpoint.write(folder, Checkpoint(model, family, task.head, cutter, task))
    return folder


@torch.no_grad()
def _move(model: nn.Module, far: float) -> None:
    for parameter in model.parameters():
        parameter += torch.randn_like(parameter) * far
