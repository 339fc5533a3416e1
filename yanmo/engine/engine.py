"""The Engine: a loaded checkpoint that answers. Knows tasks by their protocol, and no family by name."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, overload

import torch
from pydantic import Field
from torch import Tensor, nn

from yanmo import checkpoint, evaluation, joining, settings
from yanmo.checkpoint import Checkpoint
from yanmo.engine.writing import FILLS, Filler, Generation, Piece, Writer
from yanmo.errors import ModelError, SettingsError
from yanmo.joining import Join, Names
from yanmo.models.base import BY_TOKEN, HEADS, LANGUAGE, Memory, Model
from yanmo.settings import Block, one_of
from yanmo.tasks import ZERO_SHOT, make, sentence
from yanmo.tasks.base import Answer, Task, lengths
from yanmo.text.batches import Batch, Key, Run, once, pack
from yanmo.text.chat import Messages
from yanmo.text.sources import Example, Given, given
from yanmo.text.tokenizer import Tokenizer


class Asked(Block):
    """What `predict` and `evaluate` may be asked beside a folder."""

    task: str | one_of(ZERO_SHOT) | None = Field(  # type: ignore[valid-type]
        None,
        description="null: the task that the folder was trained for; a name: that one of several; task.name="
        f"{' or '.join(ZERO_SHOT)}: untrained, by the words of each label",
    )


_LONGEST = 512  # tokens of a text to embed, where neither the folder nor the model sets an end


def load(
    name: Names,
    *,
    join: Join = "probabilities",
    device: str | torch.device = "cpu",
    task: str | Block | Mapping[str, Any] | None = None,
) -> "Engine":
    """Open a run folder, any Hugging Face folder of a known family, or a GGUF file of one. Several names: they answer as one, by the mean
    of their probabilities or of their weights (join="weights"). Raises ModelError.

    task: the name of one of several that a run was trained for; or settings of one of `tasks.ZERO_SHOT`, which one folder answers
    untrained, in place of its own."""
    if task is not None and not isinstance(task, str):
        return Engine(zero_shot(name, task), torch.device(device))
    engine = Engine(joining.load(name, join), torch.device(device))
    if task is not None:
        engine.choose(task)
    return engine


def zero_shot(name: Names, task: Block | Mapping[str, Any]) -> Checkpoint:
    """A folder opened for a task that it was not trained for and answers by what the settings say of its labels. Raises SettingsError for
    settings that name no labels, ModelError for a folder without the head that it needs."""
    asked: Any = settings.from_arguments(Asked, None, {"task": task}).task
    made = ZERO_SHOT[asked.name][1]
    labels = made.zero_shot(asked)
    base, *others = [name] if isinstance(name, (str, Path)) else name
    if others:
        raise SettingsError(f"task: one model answers untrained, not {1 + len(others)}; name one of them")
    opened = checkpoint.load(base, head=made.head)
    if made.head != "base" and opened.fresh:
        raise ModelError(f"{base}: it has no head for {HEADS[made.head]}, which task.name={asked.name} asks")
    longest = opened.config.longest
    if longest is not None and longest < asked.max_length:
        asked = asked.model_copy(update={"max_length": longest})
    opened.task = make(asked, opened.tokenizer, labels)
    if opened.folder is not None:
        opened.task.inherit(opened.folder)
    return opened


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

    def choose(self, task: str | None) -> None:
        """Answer as the task of this name from now on, of a run of several. Raises SettingsError for a name that is none's, or for none
        where there are several."""
        if self.task is not None:
            self.task = self.task.one(task)
            record = self.checkpoint.record
            self.checkpoint = replace(self.checkpoint, record={**record, **record.get("tasks", {}).get(task, {})})

    def predict(self, texts: Sequence[Given], *, task: str | None = None) -> list[Answer]:
        """The task's answer for each text, tuple of texts (a pair; a question and its context) or row of fields by name. task: which, of
        a run of several. Raises ModelError for a folder without a task, SettingsError for one of another name, DataError for what the
        task can't read."""
        if self.task is None:
            raise ModelError(
                "this folder was made for no task, so it predicts nothing; fine-tune it first: yanmo finetune model.base=FOLDER ..."
            )
        asked = self.task.one(task)
        rows = given(enumerate(texts, 1), asked.form, "given")
        return evaluation.answers(self.model, asked, asked.prepare(rows), device=self.device) if rows else []

    @overload
    def generate(self, prompts: str | Messages, *, n: None = None, **keys: Any) -> str: ...
    @overload
    def generate(self, prompts: str | Messages, *, n: int, **keys: Any) -> list[str]: ...
    @overload
    def generate(self, prompts: Sequence[str | Messages], *, n: None = None, **keys: Any) -> list[str]: ...
    @overload
    def generate(self, prompts: Sequence[str | Messages], *, n: int, **keys: Any) -> list[list[str]]: ...
    def generate(
        self, prompts: str | Messages | Sequence[str | Messages], *, n: int | None = None, **keys: Any
    ) -> str | list[str] | list[list[str]]:
        """What a model writes behind a prompt, or behind each of several; an encoder-decoder: what it makes of a text. With `n` a list of
        so many texts of each prompt. The other keys are those of `yanmo generate` (max_new_tokens=, stop=, beams=,
        sampling={"temperature": 1} ...); without them the likeliest tokens, at most 64.

        A prompt is a text, or the messages of a chat, {"role": ..., "content": ...} each, of which the model's own template makes the
        text. A masked model fills in the masks of a text instead. Raises ModelError for a model, a template or a prompt that can't do
        that, SettingsError for keys that can't be."""
        alone = isinstance(prompts, str) or any(isinstance(prompt, Mapping) for prompt in prompts)
        rows: Sequence[str | Messages] = [prompts] if alone else prompts  # type: ignore[list-item,assignment]
        asked = settings.from_arguments(Generation, None, {**keys, "n": n or 1})
        pieces: list[list[list[str]]] = [[[] for _ in range(asked.n)] for _ in rows]
        for piece in self.stream(rows, asked):
            pieces[piece.prompt][piece.sample].append(piece.text)
        texts = [["".join(parts) for parts in one if parts] for one in pieces]
        if n is None:
            return texts[0][0] if alone else [one[0] for one in texts]
        return texts[0] if alone else texts

    def stream(self, prompts: Sequence[str | Messages], asked: Generation) -> Iterator[Piece]:
        """The same as it is written: pieces of the texts, those of several at a time. A filling is one piece."""
        if self.checkpoint.head not in FILLS:
            yield from Writer(self.checkpoint, self.device).stream(prompts, asked)
            return
        for place, prompt in enumerate(prompts):
            if not isinstance(prompt, str):
                raise ModelError("a masked model has no chats; give it a text")
            for sample, (text, _) in enumerate(self.fill(prompt, n=asked.n)):
                yield Piece(place, sample, text, True)

    def fill(self, text: str, *, n: int = 5) -> list[tuple[str, float]]:
        """A text with its masks filled in by a masked language model: at most n ways, the likeliest first, each with its probability.
        Raises ModelError for a model or a text without masks."""
        return Filler(self.checkpoint, self.device).fill(text, n)

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
