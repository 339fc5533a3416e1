"""What every reader gives and takes: rows, faults, lines, and the head of a file by which its format is recognised.

Knows no format. A reader turns a `Source` into a stream of rows and faults, in the order of the file.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, count
from typing import Any, NamedTuple

from yanmo.text.formats.encoding import LONGEST, detect, spans
from yanmo.text.formats.stream import Member

_AT_ONCE = 1 << 16  # bytes of lines that are decoded together: what is made of more leaves the cache


class Row(NamedTuple):
    fields: dict[str, Any]
    line: int  # from 1; of a parquet file the number of the row
    offset: int  # of the row's first byte in the decompressed file; 0 where a row has no one place
    raw: bytes = b""  # as it stands in the file; b"" where it has no bytes of its own (parquet, the questions of SQuAD)


@dataclass(frozen=True, slots=True)
class Header:
    """The line of a table that names its columns."""

    raw: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """A row that can't be used: where it stands, why, and its bytes, so that nothing is lost."""

    file: str
    line: int
    offset: int
    column: str  # "" where it is not one column's fault
    reason: str
    raw: bytes  # of a line that is too long the beginning
    kind: str  # a key of `EXPECTED`: what is wrong with it, in a word

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


# kind of fault: what is said above a list of such faults
EXPECTED = {
    "encoding": "{lines} not in UTF-8. Is the whole file in another encoding? Save it as UTF-8, for example: "
    "iconv -f GB18030 -t UTF-8 {file} > NEW. Else mend these lines, or remove them:",
    "damage": "{lines} with bytes that are no characters. Mend these, or remove them:",
    **dict.fromkeys(
        ("ragged", "quote", "long", "value"),
        "{rows} can't be used; is a separator missing or unquoted? "
        "(A .tsv has no quotes: texts with tabs need a .csv or .jsonl)",
    ),
    **dict.fromkeys(
        ("json", "object", "surrogate", "nul"),
        '{lines} can\'t be used; expected one object a line, such as {{"text": ..., "label": ...}}:',
    ),
    "document": 'the JSON can\'t be read to its end; expected a list of objects, such as [{{"text": ..., "label": ...}}]:',
    "form": "{rows} can't be used:",
    "overlong": "{lines} too long; put one document on a line, or use a .json:",
    "broken": "the file can't be read on:",
    "compression": "the packed data is damaged; copy or download the file again:",
}
LOST = frozenset({"broken", "document", "compression"})  # the kinds after which nothing of a file can be read


class Line(NamedTuple):
    number: int
    offset: int
    text: str  # without its line end
    raw: bytes


class Lines(NamedTuple):
    """Lines that follow each other, all of them text."""

    number: int  # of the first
    offset: int  # of the first
    texts: list[str]
    raws: list[bytes]

    @property
    def offsets(self) -> Iterator[int]:
        return accumulate(map(len, self.raws[:-1]), initial=self.offset)


