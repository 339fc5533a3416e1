"""What a text is cut into to be tagged: words, or characters; as data sets of tags cut theirs."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

from yanmo.tasks.objectives.words import segmenter
from yanmo.text.clean import language
from yanmo.text.sources import Example

Units = Literal["words", "characters"]
Mark = tuple[int, int]  # characters (from, to)
_MOST = 0.9  # of the words are single characters where characters are what is tagged
_ROWS = 2000  # that are looked at
_CHINESE = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_LETTER = rf"[^\W_{_CHINESE}]"
# As the Penn Treebank and CoNLL-2003 cut English: U.N. and 1996-08-22 are words, 's is one, and so is every sign.
_WORD = re.compile(
    rf"(?P<chinese>[{_CHINESE}]+)|(?:[A-Za-z]\.){{2,}}|['’](?:s|re|ve|ll|d|m)\b"
    rf"|{_LETTER}+(?:(?:[-./,:&]|['’](?!(?:s|re|ve|ll|d|m)\b)){_LETTER}+)*|[^\s]",
    re.IGNORECASE,
)


def words(text: str) -> Iterator[Mark]:
    """Where words and signs stand. Raises MissingExtra for Chinese text where no segmenter is installed."""
    for found in _WORD.finditer(text):
        if not found["chinese"]:
            yield found.span()
            continue
        start = found.start()
        for word in segmenter()(found[0]):
            yield start, start + len(word)
            start += len(word)


def characters(text: str) -> Iterator[Mark]:
    """Where characters stand that are no space."""
    return ((place, place + 1) for place, character in enumerate(text) if not character.isspace())


CUT: dict[str, Callable[[str], Iterator[Mark]]] = {"words": words, "characters": characters}


def words_of(example: Example) -> list[str]:
    return [example.texts[-1][slice(*mark)] for mark in example.marks]


def are_characters(rows: Sequence[Sequence[str]]) -> bool:
    """Whether nearly all words of some rows are single characters."""
    single = [len(word) == 1 for row in rows[:_ROWS] for word in row]
    return sum(single) > _MOST * len(single)


def units(examples: Sequence[Example]) -> Units:
    """What the words of rows are; of texts without words, what is usual in their language."""
    if marked := [words_of(example) for example in examples[:_ROWS] if example.marks]:
        return "characters" if are_characters(marked) else "words"
    return "characters" if language([example.texts[-1] for example in examples]) == "zh" else "words"


def with_spaces(example: Example) -> Iterator[str]:
    """Each word with what stands between it and the one before: in many vocabularies the space before a word is a part of it."""
    begin = 0
    for _, end in example.marks:
        yield example.texts[-1][begin:end]
        begin = end


def placed(words: Iterable[str], text: str) -> Iterator[Mark]:
    """Where the words of a text, all of them in their order, stand in it."""
    end = 0
    for word in words:
        start = text.index(word, end)
        end = start + len(word)
        yield start, end
