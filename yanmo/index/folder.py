"""The folder of an index.

    documents-N.jsonl       a document a line: {"id", "text"} and, where there are any, "answer" and "fields"
    lines-N.safetensors     ends (documents,) int64: where each line ends, in bytes
    lexical-N.safetensors   what `lexical.build` makes of the texts
    vectors-N.safetensors   vectors (documents, width) float32 of length 1, and probe (width,): that of index.PROBE
    graph-N.faiss           of at least dense.LARGE vectors, where faiss is installed
    about-N.json            index.About
    manifest.json           the names of these files and their sha256

The files that the manifest names are the index. A change writes parts under a new number, then the manifest, in one rename, then
removes the old parts: killed anywhere, the index is the old one or the new one, and who reads it meanwhile reads one of the two.
What is large is mapped, so that opening reads next to nothing, and does not see all damage (`yanmo doctor` does). Every change makes
the words of all documents anew, and the vectors of the new ones.
"""

import difflib
import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from yanmo import files
from yanmo.errors import DataError, ModelError, SettingsError, StorageError, brief, gather
from yanmo.index import dense, lexical
from yanmo.index.documents import Document, Documents, lines
from yanmo.index.index import PROBE, About, Embed, Index, Mode

_PART = re.compile(r"(documents|lines|lexical|vectors|graph|about)-(\d+)\.(?:jsonl|safetensors|faiss|json)")


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the documents that were given."""

    documents: int  # of the index, now
    added: int
    replaced: int  # an id that was there has another document now
    unchanged: int
    deleted: int


def is_index(folder: Path) -> bool:
    return any(_PART.fullmatch(name) for name in files.manifest(folder) or ())


# ---- reading


def load(folder: Path) -> Index:
    """Open an index. Raises DataError for a folder that is none, or one that is damaged as far as that is seen without reading it."""
    while True:
        named = files.manifest(folder)
        try:
            return _open(folder, _parts(folder, named))
        except FileNotFoundError:
            if files.manifest(folder) == named:  # else somebody changed the index just now
                gather(files.changed(folder), f"{folder}: damaged; build the index anew:", DataError)


def _parts(folder: Path, named: Mapping[str, str] | None) -> dict[str, Path]:
    """What kind of part stands where."""
    found = {part[1]: folder / name for name in named or () if (part := _PART.fullmatch(name))}
    if "about" not in found:
        raise DataError(f"{folder}: no index stands here. Build one: yanmo search index={folder} data=DOCUMENTS.jsonl")
    return found


def _open(folder: Path, parts: Mapping[str, Path]) -> Index:
    try:
        about = About(**json.loads(parts["about"].read_text("utf-8")))
        if (about.version, about.tokens) != (About().version, About().tokens):
            raise DataError(
                f"{folder}: made by another version of Yanmo, whose words are others. Build it anew from its documents: "
                f"yanmo search index=NEW data={parts['documents']}"
            )
        arrays = {kind: files.mapped(parts[kind]) for kind in ("lines", "lexical", "vectors") if kind in parts}
        documents = Documents(parts["documents"], arrays["lines"]["ends"])
        index = Index(documents, lexical.Lexical(arrays["lexical"]), about=about)
        if index.lexical.texts != len(documents):
            raise ValueError(f"words of {index.lexical.texts} documents, lines of {len(documents)}")
        if "vectors" not in parts:
            return index
        vectors, probe = arrays["vectors"]["vectors"], arrays["vectors"]["probe"]
        if vectors.shape != (len(documents), *probe.shape):
            raise ValueError(f"vectors {vectors.shape}, probe {probe.shape}, {len(documents)} documents")
        graph = dense.Graph(parts["graph"]) if "graph" in parts and _has_faiss() else None
        return replace(index, vectors=vectors, probe=probe, graph=graph)
    except (SafetensorError, ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
        raise DataError(f"{folder}: damaged ({brief(error)}); build the index anew") from None


# ---- changing


def change(
    folder: Path,
    add: Sequence[Document] = (),
    delete: Sequence[str] = (),
    *,
    embed: Embed | None = None,
    model: str | None = None,
) -> Change:
    """Delete documents by their ids, then put in others (of differing ids): one whose id is there takes its place, unless it is the
    same. A folder that is not there becomes an index. embed: makes the vectors; an index without vectors then gets those of all its
    documents, and keeps `model` as their maker's name.

    Raises DataError for an unknown id, a damaged index or one that would hold nothing, ModelError for vectors of another model or that
    are no numbers, SettingsError for a folder that holds something else, or vectors that are due and can't be made."""
    with files.lock(folder):
        old = _claim(folder)
        before = {document.id: document for document in old.documents} if old else {}
        gone = _known(delete, before)
        after = {id: document for id, document in before.items() if id not in gone}
        new = [document for document in add if after.get(document.id) != document]
        replaced = sum(document.id in after for document in new)
        after |= {document.id: document for document in new}
        if not after:
            raise DataError(f"{folder}: no document would be left. Remove the folder instead")
        if new or gone or (embed and (old is None or old.vectors is None)):
            row = {id: place for place, id in enumerate(before)}
            same = [row[id] if id in row and before[id].text == it.text else -1 for id, it in after.items()]
            texts = [document.text for document in after.values()]
            words = lexical.build(texts)  # before the vectors, which may take long: its library may not be there
            about, vectors = _vectors(old, texts, np.array(same), embed, model)
            _write(folder, [*after.values()], words, about, vectors)
    return Change(len(after), len(new) - replaced, replaced, len(add) - len(new), len(gone))


