"""Files that are no text, and paths that lead nowhere. (What is said of most of them stands in tests/golden/mistakes.yaml.)"""

from pathlib import Path

import pytest

from yanmo.errors import DataError
from yanmo.text import formats
from yanmo.text.formats import foreign

# what is text, though its first bytes may look like something else
TEXTS = {
    "a page in a .txt": ("a.txt", b"<html><p>one page a line</p></html>\n"),
    "a NUL in a row": ("a.txt", b"one\ntw\0o\n"),
    "UTF-16": ("a.txt", "one\ntwo\nthree\n".encode("utf-16-le")),
    "UTF-16, Chinese": ("a.txt", ("\ufeff" + "这部电影很好看\n" * 9).encode("utf-16-be")),
    "GB18030": ("a.csv", ("text,label\n" + "这部电影很好看,1\n" * 9).encode("gb18030")),
    "words of a mark": ("a.txt", b"BZhang said so\nPDF\nRare words\n"),
    "escapes of a terminal": ("a.txt", b"\x1b[31mred\x1b[0m and so on, line by line\n" * 20),
}


@pytest.mark.parametrize(("name", "content"), TEXTS.values(), ids=TEXTS)
def test_text_is_not_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert formats.recognise(tmp_path / name).format


def test_every_mark_refuses(tmp_path: Path) -> None:
    for mark, what, advice in foreign._BY_HEAD:
        (tmp_path / "a.csv").write_bytes(mark + b"\n")
        with pytest.raises(DataError) as caught:
            formats.recognise(tmp_path / "a.csv")
        assert str(caught.value) == f"{tmp_path}/a.csv: {what}, not rows of text. {advice}."


def test_a_parquet_file_is_left_to_its_reader(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1" + bytes(300))
    with pytest.raises(DataError, match=r"not readable as \.parquet|needs 'pyarrow'"):
        formats.recognise(tmp_path / "a.parquet")


def test_names_that_are_near(tmp_path: Path) -> None:
    for name in ("train.csv", "dev.csv"):
        (tmp_path / name).touch()
    assert f"did you mean '{tmp_path}/train.csv'?" in foreign.absent(tmp_path / "tran.csv")
    assert f"did you mean '{tmp_path}/dev.csv'?" in foreign.absent(tmp_path / "dev.tsv")
    assert foreign.absent(tmp_path / "other.txt") == f"{tmp_path}/other.txt: no such file"
    assert foreign.absent(tmp_path / "a/b/c.txt") == f"{tmp_path}/a/b/c.txt: no such file; {tmp_path} holds no 'a'"
