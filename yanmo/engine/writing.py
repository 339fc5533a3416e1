"""Prompts -> texts, piece by piece: what `Engine.generate` and `yanmo generate` share. Knows head kinds, and no family by name."""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from pydantic import Field, model_validator

from yanmo.checkpoint import Checkpoint
from yanmo.decoding import beam, filling, loop, sampling
from yanmo.decoding.sampling import Sampling, Transform
from yanmo.decoding.written import Written, before
from yanmo.errors import ModelError, gather
from yanmo.models.base import Memory, Model
from yanmo.settings import Block
from yanmo.text.batches import pack
from yanmo.text.chat import Messages

WRITES, FILLS = ("causal", "seq2seq"), ("masked", "pretrain")  # head kinds
_AT_ONCE = 32  # rows that are decoded together
_SENTINEL = re.compile(r"<extra_id_\d+>")


class Generation(Block):
    max_new_tokens: int = Field(64, ge=1, description="of each text, at most")
    n: int = Field(1, ge=1, description="texts of each prompt; of a masked model, fillings")
    stop: list[str] = Field([], description="a text ends before the first of these")
    beams: int = Field(1, ge=1, description="above 1: beam search with so many, which draws nothing")
    length_penalty: float | None = Field(
        None, allow_inf_nan=False, description="of beam search: above 0 favours long texts, below 0 short ones; null: 1"
    )
    sampling: Sampling = Field(default_factory=Sampling)

    @model_validator(mode="after")
    def _whole(self) -> "Generation":
        if "" in self.stop:
            raise ValueError("stop: an empty text would end every text at once; leave it out")
        if self.beams > 1 and self.sampling.temperature:
            raise ValueError(
                "beam search draws nothing, so a sampling.temperature has no meaning beside beams; drop one"
            )
        if self.beams == 1 and self.length_penalty is not None:
            raise ValueError("length_penalty has a meaning only beside beams, such as beams=4")
        if 1 < self.beams < self.n:
            raise ValueError(f"n: {self.n} texts of {self.beams} beams; raise beams")
        return self


class Piece(NamedTuple):
    prompt: int  # the places of prompt and text
    sample: int
    text: str
    last: bool  # of this text


