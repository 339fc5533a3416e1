"""Spans of tokens at random places, and where sentences end: what the objectives that spoil text share."""

import numpy as np

from yanmo.text.tokenizer import Tokenizer

_ENDS = tuple("。！？；….!?;")


def placed(lengths: np.ndarray, total: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Spans of these lengths at places among `total` tokens, all ways alike: (starts, lengths), rising. No two touch, so that they can be
    told apart; those for which there is no room are left out. One of length 0 stands before the token at its start."""
    fit = (np.cumsum(lengths) + np.arange(len(lengths))) <= total  # a token between each two
    lengths = lengths[fit]
    gaps = np.sort(generator.choice(total - int(lengths.sum()) + 1, len(lengths), replace=False))
    return gaps + np.cumsum(lengths) - lengths, lengths


def cut(ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What stands around the spans (one part more than there are spans), and the spans."""
    parts = np.split(ids, np.stack([starts, starts + lengths], 1).ravel())
    return parts[::2], parts[1::2]


def sentence_ends(tokenizer: Tokenizer) -> np.ndarray:
    """(vocabulary,) whether a sentence ends behind a token."""
    ends = np.zeros(tokenizer.size, bool)
    for text, ids in tokenizer.words().items():
        ends[ids] = text.endswith(_ENDS)
    return ends


def inner(ids: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """A row without the special tokens around it."""
    start = int(len(ids) > 0 and ids[0] == tokenizer.cls)
    stop = len(ids) - int(len(ids) > start and ids[-1] == tokenizer.sep)
    return ids[start:stop]
