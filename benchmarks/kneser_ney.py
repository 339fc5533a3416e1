"""An n-gram model to hold networks against: interpolated modified Kneser-Ney (Chen and Goodman 1998, TR-10-98, section 3).

    model = KneserNey(order=5, symbols=6000)
    model.fit(train)
    model.bits(held_out) / sum(map(len, held_out))

A text is a string or a sequence of token ids; `symbols` is how many different ones texts may hold, seen or not. Each text has one sign
before it, never predicted, and one behind it, which is: the bits are those of the text and of its end. The lowest order is mixed with
the even distribution over all symbols and the end, so that an unseen symbol has its price and all probabilities add up to 1. As KenLM
has it, n-grams at the beginning of a text keep their counts, which have no continuation.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

Text = Sequence[Hashable]  # a string: its characters

_BEGIN, _END, _FIRST = 0, 1, 2  # ids; those of the symbols follow
_DISCOUNTS = (0.5, 1.0, 1.5)  # KenLM's, where a text is too small to tell them


@dataclass(frozen=True)
class _Order:
    """The n-grams of one order. A place of -1, of what is not known, finds the last value of `shares` and of `left`."""

    keys: np.ndarray  # (n-grams,) sorted: place of the context among the n-grams of the order below * width + symbol
    shares: np.ndarray  # (n-grams + 1,) discounted count / count of the context; 0
    left: np.ndarray  # (contexts + 1,) what the context leaves to the order below; 1

    def find(self, keys: np.ndarray) -> np.ndarray:
        places = np.searchsorted(self.keys, keys)
        return np.where(np.searchsorted(self.keys, keys, "right") > places, places, -1)


class KneserNey:
    def __init__(self, order: int = 5, symbols: int = 0) -> None:
        self.order, self.symbols = order, symbols
        self.ids: dict[Hashable, int] = {}
        self.orders: list[_Order] = []

    def fit(self, texts: Iterable[Text]) -> "KneserNey":
        texts = list(texts)
        self.ids = {symbol: _FIRST + n for n, symbol in enumerate(dict.fromkeys(chain.from_iterable(texts)))}
        self.orders = []
        stream = self._stream(texts)
        width = len(self.ids) + _FIRST
        contexts, keys, grams = 1, np.arange(width), stream
        counts = np.bincount(stream, minlength=width)
        for _ in range(1, self.order):
            wider = self._keys(_before(stream, grams), stream)
            stands = wider >= 0
            known, first, places = np.unique(wider[stands], return_index=True, return_inverse=True)
            # In how many contexts an n-gram stands: of how many longer ones it is the end.
            continued = np.bincount(grams[stands][first], minlength=len(keys))
            self._add(contexts, keys, np.where(continued > 0, continued, counts))
            contexts, keys, counts = len(keys), known, np.bincount(places)
            grams = np.full(len(stream), -1)
            grams[stands] = places
        self._add(contexts, keys, counts)
        return self

    def bits(self, texts: Iterable[Text]) -> float:
        """What the texts and their ends cost."""
        return float(-np.log2(self.probabilities(texts)).sum())

    def probabilities(self, texts: Iterable[Text]) -> np.ndarray:
        """(symbols and ends,) of each symbol given those before it, and of the end of each text."""
        stream = self._stream(list(texts))
        before = np.zeros(len(stream), np.int64)
        likely = np.full(len(stream), 1 / (self.symbols + 1))
        for order in self.orders:
            grams = order.find(self._keys(before, stream))
            likely = order.shares[grams] + order.left[before] * likely
            before = _before(stream, grams)
        return likely[stream != _BEGIN]

    def _add(self, contexts: int, keys: np.ndarray, counts: np.ndarray) -> None:
        if not self.orders:
            counts[_BEGIN] = 0
        context = keys // (len(self.ids) + _FIRST)
        discounts = np.array([0, *_discounts(counts)])[counts.clip(max=3)]
        totals = np.bincount(context, counts, contexts)
        taken = np.bincount(context, discounts, contexts)
        left = np.divide(taken, totals, out=np.ones(contexts), where=totals > 0)
        self.orders.append(_Order(keys, np.append((counts - discounts) / totals[context], 0), np.append(left, 1)))

    def _keys(self, before: np.ndarray, stream: np.ndarray) -> np.ndarray:
        return np.where((before >= 0) & (stream >= 0), before * (len(self.ids) + _FIRST) + stream, -1)

    def _stream(self, texts: Sequence[Text]) -> np.ndarray:
        """(all,) ids, -1 for unseen symbols, each text between its two signs."""
        unseen = {symbol for text in texts for symbol in text if symbol not in self.ids}
        if len(self.ids) + len(unseen) > self.symbols:
            raise ValueError(f"symbols={self.symbols}, and the texts hold {len(self.ids) + len(unseen)}")
        get = self.ids.get
        return np.array(
            [id for text in texts for id in (_BEGIN, *(get(symbol, -1) for symbol in text), _END)], np.int64
        )


def _before(stream: np.ndarray, grams: np.ndarray) -> np.ndarray:
    """The n-gram that ends before each place; -1 where no text goes so far back."""
    return np.where(stream == _BEGIN, -1, np.roll(grams, 1))


def _discounts(counts: np.ndarray) -> tuple[float, float, float]:
    """What is taken from counts of 1, of 2 and of 3 and more (Chen and Goodman, equation 17)."""
    one, two, three, four = np.bincount(counts.clip(max=5), minlength=6)[1:5].tolist()
    if 0 in (one, two, three, four):
        return _DISCOUNTS
    share = one / (one + 2 * two)
    first, second, third = 1 - 2 * share * two / one, 2 - 3 * share * three / two, 3 - 4 * share * four / three
    return (first, second, third) if min(first, second, third) >= 0 else _DISCOUNTS
