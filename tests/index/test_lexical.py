"""BM25, held against bm25s itself, and what it finds in real questions."""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import bm25s
import numpy as np
import pytest

from yanmo.index import documents, lexical
from yanmo.index.lexical import Lexical, tokens
from yanmo.index.ranking import best
from yanmo.text import formats

TEXTS = ["The cat sat on the mat.", "Two cats, and a dog!", "墨是黑的，砚是石的", "研墨", "!?", "iPhone15 的墨水"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The CATS' flies", ["the", "cat", "fly"]),
        ("glass bus shoes his goes", ["glass", "bus", "shoe", "his", "goe"]),
        ("研墨", ["研", "墨", "研墨"]),
        ("墨", ["墨"]),
        ("iPhone15手机 v2", ["iphone15", "手", "机", "手机", "v2"]),
        ("Ａ４ 纸", ["a4", "纸"]),
        ("𠀀𠀁", ["𠀀", "𠀁", "𠀀𠀁"]),
        ("snake_case, naïve", ["snake", "case", "naïve"]),
        ("。！ \n", []),
    ],
)
def test_tokens(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@pytest.mark.parametrize("query", ["the cats", "墨", "研墨的砚", "the the cat", "unknown", "", "iphone15"])
def test_scores_equal_those_of_bm25s(query: str) -> None:
    theirs = bm25s.BM25(k1=lexical.K1, b=lexical.B, method="lucene")
    theirs.index([tokens(text) for text in TEXTS], show_progress=False)
    expected = theirs.get_scores_from_ids(theirs.get_tokens_ids(tokens(query)))
    assert np.abs(Lexical(lexical.build(TEXTS)).scores(query) - expected).max() < 1e-9


@pytest.mark.parametrize("text", TEXTS)
def test_the_own_score_is_that_of_a_text_which_says_the_query(text: str) -> None:
    made = Lexical(lexical.build(TEXTS))
    assert made.own_score(text) == pytest.approx(made.scores(text)[TEXTS.index(text)], abs=1e-6)


@pytest.mark.parametrize("texts", [["!?"], ["。", "！"], ["\ud800 half"]])
def test_texts_without_words(texts: list[str]) -> None:
    made = Lexical(lexical.build(texts))
    assert made.texts == len(texts)
    assert not made.scores("墨 and ink").any()


def test_arrays_that_do_not_fit_are_refused() -> None:
    arrays = lexical.build(TEXTS)
    for name in ("scores", "rows", "starts", "ends", "columns"):
        with pytest.raises(ValueError, match="fit together"):
            Lexical({**arrays, name: arrays[name][:-1]})
        with pytest.raises(ValueError, match="of other kinds"):
            Lexical({**arrays, name: arrays[name].astype(np.uint8)})
    with pytest.raises(ValueError, match="fit together"):
        Lexical({**arrays, "starts": arrays["starts"] + 1})


# ---- real questions


def mean_average_precision(rankings: Sequence[np.ndarray], relevant: Sequence[set[int]]) -> float:
    """Over the queries that have a relevant document."""
    each = []
    for ranking, wanted in zip(rankings, relevant, strict=True):
        places = np.flatnonzero(np.isin(ranking, [*wanted])) + 1
        if wanted:
            each.append(float((np.arange(1, len(places) + 1) / places).sum() / len(wanted)))
    return sum(each) / len(each)


def xquad(file: Path) -> tuple[list[str], list[str], list[set[int]]]:
    """(paragraphs, questions, the number of the paragraph of each)."""
    paragraphs = [part for article in json.loads(file.read_text("utf-8"))["data"] for part in article["paragraphs"]]
    asked = [(entry["question"], {place}) for place, part in enumerate(paragraphs) for entry in part["qas"]]
    return [part["context"] for part in paragraphs], [question for question, _ in asked], [where for _, where in asked]


def cranfield(folder: Path) -> tuple[list[str], list[str], list[set[int]]]:
    found, _ = documents.read([folder / "cran.all.1400"])
    place = {document.id: number for number, document in enumerate(found)}
    queries = [row.fields["text"] for row in formats.rows(folder / "cran.qry")]
    relevant: list[set[int]] = [set() for _ in queries]
    for row in formats.rows(folder / "cranqrel"):
        if row.fields["score"] > 0 and row.fields["document"] in place:
            relevant[int(row.fields["query"]) - 1].add(place[row.fields["document"]])
    return [document.text for document in found], queries, relevant


@pytest.mark.parametrize(
    ("read", "place", "least"),
    [
        (xquad, "qa/xquad/xquad.zh.json", 0.957),
        (xquad, "qa/xquad/xquad.en.json", 0.957),
        (cranfield, "retrieval/cranfield_en", 0.292),
    ],
)
def test_what_is_found(read: object, place: str, least: float, shared_data: Path) -> None:
    """Mean average precision; the data's own notes give 0.956, 0.953 and 0.287."""
    assert callable(read)
    texts, queries, relevant = read(shared_data / place)
    made = Lexical(lexical.build(texts))
    rankings = [best(made.scores(query), len(texts)) for query in queries]
    assert mean_average_precision(rankings, relevant) >= least


def test_every_token_is_in_one_class() -> None:
    """No token holds both a Chinese character and anything else."""
    han = re.compile("[\u3400-\u9fff]")
    for token in tokens("a研b墨 2砚台x。纸_笔"):
        assert len({bool(han.match(character)) for character in token}) == 1
