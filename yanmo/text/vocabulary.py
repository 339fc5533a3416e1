"""Texts -> a new tokeniser of one of five kinds, as the `tokenizers` library holds it. Equal texts give equal ones, whatever the
number of threads: what the library trains differently each time is made here of what it trains equally.

    word       one token a word; other words are [UNK]
    wordpiece  the longest known piece from the left, as BERT has it; words with a character that is not known are [UNK]
    bpe        byte-level BPE, as GPT-2 has it: any text comes back exactly
    unigram    the likeliest pieces, as SentencePiece has it; an unknown character is its bytes: any text comes back in NFKC, a space
               where U+2581 was
    character  one token a character, whatever it is, spaces and line ends too; other characters are [UNK]

The first two read text as BERT does: lower case, no accents, every Chinese character and every sign a word of its own. In every kind a
text that spells a special token ("[MASK]") means that token.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # BERT's, in BERT's order
_AT_ONCE = 4096  # texts


def train(texts: Sequence[str], kind: str, vocab: int) -> tokenizers.Tokenizer:
    """A new tokeniser that ends rows in BERT's way ([CLS] a [SEP] b [SEP]). Raises ValueError where `vocab` is too few."""
    inner = KINDS[kind](texts, vocab)
    cls, sep = inner.token_to_id("[CLS]"), inner.token_to_id("[SEP]")
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", cls), ("[SEP]", sep)]
    )
    return inner


def _like_bert(model: models.Model) -> tokenizers.Tokenizer:
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
    totals = np.zeros(2 * pieces.get_vocab_size(), np.int64)  # of each piece: at the beginning of a word, within it
    for start in range(0, len(texts), _AT_ONCE):
        found = pieces.encode_batch(list(texts[start : start + _AT_ONCE]))
        ids = np.fromiter(chain.from_iterable(encoding.ids for encoding in found), np.int64)
        # A -1 before each text, so that its first word is not taken for the last one of the text before.
        words = np.fromiter(chain.from_iterable([-1, *encoding.word_ids] for encoding in found), np.int64)
        within = (np.diff(words, prepend=-1) == 0)[words >= 0]
        totals += np.bincount(2 * ids + within, minlength=len(totals))
    counts: Counter[str] = Counter()
    for piece, id in pieces.get_vocab().items():
        for prefix, total in zip(("", "##"), totals[2 * id : 2 * id + 2].tolist(), strict=True):
            if total:
                counts[prefix + piece] += total
                for place, character in enumerate(piece if len(piece) > 1 else ""):
                    counts[("##" if place else prefix) + character] += total
    ranked = sorted(counts, key=lambda piece: (-counts[piece], piece))[: vocab - len(SPECIAL)]
    numbered = {piece: id for id, piece in enumerate([*SPECIAL, *ranked])}
    inner = _like_bert(models.WordPiece(numbered, unk_token="[UNK]", max_input_chars_per_word=100))
    inner.decoder = decoders.WordPiece()
    inner.add_special_tokens(list(SPECIAL))
    return inner


def _word(texts: Sequence[str], vocab: int) -> tokenizers.Tokenizer:
    inner = _like_bert(models.WordLevel(unk_token="[UNK]"))
    trainer = trainers.WordLevelTrainer(vocab_size=vocab, special_tokens=list(SPECIAL), show_progress=False)
    inner.train_from_iterator(texts, trainer)
    return inner


def _character(texts: Sequence[str], vocab: int) -> tokenizers.Tokenizer:
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ranked = sorted(counts, key=lambda character: (-counts[character], character))[: vocab - len(SPECIAL)]
    numbered = {token: id for id, token in enumerate([*SPECIAL, *ranked])}
    inner = tokenizers.Tokenizer(models.WordLevel(numbered, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    inner.add_special_tokens(list(SPECIAL))
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


# ---- unigram


_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_RARE = -1000.0  # a byte's log probability: worse than any other way to write a character
# Always pieces, so that a text that spells a byte's name is never taken for that byte.
_ASCII = [chr(code) for code in range(0x21, 0x7F)]
_SPACE = "▁"
_COVERAGE = 0.9995  # the share of the text whose characters become pieces; the rest is bytes (SentencePiece's default)
_SHRINKS = (2.0, 1.4, 1.0)  # how many pieces each round keeps, in vocabularies


def _pieces(model: models.Model) -> tokenizers.Tokenizer:
    """Spaces become part of the word behind them; signs stand alone."""
    inner = tokenizers.Tokenizer(model)
    inner.normalizer = normalizers.NFKC()
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Metaspace(replacement=_SPACE, prepend_scheme="never"), pre_tokenizers.Punctuation()]
    )
    inner.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(replacement=_SPACE, prepend_scheme="never")]
    )
    return inner


