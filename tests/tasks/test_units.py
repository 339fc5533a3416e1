"""How texts are cut to be tagged."""

import pytest

from yanmo.tasks import units
from yanmo.text.sources import Example

WORDS = {
    "signs": ("He said: “stop”.", "He said : “ stop ” ."),
    "abbreviations": ("The U.N. in the U.S.A. met.", "The U.N. in the U.S.A. met ."),
    "numbers": ("On 1996-08-22 it cost 1,250.5 or 3/4.", "On 1996-08-22 it cost 1,250.5 or 3/4 ."),
    "genitives": ("Ann's and O'Neill’s don't", "Ann 's and O'Neill ’s don't"),
    "hyphens": ("Austria-based AT&T -- 5%", "Austria-based AT&T - - 5 %"),
    "accents": ("São Tomé, Zürich", "São Tomé , Zürich"),
    "Chinese": ("IBM在北京成立了。", "IBM 在 北京 成立 了 。"),
    "nothing": (" \n", ""),
    "an underline": ("a_b 😀", "a _ b 😀"),
}


@pytest.mark.parametrize(("text", "expected"), WORDS.values(), ids=WORDS)
def test_words(text: str, expected: str) -> None:
    marks = list(units.words(text))
    assert [text[start:end] for start, end in marks] == expected.split()
    assert "".join(text[start:end] for start, end in marks) == "".join(text.split())  # nothing is lost


def test_characters() -> None:
    assert list(units.characters("江 IBM")) == [(0, 1), (2, 3), (3, 4), (4, 5)]


@pytest.mark.parametrize(
    ("text", "marks", "expected"),
    [
        ("江泽民 IBM", ((0, 1), (1, 2), (2, 3), (4, 5), (5, 6), (6, 7)), "characters"),
        ("江泽民 说", ((0, 3), (4, 5)), "words"),
        ("I saw a", ((0, 1), (2, 5), (6, 7)), "words"),
        ("江泽民说", (), "characters"),
        ("I saw", (), "words"),
    ],
)
def test_units_of_rows(text: str, marks: tuple[tuple[int, int], ...], expected: str) -> None:
    assert units.units([Example((text,), marks=marks)]) == expected


def test_places() -> None:
    row = Example(("a an  a",), marks=((0, 1), (2, 4), (6, 7)))
    assert list(units.with_spaces(row)) == ["a", " an", "  a"]
    assert list(units.placed(units.words_of(row), row.texts[0])) == list(row.marks)
