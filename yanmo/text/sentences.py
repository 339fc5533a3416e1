"""Where the sentences of a text stand, in Chinese and English.

A sentence ends with 。！？…… wherever they stand, with ! and ? before a space, a Chinese character or the end, with a dot before a space or
the end, and with its line. A dot ends none behind an initial or another abbreviation (J. Smith, U.S., Dr., e.g.), nor where a small
letter follows. Quotes and brackets that close behind the end belong to it.
"""

import re
from collections.abc import Iterator

Mark = tuple[int, int]  # characters (from, to)

_CLOSING = "[\"'”’」』》）)\\]]*+"
_CHINESE = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_END = re.compile(
    rf"(?:[。！？…]+|(?<![!?])[!?]++(?={_CLOSING}(?:[\s{_CHINESE}]|$))|\.(?={_CLOSING}(?:\s|$))){_CLOSING}|\n"
)
_ABBREVIATED = re.compile(
    r"(?:^|[\s(\[\"'“‘])(?:(?:[^\W\d_]\.)*[^\W\d_]|Mr|Mrs|Ms|Dr|Prof|Sen|Rep|Gov|Gen|Col|Lt|Capt|Sgt|St|Jr|Sr|No|Nos|Fig|Eq|vs|cf|al|etc"
    r"|Inc|Ltd|Co|Corp|Jan|Feb|Mar|Apr|Aug|Sept?|Oct|Nov|Dec)$"
)
_LONGEST = 12  # characters of an abbreviation, with what stands before it


def sentences(text: str) -> Iterator[Mark]:
    """The sentences of a text in their order, without the space around them; none that is blank."""
    start = 0
    for end in _END.finditer(text):
        if end[0].startswith(".") and _goes_on(text, end.start(), end.end()):
            continue
        yield from _bare(text, start, end.end())
        start = end.end()
    yield from _bare(text, start, len(text))


def _goes_on(text: str, dot: int, end: int) -> bool:
    """Whether a sentence goes on behind a dot."""
    following = text[end : end + 8].split("\n")[0].lstrip()[:1]
    return bool(following) and (following.islower() or bool(_ABBREVIATED.search(text[max(0, dot - _LONGEST) : dot])))


def _bare(text: str, start: int, end: int) -> Iterator[Mark]:
    piece = text[start:end]
    if stripped := piece.strip():
        begin = start + piece.index(stripped)
        yield begin, begin + len(stripped)
