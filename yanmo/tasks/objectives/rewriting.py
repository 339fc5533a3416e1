"""What objectives share in which an encoder reads a spoiled text and a decoder writes what was lost, or all of it."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from yanmo.errors import ModelError
from yanmo.models.base import Memory, Model
from yanmo.tasks.base import ids_of
from yanmo.tasks.objectives.objective import Objective, generator_of
from yanmo.tasks.objectives.spans import inner
from yanmo.text.batches import Batch, Key, Run, pack, shifted
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer


class Rewriting(Objective):
    """The labels are the target's tokens: the text that is said, and the token that ends it."""

    head = "seq2seq"

    def __init__(self, settings: Any, tokenizer: Tokenizer) -> None:
        super().__init__(settings, tokenizer)
        if tokenizer.sep is None:
            raise ModelError(
                "this tokeniser has no token for the end of a text ([SEP], </s>), so nothing can be written with it"
            )
        self.before = np.array([id for id in (tokenizer.cls,) if id is not None], np.int64)
        self.after = np.array([tokenizer.sep], np.int64)

    @abstractmethod
    def spoiled(self, ids: np.ndarray, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """A text without special tokens -> what is read, and what is to be written."""

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        generator = generator_of(key, examples)
        pairs = [self.spoiled(inner(ids, self.tokenizer), generator) for ids in ids_of(examples)]
        target = pack([np.concatenate([said, self.after]) for _, said in pairs])
        return Batch(
            pack([np.concatenate([self.before, read, self.after]) for read, _ in pairs]),
            target,
            target.ids,
            rows=tuple(e.id for e in examples),
        )

    def states(self, model: Model, batch: Batch) -> Tensor:
        return model.decode(given(model, batch), memory=memory_of(model, batch))

    def rows(self, batch: Batch) -> Tensor:
        assert batch.target is not None  # noqa: S101 (made above)
        return batch.target.row_of


def memory_of(model: Model, batch: Batch) -> Memory:
    return Memory(model.encode(batch.source), batch.source.lengths)


def given(model: Model, batch: Batch) -> Run:
    """The decoder's input."""
    assert batch.target is not None  # noqa: S101 (made above)
    return shifted(batch.target, model.config.decoder_start)
