"""Tokens -> the text that has been written, given out as it comes: never half a character, never a part of what ends it."""

from collections.abc import Callable, Sequence

_HALF = "\ufffd"  # what a character is read as, of which only some bytes are there


class Written:
    """The text of a row. decode: ids -> text, which more ids make longer, but for a character that is not whole yet."""

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop, self._given = decode, stop, 0

    def more(self, ids: Sequence[int], *, last: bool) -> str:
        """The piece that is sure, all ids of the row being these, and was not given yet. last: no more ids come."""
        text = self._whole(ids)
        found = before(text, self._stop)
        whole = text[: None if last else len(text) - _begun(text, self._stop)] if found is None else found
        piece = whole[self._given :]
        self._given += len(piece)
        return piece

    def _whole(self, ids: Sequence[int]) -> str:
        """Without the character at its end of which only some bytes are there. Some decoders read a whole run of bytes as halves until its
        last one is there, so shorter ones are read, too."""
        text = self._decode(ids)
        if not text.endswith(_HALF):
            return text
        shorter = (self._decode(ids[:size]) for size in range(len(ids) - 1, max(0, len(ids) - 4), -1))
        return max((found.rstrip(_HALF) for found in (text, *shorter)), key=len)


def before(text: str, stop: Sequence[str]) -> str | None:
    """What stands before the first of these; None where none is there."""
    places = [place for word in stop if (place := text.find(word)) >= 0]
    return text[: min(places)] if places else None


def _begun(text: str, stop: Sequence[str]) -> int:
    """How many of the last characters may become one of these."""
    sizes = (size for word in stop for size in range(len(word) - 1, 0, -1) if text.endswith(word[:size]))
    return max(sizes, default=0)
