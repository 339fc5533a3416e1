"""Files that hold no text as they are, known by their first bytes or their name: what they are, and how text is made of them.

A path that is not there is told apart here, too: a misspelt name, a pattern, an address. Reads no rows.
"""

import difflib
import os
import re
from pathlib import Path

from yanmo.errors import DataError
from yanmo.text.formats.encoding import is_utf16

HEAD = 4096  # bytes of a file that `refuse` wants
_EXPORT = "Save the sheet as .csv (in Excel: CSV UTF-8)"
_EXTRACT = "Save its text as .txt, or its tables as .csv"
_EXPECTED = "Expected text: .csv, .tsv, .json, .jsonl, .txt, or .parquet"
_UNPACK = "Unpack it, or pack its files as .zip, .gz or .zst"
_WEIGHTS = "A model is given as model.base=FOLDER"
_UNFINISHED = (".part", ".crdownload", ".download", ".partial", ".!qb", ".aria2")

# its first bytes: what it is, what to do
_BY_HEAD: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF", _EXTRACT),
    (b"\x89PNG", "a picture", _EXPECTED),
    (b"\xff\xd8\xff", "a picture", _EXPECTED),
    (b"GIF8", "a picture", _EXPECTED),
    (b"\xd0\xcf\x11\xe0", "an old Office document (.xls, .doc)", f"{_EXPORT}, or its text as .txt"),
    (b"{\\rtf", "a rich-text document", _EXTRACT),
    (b"Rar!", "a .rar archive", _UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a .7z archive", _UNPACK),
    (b"BZh9", "packed with bzip2", _UNPACK),
    (b"\xfd7zXZ", "packed with xz", _UNPACK),
    (b"\x04\x22\x4d\x18", "packed with lz4", _UNPACK),
    (b"SQLite format 3", "a data base", "Export the table as .csv"),
    (b"ARROW1", "an Arrow file", "Save the table as .parquet"),
    (b"PAR1", "a parquet file under another name", "Rename it so that it ends in .parquet"),
    (b"\x93NUMPY", "a NumPy array", "Save the texts as .csv or .jsonl"),
    (b"\x89HDF", "an HDF5 file", "Save the texts as .csv or .jsonl"),
    (b"GGUF", "a GGUF model", _WEIGHTS),
    (b"version https://git-lfs", "a pointer of Git LFS to a file", "Fetch the file: git lfs pull"),
)
_PAGE = (b"<!doctype html", b"<html")  # which a .txt may well hold
_TAR = slice(257, 262)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_FEW, _MOST_CONTROL = 8, 0.05  # control characters, and their share: a few may stand in a row of text


def refuse(path: Path, head: bytes) -> None:
    """Raise DataError for a file whose first bytes (`HEAD` of them) say that it is no text, and nothing that is read here."""
    what, advice = _kind(path, head)
    if what:
        raise DataError(f"{path}: {what}, not rows of text. {advice}.")


def _kind(path: Path, head: bytes) -> tuple[str, str]:
    suffix = path.suffix.lower()
    if suffix in _UNFINISHED:
        return f"a file that is still being downloaded ({suffix})", "Wait for its end, or download it again"
    if suffix in (".csv", ".tsv", ".json", ".jsonl") and head.lstrip(b"\xef\xbb\xbf \t\r\n").lower().startswith(_PAGE):
        return "a web page", "Download the file itself, not the page that shows it (on GitHub: Raw)"
    if suffix == ".parquet":  # whose reader says what is wrong with it
        return "", ""
    found = next(((what, advice) for mark, what, advice in _BY_HEAD if head.startswith(mark)), None)
    if found:
        return found
    if head.startswith(b"PK\3\4") and suffix != ".zip":
        if b"word/" in head or suffix == ".docx":
            return "a Word document", _EXTRACT
        if b"xl/" in head or b"[Content_Types].xml" in head:
            return "an Excel workbook", _EXPORT
        if b"data.pkl" in head or suffix in (".pt", ".pth", ".bin"):
            return "the pickled weights of a model", _WEIGHTS
        return "a .zip archive under another name", "Rename it so that it ends in .zip"
    if head[_TAR] == b"ustar":
        return "a .tar archive", _UNPACK
    if head[8:10] == b'{"' and suffix == ".safetensors":
        return "the weights of a model", _WEIGHTS
    if head[:1] == b"\x80" and head[1:2] in (b"\2", b"\3", b"\4", b"\5"):
        return "a Python pickle (which could run code)", "Save the rows as .csv or .jsonl from the program that made it"
    if len(_CONTROL.findall(head)) > max(_FEW, _MOST_CONTROL * len(head)) and not is_utf16(head):
        return "a binary file", _EXPECTED
    return "", ""


_ADDRESS = re.compile(r"[a-z][a-z0-9+]+:/", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|.*\\")


def absent(path: Path) -> str:
    """What to say of a path that is not there."""
    text = str(path)
    if _ADDRESS.match(text):
        return f"{path}: this is an address; files are read from this machine only. Download it first"
    if any(sign in path.name for sign in "*?["):
        return f"{path}: no such file; patterns are not expanded here. Name the file, or a folder of train, dev and test files"
    if _WINDOWS.match(text) and os.sep == "/":
        return f"{path}: no such file; this is a Windows path, and folders are parted by / on this machine"
    if text.startswith("~"):
        return f"{path}: no such file; ~ is not expanded within key=value. Write the whole path, or $HOME"
    folder = path.parent
    while not folder.exists():
        folder = folder.parent
    if folder != path.parent:
        missing = path.relative_to(folder).parts[0]
        return f"{path}: no such file; {'this folder' if str(folder) == '.' else folder} holds no '{missing}'{_near(folder, missing)}"
    return f"{path}: no such file{_near(folder, path.name)}"


def _near(folder: Path, name: str) -> str:
    """ "; did you mean ...?" or what else helps to find a name in a folder."""
    there = sorted(child.name for child in folder.iterdir()) if folder.is_dir() and os.access(folder, os.R_OK) else []
    unfinished = next((other for other in there if other.startswith(name) and other.endswith(_UNFINISHED)), "")
    if unfinished:
        return f"; '{unfinished}' is there: it is still being downloaded"
    near = difflib.get_close_matches(name, there, n=1, cutoff=0.6) or [
        other for other in there if other.partition(".")[0] == name.partition(".")[0]
    ]
    return f"; did you mean '{folder / near[0]}'?" if near else ""
