"""`yanmo search INDEX queries=FILE judgements=FILE`, as it is typed: what a small index scores can be counted by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from yanmo.__main__ import main

DOCS = {"a": "black ink", "b": "a stone for ink", "c": "paper", "d": "a brush of hair"}
QUERIES = {"1": "ink", "2": "paper", "3": "unasked", "4": "moon"}
GRADES = [("1", "b", 2), ("1", "a", 0), ("1", "gone", 1), ("2", "c", 1), ("4", "d", -1)]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("docs.jsonl").write_text(lines([{"id": id, "text": text} for id, text in DOCS.items()]))
    Path("queries.jsonl").write_text(lines([{"id": id, "text": text} for id, text in QUERIES.items()]))
    Path("grades.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"{q}\t{d}\t{g}\n" for q, d, g in GRADES))
    assert main(["search", "index=ix", "data=docs.jsonl"]) == 0
    return tmp_path


ASK = ["search", "ix", "queries=queries.jsonl", "judgements=grades.tsv", "machine.threads=1"]


def test_scores_of_words(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main([*ASK, "--json"]) == 0
    said = capsys.readouterr()
    assert "1 of 5 judgements are of documents that are not in the index, so they count as not found" in said.err
    assert "1 of 4 queries are not judged" in said.err and "1 of 3 queries have no relevant document" in said.err
    [found] = json.loads(said.out)["scores"].values()
    # of query 1 the second document found is relevant, another was not found; of 2 the first; 4 has none
    assert found["map"] == pytest.approx((1 / 2 / 2 + 1 + 0) / 3) and found["mrr"] == pytest.approx((1 / 2 + 1) / 3)
    assert found["recall@10"] == pytest.approx((1 / 2 + 1) / 3) and found["rows"] == 3
    assert found["map_interval"][0] <= found["map"] <= found["map_interval"][1]
    assert main([*ASK, "--json", "relevant=2"]) == 0
    [stricter] = json.loads(capsys.readouterr().out)["scores"].values()
    assert stricter["map"] == pytest.approx(1 / 2 / 3)
    assert main(ASK) == 0
    assert capsys.readouterr().out.startswith("lexical   MAP 0.4167 (")


def test_every_way_of_asking(
    here: Path, small_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "yanmo.commands.search._scorer", lambda *_: lambda pairs: [float("stone" in t) for _, t in pairs]
    )
    assert main(["search", "ix", f"model={small_folder}"]) == 0
    capsys.readouterr()
    assert main([*ASK, "rerank=run", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]
    assert [*found] == ["lexical", "dense", "hybrid", "reranked"]
    assert found["dense"]["recall@10"] == pytest.approx((1 / 2 + 1) / 3)  # it ranks all documents
    against = found["dense"]["against"]
    assert against["way"] == "lexical" and against["difference"] == pytest.approx(
        found["dense"]["map"] - found["lexical"]["map"]
    )
    assert found["reranked"]["map"] >= (1 / 2) / 3  # the stone is first
    assert main([*ASK, "mode=dense", "--json"]) == 0
    assert [*json.loads(capsys.readouterr().out)["scores"]] == ["dense"]


@pytest.mark.slow
def test_cranfield_as_it_comes(shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its queries are numbered in their order, which the reader of its format does; a grade of -1 is none."""
    folder = shared_data / "retrieval/cranfield_en"
    index = str(tmp_path / "ix")
    assert main(["search", f"index={index}", f"data={folder}/cran.all.1400"]) == 0
    files = [f"queries={folder}/cran.qry", f"judgements={folder}/cranqrel"]
    capsys.readouterr()
    assert main(["search", index, *files, "relevant=1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["scores"]["lexical"]
    assert found["rows"] == 225 and found["map"] > 0.292 and found["ndcg@10"] > 0.372


# words behind `search ix` -> what is said
MISTAKES = {
    "queries=queries.jsonl": "to score an index it takes both: queries=FILE judgements=FILE",
    "ink queries=queries.jsonl judgements=grades.tsv": "'ink': with judgements= the queries are those of queries=queries.jsonl alone",
    "queries=qs.jsonl judgements=grades.tsv": "qs.jsonl: no such file",
    "queries=queries.jsonl judgements=strange.tsv": "strange.tsv:2: no query '9' in queries.jsonl; it has 1, 2, 3, 4",
    "queries=queries.jsonl judgements=words.tsv": "words.tsv:2: grade 'high'; expected a number",
    "queries=queries.jsonl judgements=docs.jsonl": "docs.jsonl:1: no column 'query'; the row has: id, text",
    "queries=queries.jsonl judgements=other.tsv": "2 of 2 judgements are of documents that are not in the index; it has a, b, c, d, ...",
    "queries=queries.jsonl judgements=grades.tsv mode=dense": "mode=dense: this index has no vectors",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes(words: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in {
        "strange": ["9\ta\t1", "1\ta\t1"],
        "words": ["1\ta\thigh", "1\tb\tlow"],
        "other": ["1\tx\t1", "2\ty\t0"],
    }.items():
        Path(f"{name}.tsv").write_text("\n".join(["query\tdocument\tgrade", *rows]) + "\n")
    capsys.readouterr()
    assert main(["search", "ix", *words.split()]) in (1, 2)
    said = capsys.readouterr()
    assert MISTAKES[words] in " ".join(said.err.split()) and said.out == ""
