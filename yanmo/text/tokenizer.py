"""Text <-> ids. Always a Hugging Face `tokenizer.json` on disk; the work is done by the `tokenizers` library."""

from collections.abc import Iterable, Sequence
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
        8000, ge=100, le=2_000_000, description="this many tokens; more where the characters alone are more"
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

    def save(self, folder: Path) -> None:
        files.write_file(folder / FILE, self.inner.to_str(pretty=True))


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


def train(texts: Iterable[str], settings: TokenizerSettings) -> Tokenizer:
    """A new tokeniser. Every kind ends rows in BERT's way ([CLS] a [SEP] b [SEP])."""
    inner, trainer = _KINDS[settings.kind](settings.vocab)
    try:
        inner.train_from_iterator(texts, trainer)
    except Exception as error:  # tokenizers raises a bare Exception
        raise SettingsError(
            f"tokenizer.vocab: {settings.vocab} can't be made ({error}). Raise it, or choose another tokenizer.kind"
        ) from None
    cls, sep = inner.token_to_id("[CLS]"), inner.token_to_id("[SEP]")
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return Tokenizer(inner)


Made = tuple[tokenizers.Tokenizer, trainers.Trainer]


def _wordpiece(vocab: int) -> Made:
    inner = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)  # Chinese characters become words of their own
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.WordPiece()
    return inner, trainers.WordPieceTrainer(vocab_size=vocab, special_tokens=list(SPECIAL), show_progress=False)


def _word(vocab: int) -> Made:
    inner = tokenizers.Tokenizer(models.WordLevel(unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return inner, trainers.WordLevelTrainer(vocab_size=vocab, special_tokens=list(SPECIAL), show_progress=False)


def _bpe(vocab: int) -> Made:
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    return inner, trainer


def _unigram(vocab: int) -> Made:
    inner = tokenizers.Tokenizer(models.Unigram())
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    inner.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), unk_token="[UNK]", show_progress=False
    )
    return inner, trainer


_KINDS = {"wordpiece": _wordpiece, "word": _word, "bpe": _bpe, "unigram": _unigram}
