"""BM25: texts by the words that they share with a query (Robertson & Zaragoza 2009, in Lucene's form: Kamphuis et al. 2020, table 1).

`build` makes arrays of texts, by `bm25s` (https://arxiv.org/abs/2407.03618): what each word adds to the score of each text, a column a
word. `Lexical` asks them, mapped or not: a query reads the columns of its own words and nothing else, and needs no library.
"""

import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise

import numpy as np

from yanmo.errors import optional

TOKENS = 1  # which `tokens` made an index; another one would not find what stands in it
K1, B = 1.2, 0.75

_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(f"[{_HAN}]+|[^\\W_{_HAN}]+")
_FIRST_HAN = "\u3400"


def tokens(text: str) -> list[str]:
    """What a text is found by: its words without case and without the s of a plural; of Chinese every character and every two that
    stand side by side. (Measured: docs/search.md.)"""
    found: list[str] = []
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).lower()):
        if word[0] < _FIRST_HAN or not _is_han(word[0]):
            found.append(_singular(word))
        else:
            found += word
            found += map("".join, pairwise(word))
    return found


@lru_cache(maxsize=1 << 14)
def _is_han(character: str) -> bool:
    return bool(_ONE_HAN.fullmatch(character))


_ONE_HAN = re.compile(f"[{_HAN}]")


@lru_cache(maxsize=1 << 16)
def _singular(word: str) -> str:
    """The S stemmer of Harman 1991 ("How effective is suffixing?"): the first ending that fits and is no exception."""
    for ending, exceptions, new in _ENDINGS if len(word) > 3 else ():
        if word.endswith(ending) and not word.endswith(exceptions):
            return word.removesuffix(ending) + new
    return word


_ENDINGS = (("ies", ("eies", "aies"), "y"), ("es", ("aes", "ees", "oes"), "e"), ("s", ("us", "ss"), ""))


def build(texts: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of at least one text:

    scores (entries,) float32 and rows (entries,) int32: what a word adds to the score of the text of this number, column by column,
    the rows of a column rising; starts (words + 1,) int64: where the columns begin; letters (bytes,) uint8 and ends (words,) int64: the
    words in the order of their UTF-8 bytes; columns (words,) int32: the column of each; size (2,) float64: how many texts, and
    tokens of one on average.
    """
    numbers: dict[str, int] = {"": 0}  # a column of no text, so that there is one
    ids = [[numbers.setdefault(token, len(numbers)) for token in tokens(text)] for text in texts]
    maker = optional("bm25s", "search").BM25(k1=K1, b=B, method="lucene")
    if len(numbers) > 1:
        made = maker.build_index_from_ids(range(len(numbers)), ids, show_progress=False)
    else:  # not a word in any text, which the library does not expect
        made = {"data": np.empty(0, np.float32), "indices": np.empty(0, np.int32), "indptr": np.zeros(2, np.int64)}
    words = sorted((word.encode("utf-8", "surrogatepass"), number) for word, number in numbers.items())
    return {
        "scores": made["data"].astype(np.float32),
        "rows": made["indices"].astype(np.int32),
        "starts": made["indptr"].astype(np.int64),
        "letters": np.frombuffer(b"".join([word for word, _ in words]), np.uint8),
        "ends": np.cumsum([len(word) for word, _ in words], dtype=np.int64),
        "columns": np.array([number for _, number in words], np.int32),
        "size": np.array([len(texts), sum(map(len, ids)) / len(ids)]),
    }


_KINDS = {"f": ("scores", "size"), "i": ("rows", "starts", "ends", "columns"), "u": ("letters",)}  # of numbers


class Lexical:
    """Texts that can be asked for by their words."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        """arrays: as `build` makes them. Raises KeyError or ValueError for others."""
        if any((arrays[name].dtype.kind, arrays[name].ndim) != (kind, 1) for kind in _KINDS for name in _KINDS[kind]):
            raise ValueError("arrays of other kinds")
        self._scores, self._rows, self._starts = arrays["scores"], arrays["rows"], arrays["starts"]
        self._vocabulary, self._columns = _Vocabulary(arrays["letters"], arrays["ends"]), arrays["columns"]
        self.texts, self._average = int(arrays["size"][0]), float(arrays["size"][1])
        words, entries = len(self._columns), len(self._rows)
        fit = (len(self._starts), len(self._vocabulary), len(self._scores)) == (words + 1, words, entries)
        if not fit or self._starts[-1] != entries:
            raise ValueError("arrays that do not fit together")

    def scores(self, query: str) -> np.ndarray:
        """(texts,) float32; 0 for a text that shares no word with the query. A word that is asked twice counts twice."""
        found = np.zeros(self.texts, np.float32)
        for column in filter(None, map(self._column, tokens(query))):
            place = slice(self._starts[column], self._starts[column + 1])
            found[self._rows[place]] += self._scores[place]  # no text stands twice in a column
        return found

    def own_score(self, query: str) -> float:
        """The score of a text that says what the query says and nothing else, were it one among the texts."""
        words = Counter(tokens(query))
        norm = K1 * (1 - B + B * words.total() / self._average) if self._average else K1
        return sum(self._idf(word) * count * count / (count + norm) for word, count in words.items())

    def _idf(self, word: str) -> float:
        column = self._column(word)
        texts = int(self._starts[column + 1] - self._starts[column]) if column else 0
        return float(np.log1p((self.texts - texts + 0.5) / (texts + 0.5)))

    def _column(self, word: str) -> int:
        """The column of a word; 0, where no text stands, of one that is not known."""
        sought = word.encode("utf-8", "surrogatepass")
        place = bisect_left(self._vocabulary, sought)
        return int(self._columns[place]) if place < len(self._vocabulary) and self._vocabulary[place] == sought else 0


class _Vocabulary(Sequence[bytes]):
    """Words that lie end to end in mapped bytes."""

    def __init__(self, letters: np.ndarray, ends: np.ndarray) -> None:
        self._letters, self._ends = letters, ends

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, place: int) -> bytes:  # type: ignore[override]  # no slices
        return self._letters[self._ends[place - 1] if place else 0 : self._ends[place]].tobytes()
