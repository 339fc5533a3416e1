import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yanmo.text.clean import canonical, canonical_each, normalise

# Rarely side by side in plain text(): controls, invisible marks, spaces, accents, full width, jamo, what folds oddly.
AWKWARD = st.text(
    st.one_of(st.characters(), st.sampled_from("\x00\x1c\x85\t \u3000\u200b\u200d\ufeff\u0301ｅe\u1100\u1161ßİΐﬁ，～"))
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ａ１　ｂ２", "A1 b2"),
        ("房间很好，服务也不错！（下次再来）：；？～", "房间很好，服务也不错！（下次再来）：；？～"),
        ("“很好”、《书》。……——", "“很好”、《书》。……——"),
        ("打９．５折，省２０％", "打9.5折，省20%"),
        ("a\x00b\x07c\u200bd\ufeff", "abcd"),
        ("  一行\t两行\r\n\n三行  ", "一行 两行 三行"),
        ("e\u200b\u0301", "é"),  # what the invisible space kept apart
        ("½ ² ㎡", "½ ² ㎡"),  # NFKC would make them 1⁄2, 2, m2
        ("👨\u200d👩\u200d👧", "👨\u200d👩\u200d👧"),
        ("\ud83d坏", "坏"),
        ("", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(AWKWARD)
def test_normalised_text_is_stable_and_clean(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert unicodedata.is_normalized("NFC", once)
    assert not any(unicodedata.category(character) in ("Cc", "Cs") for character in once)
    assert once == " ".join(once.split())
    once.encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ｔｈｅ　Best, BOOK！", "thebestbook"),
        ("很好，很好。。。", "很好很好"),
        ("snake_case 3.5 ㎡", "snakecase35m2"),
        ("Straße", "strasse"),
        ("！！！……", ""),
    ],
)
def test_canonical(text: str, expected: str) -> None:
    assert canonical(text) == expected


@given(AWKWARD)
def test_canonical_holds_letters_and_digits_only_and_ignores_normalisation(text: str) -> None:
    assert canonical(text) == "" or canonical(text).isalnum()
    assert canonical(normalise(text)) == canonical(text)


@given(st.lists(AWKWARD))
def test_many_texts_at_once_have_the_canonical_form_of_each(texts: list[str]) -> None:
    assert canonical_each(texts) == [canonical(text) for text in texts]


def test_every_character_at_once_has_its_canonical_form() -> None:
    """Between letters, which an accent would join."""
    known = [letter for letter in map(chr, range(0x110000)) if unicodedata.category(letter) not in ("Cn", "Co")]
    texts = [f"{before}{letter}e" for before in "e가" for letter in known]
    assert canonical_each(texts) == [*map(canonical, texts)]