@dataclass(frozen=True)
class Source:
    """One text to be read: a file, or a member of an archive, with its encoding once that is asked for."""

    member: Member
    columns: frozenset[str] = field(default_factory=frozenset)  # names that make a first line a header

    @cached_property
    def name(self) -> str:
        return self.member.name

    @cached_property
    def encoding(self) -> str:
        return detect(self.member.open)

    @property
    def unmarked(self) -> str:
        """The encoding of what stands after a byte order mark."""
        return self.encoding.removesuffix("-sig")

    def blocks(self, longest: int = LONGEST) -> Iterator[Lines | Fault]:
        """Every line, blank ones too, some hundred kilobytes together; a fault in the place of each that is not text, or of more than
        `longest` bytes."""
        number, offset, size = 1, 0, 0
        held: list[tuple[bytes, int]] = []
        broken: Exception | None = None
        try:
            with self.member.open() as file:
                for span in spans(file, self.encoding, longest):
                    held.append(span)
                    size += span[1]
                    if size >= _AT_ONCE:
                        yield from self._read(held, number, offset, longest)
                        number, offset, size, held = number + len(held), offset + size, 0, []
        except self.member.broken as error:
            broken = error
        if held:
            yield from self._read(held, number, offset, longest)
        if broken is not None:
            line = Line(number + len(held), offset + size, "", b"")
            yield self.fault(line, f"the compressed data ends or breaks ({broken})", "compression")

    def _read(
        self, held: Sequence[tuple[bytes, int]], number: int, offset: int, longest: int
    ) -> Iterator[Lines | Fault]:
        """Some lines, of which the first has this number and offset, and their sizes."""
        raws = [raw for raw, _ in held]
        texts = self._texts(raws) if all(size <= longest for _, size in held) else None
        if texts is not None:
            yield Lines(number, offset, texts, raws)
            return
        for raw, size in held:
            if size > longest:
                reason = f"{size:,} bytes; at most {longest:,} are read"
                yield Fault(self.name, number, offset, "", reason, raw, "overlong")
            else:
                line = decoded(raw, number, offset, self.name, self.encoding)
                yield line if isinstance(line, Fault) else Lines(number, offset, [line.text], [raw])
            number, offset = number + 1, offset + size

    def _texts(self, raws: Sequence[bytes]) -> list[str] | None:
        """What `decoded` makes of each of these, in a fifth of the time; None where they have to be looked at one by one."""
        try:
            text = b"".join(raws).decode(self.encoding)
        except UnicodeDecodeError:
            return None
        if "\ufeff" in text:  # a byte order mark, or what looks like one
            return None
        texts = text.removesuffix("\n").split("\n")
        return [text.rstrip("\r") for text in texts] if "\r" in text else texts

    def lines(self, longest: int = LONGEST) -> Iterator[Line | Fault]:
        """The same one by one."""
        for block in self.blocks(longest):
            if isinstance(block, Fault):
                yield block
            else:
                yield from map(Line, count(block.number), block.offsets, block.texts, block.raws)

    def full(self) -> Iterator[Line | Fault]:
        """The lines that are not blank, and the faults."""
        return (
            line for line in self.lines() if isinstance(line, Fault) or not (line.text.isspace() or line.text == "")
        )

    def fault(self, line: Line, reason: str, kind: str = "form", column: str = "") -> Fault:
        return Fault(self.name, line.number, line.offset, column, reason, line.raw, kind)

    def whole(self) -> tuple[str, list[Fault]]:
        """The whole text, its byte order mark too, and the faults of the lines that are not text (left out of it)."""
        texts, faults = [], []
        for line in self.lines(sys.maxsize):
            if isinstance(line, Fault):
                faults.append(line)
            else:
                texts.append(line.raw.decode(self.unmarked))
        return "".join(texts), faults

    def head(self, size: int = 1 << 16) -> list[str]:
        """The first lines that are text and not blank: about `size` bytes of them."""
        found: list[str] = []
        for line in self.full():
            if isinstance(line, Line):
                found.append(line.text)
            if line.offset > size:
                break
        return found


def decoded(raw: bytes, number: int, offset: int, name: str, encoding: str) -> Line | Fault:
    """A line of bytes as text, or what is wrong with it. A byte order mark before the first line is no text."""
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        byte = f"byte {error.start + 1} of the line (0x{raw[error.start]:02x})"
        known = encoding != "utf-8"  # the file as a whole is in another encoding, or has a mark that says utf-8
        return Fault(
            name,
            number,
            offset,
            "",
            f"{byte} is not {encoding}" if known else byte,
            raw,
            "damage" if known else "encoding",
        )
    if number == 1:
        text = text.removeprefix("\ufeff")
    return Line(number, offset, text.rstrip("\r\n"), raw)


Stream = Iterator[Row | Fault | Header]
Reader = Callable[[Source], Stream]


@dataclass(frozen=True)
class Format:
    looks: Callable[
        [str, list[str]], bool
    ]  # (suffix in lower case, first lines that are not blank) -> is it this format?
    read: Reader
