"""Texts -> their sentences."""

from itertools import pairwise

import pytest

from yanmo.text.sentences import sentences

CASES: dict[str, list[str]] = {
    "": [],
    " \n ": [],
    "no end": ["no end"],
    "One. Two!  Three?": ["One.", "Two!", "Three?"],
    "他来了。她走了！为什么？": ["他来了。", "她走了！", "为什么？"],
    "他说：“来。”她走了……真的": ["他说：“来。”", "她走了……", "真的"],
    "好吗?好!走": ["好吗?", "好!", "走"],
    'He said "go." She went.': ['He said "go."', "She went."],
    "Mr. Smith met J. R. Tolkien in the U.S. Army. It rained.": [
        "Mr. Smith met J. R. Tolkien in the U.S. Army.",
        "It rained.",
    ],
    "It was 3.5 m. He left": ["It was 3.5 m. He left"],  # a unit looks like an initial
    "See e.g. Figure 2. Then stop.": ["See e.g. Figure 2.", "Then stop."],
    "It costs 3. Ann paid.": ["It costs 3.", "Ann paid."],
    "node.js is fast. numpy too.": ["node.js is fast. numpy too."],
    "Kim at Yahoo!Mail. Ok": ["Kim at Yahoo!Mail.", "Ok"],
    "a line\nanother. \n\n last": ["a line", "another.", "last"],
    "(It rained.) He left.": ["(It rained.)", "He left."],
    "With Acme Inc. He left": ["With Acme Inc. He left"],
    "At Acme Inc.\nHe left": ["At Acme Inc.", "He left"],
    "价格3.5元。第2版": ["价格3.5元。", "第2版"],
}


@pytest.mark.parametrize("text", CASES)
def test_sentences(text: str) -> None:
    found = [*sentences(text)]
    assert [text[start:end] for start, end in found] == CASES[text]
    assert all(before[1] <= after[0] for before, after in pairwise(found))


def test_long_texts_take_time_in_proportion() -> None:
    assert len([*sentences("Mr. " * 100_000)]) == 1
    assert len([*sentences("!" * 200_000 + "x")]) == 1
    assert len([*sentences("." + ")" * 50_000 + "x")]) == 1
