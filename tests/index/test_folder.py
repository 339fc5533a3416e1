"""Indexes on the disk: what changes do, what is refused, and that a change is there whole or not at all."""

import json
import mmap
import random
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.reliability.disk import MODES, Failing, Remembering, after_power_failure, materialise, replay
from yanmo import files, index
from yanmo.errors import DataError, ModelError, RunError, SettingsError, StorageError
from yanmo.index import Change, Document, dense
from yanmo.index.index import PROBE

TEXTS = {"a": "the black ink", "b": "a stone for ink", "c": "墨和砚", "d": "paper and brush"}


def some(*ids: str, **changed: str) -> list[Document]:
    return [Document(id, {**TEXTS, **changed}[id]) for id in ids]


class Embedder:
    """A model of a kind: a text's vector is drawn by its letters. Keeps what it was asked for."""

    def __init__(self, width: int = 8, seed: int = 0) -> None:
        self.table = np.random.default_rng(seed).standard_normal((0x10000, width))
        self.seen: list[str] = []

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        self.seen += [text for text in texts if text != PROBE]
        return np.array([self.table[[*map(ord, text)]].sum(0) for text in texts])


def found(folder: Path, query: str, **keys: object) -> list[str]:
    return [hit.document.id for hit in index.load(folder).search([query], **keys)[0]]  # type: ignore[arg-type]


def same(folder: Path, documents: Sequence[Document], embed: Embedder | None = None) -> bool:
    """Whether an index answers as one that is built of these documents at once."""
    fresh = folder.with_name(folder.name + "-fresh")
    shutil.rmtree(fresh, ignore_errors=True)
    index.change(fresh, documents, embed=embed)
    queries = [*TEXTS.values(), "ink", "墨"]
    answers = [index.load(each).search(queries, embed=embed) for each in (folder, fresh)]
    return answers[0] == answers[1]


@pytest.mark.parametrize("embed", [None, Embedder()], ids=["words", "vectors"])
def test_changes(tmp_path: Path, embed: Embedder | None) -> None:
    folder = tmp_path / "new/index"
    assert index.change(folder, some("a", "b"), embed=embed, model="m") == Change(2, 2, 0, 0, 0)
    assert index.change(folder, some("b", "c", "a", a="red ink"), embed=embed) == Change(3, 1, 1, 1, 0)
    assert same(folder, some("a", "b", "c", a="red ink"), embed)
    assert index.change(folder, some("d"), ["a", "b"], embed=embed) == Change(2, 1, 0, 0, 2)
    assert same(folder, some("c", "d"), embed)
    before = sorted(folder.iterdir())
    assert index.change(folder, some("c"), embed=embed) == Change(2, 0, 0, 1, 0)
    assert sorted(folder.iterdir()) == before  # nothing to do, nothing done
    assert index.change(folder, some("d"), ["d"], embed=embed) == Change(2, 1, 0, 0, 1)
    assert files.verify(folder) == []
    assert index.load(folder).about.model == ("m" if embed else None)


def test_only_new_texts_are_embedded(tmp_path: Path) -> None:
    folder, embed = tmp_path / "index", Embedder()
    index.change(folder, some("a", "b"))
    index.change(folder, embed=embed)  # an index of words gets the vectors of all
    assert embed.seen == [TEXTS["a"], TEXTS["b"]]
    embed.seen.clear()
    more = [Document("a", TEXTS["a"], "an answer"), *some("b", b="new"), *some("c")]
    index.change(folder, more, embed=embed)
    assert embed.seen == ["new", TEXTS["c"]]
    assert same(folder, more, embed)


def test_opening_reads_next_to_nothing(tmp_path: Path) -> None:
    index.change(tmp_path / "index", some("a", "b"), embed=Embedder())
    base = index.load(tmp_path / "index").vectors
    while isinstance(base, np.ndarray):
        base = base.base  # type: ignore[assignment]
    assert isinstance(base, mmap.mmap)


def test_a_graph_stands_where_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, embed = tmp_path / "index", Embedder()
    monkeypatch.setattr(dense, "LARGE", 3)
    index.change(folder, some("a", "b", "c"), embed=embed)
    assert (folder / "graph-1.faiss").is_file()
    exact = [document for _, document in sorted(TEXTS.items())][:3]
    assert {*found(folder, exact[0], embed=embed, mode="dense")} == {"a", "b", "c"}
    assert found(folder, TEXTS["b"], embed=embed, mode="dense", k=1) == ["b"]
    index.set_threshold(folder, 0.5, "dense")
    assert (folder / "graph-1.faiss").is_file()
    (folder / "graph-1.faiss").write_bytes(b"IHNf" + bytes(100))
    with pytest.raises(DataError, match=r"graph-1\.faiss: damaged"):
        found(folder, "ink", embed=embed)
    shutil.rmtree(folder)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    index.change(folder, some("a", "b", "c"), embed=embed)
    assert not list(folder.glob("graph*"))


