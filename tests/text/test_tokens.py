"""Token shards: killed anywhere and given again they end with the same bytes (D3); their rows are those of `Tokenizer.chunks`; what is
damaged is named; mixtures keep their weights."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.shards import generate
from yanmo import files
from yanmo.errors import DataError, SettingsError, YanmoError
from yanmo.tasks.base import lengths
from yanmo.tasks.objectives.masked import Masked, Settings
from yanmo.text import batches, mixture, sources, split, tokenizer, tokens
from yanmo.text.batches import Cursor
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A megabyte of words in English and Chinese, with what lines can be: a byte order mark, blank, long, one sign, nothing known."""
    path = tmp_path_factory.mktemp("text") / "text.txt"
    generate(path, 1 << 20)
    content = path.read_bytes()
    odd = ["\ufeff研墨", "", "   ", "墨 ink " * 500, "。", "\u0300", "[MASK] x"]
    path.write_bytes("\n".join(odd).encode() + b"\r\n" + content + b"no line end")
    return path


@pytest.fixture(scope="module")
def cutter(text: Path, tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.train(sources.read_texts(text)[:2000], TokenizerSettings(vocab=3000)).save(folder)
    return tokenizer.load(folder)


@pytest.fixture(scope="module")
def folder(text: Path, cutter: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("shards") / "shards"
    tokens.prepare([text], cutter, place, shard_tokens=20_000)
    return place


def sums(folder: Path) -> dict[str, str]:
    return {path.name: files.sha256(path) for path in sorted(folder.iterdir())}


# ---- reading


def test_documents_are_those_of_the_text(text: Path, cutter: Tokenizer, folder: Path) -> None:
    texts = sources.read_texts(text)
    shards = tokens.load(folder)
    record = json.loads((folder / tokens.INDEX).read_text())
    assert len(record["shards"]) > 5
    assert all(shard["tokens"] >= 20_000 for shard in record["shards"][:-1])
    assert record["documents"] == len(texts) == len(shards.sizes)
    for number, ids in enumerate(cutter.encode_all(texts)):
        assert shards.ids(number).tolist() == ids.tolist()
    assert {each.dtype.name for each in shards.tokens} == {"uint16"}
    parts = split.split([Example((each,), id=str(i)) for i, each in enumerate(texts)], {"dev": 0.02, "train": 0.98})
    train, dev = shards.split()
    assert [int(e.id) for e in parts["train"]] == train.tolist()
    assert [int(e.id) for e in parts["dev"]] == dev.tolist()


@pytest.mark.parametrize("unbroken", [False, True])
@pytest.mark.parametrize("longest", [8, 33, 128, 5000])
def test_rows_and_batches_are_those_of_chunks(
    text: Path, cutter: Tokenizer, folder: Path, longest: int, unbroken: bool
) -> None:
    """The same rows in the same order, and so the same training batches, to the byte."""
    shards = tokens.load(folder)
    numbers, _ = shards.split()
    texts = sources.read_texts(text)
    expected = cutter.chunks(cutter.encode_all(texts[i] for i in numbers), longest, "train", unbroken=unbroken)
    rows = mixture.Rows(shards, numbers, longest, "train", unbroken=unbroken)
    assert lengths(rows).tolist() == lengths(expected).tolist()
    for ours, theirs in zip(rows, expected, strict=True):
        assert (ours.id, ours.file, ours.line, ours.texts) == (theirs.id, theirs.file, theirs.line, theirs.texts)
        assert ours.ids is not None and theirs.ids is not None
        assert ours.ids.dtype == theirs.ids.dtype and ours.ids.tobytes() == theirs.ids.tobytes()
    assert [row.id for row in rows[-2:]] == [row.id for row in expected[-2:]]
    task = Masked(Settings(max_length=longest), cutter)
    found = [
        [
            (bytes(b.source.ids.numpy()), b.rows, after)
            for b, after in islice(
                batches.stream(e, lengths(e), task.batch, budget=4096, seed=1, cursor=Cursor(1, 2)), 40
            )
        ]
        for e in (rows, expected)
    ]
    assert found[0] == found[1]


def test_a_large_vocabulary_takes_four_bytes(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(70_000)]
    (tmp_path / "text.txt").write_text("\n".join(" ".join(words[i : i + 100]) for i in range(0, 70_000, 100)))
    wide = tokenizer.train([" ".join(words)], TokenizerSettings(kind="word", vocab=80_000))
    tokens.prepare([tmp_path / "text.txt"], wide, tmp_path / "shards")
    shards = tokens.load(tmp_path / "shards")
    assert shards.tokens[0].dtype == np.uint32
    assert shards.tokens[0].tolist() == np.concatenate(wide.encode_all([" ".join(words)])).tolist()


def test_several_files_in_their_order(tmp_path: Path, cutter: Tokenizer) -> None:
    for name, content in (
        ("a.txt", "one\n\ntwo\n"),
        ("b.jsonl", '{"text": "three"}\n{"text": "four"}\n'),
        ("c.txt", "five"),
    ):
        (tmp_path / name).write_text(content)
    paths = [tmp_path / name for name in ("a.txt", "b.jsonl", "c.txt")]
    for size in (1, 3, 1000):
        tokens.prepare(paths, cutter, tmp_path / f"shards{size}", shard_tokens=size)
        shards = tokens.load(tmp_path / f"shards{size}")
        assert [cutter.decode(shards.ids(i).tolist()) for i in range(5)] == [
            cutter.decode(cutter.encode(word, special=False)) for word in ("one", "two", "three", "four", "five")
        ]


# ---- D3: killed anywhere

CHILD = """
import os, sys
from pathlib import Path
from yanmo.text import tokenizer, tokens
cutter = tokenizer.load(Path(sys.argv[1]))
tokenizer._AT_ONCE = 20_000  # so that shards come one by one, not all at the end
for line in sys.stdin:
    if (child := os.fork()) == 0:
        tokens.prepare([Path(sys.argv[2])], cutter, Path(line.rstrip("\\n")), shard_tokens=20_000)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def prepare(text: Path, folder: Path) -> Iterator[Callable[[Path, float | None], int]]:
    """prepare(folder, seconds): in a process of its own, killed (-9) after these seconds; answers with its status."""
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), str(text)],
        cwd=ROOT,
        env={"TOKENIZERS_PARALLELISM": "false", "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    def run(place: Path, seconds: float | None) -> int:
        assert process.stdin and process.stdout
        process.stdin.write(f"{place}\n")
        process.stdin.flush()
        child = int(process.stdout.readline())
        if seconds is not None:
            time.sleep(seconds)
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        return int(process.stdout.readline())

    yield run
    process.kill()
    process.wait()


@pytest.mark.parametrize("count", [10, pytest.param(50, marks=pytest.mark.slow)])
def test_d3_killed_and_given_again(
    count: int, folder: Path, tmp_path: Path, prepare: Callable[[Path, float | None], int]
) -> None:
    """kill -9 at random moments, up to three times on the way to one folder: no half file bears a name, what is finished is
    not done again, and the bytes are those of an undisturbed run."""
    expected, generator = sums(folder), random.Random(0)
    prepare(tmp_path / "whole", None)
    began = time.monotonic()
    assert prepare(tmp_path / "timed", None) == 0
    whole = time.monotonic() - began
    assert sums(tmp_path / "whole") == sums(tmp_path / "timed") == expected
    kills = attempt = kept = 0
    while kills < count:
        attempt += 1
        assert attempt < 4 * count, "the kills come after the end"
        place = tmp_path / f"shards{attempt}"
        stands: dict[str, str] = {}
        for _ in range(generator.randint(1, 3)):
            if prepare(place, generator.random() * whole) == 0:
                break
            kills += 1
            stands = sums(place) if place.exists() else {}
            named = {name for name in stands if not name.endswith(files.PARTIAL)} - {files.LOCK, tokens.INDEX}
            assert all(stands[name] == expected[name] for name in named)
        times = {
            name: (place / name).stat().st_mtime_ns for name in stands if name.startswith("shard-") and name in expected
        }
        assert prepare(place, None) == 0
        assert sums(place) == expected
        assert times == {name: (place / name).stat().st_mtime_ns for name in times}
        kept += len(times)
    assert kept > count


def test_a_lock_left_behind_finished_shards_is_taken_away(text: Path, cutter: Tokenizer, tmp_path: Path) -> None:
    record = tokens.prepare([text], cutter, tmp_path)
    (tmp_path / files.LOCK).write_text("1\n")
    assert tokens.prepare([text], cutter, tmp_path) == record
    assert not (tmp_path / files.LOCK).exists()


# ---- damage


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped bit": (
        lambda folder: flip(folder / "shard-00002.safetensors", -5),
        "shard-00002.safetensors: its content",
    ),
    "a flipped bit in a header": (
        lambda folder: flip(folder / "shard-00001.safetensors", 20),
        "shard-00001.safetensors: its",
    ),
    "a cut shard": (
        lambda folder: (folder / "shard-00000.safetensors").write_bytes(
            (folder / "shard-00000.safetensors").read_bytes()[:-9]
        ),
        "shard-00000.safetensors: its content",
    ),
    "a missing shard": (
        lambda folder: (folder / "shard-00003.safetensors").unlink(),
        "shard-00003.safetensors: missing",
    ),
    "another tokeniser": (lambda folder: flip(folder / "tokenizer.json", 300), "tokenizer.json: its content"),
    "not finished": (
        lambda folder: (folder / "manifest.json").unlink(),
        "not finished. Give the `yanmo tokenizer encode`",
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_and_mended(name: str, text: Path, cutter: Tokenizer, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    tokens.prepare([text], cutter, folder, shard_tokens=20_000)
    expected = sums(folder)
    damage, said = DAMAGE[name]
    damage(folder)
    with pytest.raises(DataError, match=said):
        tokens.load(folder)
    tokens.prepare([text], cutter, folder, shard_tokens=20_000)
    assert sums(folder) == expected


@pytest.mark.parametrize(
    "change",
    [
        {"ends": np.array([2, 1, 3])},
        {"ends": np.array([1, 2, 4])},
        {"ends": np.array([1.0, 2.0, 3.0])},
        {"positions": np.zeros(2)},
        {"tokens": np.zeros(3, np.float32)},
    ],
    ids=["backwards", "beyond the tokens", "no whole numbers", "of others", "no numbers of tokens"],
)
def test_what_no_shard_holds_is_refused(change: dict[str, np.ndarray], folder: Path, tmp_path: Path) -> None:
    """Where the sums are true: somebody made it so."""
    place = tmp_path / "shards"
    shutil.copytree(folder, place)
    sound = {"tokens": np.arange(3, dtype=np.uint16), "ends": np.array([1, 2, 3]), "positions": np.zeros(3)}
    save_file({**sound, **change}, place / "shard-00000.safetensors")
    files.seal(place, [path.name for path in place.iterdir() if path.name != files.MANIFEST])
    with pytest.raises(DataError, match=r"shard-00000.safetensors: not a shard of documents"):
        tokens.load(place)


@pytest.mark.parametrize("content", ["{}", "[]", "1", "shards"])
def test_an_index_that_names_no_shards_is_refused(content: str, folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "shards"
    shutil.copytree(folder, place)
    (place / tokens.INDEX).write_text(content)
    files.seal(place, [path.name for path in place.iterdir() if path.name != files.MANIFEST])
    with pytest.raises(DataError, match=r"shards\.json: can't be read .*encode the text again"):
        tokens.load(place)


REFUSED: dict[str, tuple[Callable[[Path], object], type[YanmoError], str]] = {
    "other text": (
        lambda here: (here / "text.txt").write_text("other\n"),
        SettingsError,
        "other shards stand here:\n.*inputs",
    ),
    "no text": (lambda here: (here / "text.txt").write_text("\n \n"), DataError, "the file has no text"),
    "not UTF-8": (lambda here: (here / "text.txt").write_bytes(b"ok\n\xff\n"), DataError, "text.txt:2"),
    "missing": (lambda here: (here / "text.txt").unlink(), DataError, "no such file"),
    "a stranger's folder": (
        lambda here: [files.remove(here / "shards"), files.write_file(here / "shards/letter.txt", "dear")],
        SettingsError,
        r"holds other files \(letter.txt\)",
    ),
    "a spoilt index": (lambda here: (here / "shards/shards.json").write_text("{"), DataError, "Remove the folder"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, cutter: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("ink\nstone\n")
    tokens.prepare([tmp_path / "text.txt"], cutter, tmp_path / "shards")
    spoil, kind, said = REFUSED[name]
    spoil(tmp_path)
    with pytest.raises(kind, match=said):
        tokens.prepare([tmp_path / "text.txt"], cutter, tmp_path / "shards")


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_a_tokeniser_is_known_again(kind: str, text: Path, tmp_path: Path) -> None:
    """Loaded and saved it is the same one; trained on other text it is not."""
    texts = sources.read_texts(text)
    made = tokenizer.train(texts[:500], TokenizerSettings.model_validate({"kind": kind, "vocab": 4000}))
    made.save(tmp_path)
    again = tokenizer.load(tmp_path)
    assert tokens.identity(again) == tokens.identity(made)
    other = tokenizer.train(texts[500:900], TokenizerSettings.model_validate({"kind": kind, "vocab": 4000}))
    assert tokens.identity(other) != tokens.identity(made)


def test_what_stands_is_not_encoded_again(text: Path, cutter: Tokenizer, folder: Path, tmp_path: Path) -> None:
    """Given again, the work is to find that all of it is there; another tokeniser's or text's shards are not taken for it."""
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    record = json.loads((folder / tokens.INDEX).read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tokenizer, "encode_each", None)
        patch.setattr(sources, "texts", None)
        assert tokens.prepare([text], cutter, folder, shard_tokens=20_000) == record
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
