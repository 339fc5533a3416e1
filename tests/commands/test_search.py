"""`yanmo search` and `yanmo embed`, as they are typed."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import yanmo
from tests.index.test_lexical import cranfield, mean_average_precision
from yanmo import index
from yanmo.__main__ import main
from yanmo.commands import search as command

DOCS = [
    {"id": "a", "text": "the black ink", "shelf": 3},
    {"id": "b", "text": "a stone for ink"},
    {"id": "c", "text": "墨和砚"},
    {"id": "d", "text": " "},
]
FAQ = "question\tanswer\nhow do I clean a brush?\twith water\nwhere is the ink?\ton the desk\nhow long does paper last?\ta century\n"
HELD = "question\tanswer\nclean my brush\twith water\nthe ink, where\ton the desk\nhow does the moon turn?\t\nwho has my socks?\t\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in DOCS))
    Path("faq.tsv").write_text(FAQ)
    Path("held.tsv").write_text(HELD)
    Path("queries.txt").write_text("ink\n墨\n")
    return tmp_path


Said = tuple[int, str, str]


@pytest.fixture
def typed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    def run(*words: str, given: str = "") -> Said:
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(given.encode()), isatty=lambda: False))
        status = main([*words, "machine.threads=1"])
        said = capsys.readouterr()
        return status, said.out, said.err

    return run


def ids(out: str) -> list[list[str]]:
    return [[result["id"] for result in json.loads(line)["results"]] for line in out.splitlines()]


def test_build_ask_add_delete(here: Path, typed: Any) -> None:
    status, out, err = typed("search", "index=ix", "data=docs.jsonl", "--json")
    assert status == 0
    assert json.loads(out) == {"index": "ix", "documents": 3, "added": 3, "replaced": 0, "unchanged": 0, "deleted": 0}
    assert "1 row without text left out: docs.jsonl:4" in err
    status, out, _ = typed("search", "ix", "ink", "黑墨", "stone", "--json")
    assert ids(out) == [["a", "b"], ["c"], ["b"]]
    first = json.loads(out.splitlines()[0])
    assert first["query"] == "ink"
    assert first["results"][0]["text"] == "the black ink"
    assert first["results"][0]["fields"] == {"shelf": 3}
    assert "answer" not in first
    assert ids(typed("search", "ix", "queries.txt", "--json", "k=1")[1]) == [["a"], ["c"]]
    assert ids(typed("search", "ix", "--json", given="ink\n\n墨\n")[1]) == [["a", "b"], ["c"]]
    assert typed("search", "ix", "ink", "nothing like it")[1].splitlines() == [
        *("ink", "  1    0.2380  a  the black ink", "  2    0.2136  b  a stone for ink", ""),
        *("nothing like it", "nothing found", ""),
    ]
    status, out, err = typed("search", "ix", "data=docs.jsonl", "delete=a", "ink", "--json")
    assert "3 documents (1 added, 0 replaced, 2 unchanged, 1 deleted)" in err
    assert {*ids(out)[0]} == {"a", "b"}
    status, out, err = typed("search", "ix", "delete=[a, c]")
    assert status == 0
    assert "ix: 1 document (0 added, 0 replaced, 0 unchanged, 2 deleted)" in err
    assert yanmo.search("ix", ["ink"], k=1)[0]["results"][0]["id"] == "b"
    assert yanmo.doctor("ix")["ix"]["documents"] == 1


def test_a_faq(here: Path, typed: Any) -> None:
    typed("search", "index=faq", "data=faq.tsv")
    question = ("search", "faq", "mode=lexical", "--json")
    assert json.loads(typed(*question, "brush, how to clean it")[1])["answer"] == "with water"
    assert json.loads(typed(*question, "brush, how to clean it", "threshold=0.99")[1])["answer"] is None
    assert json.loads(typed(*question, "xyz")[1]) == {"query": "xyz", "answer": None, "results": []}
    assert json.loads(typed(*question, "how does the moon turn?")[1])["answer"] is not None
    _, out, err = typed("search", "faq", "tune=held.tsv", "--json")
    counts = {name: count for name, count in json.loads(out)["tuned"].items() if name != "threshold"}
    assert counts == {"rows": 4, "right": 2, "wrong": 0, "rightly_unanswered": 2, "wrongly_unanswered": 0}
    assert "2 get their answer, 0 a wrong one, 2 rightly none" in err
    assert json.loads(typed(*question, "how does the moon turn?")[1])["answer"] is None
    out = typed("search", "faq", "how does the moon turn?")[1]
    assert out.splitlines()[0] == "no answer"
    assert typed("search", "faq", "clean my brush")[1].splitlines()[0] == "answer: with water"
    typed("search", "faq", "data=docs.jsonl")  # documents without answers among them
    assert json.loads(typed(*question, "the black ink")[1])["answer"] is None


def test_vectors(here: Path, typed: Any, small_folder: Path) -> None:
    """By a tiny model, which knows nothing: what it says must be what the folder's vectors say."""
    typed("search", "index=ix", "data=docs.jsonl")
    status, out, err = typed("search", "ix", f"model={small_folder}", "--json")
    assert json.loads(out)["unchanged"] == 0
    assert "was not trained to embed sentences" in err
    assert index.load(Path("ix")).about.model == str(small_folder)
    texts = [row["text"] for row in DOCS[:3]]
    vectors = yanmo.load(small_folder).embed(["a good film", *map(str, texts)]).numpy()
    expected = [("abc"[place]) for place in np.argsort(-(vectors[1:] @ vectors[0]))]
    out = typed("search", "ix", "a good film", "mode=dense", "--json")[1]
    assert ids(out) == [expected]
    assert json.loads(out)["results"][0]["score"] == pytest.approx(float((vectors[1:] @ vectors[0]).max()), abs=1e-5)
    assert {*ids(typed("search", "ix", "ink", "--json")[1])[0]} == {"a", "b", "c"}  # hybrid
    assert ids(typed("search", "ix", "ink", "mode=lexical", "--json")[1]) == [["a", "b"]]
    status, _, err = typed("search", "ix", "ink", "model=yanmo-zh-mini")
    assert status == 1
    assert f"made by another model ({small_folder}; width 16, this one's is 256)" in err
    copy = here / "copy"
    shutil.copytree(small_folder, copy)
    typed("search", "index=moved", "data=docs.jsonl", "model=copy")
    copy.rename(here / "elsewhere")
    status, _, err = typed("search", "moved", "ink")
    assert status == 2
    assert f"the model of these vectors, {copy}, is not there; give its place as model=" in err
    assert ids(typed("search", "moved", "a good film", "model=elsewhere", "mode=dense", "--json")[1]) == [expected]


