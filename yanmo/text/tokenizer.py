"""Text <-> ids. Always a Hugging Face `tokenizer.json` on disk; the work is done by the `tokenizers` library."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, pairwise
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tokenizers
from pydantic import Field
from tokenizers import AddedToken

from yanmo import files
from yanmo.errors import ModelError, SettingsError, gather
from yanmo.settings import Block
from yanmo.text import characterwise, tokenizer_file, vocabulary, wordwise, workers
from yanmo.text.characterwise import Characterwise
from yanmo.text.chunks import Cut
from yanmo.text.clean import language
from yanmo.text.sources import Example
from yanmo.text.wordwise import Wordwise

FILE = "tokenizer.json"
SPECIAL = vocabulary.SPECIAL
KIND, VOCAB = "wordpiece", 8000  # where the settings say nothing
_SAMPLE = 20_000  # texts
# The library takes up to 200 bytes of memory for a byte of the text that it encodes.
_AT_ONCE = 1 << 18  # characters that are encoded together: enough for all cores
_LONG = 1 << 17  # characters; a longer text is encoded in pieces
_NEAR = 1 << 13  # characters in which a place to cut is looked for
# Where every kind ends a word, and so where a long text may be cut: before the space between two words, behind a Chinese sign.
_CUT = re.compile(r"(?<=\w)(?= \w)|(?<=[。！？；，])(?=\w)")


class TokenizerSettings(Block):
    base: Path | None = Field(
        None,
        description="a tokenizer.json, or a folder that holds one; null: trained on the training text. Beside model.base: "
        "the model's own with more tokens",
    )
    kind: Literal["wordpiece", "word", "bpe", "unigram", "character"] | None = Field(
        None, description=f"what to train; null: {KIND}"
    )
    vocab: int | None = Field(
        None,
        ge=100,
        le=2_000_000,
        description=f"this many tokens (bpe: more where the bytes alone are more); null: {VOCAB}",
    )


class Piece(NamedTuple):
    """One token of a text."""

    token: str
    id: int
    offsets: tuple[int, int]  # the characters that it stands for: from, to; (0, 0) of one that stands in no text


class Tokenizer:
    """A tokeniser with the ids of its special tokens (None where it has no such token)."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        inner.no_padding()
        inner.no_truncation()
        self.inner = inner
        self.pad, self.unknown, self.cls, self.sep, self.mask = (
            next((id for name in names if (id := inner.token_to_id(name)) is not None), None)
            for names in (
                ("[PAD]", "<pad>"),
                ("[UNK]", "<unk>"),
                ("[CLS]", "<s>"),
                ("[SEP]", "</s>"),
                ("[MASK]", "<mask>"),
            )
        )

    @property
    def size(self) -> int:
        return self.inner.get_vocab_size()

    @property
    def special(self) -> list[int]:
        """The ids of all added special tokens, sorted."""
        return sorted(id for id, token in self.inner.get_added_tokens_decoder().items() if token.special)

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        ids: list[int] = self.inner.encode(text, add_special_tokens=special).ids
        return ids

    def encode_each(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """Token ids of each text, (tokens,) int32, without special tokens, as the texts come; on all cores where there are many."""
        for ids, ends in workers.over(self.encode_here, blocks(texts)):
            yield from (ids[start:end] for start, end in pairwise([0, *ends.tolist()]))

    def encode_all(self, texts: Iterable[str]) -> list[np.ndarray]:
        """The same as a list."""
        return list(self.encode_each(texts))

    def encode_here(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """In this process: (the ids of all texts end to end, (tokens,) int32; where each text ends in them, (texts,) int64).
        A text of over 131,072 characters is cut between words, so that its length costs little memory."""
        if max(map(len, texts), default=0) <= _LONG:
            return self._encode(texts)
        return _joined([self._encode([piece])[0] for piece in _pieces(text)] for text in texts)

    def _encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        if self._quick:
            return self._quick.encode(texts)
        return _joined([e.ids] for e in self.inner.encode_batch_fast(list(texts), add_special_tokens=False))

    @cached_property
    def _quick(self) -> Wordwise | Characterwise | None:
        """What gives the same ids in less time, where there is such a thing."""
        if wordwise.fits(self.inner):
            return Wordwise(self.inner)
        return Characterwise(self.inner) if characterwise.fits(self.inner) else None

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.inner.decode(list(ids))
        return text

    def pieces(self, text: str) -> list[Piece]:
        """The text as it is cut, with special tokens."""
        found = self.inner.encode(text)
        return [Piece(*parts) for parts in zip(found.tokens, found.ids, found.offsets, strict=True)]

    def words(self) -> dict[str, list[int]]:
        """The text that each ordinary token stands for, without spaces around it -> the ids of such tokens."""
        special = set(self.special)
        found: dict[str, list[int]] = {}
        ids = sorted(id for id in self.inner.get_vocab().values() if id not in special)
        for id, text in zip(ids, self.inner.decode_batch([[id] for id in ids]), strict=True):
            if word := text.strip():
                found.setdefault(word, []).append(id)
        return found

    def tokenise(self, examples: Sequence[Example], longest: int) -> list[Example]:
        """The examples with `ids` (and `types` for pairs): special tokens as the tokeniser itself adds them, at most `longest`."""
        self.inner.enable_truncation(longest)
        try:
            inputs = [e.texts if len(e.texts) > 1 else e.texts[0] for e in examples]
            found = self.inner.encode_batch_fast(inputs)
        finally:
            self.inner.no_truncation()
        return [
            replace(
                e, ids=np.array(f.ids, np.int32), types=np.array(f.type_ids, np.int32) if len(e.texts) > 1 else None
            )
            for e, f in zip(examples, found, strict=True)
        ]

    def tokenise_marked(self, examples: Sequence[Example], longest: int) -> list[Example]:
        """The same with `places`: (marks, 2) int64, the tokens (from, to) of each mark of the last text; -1 where no token of a row of
        `longest` tokens stands for any of its characters."""
        self.inner.enable_truncation(longest)
        try:
            found = self.inner.encode_batch([e.texts if len(e.texts) > 1 else e.texts[0] for e in examples])
        finally:
            self.inner.no_truncation()
        return [
            replace(
                e,
                ids=np.array(f.ids, np.int32),
                types=np.array(f.type_ids, np.int32) if len(e.texts) > 1 else None,
                places=_places(e.marks, f.offsets, [sequence == len(e.texts) - 1 for sequence in f.sequence_ids]),
            )
            for e, f in zip(examples, found, strict=True)
        ]

    def tokenise_windows(self, examples: Sequence[Example], longest: int, stride: int) -> list[Example]:
        """Pairs whose second text may be long: with `ids` and `types` of all windows end to end, each the first text (cut to less than half
        of `longest` tokens) and a piece of the second, at most `longest` tokens; two neighbours share `stride` of them.

        `places`: (tokens, 3) int64, the window of each token, and the characters (from, to) of the second text that it stands for, -1
        where it stands for none."""
        most = longest // 2 - 4  # a text that was cut may be read as some tokens more
        heads = self.inner.encode_batch([e.texts[0] for e in examples], add_special_tokens=False)
        texts = [
            (e.texts[0] if len(head) <= most else e.texts[0][: head.offsets[most - 1][1]], e.texts[1])
            for e, head in zip(examples, heads, strict=True)
        ]
        self.inner.enable_truncation(longest, stride=stride, strategy="only_second")
        try:
            found = self.inner.encode_batch(texts)
        finally:
            self.inner.no_truncation()
        return [_windows(e, [f, *f.overflowing]) for e, f in zip(examples, found, strict=True)]

    def cut(self, longest: int, *, unbroken: bool) -> Cut:
        """How documents become rows of at most `longest` tokens."""
        before, after = (np.array([] if id is None else [id], np.int32) for id in (self.cls, self.sep))
        return Cut(before, after, longest, unbroken)

    def chunks(
        self, documents: Iterable[np.ndarray], longest: int, source: str, *, unbroken: bool = False
    ) -> list[Example]:
        """Documents as `encode_all` gives them -> rows of at most `longest` tokens, for pre-training: see `Cut`."""
        cut, documents = self.cut(longest, unbroken=unbroken), list(documents)
        counts = cut.counts(np.array([len(ids) for ids in documents], np.int64)).tolist()
        return [
            Example((), (), f"{source}:{number}+{row * cut.step}", source, number, cut.row(ids, row))
            for number, (ids, count) in enumerate(zip(documents, counts, strict=True), 1)
            for row in range(count)
        ]

    def content(self) -> str:
        """What stands in its file."""
        text: str = self.inner.to_str(pretty=True)
        return text

    def save(self, folder: Path) -> None:
        files.write_file(folder / FILE, self.content())


def _places(marks: Sequence[tuple[int, int]], offsets: Sequence[tuple[int, int]], inside: Sequence[bool]) -> np.ndarray:
    """(marks, 2) the tokens that share a character with each mark. offsets: characters of each token; inside: is it of the text?"""
    starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
    own = np.flatnonzero(np.array(inside, bool) & (ends > starts))
    wanted = np.array(marks, np.int64).reshape(-1, 2)
    first = np.searchsorted(
        ends[own], wanted[:, 0], side="right"
    )  # the first token that ends behind a mark's beginning
    last = np.searchsorted(starts[own], wanted[:, 1], side="left")  # behind the last that begins before its end
    there = (first < last) & (wanted[:, 0] >= 0)
    padded = np.append(own, 0)
    return np.where(there[:, None], np.stack([padded[np.minimum(first, len(own))], padded[last - 1] + 1], 1), -1)


def _windows(example: Example, windows: Sequence[tokenizers.Encoding]) -> Example:
    """An example with the tokens of all its windows; see `Tokenizer.tokenise_windows`."""
    window = np.repeat(np.arange(len(windows)), [len(each) for each in windows])
    second = np.array([sequence == 1 for each in windows for sequence in each.sequence_ids], bool)
    offsets = np.array([pair for each in windows for pair in each.offsets], np.int64)
    there = second & (offsets[:, 1] > offsets[:, 0])
    return replace(
        example,
        ids=np.array([id for each in windows for id in each.ids], np.int32),
        types=np.array([type for each in windows for type in each.type_ids], np.int32),
        places=np.column_stack([window, np.where(there[:, None], offsets, -1)]),
    )


def _joined(texts: Iterable[Sequence[Sequence[int] | np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Texts, each given as the ids of its pieces -> what `encode_here` gives."""
    found = [[np.asarray(ids, np.int32) for ids in pieces] for pieces in texts]
    ids = np.concatenate([np.empty(0, np.int32), *chain.from_iterable(found)])
    return ids, np.cumsum([sum(map(len, pieces)) for pieces in found], dtype=np.int64)


def _pieces(text: str) -> Iterator[str]:
    """A text in pieces that have the ids of the whole, where it has any place to cut."""
    start = 0
    while len(text) - start > _LONG:
        end = start + _LONG
        end = max((found.start() for found in _CUT.finditer(text, end - _NEAR, end)), default=end)
        yield text[start:end]
        start = end
    yield text[start:]


def blocks(texts: Iterable[str]) -> Iterator[list[str]]:
    """Texts in lists of some 262,144 characters: what is encoded at once."""
    block: list[str] = []
    size = 0
    for text in texts:
        block.append(text)
        size += len(text)
        if size >= _AT_ONCE:
            yield block
            block, size = [], 0
    if block:
        yield block


def load(path: Path) -> Tokenizer:
    """A `tokenizer.json`, or a folder that holds one. Raises ModelError."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ModelError(
            f"{file}: no tokeniser here. Expected a {FILE}, as `yanmo tokenizer train` or transformers' save_pretrained writes it."
        )
    return Tokenizer(tokenizer_file.read(file))


def train(texts: Sequence[str], settings: TokenizerSettings, more: Sequence[str] = ()) -> Tokenizer:
    """A new tokeniser; equal texts give an equal one. Every kind ends rows in BERT's way ([CLS] a [SEP] b [SEP]).

    more: special tokens beside the usual ones, numbered behind the others. Raises SettingsError where the vocabulary asked for can't be
    made."""
    kind, vocab = settings.kind or KIND, settings.vocab or VOCAB
    try:
        inner = vocabulary.train(texts, kind, vocab)
    except Exception as error:
        if type(error) not in (Exception, ValueError):  # tokenizers raises a bare Exception
            raise
        raise SettingsError(
            f"tokenizer.vocab: {vocab} can't be made ({error}). Raise it, or choose another tokenizer.kind"
        ) from None
    inner.add_special_tokens(list(more))
    return Tokenizer(inner)


def add(old: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """`old` with each word a token of its own, numbered behind the others; every other token keeps its id.

    A word with Chinese characters is found wherever it stands, another one only between other signs ("cat", not "catalogue"); both as
    the tokeniser reads text (in lower case, where it lowers). Raises SettingsError for words that can't become tokens."""
    inner = tokenizers.Tokenizer.from_str(old.content())
    words = list(dict.fromkeys(word.strip() for word in words))
    lost = {"": "it is empty"} if "" in words else {}
    lost |= {word: "it is a token already" for word in words if inner.token_to_id(word) is not None}
    # Case and accents are the normaliser's business; of a word without them it would only take the characters apart.
    inner.add_tokens(
        [
            AddedToken(word, single_word=language([word]) != "zh", normalized=word.lower() != word.upper())
            for word in words
            if word not in lost
        ]
    )
    made = Tokenizer(inner)
    for word in words:
        ids = made.encode(word, special=False)
        if word not in lost and (len(ids) != 1 or _plain(inner, made.decode(ids)) != _plain(inner, word)):
            lost[word] = f"it would be read as {made.decode(ids)!r}"
    gather([f"{word!r}: {why}" for word, why in lost.items()], "tokens: these can't be added:", SettingsError)
    return made


def added(old: Tokenizer, new: Tokenizer, where: str) -> dict[int, list[int]]:
    """The tokens that `new` has and `old` lacks: id -> the pieces that `old` cuts the token into.

    Raises SettingsError where a token of the old one is missing or has another id."""
    known, now = old.inner.get_vocab(), new.inner.get_vocab()
    gather(
        [f"{token!r}: {id}, there {now.get(token, 'missing')}" for token, id in known.items() if now.get(token) != id],
        f"tokenizer.base: {where} does not extend the model's own tokeniser (`yanmo tokenizer add` makes one that does):",
        SettingsError,
    )
    return {id: old.encode(token, special=False) for token, id in now.items() if token not in known}


def _plain(inner: tokenizers.Tokenizer, text: str) -> str:
    """A text as `inner` reads it, without spaces."""
    return "".join((inner.normalizer.normalize_str(text) if inner.normalizer else text).split())


def statistics(cutter: Tokenizer, texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """By language ("zh", "en") of at most `_SAMPLE` texts, evenly spaced: characters per token, and the share of unknown tokens."""
    sample = texts[:: len(texts) // _SAMPLE + 1]
    totals: dict[str, np.ndarray] = {}
    for text, ids in zip(sample, cutter.encode_all(sample), strict=True):
        counts = np.array([1, len(text), len(ids), np.count_nonzero(ids == cutter.unknown)])
        name = language([text])
        totals[name] = totals.get(name, 0) + counts
    return {
        name: {
            "texts": int(rows),
            "characters_per_token": float(characters / max(1, tokens)),
            "unknown": float(unknown / max(1, tokens)),
        }
        for name, (rows, characters, tokens, unknown) in sorted(totals.items())
    }
