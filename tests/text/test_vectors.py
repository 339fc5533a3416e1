"""Word vectors: what is read, and what is refused with its line."""

import gzip
from pathlib import Path

import numpy as np
import pytest

from yanmo.errors import DataError
from yanmo.text import vectors

LINES = ["film 1 2 3", "研墨 -0.5 1e-3 4 ", "film 9 9 9", "of course 7 8 9", "other 0 0 0"]
EXPECTED = {"film": [1, 2, 3], "研墨": [-0.5, 1e-3, 4], "of course": [7, 8, 9]}


@pytest.mark.parametrize("header", [[], ["5 3"]], ids=["bare", "header"])
@pytest.mark.parametrize("name", ["words.vec", "words.vec.gz"])
def test_reads(tmp_path: Path, name: str, header: list[str]) -> None:
    content = "\n".join([*header, *LINES]).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    found = vectors.read(tmp_path / name, ["film", "研墨", "of course", "absent"], 3)
    assert {word: vector.tolist() for word, vector in found.items()} == {
        word: np.float32(numbers).tolist() for word, numbers in EXPECTED.items()
    }
    assert all(vector.dtype == np.float32 for vector in found.values())


# name: (content, what the message says)
BROKEN = {
    "width": ("2 4\na 1 2 3 4\n", r":1: vectors of 4 numbers, but .* is 3 wide"),
    "width without header": ("a 1 2\n", ":1: vectors of 2 numbers"),
    "short": ("a 1 2 3\nb 1 2\n", ":2: 2 numbers, expected a word and 3"),
    "a word for a number": ("a 1 2 3\nfilm 1 two 3\n", ":2: the vector of 'film'"),
    "not finite": ("film nan 2 3\n", ":1: the vector of 'film'"),
    "too large": ("film 1e99 2 3\n", ":1: the vector of 'film'"),
    "many": ("a 1 2 3\n" + "b\n" * 100, ":6: 0 numbers"),
    "no line ends": ("a 1 2 3\n" + "b " * (1 << 20), ":2: over 1,048,576 bytes"),
}


@pytest.mark.parametrize(("content", "said"), BROKEN.values(), ids=BROKEN)
@pytest.mark.filterwarnings("ignore:overflow")
def test_refuses(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "x.vec").write_text(content, "utf-8")
    with pytest.raises(DataError, match=said):
        vectors.read(tmp_path / "x.vec", ["film"], 3)


def test_files_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        vectors.read(tmp_path / "x.vec", ["film"], 3)
    (tmp_path / "x.vec.gz").write_bytes(gzip.compress(b"film 1 2 3\n" * 100)[:-20])
    with pytest.raises(DataError, match="can't be read"):
        vectors.read(tmp_path / "x.vec.gz", ["film"], 3)
