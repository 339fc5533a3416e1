"""Bytes -> which encoding they are in, and where their lines end.

Strict UTF-8 comes first. What is not UTF-8 is taken for GB18030 or ISO-8859-1 only on good evidence: a few stray bytes in a file
are faults of that file, not another encoding. Knows no format.
"""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import BinaryIO

LONGEST = 1 << 24  # bytes of a line that is read as a row; more would take more memory than a reader may
_SHOWN = 1 << 16  # bytes that are kept of a longer one
_CHUNK = 1 << 20
_BAD_LINES = 1000  # enough of them to tell by
_LEAST_CHINESE = 8  # characters; fewer say too little
_LEAST_BYTES = 1024  # of a file in ISO-8859-1; a shorter one says too little
# The 3,755 commonest characters (level 1 of GB 2312), full-width signs and punctuation.
_CHINESE = re.compile(rb"[\xb0-\xd7][\xa1-\xfe]|[\xa1\xa3][\xa1-\xfe]")
# Accents and signs of Latin text stand alone or in twos; 0x80-0x9f are no characters, and 0xff hardly ever is one.
_NOT_LATIN = re.compile(rb"[\x80-\x9f\xff]|[\xa0-\xfe]{3}")
# In text in which letters are rarer than these pairs a letter is the first half of a character in UTF-8.
_LATIN_LETTER = re.compile(rb"[\xc0-\xfe](?![\xa0-\xbf])")
_LATIN_PAIR = re.compile(rb"[\xc2-\xf4][\xa0-\xbf]")
# What text in UTF-16 mostly is: ASCII, Latin letters, Chinese and its punctuation, kana, full-width forms.
_USUAL = re.compile("[\t\n\r -\u024f\u2010-\u2027\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]")
_HIGH = re.compile(rb"[\x80-\xff]")


def detect(open_file: Callable[[], BinaryIO]) -> str:
    """utf-8, utf-8-sig (with a byte order mark), utf-16-le, utf-16-be, gb18030 or iso-8859-1, whichever the file most plausibly
    is in. utf-8 stands for what is in none of them. The whole file is read, in pieces.
    """
    try:
        with open_file() as file:
            head = file.read(1 << 16)
            marked = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None) or _utf16(head)
            if marked or all(map(_is_strict_utf8, _pieces(head, file))):
                return marked or "utf-8"
        with open_file() as file:
            return _by_bytes(file.read(1 << 16), file)
    except (OSError, EOFError, ValueError):  # cut short: the reader says where
        return "utf-8"


_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def _utf16(head: bytes) -> str | None:
    """By its zero bytes: every second byte of Latin text; the upper half of every line end of other text, which is no UTF-8."""
    for name, zeros in (("utf-16-le", head[1::2].count(0)), ("utf-16-be", head[0::2].count(0))):
        if zeros and (zeros > 0.2 * len(head) or not _is_utf8(head)):
            text = head.decode(name, "replace")
            if "\n" in text and len(_USUAL.findall(text)) > 0.9 * len(text):
                return name
    return None


def is_utf16(head: bytes) -> bool:
    """Is this the beginning of a text in UTF-16, with a byte order mark or without one?"""
    return head.startswith((b"\xff\xfe", b"\xfe\xff")) or _utf16(head) is not None


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.end == len(head) and len(head) - error.start < 4  # a character that the cut went through
    return True


def _is_strict_utf8(piece: bytes) -> bool:
    return _is_utf8(piece + b"\n")


def _by_bytes(head: bytes, file: BinaryIO) -> str:
    """By the lines that are no UTF-8 beside those that are, and are not ASCII."""
    good, size = 0, 0
    bad: list[bytes] = []
    for piece in _pieces(head, file):
        size += len(piece)
        for line in piece.split(b"\n"):
            if _is_strict_utf8(line):
                good += not line.isascii()
            else:
                bad.append(line[:_SHOWN])
        if len(bad) >= _BAD_LINES:
            break
    if good >= len(bad):
        return "utf-8"
    text = b"\n".join(bad)
    high = len(_HIGH.findall(text))
    chinese = len(_CHINESE.findall(text))
    if chinese >= _LEAST_CHINESE and 2 * chinese > 0.7 * high:
        return "gb18030"
    letters = len(_LATIN_LETTER.findall(text)) >= len(_LATIN_PAIR.findall(text))
    if not good and size >= _LEAST_BYTES and letters and not _NOT_LATIN.search(text):
        return "iso-8859-1"
    return "utf-8"


def _pieces(head: bytes, file: BinaryIO) -> Iterator[bytes]:
    """A file, of which `head` has been read, in pieces of whole lines; of a very long line pieces of whole UTF-8 characters."""
    rest, piece = b"", head + file.readline(_CHUNK)
    while piece:
        cut = len(piece) if piece.endswith(b"\n") else _last_character(piece)
        yield piece[:cut]
        rest, more = piece[cut:], file.read(_CHUNK)
        piece = rest + more + file.readline(_CHUNK) if more else b""
    if rest:
        yield rest


def _last_character(piece: bytes) -> int:
    """Where it begins, if it has several bytes, of which some may be missing; else the end."""
    for place in range(len(piece) - 1, max(0, len(piece) - 4), -1):
        if piece[place] < 0x80:
            break
        if piece[place] >= 0xC0:
            return place
    return len(piece)


def spans(file: BinaryIO, encoding: str, longest: int = LONGEST) -> Iterator[tuple[bytes, int]]:
    """The lines of a file, each as its bytes with its line end and their number. Of a line of more than `longest` only the beginning
    is given, so that no line takes much more memory than that."""
    newline = {"utf-16-le": b"\n\0", "utf-16-be": b"\0\n"}.get(encoding, b"\n")
    found = iter(partial(file.readline, longest), b"") if newline == b"\n" else _wide(file, newline, longest)
    for raw in found:
        size = len(raw)
        if size >= longest and not raw.endswith(newline):
            for more in found:
                size += len(more)
                if more.endswith(newline):
                    break
        yield (raw if size <= longest else raw[:_SHOWN]), size


def _wide(file: BinaryIO, newline: bytes, longest: int) -> Iterator[bytes]:
    """What `readline` gives, in UTF-16, where the byte 0x0a may be half of another character."""
    rest = b""
    while piece := file.read(_CHUNK):
        start, at = 0, (rest + piece).find(newline, max(0, len(rest) - 1))
        rest += piece
        while at >= 0:
            if at % 2:
                at = rest.find(newline, at + 1)
                continue
            yield rest[start : at + 2]
            start, at = at + 2, rest.find(newline, at + 2)
        rest = rest[start:]
        while len(rest) >= longest:
            yield rest[:longest]
            rest = rest[longest:]
    if rest:
        yield rest
