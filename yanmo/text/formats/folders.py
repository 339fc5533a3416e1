"""A data-set folder (or the names in an archive) -> its parts, by the usual names of files.

Opens no file but the archives, to see what they hold. Passes over pictures, licences, read-me files, lists of labels, data bases and
answer keys, which hold no rows.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from yanmo.errors import DataError
from yanmo.text.formats.stream import IMAGES, is_archive, members

# what stands in a file's name: the part that it holds
_PARTS: dict[str, str] = {
    "train": "train",
    **dict.fromkeys(("dev", "valid", "val", "validation", "trial", "testa"), "dev"),
    **dict.fromkeys(("test", "eval", "testb"), "test"),
}
_PACKED = (".gz", ".zst")
_SUFFIXES = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".parquet", ".xml", ".zip", ".bmes", ".conll")
_HELPER = re.compile(r"^[_.]|readme|licen[cs]e|\.(md|html?|dtd|py|sh|pdf)$", re.IGNORECASE)
_LISTS = {
    *("class", "classes", "label", "labels", "label2id", "relation2id", "id2label", "categories", "vocab"),
    *("db", "price"),
}
# fmt: off
_LANGUAGES = {
    "ar", "cs", "da", "de", "el", "en", "es", "fi", "fr", "he", "hi", "hu", "id", "it",
    "ja", "ko", "nl", "no", "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
}
# fmt: on
_TOKEN = re.compile(r"[^._\-\s]+")


def stem(name: str) -> str:
    """A file's name without the endings that say how it is kept: test.csv.gz -> test."""
    name = PurePosixPath(name).name
    for endings in (_PACKED, _SUFFIXES):
        name = next((name[: -len(ending)] for ending in endings if name.lower().endswith(ending)), name)
    return name


def is_helper(name: str) -> bool:
    name = PurePosixPath(name).name
    words = {*_TOKEN.findall(stem(name).lower())}
    listed = bool(words & _LISTS) and not words & _PARTS.keys()
    return listed or "key" in words or bool(_HELPER.search(name)) or PurePosixPath(name).suffix.lower() in IMAGES


def splits(folder: Path) -> dict[str, list[Path]]:
    """The files of each part: train, dev, test where their names say so; else the files' own names, as also where several
    files lay claim to one part (stsb-en-train, stsb-zh-train). Files of one part are pieces of it (train-00000, train-00001) or
    its languages (train.de, train.en). A folder inside that is called train, dev or test is that part. An archive is a folder,
    and what an archive in the folder holds (some.zip/train.csv) stands beside the files.

    Raises DataError for a folder or archive without data.
    """
    if is_archive(folder):
        found = _unpacked(folder)
        if not found:
            raise DataError(f"{folder}: no data file in this archive")
        return _chosen(found)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and not is_helper(path.name)]
    inside = [
        path
        for child in sorted(folder.iterdir())
        if child.is_dir() and child.name.lower() in _PARTS
        for path in sorted(child.iterdir())
        if path.is_file() and not is_helper(path.name)
    ]
    found = {
        name: path
        for file in (*files, *inside)
        for name, path in (_unpacked(file) if is_archive(file) else {str(file.relative_to(folder)): file}).items()
    }
    if not found:
        folders = ", ".join(sorted(child.name for child in folder.iterdir() if child.is_dir())[:10])
        raise DataError(
            f"{folder}: no data file in this folder"
            + (
                f"; name one of its folders: {folders}"
                if folders
                else ". Expected files such as train.csv, dev.csv, test.csv"
            )
        )
    return _chosen(found)


def _unpacked(archive: Path) -> dict[str, Path]:
    """name -> path of what an archive holds; of one file, whatever it is called."""
    names = [member.inside for member in members(archive)]
    return {name: archive / name for name in names if len(names) == 1 or not is_helper(name)}


def _chosen(found: Mapping[str, Path]) -> dict[str, list[Path]]:
    return {part: [found[name] for name in names] for part, names in parts(list(found)).items()}


def parts(names: Sequence[str]) -> dict[str, list[str]]:
    """The same for names alone."""
    claims: dict[str, list[tuple[str, str, str]]] = defaultdict(list)  # part -> (word, what else the name says, name)
    for name in names:
        part, word, rest = _claim(name)
        claims[part].append((word, rest, name))
    found: dict[str, list[str]] = {}
    for part, claimed in claims.items():
        words = [word for word, _, _ in claimed]
        # Of train_0, train_1 and train_all the numbered ones are pieces of the part, and the last one is another.
        pieces = [name for _, rest, name in claimed if not rest.strip("0123456789 ")]
        if part and len({(word, rest) for word, rest, _ in claimed}) == 1:
            found[part] = [name for _, _, name in claimed]
        elif part and len({*words}) == len(words):  # dev and trial
            found |= {word: [name] for word, _, name in claimed}
        elif part and pieces:
            found[part] = pieces
            found |= {stem(name): [name] for _, _, name in claimed if name not in pieces}
        else:
            for _, _, name in claimed:
                found.setdefault(_without_language(name), []).append(name)
    return found


def _claim(name: str) -> tuple[str, str, str]:
    """(part, the word that says so, what else the name says); ("", "", name) for a file that names no part."""
    parent = PurePosixPath(name).parent.name.lower()
    if parent in _PARTS:
        return _PARTS[parent], parent, ""
    words = _TOKEN.findall(_without_language(name).lower())
    for i, word in enumerate(words):
        if word in _PARTS:
            return _PARTS[word], word, " ".join(other for other in (*words[:i], *words[i + 1 :]) if other != "of")
    return "", "", name


def languages(paths: Sequence[Path]) -> Mapping[str, Path]:
    """The files by language where they are one text in several languages (train.en, train.de); else {}."""
    found = {_language(path.name): path for path in paths}
    same = {_without_language(path.name) for path in paths}
    return found if len(found) == len(paths) > 1 and "" not in found and len(same) == 1 else {}


def _language(name: str) -> str:
    """Of train.en, train.en.gz, train.en.txt; but xquad.en.json is a file that stands alone."""
    name = name.lower()
    for endings in (_PACKED, (".txt",)):
        name = next((name[: -len(ending)] for ending in endings if name.endswith(ending)), name)
    ending = PurePosixPath(name).suffix[1:]
    return ending if ending in _LANGUAGES else ""


def _without_language(name: str) -> str:
    return stem(name).removesuffix(f".{_language(name)}") if _language(name) else stem(name)
