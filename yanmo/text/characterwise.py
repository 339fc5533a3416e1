"""Texts -> token ids where every character is a token, whatever it is (`fits`): a look into one table."""

import json
import re
from collections.abc import Sequence
from itertools import groupby

import numpy as np
import tokenizers

_EACH = {"type": "Split", "pattern": {"Regex": r"[\s\S]"}, "behavior": "Isolated", "invert": False}


def fits(inner: tokenizers.Tokenizer) -> bool:
    """Whether `inner` gives each character its id whatever stands around it."""
    if not isinstance(inner.model, tokenizers.models.WordLevel) or inner.normalizer is not None:
        return False
    added = inner.get_added_tokens_decoder().values()
    plain = all(token.special and not (token.lstrip or token.rstrip or token.single_word) for token in added)
    return plain and json.loads(inner.to_str())["pre_tokenizer"] == _EACH


class Characterwise:
    """A tokeniser as a table."""

    def __init__(self, inner: tokenizers.Tokenizer) -> None:
        """inner: one that `fits`."""
        self._inner = inner
        special = [re.escape(token.content) for token in inner.get_added_tokens_decoder().values()]
        self._special = re.compile("|".join(special) or "(?!)")
        unknown = inner.token_to_id(inner.model.unk_token)
        self._ids = np.full(0x110000, unknown, np.int32)  # of each code point
        for token, id in inner.get_vocab(with_added_tokens=False).items():
            if len(token) == 1:
                self._ids[ord(token)] = id

    def encode(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(token ids of all texts end to end, (tokens,) int32, without special tokens; where each text ends in them, (texts,))."""
        ids, counts = [np.empty(0, np.int32)], [np.empty(0, np.int64)]
        for special, group in groupby(texts, self._special.search):
            some = list(group)
            if special:
                found = [each.ids for each in self._inner.encode_batch_fast(some, add_special_tokens=False)]
                ids += [np.array(each, np.int32) for each in found]
                counts.append(np.array([len(each) for each in found], np.int64))
            else:
                ids.append(self._ids[np.frombuffer("".join(some).encode("utf-32-le"), np.uint32)])
                counts.append(np.array([len(text) for text in some], np.int64))
        return np.concatenate(ids), np.cumsum(np.concatenate(counts))