def _unigram(texts: Sequence[str], vocab: int) -> tokenizers.Tokenizer:
    """Kudo 2018 (https://arxiv.org/abs/1804.10959), with two changes, because the library's own trainer sums in the order of its
    threads and gives another vocabulary each time. The first pieces come from BPE; and each round counts the pieces of the likeliest
    cut (whole numbers, equal in every order) instead of expecting them over all cuts, and drops those that stand there least."""
    room = vocab - len(SPECIAL) - len(_BYTES)
    if room < 2 * len(_ASCII):
        raise ValueError(f"the special tokens, bytes and ASCII need {vocab - room + 2 * len(_ASCII)}")
    characters = _common_characters(texts, room)
    first = _pieces(models.BPE(unk_token="[UNK]"))
    trainer = trainers.BpeTrainer(
        vocab_size=round(_SHRINKS[0] * vocab) + len(characters),
        initial_alphabet=characters,
        limit_alphabet=len(characters),
        special_tokens=["[UNK]"],
        show_progress=False,
    )
    first.train_from_iterator(texts, trainer)
    longer = sorted(piece for piece in first.get_vocab() if len(piece) > 1 and piece != "[UNK]")
    counts = _counts(first, texts)
    for share in _SHRINKS:
        kept = round((share - 1) * vocab) + room - len(characters)
        longer = sorted(longer, key=lambda piece: (-counts[piece], piece))[:kept]
        counts = _counts(_pieces(_unigram_model(characters + longer, counts)), texts)
    inner = _pieces(_unigram_model(characters + longer, counts))
    inner.add_special_tokens(list(SPECIAL))
    return inner


def _common_characters(texts: Sequence[str], room: int) -> list[str]:
    """ASCII, and the commonest characters that make up `_COVERAGE` of the text in NFKC; at most half of the room is theirs."""
    counts: Counter[str] = Counter()
    normalise = normalizers.NFKC().normalize_str
    for start in range(0, len(texts), _AT_ONCE):
        counts.update(normalise("\n".join(texts[start : start + _AT_ONCE])))
    counts[_SPACE] += counts.pop(" ", 0)
    del counts["\n"]
    ranked = sorted(counts, key=lambda character: (-counts[character], character))
    covered = np.cumsum([counts[character] for character in ranked])
    enough = int(np.searchsorted(covered, _COVERAGE * covered[-1])) + 1 if ranked else 0
    return sorted({*ranked[: min(enough, room // 2 - len(_ASCII))], *_ASCII, _SPACE})


def _counts(inner: tokenizers.Tokenizer, texts: Sequence[str]) -> Counter[str]:
    """How often each piece stands in the texts as `inner` cuts them."""
    totals = np.zeros(inner.get_vocab_size(), np.int64)
    for start in range(0, len(texts), _AT_ONCE):
        found = inner.encode_batch_fast(list(texts[start : start + _AT_ONCE]))
        ids = np.concatenate([np.array(encoding.ids, np.int64) for encoding in found])
        totals += np.bincount(ids, minlength=len(totals))
    return Counter({piece: int(totals[id]) for piece, id in inner.get_vocab().items()})


def _unigram_model(pieces: Sequence[str], counts: Counter[str]) -> models.Unigram:
    """The pieces with the log of their share, the commonest first. Rounded, so that a file that is read and written stays as it is."""
    total = sum(counts[piece] + 1 for piece in pieces)
    scored = [(piece, round(float(np.log((counts[piece] + 1) / total)), 6)) for piece in pieces]
    ranked = sorted(scored, key=lambda scored: (-scored[1], scored[0]))
    entries = [*((token, 0.0) for token in SPECIAL), *((byte, _RARE) for byte in _BYTES), *ranked]
    return models.Unigram(entries, unk_id=SPECIAL.index("[UNK]"), byte_fallback=True)


KINDS: dict[str, Callable[[Sequence[str], int], tokenizers.Tokenizer]] = {
    "word": _word,
    "wordpiece": _wordpiece,
    "bpe": _bpe,
    "unigram": _unigram,
    "character": _character,
}
