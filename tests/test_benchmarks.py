"""What the benchmarks measure by: the n-gram model that networks are held against, and how these are chosen."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from benchmarks import architectures
from benchmarks.kneser_ney import KneserNey
from yanmo import checkpoint, models
from yanmo.models import FAMILIES, ModelSettings
from yanmo.tasks import admit, objectives_of

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def words(count: int = 60, seed: int = 0) -> list[str]:
    """Of all lengths from none on; few letters are common and many rare, so that every count from 1 to 4 is there in each order."""
    generator = np.random.default_rng(seed)
    shares = 0.7 ** np.arange(25) / sum(0.7 ** np.arange(25))
    return ["".join(generator.choice(list(ALPHABET[:25]), generator.integers(0, 9), p=shares)) for _ in range(count)]


def naive(texts: Sequence[str], order: int, symbols: int) -> Callable[[str, str], float]:
    """Chen and Goodman's equations as they stand, by counting and recursion: (history, symbol) -> probability. "^" begins, "$" ends."""
    raw: Counter[str] = Counter()
    for text in texts:
        signs = f"^{text}$"
        raw.update(signs[i : i + n] for n in range(1, order + 1) for i in range(len(signs) - n + 1))
    counts: dict[str, int] = {}
    for gram in raw:
        ends = {other for other in raw if other[1:] == gram}
        counts[gram] = raw[gram] if len(gram) == order or gram[0] == "^" else len(ends)
    counts.pop("^")  # it is never predicted

    def discount(gram: str) -> float:
        size = min(counts[gram], 3)
        have = Counter(count for other, count in counts.items() if len(other) == len(gram))
        if not all(have[count] for count in (1, 2, 3, 4)):
            return (0.5, 1.0, 1.5)[size - 1]
        share = have[1] / (have[1] + 2 * have[2])
        return size - (size + 1) * share * have[size + 1] / have[size]

    def likely(history: str, symbol: str) -> float:
        lower = likely(history[1:], symbol) if history else 1 / (symbols + 1)
        follow = [gram for gram in counts if gram[:-1] == history and len(gram) == len(history) + 1]
        if not follow:
            return lower
        total, gram = sum(counts[gram] for gram in follow), history + symbol
        kept = counts[gram] - discount(gram) if gram in counts else 0.0
        return (kept + sum(map(discount, follow)) * lower) / total

    return lambda history, symbol: likely(f"^{history}"[max(0, len(history) + 2 - order) :], symbol)


def told(model: KneserNey, history: str, symbol: str) -> float:
    """By the model: of the symbol, or of the end for "$"."""
    given = model.probabilities([history if symbol == "$" else history + symbol])
    return float(given[-1 if symbol == "$" else -2])


HISTORIES = ["", "a", "b", "k", "z", "ab", "ba", "dd", "az", "za", "abc", "aaaa", "abacab"]


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_kneser_ney_is_what_the_equations_say(order: int) -> None:
    texts = words()
    model, reference = KneserNey(order, symbols=30).fit(texts), naive(texts, order, 30)
    for history in HISTORIES:
        for symbol in f"{ALPHABET}$":
            assert told(model, history, symbol) == pytest.approx(reference(history, symbol), rel=1e-12)


@pytest.mark.parametrize("order", [1, 2, 5])
@pytest.mark.parametrize("texts", [words(), ["ab"], [""]], ids=["words", "one", "empty"])
def test_probabilities_add_up_to_one(texts: list[str], order: int) -> None:
    model = KneserNey(order, symbols=len(ALPHABET)).fit(texts)
    for history in HISTORIES:
        assert sum(told(model, history, symbol) for symbol in f"{ALPHABET}$") == pytest.approx(1, abs=1e-12)


def test_a_bigram_by_hand() -> None:
    """Of "aa" and "ab" with KenLM's discounts: ^ is followed by a twice (bigram ^a: 2), a by a, b and the end once each, b by the end.

    Unigrams count what they follow: a follows ^ and a, b follows a, the end follows a and b: 2, 1, 2 of 5; discounts 1, 0.5, 1 leave
    2.5 of 5 to the even distribution over a, b, c and the end."""
    model = KneserNey(2, symbols=3).fit(["aa", "ab"])
    a, b, end = (2 - 1) / 5 + 0.5 / 4, (1 - 0.5) / 5 + 0.5 / 4, (2 - 1) / 5 + 0.5 / 4
    first = (2 - 1) / 2 + 1 / 2 * a
    second = (1 - 0.5) / 3 + 1.5 / 3 * b
    last = (1 - 0.5) / 1 + 0.5 / 1 * end
    assert model.probabilities(["ab"]) == pytest.approx([first, second, last])
    assert model.bits(["ab"]) == pytest.approx(-math.log2(first * second * last))


def test_ids_serve_as_characters_do() -> None:
    texts, other = words(), words(seed=1)
    of_ids = KneserNey(4, symbols=200).fit([list(map(ord, text)) for text in texts])
    assert of_ids.bits([list(map(ord, text)) for text in other]) == KneserNey(4, symbols=200).fit(texts).bits(other)


def test_more_symbols_than_said_are_refused() -> None:
    with pytest.raises(ValueError, match="symbols=1, and the texts hold 2"):
        KneserNey(2, symbols=1).fit(["ab"])
    with pytest.raises(ValueError, match="symbols=2, and the texts hold 3"):
        KneserNey(2, symbols=2).fit(["ab"]).bits(["abc"])


ROWS = {**architectures.DECODERS, **architectures.ENCODERS}


def test_every_family_that_predicts_from_left_to_right_or_hidden_tokens_has_a_row() -> None:
    fitting = {name for name in FAMILIES if {"causal", "masked", "permutation"} & {*objectives_of(models.find(name))}}
    assert fitting == {row.family for row in ROWS.values()} | set(architectures.LEFT_OUT)


def test_networks_have_about_equally_many_parameters() -> None:
    sizes = {}
    for name, row in ROWS.items():
        settings = ModelSettings(family=row.family, size=dict(row.size))
        family, config = models.configure(settings, vocab_size=5540)
        admit(family, row.objective["name"])
        model = checkpoint.build(family, config, row.objective["name"])  # whose head is called as it is
        sizes[name] = architectures.parameters(model, row)
    assert all(0.95 < size / sizes["gpt2"] < 1.05 for size in sizes.values()), sizes
