"""Where the words begin in rows of tokens, of any kind of tokeniser: letters and digits that stand together are a word, and so is each
sign. Between Chinese characters a segmenter decides: `rjieba`, or `jieba` where only that is installed.
"""

import importlib
import re
from collections.abc import Callable, Sequence
from functools import cache
from importlib.util import find_spec

import numpy as np
from tokenizers import decoders, models

from yanmo.errors import optional
from yanmo.text.clean import language
from yanmo.text.tokenizer import Tokenizer

_CHINESE = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"(?P<chinese>[{_CHINESE}]+)|[^\W{_CHINESE}]+|[^\w\s]")
_STANDS_ALONE = re.compile(f"[{_CHINESE}]")
_BYTE = re.compile("<0x([0-9A-F]{2})>")
_BROKEN = re.compile("[\udc80-\udcff]")


@cache
def segmenter() -> Callable[[str], Sequence[str]]:
    """Chinese text -> its words. Raises MissingExtra where no segmenter is installed."""
    for name in ("rjieba", "jieba"):
        if find_spec(name):
            cut = importlib.import_module(name).cut
            return lambda text: list(cut(text))
    optional("rjieba", "zh")
    raise AssertionError


class Words:
    def __init__(self, tokenizer: Tokenizer) -> None:
        self._bytes = [b"\n"] * tokenizer.size  # what each token adds to its text
        special = set(tokenizer.special)
        vocabulary = tokenizer.inner.get_vocab()
        spell = _spelling(tokenizer)
        for token, id in vocabulary.items():
            if id not in special and id < tokenizer.size:
                self._bytes[id] = spell(token)
        if language([token for token, id in vocabulary.items() if id not in special]) == "zh":
            segmenter()  # so that a missing one is told at once

    def begins(self, ids: np.ndarray) -> np.ndarray:
        """(t,) whether a word begins with each token. A token with parts of two words belongs to the first."""
        pieces = [self._bytes[id] for id in ids.tolist()]
        starts = np.zeros(sum(map(len, pieces)) + 1, bool)
        # Bytes that are no character stand for one sign each, so that places stay what they are.
        text = _BROKEN.sub("\0", b"".join(pieces).decode(errors="surrogateescape"))
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        places = np.cumsum(
            1 + (codes > 0x7F) + (codes > 0x7FF) + (codes > 0xFFFF)
        )  # where each character ends, in bytes
        for match in _WORD.finditer(text):
            place = match.start()
            for word in segmenter()(match[0]) if match["chinese"] else (match[0],):
                starts[places[place - 1] if place else 0] = True
                place += len(word)
        sizes = np.array([len(piece) for piece in pieces])
        blank = np.array([len(piece) - len(piece.lstrip()) for piece in pieces])
        found: np.ndarray = starts[np.cumsum(sizes) - sizes + blank] | (blank == sizes)
        return found


def _spelling(tokenizer: Tokenizer) -> Callable[[str], bytes]:
    """How a token is written: the bytes that it adds to a text, a space before what begins a word."""
    inner = tokenizer.inner
    if isinstance(inner.decoder, decoders.Fuse):  # tokens that stand for themselves
        return str.encode
    if isinstance(inner.model, models.WordPiece | models.WordLevel):
        return _of_pieces
    if "ByteLevel" in repr(inner.decoder):
        table = _byte_level()
        return lambda token: bytes(table[c] for c in token) if set(token) <= table.keys() else token.encode()
    return lambda token: bytes([int(m[1], 16)]) if (m := _BYTE.fullmatch(token)) else token.replace("▁", " ").encode()


def _of_pieces(token: str) -> bytes:
    if token.startswith("##") and len(token) > 2:
        return token[2:].encode()
    return token.encode() if _STANDS_ALONE.match(token) else b" " + token.encode()


def _byte_level() -> dict[str, int]:
    """How GPT-2 writes bytes: those that can be seen as themselves, the others as the characters from 256 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(seen)]
    return {chr(byte): byte for byte in seen} | {chr(256 + n): byte for n, byte in enumerate(hidden)}
