"""What files are packed in: gz, zst and zip, sound, cut short and hostile (M7)."""

import gzip
import io
import random
import stat
import time
import zipfile
import zlib
from pathlib import Path

import pytest

from yanmo.errors import DataError
from yanmo.machine import peak_memory
from yanmo.text import formats

ROWS = b'{"text": "one"}\n{"text": "two"}\n'


def texts(path: Path, faults: list[formats.Fault] | None = None) -> list[str]:
    return [row.fields["text"] for row in formats.rows(path, faults)]


def test_packed_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(ROWS))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("sub/train.jsonl", ROWS)
        archive.writestr("sub/test.jsonl", ROWS[:16])
        archive.writestr("sub/README", "not a row")
        archive.writestr("sub/1.png", b"\x89PNG")
    zstandard = pytest.importorskip("zstandard")
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(ROWS))
    for name, compression in {"a.jsonl.gz": "gz", "b.jsonl.zst": "zst"}.items():
        assert texts(tmp_path / name) == ["one", "two"]
        assert formats.recognise(tmp_path / name).compression == compression
    assert {part: len(rows) for part, rows in formats.load(tmp_path / "c.zip").items()} == {"train": 2, "test": 1}
    assert texts(tmp_path / "c.zip") == ["one", "two", "one"]


@pytest.mark.parametrize("packed", ["gz", "zst"])
def test_cut_short(tmp_path: Path, packed: str) -> None:
    content = b"".join(b'{"text": "%d"}\n' % zlib.crc32(b"%d" % i) for i in range(20_000))
    whole = gzip.compress(content) if packed == "gz" else pytest.importorskip("zstandard").compress(content)
    file = tmp_path / f"a.jsonl.{packed}"
    file.write_bytes(whole[: len(whole) // 2])
    faults: list[formats.Fault] = []
    assert 5000 < len(texts(file, faults)) < 15_000
    assert faults[-1].kind == "compression"
    with pytest.raises(DataError, match=rf"a\.jsonl\.{packed}"):
        texts(file)


def archive(*entries: tuple[str, bytes], mode: int = 0) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in entries:
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = mode << 16
            file.writestr(info, content)
    return buffer.getvalue()


def lying(size: int) -> bytes:
    """A small entry whose directory says that it unpacks to `size` bytes."""
    content = bytearray(archive(("a.txt", bytes(range(256)) * 4000)))
    at = content.rfind(b"PK\x01\x02")
    content[at + 24 : at + 28] = size.to_bytes(4, "little")
    return bytes(content)


HOSTILE = {
    "bomb": (archive(("a.txt", b"\0" * (50 << 20))), "times its size; at most 100 times"),
    "size": (lying(0xFFFFFFFE), "times its size"),
    "absolute": (archive(("/etc/a.txt", b"x")), "the name '/etc/a.txt' leaves the archive"),
    "above": (archive(("a/../../b.txt", b"x")), "leaves the archive"),
    "above, backslash": (archive(("..\\b.txt", b"x")), "leaves the archive"),
    "drive": (archive(("C:\\b.txt", b"x")), "leaves the archive"),
    "link": (archive(("a.txt", b"/etc/passwd"), mode=stat.S_IFLNK | 0o777), "'a.txt' is a symbolic link"),
    "entries": (archive(*((f"{i}.txt", b"") for i in range(10_001))), "10,001 or more entries; at most 10,000"),
    "cut": (archive(("a.txt", b"x"))[:-30], "no directory at its end"),
}


@pytest.mark.parametrize(("content", "reason"), HOSTILE.values(), ids=HOSTILE)
def test_m7_hostile_archives_are_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "a.zip"
    file.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(DataError) as caught:
        texts(file)
    assert time.perf_counter() - start < 1
    assert reason in str(caught.value)
    assert [*tmp_path.iterdir()] == [file]


def test_m7_an_archive_within_the_limits_opens(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(archive(*((f"{i}.txt", b"x %d" % i) for i in range(1000))))
    assert len(texts(tmp_path / "a.zip")) == 1000


def test_a_member_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(lying(1000))
    faults: list[formats.Fault] = []
    assert sum(map(len, texts(tmp_path / "a.zip", faults))) <= 1000
    assert faults[-1].kind == "compression"
    assert faults[-1].file.endswith("a.zip/a.txt")


def packed(kind: str, content: bytes) -> bytes:
    return gzip.compress(content) if kind == "gz" else pytest.importorskip("zstandard").compress(content)


def bomb(kind: str, megabytes: int) -> bytes:
    """Zeros, packed a megabyte at a time."""
    piece = packed(kind, b"\0" * (1 << 20))
    return piece * megabytes


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_m7_a_stream_that_unpacks_to_too_much_is_refused(tmp_path: Path, kind: str) -> None:
    """512 MB in 25 KB (.zst) or 500 KB (.gz): refused within a second, before they fill the memory."""
    file = tmp_path / f"a.jsonl.{kind}"
    file.write_bytes(bomb(kind, 512))
    before, start = peak_memory(), time.process_time()
    with pytest.raises(
        DataError, match=r"unpacks to more than 100 times its size.* unpack it, and give the unpacked file"
    ):
        texts(file)
    assert time.process_time() - start < 1
    assert peak_memory() - before < 300


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_m7_a_stream_within_the_limits_is_read(tmp_path: Path, kind: str) -> None:
    """A small file may repeat itself as it likes; a large one is text."""
    file = tmp_path / f"a.jsonl.{kind}"
    file.write_bytes(packed(kind, b'{"text": "%s"}\n' % (b"a" * (1 << 20)) * 32))  # 32 MB, some hundred times
    assert len(texts(file)) == 32
    line = b'{"text": "%s"}\n' % bytes(random.Random(0).choices(range(97, 123), k=100_000)).hex().encode()
    file.write_bytes(packed(kind, line) * 400)  # 80 MB, a few times
    assert len(texts(file)) == 400
