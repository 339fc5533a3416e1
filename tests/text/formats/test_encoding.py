"""Which encoding a file is in, and what becomes of bytes that are in none."""

from pathlib import Path

import pytest

from yanmo.text import formats

ZH = "研墨是一个小小的文本工具。\n它把文字变成模型，让人看得懂。\n"
LATIN = "Ein Café für Müller.\nUne année à l'été.\nplain words only\n" * 30
CASES = {
    "utf-8": (ZH.encode(), "utf-8", ZH),
    "utf-8 with a mark": (ZH.encode("utf-8-sig"), "utf-8-sig", ZH),
    "utf-16 with a mark": (ZH.encode("utf-16"), "utf-16-le", ZH),
    "utf-16 little, Chinese": (ZH.encode("utf-16-le"), "utf-16-le", ZH),
    "utf-16 big, Chinese": (ZH.encode("utf-16-be"), "utf-16-be", ZH),
    "utf-16 little, Latin": (LATIN.encode("utf-16-le"), "utf-16-le", LATIN),
    "utf-16, 0x0a in characters": (
        ("\ufeff" + "\u0a0a\u010a研\n" * 40).encode("utf-16-le"),
        "utf-16-le",
        "\u0a0a\u010a研\n" * 40,
    ),
    "gb18030": (ZH.encode("gb18030"), "gb18030", ZH),
    "gb18030, CRLF": (ZH.replace("\n", "\r\n").encode("gb18030"), "gb18030", ZH),
    "gb18030, four bytes": ((ZH + "𠀀\n").encode("gb18030"), "gb18030", ZH + "𠀀\n"),
    "gb18030 after much ASCII": (("abc\n" * 300_000 + ZH).encode("gb18030"), "gb18030", "abc\n" * 300_000 + ZH),
    "Latin-1": (LATIN.encode("iso-8859-1"), "iso-8859-1", LATIN),
    "Latin-1, one byte in much ASCII": (
        ("abc\n" * 300 + "Amst\xf0\n").encode("iso-8859-1"),
        "iso-8859-1",
        "abc\n" * 300 + "Amst\xf0\n",
    ),
    "ASCII with a NUL": (b"a\0b\nc\n", "utf-8", "a\0b\nc\n"),
    "no final newline": (ZH.rstrip("\n").encode("gb18030"), "gb18030", ZH),
    "one long line": (b"x" * (3 << 20), "utf-8", "x" * (3 << 20)),
}


@pytest.mark.parametrize(("content", "encoding", "text"), CASES.values(), ids=CASES)
def test_encodings(tmp_path: Path, content: bytes, encoding: str, text: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    assert formats.recognise(file).encoding == encoding
    rows = list(formats.rows(file, format="text"))
    assert [row.fields["text"] for row in rows] == text.split("\n")[: len(rows)]
    assert len(rows) == len(text.strip("\n").split("\n"))
    for row in rows[:50]:
        assert (
            content[row.offset :]
            .lstrip(b"\xef\xbb\xbf\xff\xfe")
            .startswith(row.fields["text"].encode(encoding.removesuffix("-sig")))
        )


# Not enough to go by, or against it: the file stays UTF-8, and the lines that are not are faults.
STAY = {
    "few bytes": ("caf\xe9\n".encode("iso-8859-1"), [(1, "byte 4 of the line (0xe9)")]),
    "few characters": ("好电影\n".encode("gb18030"), [(1, "byte 1 of the line (0xba)")]),
    "a bad line among good ones": ((ZH * 20).encode() + b"x\xe9y\n", [(41, "byte 2 of the line (0xe9)")]),
    "noise": (b"plain\n" * 500 + b"\xff\xfe\x80\n", [(501, "byte 1 of the line (0xff)")]),
    "a character cut in two": (b"plain\n" * 500 + "研".encode()[:2] + b"\n", [(501, "byte 1 of the line (0xe7)")]),
}


@pytest.mark.parametrize(("content", "expected"), STAY.values(), ids=STAY)
def test_what_is_in_no_encoding(tmp_path: Path, content: bytes, expected: list[tuple[int, str]]) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content)
    faults: list[formats.Fault] = []
    list(formats.rows(file, faults))
    assert formats.recognise(file).encoding == "utf-8"
    assert [(fault.line, fault.reason) for fault in faults] == expected


def test_half_a_pair_in_utf16(tmp_path: Path) -> None:
    content = "\ufeffone\n".encode("utf-16-le") + b"\x3d\xd8\n\0" + "two\n".encode("utf-16-le")
    (tmp_path / "a.txt").write_bytes(content)
    faults: list[formats.Fault] = []
    assert [row.fields["text"] for row in formats.rows(tmp_path / "a.txt", faults)] == ["one", "two"]
    assert [(fault.line, fault.offset, fault.raw) for fault in faults] == [(2, 10, b"\x3d\xd8\n\0")]
    assert "is not utf-16-le" in faults[0].reason
