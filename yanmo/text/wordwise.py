"""Texts -> token ids by the words that they are made of, each distinct word encoded once.

For tokenisers that read text as BERT does (`fits`): whatever stands between spaces, every Chinese character and every sign is then
encoded by itself, so that a word has the same ids wherever it stands. A block of texts is cut, looked up and put together as arrays.
"""

import re
from collections.abc import Sequence
from itertools import groupby, repeat

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

# Only what BERT's rules surely part: other spaces and signs stay within their word, and the library looks at them. Its signs are
# ASCII's and those of Unicode's punctuation; its Chinese characters these two blocks and rarer ones.
_SPACES = " \t\n\r"
_SIGNS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~，。！？；：、“”‘’（）《》【】…—"
_CHINESE = (range(0x3400, 0x4DC0), range(0x4E00, 0xA000))
_SPACE, _ALONE, _LETTER = range(3)  # a Chinese character and a sign are words alone, letters side by side are one
_KINDS = np.full(0x110000, _LETTER, np.uint8)
_KINDS[[*map(ord, _SPACES)]] = _SPACE
_KINDS[[*map(ord, _SIGNS), *_CHINESE[0], *_CHINESE[1]]] = _ALONE
_MOST = 1 << 18  # words that are remembered: some 60 MB
_LONG = 32  # characters; a longer word hardly comes again
_AT_ONCE = 100  # words that are given to the library as one row, which costs less than a row each


def fits(inner: tokenizers.Tokenizer) -> bool:
    """Whether `inner` gives each word its ids whatever stands around it."""
    normaliser = inner.normalizer
    return (
        isinstance(normaliser, normalizers.BertNormalizer)
        and normaliser.clean_text
        and normaliser.handle_chinese_chars
        and isinstance(inner.pre_tokenizer, pre_tokenizers.BertPreTokenizer)
        and isinstance(inner.model, models.WordPiece | models.WordLevel)
        and all(
            token.special and not (token.lstrip or token.rstrip or token.single_word or token.normalized)
            for token in inner.get_added_tokens_decoder().values()
        )
    )


class Wordwise:
    """A tokeniser that remembers words."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        """inner: one that `fits`."""
        self._inner = inner
        special = [re.escape(token.content) for token in inner.get_added_tokens_decoder().values()]
        self._special = re.compile("|".join(special) or "(?!)")
        self._forget()

    def _forget(self) -> None:
        """What is remembered of words, each of which has a number."""
        self._known: dict[str, int] = {}  # word of letters -> its number
        self._alone = np.full(len(_KINDS), -1, np.int32)  # code point of a word alone -> its number, or -1
        self._ids = np.empty(0, np.int32)  # the ids of all words, end to end
        self._ends = np.zeros(1, np.int64)  # number -> where its ids begin, and in the next place where they end

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(token ids of all texts end to end, (tokens,) int32, without special tokens; where each text ends in them, (texts,))."""
        if len(self._known) > _MOST or len(self._ids) > 4 * _MOST:
            self._forget()
        found = [(np.empty(0, np.int32), np.empty(0, np.int64))]
        for special, group in groupby(texts, self._special.search):
            some = list(group)
            found.append(self._read(some) if special else self._by_words(some))
        ids, counts = zip(*found, strict=True)
        return np.concatenate(ids), np.cumsum(np.concatenate(counts))

    def _by_words(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all texts, how many each has)."""
        codes = np.frombuffer("".join([f"{text}\n" for text in texts]).encode("utf-32-le"), np.uint32)
        kinds = _KINDS[codes]
        letters = kinds == _LETTER
        behind = np.concatenate([[False], letters[:-1]])  # what stands behind a letter
        begins = np.flatnonzero((letters & ~behind) | (kinds == _ALONE))  # of the words, among the characters
        # No object is made of a Chinese character or a sign: they are most of the words.
        alone = kinds[begins] == _ALONE
        spaced = np.where(letters, codes, ord(" "))[letters | behind]  # the other words, a space behind each
        numbers = np.empty(len(begins), np.int64)
        numbers[alone] = self._numbers_alone(codes[begins[alone]])
        numbers[~alone] = self._numbers(spaced.tobytes().decode("utf-32-le").split(" ")[:-1])
        counts = np.diff(self._ends)[numbers]
        ends = np.concatenate([[0], np.cumsum(counts)])  # of the words, among the ids
        ids = self._ids[np.repeat(self._ends[numbers] - ends[:-1], counts) + np.arange(ends[-1])]
        stops = np.cumsum([len(text) + 1 for text in texts])  # of the texts, among the characters
        return ids, np.diff(ends[np.searchsorted(begins, stops)], prepend=0)

    def _numbers_alone(self, codes: np.ndarray) -> np.ndarray:
        new = np.unique(codes[self._alone[codes] < 0])
        self._alone[new] = self._learn([*map(chr, new)])
        numbers: np.ndarray = self._alone[codes]
        return numbers

    def _numbers(self, words: Sequence[str]) -> np.ndarray:
        found = np.fromiter(map(self._known.get, words, repeat(-1)), np.int64, len(words))
        places = np.flatnonzero(found < 0)
        new = [words[place] for place in places.tolist()]
        distinct = list(dict.fromkeys(new))
        numbers = dict(zip(distinct, self._learn(distinct).tolist(), strict=True))
        found[places] = [numbers[word] for word in new]
        self._known.update((word, number) for word, number in numbers.items() if len(word) <= _LONG)
        return found

    def _learn(self, words: Sequence[str]) -> np.ndarray:
        """The numbers of new words."""
        ids, counts = self._read(words)
        self._ids = np.concatenate([self._ids, ids])
        self._ends = np.concatenate([self._ends, self._ends[-1] + np.cumsum(counts)])
        return np.arange(len(self._ends) - 1 - len(words), len(self._ends) - 1)

    def _read(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(ids of all words, how many each has), by the library."""
        begins = range(0, len(words), _AT_ONCE)
        rows = [words[begin : begin + _AT_ONCE] for begin in begins]
        found = self._inner.encode_batch(rows, is_pretokenized=True, add_special_tokens=False)
        ids = [np.array(row.ids, np.int32) for row in found]
        owners = [np.array(row.word_ids, np.int32) + begin for begin, row in zip(begins, found, strict=True)]
        none = np.empty(0, np.int32)
        return np.concatenate([none, *ids]), np.bincount(np.concatenate([none, *owners]), minlength=len(words))
