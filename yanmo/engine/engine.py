"""The Engine: a loaded checkpoint that answers. Knows tasks by their protocol, and no family by name."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import overload

import torch
from torch import Tensor, nn

from yanmo import checkpoint, evaluation
from yanmo.checkpoint import Checkpoint
from yanmo.decoding import loop
from yanmo.errors import ModelError, gather
from yanmo.models import sentence
from yanmo.models.base import BY_TOKEN, LANGUAGE, Memory, Model
from yanmo.tasks.base import Answer, Task, lengths
from yanmo.text.batches import Batch, Key, Run, once, pack
from yanmo.text.chat import Messages
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

_LONGEST = 512  # tokens of a text to embed, where neither the folder nor the model sets an end


def load(name: str | Path, *, device: str | torch.device = "cpu") -> "Engine":
    """Open a run folder, any Hugging Face folder of a known family, or a GGUF file of one. Raises ModelError."""
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

    @overload
    def generate(self, prompts: str | Messages, *, max_new_tokens: int = 64) -> str: ...  # type: ignore[overload-overlap]  # a str first
    @overload
    def generate(self, prompts: Sequence[str | Messages], *, max_new_tokens: int = 64) -> list[str]: ...
    def generate(
        self, prompts: str | Messages | Sequence[str | Messages], *, max_new_tokens: int = 64
    ) -> str | list[str]:
        """What a causal language model writes behind a prompt, or behind each of several, by its likeliest tokens, until it ends the
        text or has written `max_new_tokens`.

        A prompt is a text, or the messages of a chat, {"role": ..., "content": ...} each, of which the model's own template makes the
        text. Raises ModelError for a model, a template or a prompt that can't do that."""
        if self.checkpoint.head != "causal":
            raise ModelError(
                "this folder holds no causal language model, so it writes nothing; open one of a ...ForCausalLM class"
            )
        alone = isinstance(prompts, str) or any(isinstance(prompt, Mapping) for prompt in prompts)
        rows = self._prompts([prompts] if alone else prompts, max_new_tokens)  # type: ignore[list-item,arg-type]
        ends = self.checkpoint.config.extra.get("eos_token_id", [])
        stops = ends if isinstance(ends, list) else [ends]
        found = loop.follow(self._model, rows, stops=stops, max_new_tokens=max_new_tokens, device=self.device)
        texts = [self.tokenizer.decode(ids) for ids in found]
        return texts[0] if alone else texts

    def _prompts(self, prompts: Sequence[str | Messages], more: int) -> list[list[int]]:
        """Their ids; each must leave room for so many more."""
        chat, chats = self.checkpoint.chat, [prompt for prompt in prompts if not isinstance(prompt, str)]
        if chats and chat is None:
            raise ModelError("this model has no chat template; give the prompt as a text")
        rendered = iter(chat.render(chats) if chat and chats else ())  # which brings its special tokens
        rows = [
            self.tokenizer.encode(prompt)
            if isinstance(prompt, str)
            else self.tokenizer.encode(next(rendered), special=False)
            for prompt in prompts
        ]
        longest = self.checkpoint.config.longest
        room = math.inf if longest is None else longest
        faults = [
            f"prompt {number}: " + (f"{len(row):,} tokens and {more:,} new ones" if row else "it has no token")
            for number, row in enumerate(rows, 1)
            if not 0 < len(row) <= room - more
        ]
        gather(faults, f"expected prompts that leave room in the {room:,} positions of the model:", ModelError)
        return rows

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
