"""Text <-> ids. Always a Hugging Face `tokenizer.json` on disk; the work is done by the `tokenizers` library."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import tokenizers
from pydantic import Field
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from yanmo import files
from yanmo.errors import ModelError, SettingsError
from yanmo.settings import Block
from yanmo.text.sources import Example

FILE = "tokenizer.json"
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # BERT's, in BERT's order
_UNLIMITED = 1 << 20


class TokenizerSettings(Block):
    base: Path | None = Field(
        None, description="a tokenizer.json, or a folder that holds one; null: trained on the training text"
    )
    kind: Literal["wordpiece", "word", "bpe", "unigram"] = Field("wordpiece", description="what to train")
    vocab: int = Field(
        8000, ge=100, le=2_000_000, description="this many tokens (bpe: more where the bytes alone are more)"
    )


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

    def encode_all(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, without special tokens; on all cores."""
        return [np.array(e.ids, np.int32) for e in self.inner.encode_batch_fast(list(texts), add_special_tokens=False)]

    def decode(self, ids: Sequence[int]) -> str:
        text: str = self.inner.decode(list(ids))
        return text

    def pieces(self, text: str) -> list[str]:
        tokens: list[str] = self.inner.encode(text).tokens
        return tokens

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

    def chunks(self, texts: Sequence[str], longest: int, source: str) -> list[Example]:
        """Documents -> rows of at most `longest` tokens, each between the special tokens, for pre-training."""
        before = [] if self.cls is None else [self.cls]
        after = [] if self.sep is None else [self.sep]
        room = longest - len(before) - len(after)
        rows: list[Example] = []
        for number, ids in enumerate(self.encode_all(texts), 1):
            for start in range(0, len(ids), room):
                row = np.concatenate([np.array(before, np.int32), ids[start : start + room], np.array(after, np.int32)])
                rows.append(Example((), (), f"{source}:{number}+{start}", source, number, row))
        return rows

    def content(self) -> str:
        """What stands in its file."""
        text: str = self.inner.to_str(pretty=True)
        return text

    def save(self, folder: Path) -> None:
        files.write_file(folder / FILE, self.content())


def load(path: Path) -> Tokenizer:
    """A `tokenizer.json`, or a folder that holds one. Raises ModelError."""
    file = path / FILE if path.is_dir() else path
    if not file.is_file():
        raise ModelError(
            f"{file}: no tokeniser here. Expected a {FILE}, as `yanmo tokenizer train` or transformers' save_pretrained writes it."
        )
    try:
        return Tokenizer(tokenizers.Tokenizer.from_file(str(file)))
    except Exception as error:  # tokenizers raises a bare Exception
        raise ModelError(f"{file}: not a readable tokeniser ({error})") from None


def train(texts: Sequence[str], settings: TokenizerSettings) -> Tokenizer:
    """A new tokeniser; equal texts give an equal one. Every kind ends rows in BERT's way ([CLS] a [SEP] b [SEP]).

    Raises SettingsError where the vocabulary asked for can't be made."""
    try:
        inner = _KINDS[settings.kind](texts, settings.vocab)
    except Exception as error:  # tokenizers raises a bare Exception
        raise SettingsError(
            f"tokenizer.vocab: {settings.vocab} can't be made ({error}). Raise it, or choose another tokenizer.kind"
        ) from None
    cls, sep = inner.token_to_id("[CLS]"), inner.token_to_id("[SEP]")
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return Tokenizer(inner)


def _like_bert(model: models.Model) -> tokenizers.Tokenizer:
    """BERT's normaliser and words: lower case, accents off, every Chinese character and every sign a word of its own."""
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return inner


def _wordpiece(texts: Sequence[str], vocab: int) -> tokenizers.Tokenizer:
    """The library's own WordPiece trainer gives another vocabulary each time that it runs; its BPE trainer does not. So the pieces
    come from BPE, are counted where they stand (at the beginning of a word, or "##" within it) together with their characters, and
    the commonest are kept; a character that is rarer than all of them is [UNK]."""
    pieces = _like_bert(models.BPE())
    pieces.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=vocab, show_progress=False))
    counts: Counter[str] = Counter()
    for start in range(0, len(texts), _AT_ONCE):
        for encoding in pieces.encode_batch(list(texts[start : start + _AT_ONCE])):
            before = None
            for piece, word in zip(encoding.tokens, encoding.word_ids, strict=True):
                prefix, before = ("##" if word == before else ""), word
                counts[prefix + piece] += 1
                if len(piece) > 1:
                    counts.update([prefix + piece[0], *(f"##{character}" for character in piece[1:])])
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))[: vocab - len(SPECIAL)]
    ids = {piece: id for id, piece in enumerate([*SPECIAL, *ranked])}
    inner = _like_bert(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    inner.decoder = decoders.WordPiece()
    inner.add_special_tokens(list(SPECIAL))
    return inner


def _word(texts: Sequence[str], vocab: int) -> tokenizers.Tokenizer:
    inner = _like_bert(models.WordLevel(unk_token="[UNK]"))
    trainer = trainers.WordLevelTrainer(vocab_size=vocab, special_tokens=list(SPECIAL), show_progress=False)
    inner.train_from_iterator(texts, trainer)
    return inner


def _bpe(texts: Sequence[str], vocab: int) -> tokenizers.Tokenizer:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    return inner


def _unigram(texts: Sequence[str], vocab: int) -> tokenizers.Tokenizer:
    inner = tokenizers.Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    inner.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), unk_token="[UNK]", show_progress=False
    )
    inner.train_from_iterator(texts, trainer)
    # The trainer numbers its pieces in another order each time: they are numbered anew by their scores.
    content = json.loads(inner.to_str())
    pieces = content["model"]["vocab"]
    special, rest = pieces[: len(SPECIAL)], pieces[len(SPECIAL) :]
    content["model"]["vocab"] = special + sorted(rest, key=lambda piece: (-piece[1], piece[0]))
    return tokenizers.Tokenizer.from_str(json.dumps(content))


_AT_ONCE = 4096  # texts
_KINDS = {"wordpiece": _wordpiece, "word": _word, "bpe": _bpe, "unigram": _unigram}