class Writer:
    """What a checkpoint needs in order to write. Raises ModelError where it has no head for that."""

    def __init__(self, opened: Checkpoint, device: torch.device) -> None:
        if opened.head not in WRITES:
            raise ModelError(
                f"{opened.folder or 'this model'}: no head that writes (it has: {opened.head}); open a folder of a ...ForCausalLM or "
                "...ForConditionalGeneration class (a ...ForMaskedLM class fills in its masks)"
            )
        self.device, self.tokenizer, self.chat, self.config = device, opened.tokenizer, opened.chat, opened.config
        self.model: Model = opened.model  # type: ignore[assignment]  # every family's module is one
        self.reads = opened.head == "seq2seq"  # a source
        self._told = _told(opened)
        self.ends = frozenset(_ids(self._told.get("eos_token_id")))

    def stream(self, prompts: Sequence[str | Messages], asked: Generation) -> Iterator[Piece]:
        """Pieces of the texts as they come: of several texts at a time, in the order of their steps."""
        if asked.n > 1 and asked.beams == 1 and not asked.sampling.temperature:
            raise ModelError(
                f"n: {asked.n} texts would all be the same; set sampling.temperature, such as to 1, or beams={asked.n}"
            )
        rows = self._rows(prompts, asked.max_new_tokens)
        size = max(1, _AT_ONCE // max(asked.n, asked.beams))
        for first in range(0, len(rows), size):
            yield from (self._beams if asked.beams > 1 else self._steps)(rows[first : first + size], first, asked)

    def _steps(self, rows: list[list[int]], first: int, asked: Generation) -> Iterator[Piece]:
        prompts, state = self._begin(rows)
        texts = [Written(self._decoder(row), asked.stop) for row in rows for _ in range(asked.n)]
        whole = [self._gaps(row) for row in rows]
        choose = sampling.chooser(asked.sampling, self._forbidden())
        for told in loop.steps(
            self.model,
            prompts,
            n=asked.n,
            first=first * asked.n,
            state=state,
            ends=self._ends(asked.stop),
            max_new_tokens=asked.max_new_tokens,
            choose=choose,
            device=self.device,
        ):
            for row, last in told:
                place, sample = divmod(row.number, asked.n)
                written = texts[row.number - first * asked.n]
                if last or not whole[place - first]:
                    text = written.more(self._unended(row.new), last=last)
                    if text or last:
                        yield Piece(place, sample, text, last)

    def _beams(self, rows: list[list[int]], first: int, asked: Generation) -> Iterator[Piece]:
        prompts, state = self._begin(rows)
        found = beam.search(
            self.model,
            prompts,
            beams=asked.beams,
            first=first,
            state=state,
            ends=self._ends(asked.stop),
            endings=len(self.ends),
            max_new_tokens=asked.max_new_tokens,
            length_penalty=1.0 if asked.length_penalty is None else asked.length_penalty,
            transforms=[*self._forbidden(), *sampling.transforms(asked.sampling)],
            device=self.device,
        )
        for place, (row, best) in enumerate(zip(rows, found, strict=True), first):
            for sample, one in enumerate(best[: asked.n]):
                text = Written(self._decoder(row), asked.stop).more(self._unended(one.ids), last=True)
                yield Piece(place, sample, text, True)

    def _begin(self, rows: list[list[int]]) -> tuple[list[list[int]], Any]:
        """What the decoder is given first, and its state."""
        if not self.reads:
            return rows, None
        with torch.inference_mode():
            run = pack([torch.tensor(row).numpy() for row in rows]).to(self.device)
            state = self.model.state(Memory(self.model.encode(run), run.lengths))
        return [self._start(row) for row in rows], state

    def _start(self, row: list[int]) -> list[int]:
        """What a target begins with: the token that the folder names, else the family's, else the source's last; and what must come next,
        where the folder says so."""
        named = _ids(self._told.get("decoder_start_token_id")) or _ids(self.config.decoder_start)
        return (named[:1] or row[-1:]) + _ids(self._told.get("forced_bos_token_id"))[:1]

    def _ends(self, stop: Sequence[str]) -> loop.Ends:
        return lambda new: new[-1] in self.ends or bool(stop and before(self.tokenizer.decode(new), stop) is not None)

    def _unended(self, new: Sequence[int]) -> Sequence[int]:
        return new[:-1] if new[-1] in self.ends else new

    def _forbidden(self) -> list[Transform]:
        """Single tokens that the config says must never come, such as Marian's padding."""
        words = self._told.get("bad_words_ids") or []
        ids = [word[0] for word in words if isinstance(word, list) and len(word) == 1 and type(word[0]) is int]
        return [sampling.without(ids)] if ids else []

    def _gaps(self, row: Sequence[int]) -> list[int]:
        """The sentinels of a source; where it has any, the text is the source with its gaps filled."""
        return (
            [id for id in row if _SENTINEL.fullmatch(self.tokenizer.inner.id_to_token(id) or "")] if self.reads else []
        )

    def _decoder(self, row: Sequence[int]) -> Callable[[Sequence[int]], str]:
        if not (gaps := self._gaps(row)):
            return self.tokenizer.decode
        every = {id for token, id in self.tokenizer.inner.get_vocab().items() if _SENTINEL.fullmatch(token)}
        return lambda ids: self.tokenizer.decode(filling.spans(row, ids, every | {*gaps}))

    def _rows(self, prompts: Sequence[str | Messages], more: int) -> list[list[int]]:
        """Their ids; a decoder must have room for so many more."""
        chats = [prompt for prompt in prompts if not isinstance(prompt, str)]
        if chats and self.chat is None:
            raise ModelError("this model has no chat template; give the prompt as a text")
        rendered = iter(self.chat.render(chats) if self.chat and chats else ())  # which brings its special tokens
        rows = [
            self._encoded(prompt) if isinstance(prompt, str) else self.tokenizer.encode(next(rendered), special=False)
            for prompt in prompts
        ]
        room = math.inf if self.config.longest is None else self.config.longest
        new = 0 if self.reads else more
        faults = [
            f"prompt {number}: " + (f"{len(row):,} tokens and {new:,} new ones" if row else "it has no token")
            for number, row in enumerate(rows, 1)
            if not 0 < len(row) <= room - new
        ]
        expected = (
            "of a token at least" if room == math.inf else f"that leave room in the {room:,} positions of the model"
        )
        gather(faults, f"expected prompts {expected}:", ModelError)
        if self.reads and rows and len(self._start(rows[0])) + more > room:
            raise ModelError(f"max_new_tokens: {more:,}, but the model's decoder has {room:,} positions; lower it")
        return rows

    def _encoded(self, text: str) -> list[int]:
        """With the special tokens that stand before a text; those behind a source, too, but none behind a prompt, which goes on."""
        ids = self.tokenizer.encode(text)
        plain = self.tokenizer.encode(text, special=False)
        closing = self.ends | {self.tokenizer.sep}
        while not self.reads and ids and ids[-1] in closing and not (plain and ids[-len(plain) :] == plain):
            ids.pop()
        return ids


class Filler:
    """What a checkpoint needs in order to fill in masks. Raises ModelError where it has no head for that, or no mask."""

    def __init__(self, opened: Checkpoint, device: torch.device) -> None:
        if opened.head not in FILLS or opened.tokenizer.mask is None:
            raise ModelError(f"{opened.folder or 'this model'}: no head that fills in masks (it has: {opened.head})")
        self.model: Model = opened.model  # type: ignore[assignment]  # every family's module is one
        self.tokenizer, self.device, self.longest, self.mask = (
            opened.tokenizer,
            device,
            opened.config.longest,
            opened.tokenizer.mask,
        )
        self.token = str(opened.tokenizer.inner.id_to_token(self.mask))

    def fill(self, text: str, n: int) -> list[tuple[str, float]]:
        """The text with its masks filled, at most n ways, the likeliest first, each with its probability."""
        ids = self.tokenizer.encode(text)
        pieces = text.split(self.token)
        if len(pieces) == 1 or len(pieces) - 1 != ids.count(self.mask):
            raise ModelError(f"{text!r}: expected a text with {self.token} where something is to be filled in")
        if self.longest is not None and len(ids) > self.longest:
            raise ModelError(f"{text[:40]!r}...: {len(ids):,} tokens, but the model has {self.longest:,} positions")
        found = filling.masks(self.model, ids, self.mask, n=n, without=self.tokenizer.special, device=self.device)
        return [(self._joined(pieces, ids, one.ids), one.probability) for one in found]

    def _joined(self, pieces: list[str], ids: Sequence[int], new: Sequence[int]) -> str:
        """The words of the text as they stood, the tokens between them; one that goes on with the word before it is written to it."""
        text, full, at = pieces[0], list(ids), -1
        for id, behind in zip(new, pieces[1:], strict=True):
            at = full.index(self.mask, at + 1)
            full[at] = id
            known = self.tokenizer.decode(full[at - 1 : at]) if at else ""
            added = self.tokenizer.decode(full[max(at - 1, 0) : at + 1])[len(known) :]
            if known and not added[:1].isspace():
                text = text.rstrip()
            text += added.strip() + behind
        return text


def _told(opened: Checkpoint) -> Mapping[str, Any]:
    """What config.json and, before it, generation_config.json say of writing."""
    found = {
        **opened.config.extra,
        **{key: value for key, value in opened.config.content().items() if value is not None},
    }
    file = opened.folder / "generation_config.json" if opened.folder and opened.folder.is_dir() else None
    if file is None or not file.is_file():
        return found
    try:
        content = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not readable JSON ({error})") from None
    if not isinstance(content, dict):
        raise ModelError(f"{file}: expected a JSON object")
    return {**found, **{key: value for key, value in content.items() if value is not None}}


def _ids(value: Any) -> list[int]:
    """A token's id, or several."""
    return [id for id in (value if isinstance(value, list | tuple) else [value]) if type(id) is int]