def set_threshold(folder: Path, threshold: float, mode: Mode) -> None:
    """The least match of an answer from now on, and the mode in which it is one."""
    with files.lock(folder):
        old = _claim(folder)
        kept = _parts(folder, files.manifest(folder))
        assert old is not None  # noqa: S101 (_parts)
        del kept["about"]
        _commit(folder, {"about.json": _json(replace(old.about, threshold=threshold, mode=mode))}, kept.values())


def _claim(folder: Path) -> Index | None:
    """The index that stands in the folder, whole; None where the folder is empty, but for what a killed change left."""
    if is_index(folder):
        gather(files.changed(folder), f"{folder}: damaged; build the index anew from your documents:", DataError)
        return load(folder)
    if others := {*folder.iterdir()} - {folder / files.LOCK, *_leftovers(folder)}:
        shown = ", ".join(sorted(path.name for path in others)[:3])
        raise SettingsError(f"{folder}: holds other files ({shown}); give an empty folder, or a new one, as index=...")
    return None


def _known(ids: Sequence[str], documents: Mapping[str, Document]) -> set[str]:
    faults = []
    for id in ids:
        if id not in documents:
            near = difflib.get_close_matches(id, documents, n=1)
            faults.append(f"{id!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
    gather(faults, "nothing is deleted, because no document has the id", DataError)
    return {*ids}


def _vectors(
    old: Index | None, texts: Sequence[str], same: np.ndarray, embed: Embed | None, model: str | None
) -> tuple[About, dict[str, np.ndarray]]:
    """The vectors of texts, of which some (same: (texts,) their old row, else -1) have theirs; none where none are wanted."""
    about = old.about if old else About()
    if old is None or old.vectors is None:
        if embed is None:
            return about, {}
        made = _made(texts, embed, model)
        return replace(about, model=model), {"vectors": made[1:], "probe": made[0]}
    vectors, missing = old.vectors[same], np.flatnonzero(same < 0)
    if len(missing):
        if embed is None:
            raise SettingsError(
                f"this index has vectors; give the model that makes those of new documents ({about.model})"
            )
        made = _made([texts[place] for place in missing.tolist()], embed, model)
        old.check(made[0])
        vectors[missing] = made[1:]
    return about, {"vectors": vectors, "probe": np.array(old.probe)}


def _made(texts: Sequence[str], embed: Embed, model: str | None) -> np.ndarray:
    """The vectors of the probe and of texts."""
    made = embed([PROBE, *texts])
    if not np.isfinite(made).all():
        raise ModelError(f"{model}: some of its vectors hold what is no number (nan, or infinite)")
    return dense.normed(made)


def _write(
    folder: Path,
    documents: Sequence[Document],
    words: dict[str, np.ndarray],
    about: About,
    vectors: dict[str, np.ndarray],
) -> None:
    written = lines(documents)
    ends = np.cumsum([len(line) for line in written], dtype=np.int64)
    parts: dict[str, files.Content] = {
        "documents.jsonl": b"".join(written),
        "lines.safetensors": _arrays({"ends": ends}),
        "lexical.safetensors": _arrays(words),
        "about.json": _json(replace(about, answers=any(document.answer for document in documents))),
    }
    if vectors:
        parts["vectors.safetensors"] = _arrays(vectors)
        if len(documents) >= dense.LARGE and _has_faiss():
            parts["graph.faiss"] = lambda file: dense.write_graph(vectors["vectors"], file)
    _commit(folder, parts)


def _has_faiss() -> bool:
    return importlib.util.find_spec("faiss") is not None


def _json(about: About) -> str:
    return files.to_json(asdict(about))


def _arrays(arrays: dict[str, np.ndarray]) -> Callable[[Path], None]:
    return lambda file: save_file(arrays, file)


def _commit(folder: Path, parts: Mapping[str, files.Content], kept: Iterable[Path] = ()) -> None:
    """Put these parts, and those files that are kept, in the place of all others."""
    numbers = [int(part[2]) for name in files.manifest(folder) or () if (part := _PART.fullmatch(name))]
    number = max(numbers, default=0) + 1
    names = [path.name for path in kept]
    try:
        for name, content in parts.items():
            kind, ending = name.split(".")
            names.append(f"{kind}-{number}.{ending}")
            files.write_file(folder / names[-1], content)
        files.seal(folder, sorted(names))
    finally:
        with suppress(StorageError):  # the next change does it
            for path in _leftovers(folder):
                files.remove(path)


def _leftovers(folder: Path) -> list[Path]:
    """The files of an index that its manifest does not name, whole or cut short."""
    named = files.manifest(folder) or {}
    return [
        path for path in folder.iterdir() if _PART.fullmatch(path.name) and path.name not in named
    ] + files.partials(folder)
