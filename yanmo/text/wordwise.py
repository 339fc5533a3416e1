"""Texts -> token ids by the words that they are made of, each distinct word encoded once.

For tokenisers that read text as BERT does (`fits`): whatever stands between spaces, every Chinese character and every sign is then
encoded by itself, so that a word has the same ids wherever it stands.
"""

import re
from collections.abc import Sequence
from itertools import chain

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers

# Only what BERT's rules surely part: other spaces and signs stay within their word, and the library looks at them. Its signs are
# ASCII's and those of Unicode's punctuation; its Chinese characters these two blocks and rarer ones.
_SIGNS = "!-/:-@\\[-`{-~，。！？；：、“”‘’（）《》【】…—"
_CHINESE = "\u3400-\u4dbf\u4e00-\u9fff"
_WORD = re.compile(f"[{_CHINESE}{_SIGNS}]|[^ \t\n\r{_CHINESE}{_SIGNS}]+")
_MOST = 1 << 18  # words that are remembered: some 60 MB
_LONG = 32  # characters; a longer word hardly comes again


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
        self._known: dict[str, bytes] = {}  # word -> its ids, as an array of int32 holds them

    def encode(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Token ids of each text, (tokens,) int32, without special tokens."""
        cut = [[text] if self._special.search(text) else _WORD.findall(text) for text in texts]
        if len(self._known) > _MOST:
            self._known = {}
        new = list(set(chain.from_iterable(cut)).difference(self._known))
        for word, encoding in zip(new, self._inner.encode_batch_fast(new, add_special_tokens=False), strict=True):
            self._known[word] = np.array(encoding.ids, np.int32).tobytes()
        ids = self._known.__getitem__
        found = [np.frombuffer(b"".join(map(ids, words)), np.int32) for words in cut]
        for word in filter(lambda word: len(word) > _LONG, new):
            del self._known[word]
        return found
