"""Characters looked up in a table get the ids that the library gives them."""

from collections.abc import Callable

import pytest
import tokenizers
from tokenizers import AddedToken, normalizers, pre_tokenizers

from yanmo.text import characterwise, vocabulary
from yanmo.text.characterwise import Characterwise

TEXTS = [
    "",
    "Now is the winter\r\nof our discontent\t.",
    "研墨，磨墨。",
    "rare: 🜁 é e\u0301 \x00 \u200b",
    "a [MASK] b",
    "[UNK]",
    "e",
]


@pytest.fixture
def inner() -> tokenizers.Tokenizer:
    return vocabulary.train(["Now is the winter of our discontent\n", "研墨"], "character", 100)


def test_the_ids_are_those_of_the_library(inner: tokenizers.Tokenizer) -> None:
    assert characterwise.fits(inner)
    ids, ends = Characterwise(inner).encode(TEXTS)
    expected = [each.ids for each in inner.encode_batch(TEXTS, add_special_tokens=False)]
    assert ids.tolist() == [id for each in expected for id in each]
    assert ends.tolist() == [sum(map(len, expected[: i + 1])) for i in range(len(TEXTS))]


def test_the_commonest_characters_are_kept() -> None:
    inner = vocabulary.train(["aaabbc", "bad"], "character", len(vocabulary.SPECIAL) + 3)
    assert [inner.id_to_token(id) for id in range(len(vocabulary.SPECIAL), inner.get_vocab_size())] == ["a", "b", "c"]


CHANGES: dict[str, Callable[[tokenizers.Tokenizer], object]] = {
    "a normaliser": lambda inner: setattr(inner, "normalizer", normalizers.NFC()),
    "words": lambda inner: setattr(inner, "pre_tokenizer", pre_tokenizers.Whitespace()),
    "an added word": lambda inner: inner.add_tokens(["winter"]),
    "a greedy special token": lambda inner: inner.add_special_tokens([AddedToken("<x>", lstrip=True)]),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_reads_otherwise_does_not_fit(name: str, inner: tokenizers.Tokenizer) -> None:
    CHANGES[name](inner)
    assert not characterwise.fits(inner)
