"""The text as it comes: pieces that make up the whole, no half characters, nothing of what ends it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yanmo.decoding.written import Written
from yanmo.text import tokenizer
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

TEXTS = ["a good film, isn't it", "这部电影很好 😀👍🏽", "naïve café — don't stop.", "\nUser: hi\n"] * 3
KINDS = ("wordpiece", "word", "bpe", "unigram", "character")
CUTTERS = {kind: tokenizer.train(TEXTS, TokenizerSettings(kind=kind, vocab=460)) for kind in KINDS}


def pieces(cutter: Tokenizer, ids: list[int], stop: tuple[str, ...] = ()) -> list[str]:
    text = Written(cutter.decode, stop)
    return [text.more(ids[: i + 1], last=i + 1 == len(ids)) for i in range(len(ids))]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None)
@given(text=st.text("ab ,.'龘好😀é\n", min_size=1, max_size=12), cut=st.integers(0, 5))
def test_pieces_make_up_the_text(kind: str, text: str, cut: int) -> None:
    """Also of one that ends within a character."""
    cutter = CUTTERS[kind]
    ids = cutter.encode(text, special=False)
    whole, ids = cutter.decode(ids), ids[: max(1, len(ids) - cut)]
    given = "".join(pieces(cutter, ids))
    sure = [found for size in range(len(ids) + 1) if not (found := cutter.decode(ids[:size])).endswith("\ufffd")]
    assert whole.startswith(given) and len(given) >= max(map(len, sure))


@pytest.mark.parametrize("kind", ["wordpiece", "word", "bpe", "character"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pieces_make_up_the_whole(kind: str, data: st.DataObject) -> None:
    """Of any ids: also of bytes that are no characters."""
    cutter = CUTTERS[kind]
    ids = data.draw(st.lists(st.integers(0, cutter.size - 1), min_size=1, max_size=30))
    assert "".join(pieces(cutter, ids)) == cutter.decode(ids).rstrip("\ufffd")


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_never_half_a_character(kind: str) -> None:
    cutter = CUTTERS[kind]
    ids = cutter.encode("龘 x 🦄!", special=False)  # characters that no token has: a token a byte
    given = pieces(cutter, ids)
    assert "".join(given) == "龘 x 🦄!" and len(ids) >= 9
    assert not any("\ufffd" in piece for piece in given)
    assert "".join(pieces(cutter, ids[:-3])).rstrip() == "龘 x"  # it ends within a character


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_nothing_of_a_stop_is_ever_given(kind: str, data: st.DataObject) -> None:
    cutter = CUTTERS[kind]
    text = data.draw(st.text("abc 好\n", min_size=1, max_size=25))
    stop = tuple(data.draw(st.lists(st.text("abc 好\n", min_size=1, max_size=4), max_size=3)))
    ids = cutter.encode("x" + text, special=False)
    reached = (size for size in range(1, len(ids)) if any(word in cutter.decode(ids[:size]) for word in stop))
    ids = ids[: next(reached, len(ids))]  # where the loop ends the row
    whole = cutter.decode(ids)
    expected = whole[: min((place for word in stop if (place := whole.find(word)) >= 0), default=len(whole))]
    given = pieces(cutter, ids, stop)
    assert "".join(given) == expected
    for i in range(len(given)):  # what is out stays right however it goes on
        assert expected.startswith("".join(given[: i + 1]))


def test_a_stop_across_tokens() -> None:
    ids = {1: "one ", 2: "E", 3: "N", 4: "D", 5: "X"}

    def decode(row: object) -> str:
        return "".join(ids[id] for id in row)  # type: ignore[attr-defined]

    text = Written(decode, ["END"])
    assert [text.more(row, last=False) for row in ([1], [1, 2], [1, 2, 3], [1, 2, 3, 5])] == ["one ", "", "", "ENX"]
    text = Written(decode, ["END"])
    assert [text.more(row, last=False) for row in ([1], [1, 2], [1, 2, 3], [1, 2, 3, 4])] == ["one ", "", "", ""]
