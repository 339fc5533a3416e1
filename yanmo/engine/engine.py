"""The Engine: a loaded checkpoint that answers. Knows tasks by their protocol, and no family by name."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from yanmo import checkpoint, evaluation
from yanmo.checkpoint import Checkpoint
from yanmo.errors import ModelError
from yanmo.models import sentence
from yanmo.models.base import BY_TOKEN, LANGUAGE, Memory, Model
from yanmo.tasks.base import Answer, Task, lengths
from yanmo.text.batches import Batch, Key, Run, once, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_LONGEST = 512  # tokens of a text to embed, where neither the folder nor the model sets an end


def load(name: str | Path, *, device: str | torch.device = "cpu") -> "Engine":
    """Open a run folder, or any Hugging Face folder of a known family. Raises ModelError."""
    return Engine(checkpoint.load(name), torch.device(device))


def _collate(rows: Sequence[Example], key: Key | None) -> Batch:
    return Batch(pack([row.ids for row in rows if row.ids is not None]))


class Engine:
    """`model` is a plain torch module, `task` None where the folder was made for no task."""

    def __init__(self, opened: Checkpoint, device: torch.device) -> None:
        self.checkpoint = opened
        self.device = device
        self.model: nn.Module = opened.model.to(device).eval()
        self.tokenizer: Tokenizer = opened.tokenizer
        self.task: Task | None = opened.task

    def predict(self, texts: Sequence[str | tuple[str, ...]]) -> list[Answer]:
        """The task's answer for each text (or tuple of texts). Raises ModelError for a folder without a task."""
        if self.task is None:
            raise ModelError(
                "this folder was made for no task, so it predicts nothing; fine-tune it first: yanmo finetune model.base=FOLDER ..."
            )
        rows = [
            Example((text,) if isinstance(text, str) else tuple(text), (), str(i), "given", i)
            for i, text in enumerate(texts, 1)
        ]
        return evaluation.answers(self.model, self.task, self.task.prepare(rows), device=self.device) if rows else []

    @torch.inference_mode()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """One vector a text: (texts, width), pooled and normed as the folder's `modules.json` says, else the normed mean of the states.
        A text longer than the model's rows is cut."""
        pooling = sentence.read(self.checkpoint.folder) if self.checkpoint.folder else sentence.Pooling()
        longest = pooling.longest or self.checkpoint.config.longest or _LONGEST
        rows = self.tokenizer.tokenise([Example((text,)) for text in texts], longest)
        found: list[Tensor] = [torch.empty(0)] * len(rows)
        for batch, places in once(rows, lengths(rows), _collate, budget=evaluation.BUDGET):
            run = batch.source.to(self.device)
            for place, vector in zip(places, pooling(self._model.hidden(Batch(run)), run), strict=True):
                found[place] = vector
        return torch.stack(found) if found else torch.empty(0, 0)

    @torch.inference_mode()
    def hidden(self, ids: Tensor, mask: Tensor | None = None, types: Tensor | None = None) -> Tensor:
        """Last hidden states, an encoder-decoder's being the encoder's: ids (batch, length) -> (batch, length, width), zero where the
        mask is."""
        run = self._pack(ids, mask, types)
        return self._rectangle(self._model.hidden(Batch(run)), run, ids)

    @torch.inference_mode()
    def logits(
        self,
        ids: Tensor,
        mask: Tensor | None = None,
        types: Tensor | None = None,
        decoder_ids: Tensor | None = None,
    ) -> Tensor:
        """ids (batch, length) -> (batch, length, vocabulary), zero where the mask is; for a task's head (batch, answers), or (batch,
        length, answers) for the kinds that answer for every token. An encoder-decoder's language-model head answers for decoder_ids
        (batch, target length) instead, which need no mask, since a token sees only those before it."""
        run = self._pack(ids, mask, types)
        hidden = self._model.hidden(Batch(run))
        kind = self.checkpoint.head
        if (decoder_ids is not None) != (kind == "seq2seq"):
            raise ValueError("decoder_ids: for an encoder-decoder with a language-model head, which needs them")
        if decoder_ids is not None:
            target = self._pack(decoder_ids, None, None)
            said = self._model.decode(target, memory=Memory(hidden, run.lengths))
            return self._rectangle(self._model.logits(said), target, decoder_ids)
        if kind in LANGUAGE:
            return self._rectangle(self._model.logits(hidden), run, ids)
        values = self._model.head(hidden, run)
        return self._rectangle(values, run, ids) if kind in BY_TOKEN else values

    @property
    def _model(self) -> Model:
        return self.model  # type: ignore[return-value]  # every family's module is a Model

    def _pack(self, ids: Tensor, mask: Tensor | None, types: Tensor | None) -> Run:
        """A rectangle with right padding -> packed rows."""
        keep = torch.ones_like(ids, dtype=torch.bool) if mask is None else mask.bool()
        lengths = tuple(keep.sum(1).tolist())
        if not all(keep[row, :length].all() for row, length in enumerate(lengths)) or min(lengths, default=1) < 1:
            raise ValueError("mask: right padding only (ones, then zeros), with at least one token in every row")
        return Run(ids[keep].to(self.device), lengths, None if types is None else types[keep].to(self.device))

    def _rectangle(self, values: Tensor, run: Run, ids: Tensor) -> Tensor:
        """Packed rows -> a rectangle as long as the ids that were given."""
        rectangle = values.new_zeros((*ids.shape, *values.shape[1:]))
        rectangle[run.row_of, run.positions] = values
        return rectangle