# ---- what is refused


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        ({"delete": ["a", "bb", "zzz"]}, DataError, r"nothing is deleted(.|\n)*'bb' \(did you mean 'b'\?\)\n  'zzz'"),
        ({"delete": ["a", "b"]}, DataError, "no document would be left"),
        ({"add": some("c")}, SettingsError, r"has vectors; give the model .*\(m\)"),
        (
            {"add": some("c"), "embed": Embedder(9)},
            ModelError,
            r"made by another model \(m; width 8, this one's is 9\)",
        ),
        ({"add": some("c"), "embed": Embedder(seed=1)}, ModelError, "made by another model"),
        ({"add": some("c"), "embed": lambda texts: np.full((len(texts), 8), np.nan)}, ModelError, "no number"),
    ],
)
def test_refused_changes_change_nothing(tmp_path: Path, keys: dict, error: type[Exception], said: str) -> None:  # type: ignore[type-arg]
    folder, embed = tmp_path / "index", Embedder()
    index.change(folder, some("a", "b"), embed=embed, model="m")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(error, match=said):
        index.change(folder, **keys)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("keys", "error", "said"),
    [
        ({"mode": "hybrid"}, SettingsError, r"mode=hybrid: it needs the model"),
        ({"embed": Embedder(4)}, ModelError, "another model"),
        ({"embed": Embedder(seed=2)}, ModelError, "another model"),
    ],
)
def test_refused_questions(tmp_path: Path, keys: dict, error: type[Exception], said: str) -> None:  # type: ignore[type-arg]
    index.change(tmp_path / "index", some("a", "b"), embed=Embedder())
    with pytest.raises(error, match=said):
        found(tmp_path / "index", "ink", **keys)


def test_an_index_of_words_has_no_vectors(tmp_path: Path) -> None:
    index.change(tmp_path / "index", some("a"))
    with pytest.raises(SettingsError, match="mode=dense: this index has no vectors"):
        found(tmp_path / "index", "ink", mode="dense", embed=Embedder())


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no index stands here\. Build one"):
        index.load(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match=r"holds other files \(notes\.txt\)"):
        index.change(tmp_path, some("a"))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


DAMAGE = {
    "documents-1.jsonl": lambda file: file.write_bytes(file.read_bytes()[:-9]),
    "lines-1.safetensors": lambda file: save_file({"ends": np.array([3])}, file),
    "lexical-1.safetensors": lambda file: file.write_bytes(b"no"),
    "vectors-1.safetensors": lambda file: save_file({"vectors": np.ones((2, 3)), "probe": np.ones(4)}, file),
    "about-1.json": lambda file: file.write_text('{"version": 1, "strange": 2}'),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_seen(tmp_path: Path, name: str) -> None:
    folder, embed = tmp_path / "index", Embedder()
    index.change(folder, some("a", "b"), embed=embed)
    DAMAGE[name](folder / name)
    with pytest.raises(DataError, match="damaged"):
        index.load(folder)
    with pytest.raises(DataError, match=f"damaged; build the index anew from your documents:\n  .*{name}"):
        index.change(folder, some("c"), embed=embed)
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"{name}: missing"):
        index.load(folder)


def test_words_of_another_version(tmp_path: Path) -> None:
    index.change(tmp_path, some("a"))
    about = json.loads((tmp_path / "about-1.json").read_text())
    (tmp_path / "about-1.json").write_text(json.dumps(about | {"tokens": 0}))
    with pytest.raises(DataError, match=r"another version of Yanmo.*data=.*documents-1\.jsonl"):
        index.load(tmp_path)


def test_one_writer(tmp_path: Path) -> None:
    with files.lock(tmp_path), pytest.raises(RunError, match="is using this folder"):
        index.change(tmp_path, some("a"))


# ---- whole or not at all


def test_power_failures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any operation of two changes the power fails: the index is one of its three states, and the next change goes on."""
    states = [[], ["a", "b"], ["b", "c"]]
    root = tmp_path / "root"
    root.mkdir()
    disk = Remembering(root)
    with monkeypatch.context() as patch:
        patch.setattr(files, "disk", disk)
        index.change(root / "index", some("a", "b"))
        first = len(disk.operations)
        index.change(root / "index", some("c"), ["a"])
    generator, seen = random.Random(0), set()
    for count in range(1, len(disk.operations) + 1):
        for names, part in generator.sample(MODES, 3):
            folder = tmp_path / "after"
            folder.mkdir()
            materialise(after_power_failure(replay(disk.operations[:count]), names, part, generator), folder)
            there = []
            if index.is_index(folder / "index"):
                there = [document.id for document in index.load(folder / "index").documents]
                assert files.changed(folder / "index") == []
            seen.add(states.index(there))
            assert count < first or there  # what was promised stays
            if count % 4 == 0:
                index.change(folder / "index", some("d"))
                assert files.verify(folder / "index") == []
                assert [document.id for document in index.load(folder / "index").documents] == [*there, "d"]
            shutil.rmtree(folder)
    assert seen == {0, 1, 2}
    assert there == states[2]


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever can't be written, the index stays what it was, and nothing is left behind."""
    index.change(tmp_path, some("a", "b"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    for first in range(1, 100):
        disk = Failing(first, 28)
        with monkeypatch.context() as patch:
            patch.setattr(files, "disk", disk)
            if not disk.failed:
                try:
                    index.change(tmp_path, some("c"))
                    break
                except StorageError as error:
                    assert "could not be written" in str(error)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert first > 5
    assert len(index.load(tmp_path).documents) == 3


def test_readers_meanwhile(tmp_path: Path) -> None:
    """Who opens an index while it is changed finds one of its states, whole."""
    index.change(tmp_path, some("a", "b"))
    done = threading.Event()

    def write() -> None:
        for _ in range(5):
            index.change(tmp_path, some("c"))
            index.change(tmp_path, delete=["c"])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        opened = index.load(tmp_path)
        seen.add(len(opened.documents))
        assert [hit.document.id for hit in opened.search(["stone"])[0]] == ["b"]
    writer.join()
    assert seen <= {2, 3}