def test_a_reranker(here: Path, typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other way round than before, from all that was found."""
    seen: list[tuple[str, str]] = []

    def scorer(run: Path, machine: object) -> Any:
        def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
            seen.extend(pairs)
            return [float("stone" in text) for _, text in pairs]

        return score

    monkeypatch.setattr(command, "_scorer", scorer)
    typed("search", "index=ix", "data=docs.jsonl")
    assert ids(typed("search", "ix", "ink", "rerank=some-run", "k=1", "--json")[1]) == [["b"]]
    assert seen == [("ink", "the black ink"), ("ink", "a stone for ink")]
    assert ids(typed("search", "ix", "ink", "rerank=some-run", "k=1", "depth=1", "--json")[1]) == [["a"]]


def test_a_run_without_scores_is_no_reranker(here: Path, typed: Any, small_folder: Path) -> None:
    typed("search", "index=ix", "data=docs.jsonl")
    status, _, err = typed("search", "ix", "ink", f"rerank={small_folder}")
    assert status == 2
    assert "expected a run of the task rerank" in err


MISTAKES = {
    "search": "expected an index: yanmo search index=FOLDER data=DOCUMENTS.jsonl builds one",
    "search docs.jsonl ink": "index=docs.jsonl: a file, expected a folder. To build one: index=FOLDER data=docs.jsonl",
    "search nowhere ink": "nowhere: no index stands here. Build one: yanmo search index=nowhere data=",
    "search index=ix data=dosc.jsonl": "dosc.jsonl: no such file",
    "search ix": "no query given",
    "search ix qeries.txt": "qeries.txt: no such file",
    "search ix delete=e": "no document has the id",
    "search ix ink mode=dense": "mode=dense: this index has no vectors; give model=",
    "search ix ink mode=best": "mode: ",
    "search ix ink threshold=0.5": "threshold: for a FAQ, and these documents have no answers",
    "search ix tune=held.tsv": "tune=held.tsv: for a FAQ",
    "search tuned ink mode=hybrid": "mode=hybrid: the threshold was tuned for mode=lexical",
    "search index=docs data=docs.jsonl": "docs: holds other files (mine.txt)",
    "embed docs.jsonl out=vectors.csv": "ends in none of .npy, .jsonl",
    "embed nobody.txt": "nobody.txt: no such file",
    "embed": "no text given",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes(words: str, here: Path, typed: Any) -> None:
    (here / "docs").mkdir()
    (here / "docs/mine.txt").write_text("notes")
    typed("search", "index=ix", "data=docs.jsonl")
    typed("search", "index=tuned", "data=faq.tsv", "tune=held.tsv")
    status, out, err = typed(*words.split())
    assert status in (1, 2)
    assert MISTAKES[words] in err
    assert out == ""


def test_words_alone_need_no_torch(here: Path, typed: Any) -> None:
    typed("search", "index=ix", "data=docs.jsonl")
    code = "import sys; from yanmo.__main__ import main; main(['search', 'ix', 'ink']); print({'torch', 'bm25s'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_vectors_beside_words_find_more(minilm: Path, shared_data: Path, tmp_path: Path) -> None:
    """Cranfield, mean average precision: 0.346 by both, 0.327 by vectors, 0.293 by words."""
    texts, queries, relevant = cranfield(shared_data / "retrieval/cranfield_en")
    engine = yanmo.load(minilm)

    def embed(texts: Sequence[str]) -> np.ndarray:
        return engine.embed(texts).numpy()

    index.change(tmp_path, [index.Document(str(place), text) for place, text in enumerate(texts)], embed=embed)
    scores = {}
    for mode in ("lexical", "dense", "hybrid"):
        found = index.load(tmp_path).search(queries, mode=mode, embed=embed, k=len(texts))  # type: ignore[arg-type]
        rankings = [np.array([int(hit.document.id) for hit in hits], np.int64) for hits in found]
        scores[mode] = mean_average_precision(rankings, relevant)
    assert scores["hybrid"] > scores["dense"] > scores["lexical"] > 0.29
    assert scores["hybrid"] > 0.34


# ---- embed


def test_embed(here: Path, typed: Any, small_folder: Path) -> None:
    Path("lines.txt").write_text("a good film\n\n这部电影很好\n")
    lines = ["a good film", "", "这部电影很好"]
    expected = yanmo.load(small_folder).embed(lines).numpy()
    status, out, err = typed("embed", str(small_folder), "lines.txt", "out=vectors.npy")
    assert (status, out) == (0, "")
    assert "vectors.npy: 3 vectors" in err
    written = np.lib.format.open_memmap("vectors.npy", "r")
    assert written.dtype == np.float32
    assert np.abs(written - expected).max() < 1e-6
    typed("embed", str(small_folder), "lines.txt", "out=vectors.jsonl")
    rows = [json.loads(line) for line in Path("vectors.jsonl").read_text().splitlines()]
    assert [row["text"] for row in rows] == lines
    assert (np.array([row["vector"] for row in rows], np.float32) == written).all()
    out = typed("embed", str(small_folder), "--json", given="".join(line + "\n" for line in lines))[1]
    assert out == Path("vectors.jsonl").read_text()
    out = typed("embed", str(small_folder), given="a good film\n")[1]
    assert np.array(out.split(), np.float32) == pytest.approx(expected[0], abs=1e-6)
    assert yanmo.embed(small_folder, lines) == pytest.approx(expected, abs=1e-6)


def test_embed_a_table_by_the_models_of_the_package(here: Path, typed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yanmo.commands.embed._BLOCK", 2)
    Path("t.csv").write_text("id,review\n1,很好\n2,\n3,不好\n")
    status, _, err = typed("embed", "t.csv", "data.columns.text=review", "out=v.npy")
    assert status == 0
    assert "by yanmo-zh-mini" in err
    assert np.lib.format.open_memmap("v.npy", "r").shape == (3, 256)
