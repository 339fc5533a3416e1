"""Rows of every form -> texts, labels and marks; what is mended in them, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from yanmo.errors import DataError
from yanmo.text import sources
from yanmo.text.columns import Columns
from yanmo.text.forms import NOWHERE
from yanmo.text.forms.place import nearest
from yanmo.text.forms.tagged import joined

SQUAD = {"context": "The cat sat. A cat ran.", "question": "Who ran?"}
MOVED = "an answer that does not stand at its place is taken at the nearest place where it does: 1 row of 1"
LOST = "an answer that stands nowhere in its context is only compared with, not learnt from: 1 row of 1"
# name: (form, row, columns, (texts, labels, what the marks hold), what is said)
ROWS: dict[str, tuple[str, dict[str, Any], dict[str, str], tuple[Any, ...], str]] = {
    "rated, by score": ("rated", {"text": "good", "score": 3.5, "label": "x"}, {}, (("good",), ("3.5",), []), ""),
    "rated, by label": ("rated", {"sentence": "good", "label": 2}, {}, (("good",), ("2",), []), ""),
    "tagged": (
        "tagged",
        {"tokens": ["EU", "is", "."], "tags": ["I-ORG", "O", "O"]},
        {},
        (("EU is .",), ("B-ORG", "O", "O"), ["EU", "is", "."]),
        "",
    ),
    "tagged, numbers of classes": (
        "tagged",
        {"words": ["a", "b"], "ner_tags": [0, 7]},
        {},
        (("a b",), ("0", "7"), ["a", "b"]),
        "",
    ),
    "tagged, words of a line": (
        "tagged",
        {"sentence": "a  b", "pos": "DT NN"},
        {"text": "sentence", "label": "pos"},
        (("a b",), ("DT", "NN"), ["a", "b"]),
        "",
    ),
    "tagged, by character": (
        "tagged",
        {"tokens": [*"在IBM，3年"], "tags": ["O", "B-ORG", "M-ORG", "E-ORG", "O", "O", "O"]},
        {},
        (("在IBM，3年",), ("O", "B-ORG", "I-ORG", "I-ORG", "O", "O", "O"), [*"在IBM，3年"]),
        "",
    ),
    "related, marked": (
        "related",
        {"text": "The <e2>cat</e2> sat on the <e1>mat</e1>.", "relation": "On(e2,e1)"},
        {},
        (("The cat sat on the mat.",), ("On(e2,e1)",), ["mat", "cat"]),
        "",
    ),
    "related, names": (
        "related",
        {"head": "他", "tail": "他的助手", "relation": "Social", "text": "见他的助手，他"},
        {},
        (("见他的助手，他",), ("Social",), ["他", "他的助手"]),
        "",
    ),
    "related, one name twice": (
        "related",
        {"head": "Ann", "tail": "Ann", "relation": "same", "text": "Ann saw Ann"},
        {},
        (("Ann saw Ann",), ("same",), ["Ann", "Ann"]),
        "",
    ),
    "related, places": (
        "related",
        {
            "subject": {"text": "cat", "start": 15},
            "object": {"name": "mat", "pos": [7, 10]},
            "label": "r",
            "text": "cat on mat. A cat.",
        },
        {},
        (("cat on mat. A cat.",), ("r",), ["cat", "mat"]),
        "a name that does not stand at its place is taken at the nearest place where it does: 1 row of 1",
    ),
    "paired, a text alone": ("paired", {"sentence": "good", "label": "pos"}, {}, (("good",), (), []), ""),
    "paired": ("paired", {"anchor": "a", "positive": "b", "text_id": 1}, {}, (("a", "b"), (), []), ""),
    "paired, with a third": ("paired", {"query": "a", "pos": "b", "Negative": "c"}, {}, (("a", "b", "c"), (), []), ""),
    "paired, with a number": (
        "paired",
        {"sentence1": "a", "sentence2": "b", "score": 2.5, "label": 1, "negative": "c"},
        {},
        (("a", "b"), ("2.5",), []),
        "",
    ),
    "paired, a question and its answer": ("paired", {"question": "a", "answer": "b"}, {}, (("a", "b"), (), []), ""),
    "ranked": ("ranked", {"document": "b", "query": "a", "relevance": 2}, {}, (("a", "b"), ("2",), []), ""),
    "ranked, of a question": (
        "ranked",
        {"question": "a", "passage": "b", "negative": "c", "label": "0"},
        {},
        (("a", "b"), ("0",), []),
        "",
    ),
    "answered": (
        "answered",
        {
            **SQUAD,
            "answers": [{"text": "cat", "start": 15}, {"text": "cat", "start": 15}, {"text": "A cat", "start": 13}],
        },
        {},
        (("Who ran?", SQUAD["context"]), ("cat", "A cat"), ["cat", "A cat"]),
        "",
    ),
    "answered, lists": (
        "answered",
        {**SQUAD, "answers": {"text": ["A cat"], "answer_start": [13]}},
        {},
        (("Who ran?", SQUAD["context"]), ("A cat",), ["A cat"]),
        "",
    ),
    "answered, a word alone": (
        "answered",
        {"frage": "Who?", "passage": "A cat.", "antwort": "cat"},
        {"text": "frage", "label": "antwort"},
        (("Who?", "A cat."), ("cat",), ["cat"]),
        "",
    ),
    "answered, no answer": ("answered", {**SQUAD, "answers": []}, {}, (("Who ran?", SQUAD["context"]), (), []), ""),
    "answered, moved": (
        "answered",
        {**SQUAD, "answers": [{"text": "cat", "start": 14}]},
        {},
        (("Who ran?", SQUAD["context"]), ("cat",), ["cat"]),
        MOVED,
    ),
    "answered, other white space": (
        "answered",
        {**SQUAD, "answers": [{"text": "cat sat .", "start": 4}]},
        {},
        (("Who ran?", SQUAD["context"]), ("cat sat .",), ["cat sat."]),
        "",
    ),
    "answered, nowhere": (
        "answered",
        {**SQUAD, "answers": [{"text": "dog", "start": -1}]},
        {},
        (("Who ran?", SQUAD["context"]), ("dog",), [NOWHERE]),
        LOST,
    ),
}


def read(folder: Path, form: str, rows: list[dict[str, Any]], columns: dict[str, str], **keys: Any) -> list[Any]:
    file = folder / "a.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return sources.read(file, Columns(**columns), form=form, **keys)


@pytest.mark.parametrize(("form", "row", "columns", "expected", "said"), ROWS.values(), ids=ROWS.keys())
def test_rows(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    form: str,
    row: dict[str, Any],
    columns: dict[str, str],
    expected: tuple[Any, ...],
    said: str,
) -> None:
    [found] = read(tmp_path, form, [row], columns)
    held = [mark if mark == NOWHERE else found.texts[-1][slice(*mark)] for mark in found.marks]
    assert (found.texts, found.labels, held) == expected
    told = capsys.readouterr().err
    assert (said in told) if said else not told


def test_which_of_several_places() -> None:
    text = "cat on mat. A cat."
    assert [nearest(text, "cat", start) for start in (None, -1, 0, 8, 9, 14, 17, 99)] == [
        (0, 3), (0, 3), (0, 3), (14, 17), (14, 17), (14, 17), (14, 17), (14, 17)
    ]  # fmt: skip
    assert (
        nearest(text, "mat . A", 3) == (7, 13)
        and nearest(text, "dog", 3) is None
        and nearest(text, " ", None) is not None
    )


def test_words_are_joined_as_they_are_written() -> None:
    for words, text in (
        (["It", "'s", "5", "a"], "It 's 5 a"),
        (["我", "在", "New", "York", "住"], "我在New York住"),
        ([*"2008年IBM"], "2008年IBM"),
        (["😀", "好"], "😀好"),
    ):
        found, marks = joined(words)
        assert found == text and [found[start:end] for start, end in marks] == words


# name: (form, row, labelled, what is said)
FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "fewer tags": (
        "tagged",
        {"tokens": ["a", "b"], "tags": ["O"]},
        "a.jsonl:1: 2 words in 'tokens', but 1 tags in 'tags'",
    ),
    "an empty tag": ("tagged", {"tokens": ["a", "b"], "tags": ["O", ""]}, "2 words in 'tokens', but 1 tags"),
    "an empty word": ("tagged", {"tokens": ["a", " "], "tags": ["O", "O"]}, "word 2 of column 'tokens' is empty"),
    "no words": ("tagged", {"tokens": [], "tags": []}, "column 'tokens' has no words"),
    "nested words": ("tagged", {"tokens": [["a"]], "tags": ["O"]}, "holds no list of words"),
    "no tags": ("tagged", {"tokens": ["a"]}, "no column for the tags; the file has: tokens"),
    "one mark": ("related", {"text": "a <e1>b</e1>", "relation": "r"}, "expected one <e1>...</e1> and one <e2>"),
    "an empty mark": ("related", {"text": "<e1></e1> <e2>b</e2>", "relation": "r"}, "expected one <e1>"),
    "no head": ("related", {"text": "a b", "relation": "r", "tail": "b"}, "no column for the head, and no <e1>"),
    "a stranger": (
        "related",
        {"text": "a b", "relation": "r", "head": "c", "tail": "b"},
        "'c' of column 'head' does not",
    ),
    "beyond the end": (
        "related",
        {"text": "a b", "relation": "r", "head": {"start": 2, "end": 9}, "tail": "b"},
        "column 'head' names the characters 2 to 9 of a text that has 3",
    ),
    "no relation": ("related", {"text": "a b", "relation": "", "head": "a", "tail": "b"}, "column 'relation' is empty"),
    "no context": (
        "answered",
        {"question": "Who?", "context": "", "answers": []},
        "has no text to look for the answer in",
    ),
    "no answers": ("answered", {"question": "Who?", "context": "x"}, "no column for the answers"),
    "starts missing": (
        "answered",
        {**SQUAD, "answers": {"text": ["cat"], "answer_start": []}},
        "as many texts as starts",
    ),
    "no second text": ("paired", {"anchor": "a", "positive": " "}, "column 'positive' is empty; remove the row"),
    "no third text": ("paired", {"anchor": "a", "positive": "b", "negative": None}, "column 'negative' is empty"),
    "several third texts": (
        "paired",
        {"query": "a", "pos": "b", "neg": ["c"]},
        """column 'neg' holds ["c"]; expected a""",
    ),
    "a word for a number": ("paired", {"text": "a", "pair": "b", "label": "yes"}, "holds 'yes'; expected a number"),
    "no number at all": ("paired", {"text": "a", "pair": "b", "label": "nan"}, "holds 'nan'; expected a number"),
    "an empty number": ("paired", {"text": "a", "pair": "b", "label": ""}, "'label' is empty; give the row a number"),
    "no grade": (
        "ranked",
        {"query": "a", "document": "b"},
        "no column for the relevance; the file has: query, document",
    ),
    "no document": ("ranked", {"query": "a", "relevance": 1}, "no column for the document"),
    "an empty document": ("ranked", {"query": "a", "document": "", "relevance": 1}, "column 'document' is empty"),
    "a place in words": (
        "answered",
        {**SQUAD, "answers": [{"text": "cat", "start": "4"}]},
        "the words of an answer and",
    ),
}


@pytest.mark.parametrize(("form", "row", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(tmp_path: Path, form: str, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, form, [row], {})
    assert said in str(caught.value)


def test_a_question_that_is_not_there_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**SQUAD, "answers": ["cat"], "id": f"q{i}", "question": "Who?" if i else ""} for i in range(3)]
    assert [row.id for row in read(tmp_path, "answered", rows, {})] == ["q1", "q2"]
    assert "a row without a question is left out: 1 row of 2" in capsys.readouterr().err


def test_tags_that_break_their_scheme(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They are counted, named by file and line, and mended."""
    file = tmp_path / "a.conll"
    sound = "Ann B-PER\nLee I-PER\nsaw O\n\n" * 9
    file.write_text(sound + "New I-LOC\nYork I-ORG\n\nhe O\nsaw O\nAnn I-PER\n")
    found = sources.read(file, form="tagged")
    assert [row.labels for row in found[-2:]] == [("B-LOC", "B-ORG"), ("O", "O", "B-PER")]
    assert capsys.readouterr().err == (
        f"{file}: tags that break IOB2 are read as conlleval reads them (a span begins with the first tag of its type, and ends where that "
        f"does): 2 rows of 11 ({file}:37: I-LOC at the beginning and 1 more in its row, {file}:42: I-PER behind O)\n"
    )
    file.write_text(sound + "New B-LOC\nYork LOC\n")
    with pytest.raises(
        DataError, match=rf"1 of 10 rows can't be used:\n  {file}:38: 'LOC' is no tag of IOB2; expected O, or a letter"
    ):
        sources.read(file, form="tagged")


def test_the_scheme_of_a_file_is_that_of_most_of_its_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"tokens": ["a", "b"], "tags": tags} for tags in (["I-X", "O"], ["O", "I-X"], ["I-X", "B-X"])]
    assert [row.labels for row in read(tmp_path, "tagged", rows, {})] == [("B-X", "O"), ("O", "B-X"), ("B-X", "B-X")]
    words = [{"tokens": [*"江泽民"], "tags": ["S", "B", "E"]}, {"tokens": ["的"], "tags": ["S"]}]
    assert [row.labels for row in read(tmp_path, "tagged", words, {})] == [("B", "B", "I"), ("B",)]
    assert not capsys.readouterr().err


def test_what_is_wrong_with_most_rows_is_no_slip(tmp_path: Path) -> None:
    rows = [{**SQUAD, "answers": [{"text": "cat", "start": i}]} for i in range(8)]  # of which one is right
    with pytest.raises(DataError, match=r"7 rows of 8 .*places counted in characters from 0"):
        read(tmp_path, "answered", rows, {})


def test_without_labels(tmp_path: Path) -> None:
    for form, row, texts, marks in (
        ("tagged", {"text": " a b "}, ("a b",), 0),
        ("tagged", {"tokens": ["a", "b"]}, ("a b",), 2),
        ("tagged", {"tokens": ["a", "b"], "tags": ["O"]}, ("a b",), 2),
        ("related", {"text": "a b", "head": "a", "tail": "b"}, ("a b",), 2),
        ("answered", {"question": "Who?", "context": "a b"}, ("Who?", "a b"), 0),
        ("answered", {**SQUAD, "answers": [{"text": "dog", "start": 0}]}, ("Who ran?", SQUAD["context"]), 0),
        ("paired", {"text": "a", "pair": "", "label": "?"}, ("a", ""), 0),
        ("ranked", {"query": "a", "document": "b"}, ("a", "b"), 0),
    ):
        [found] = read(tmp_path, form, [row], {}, labelled=False)
        assert (found.texts, found.labels, len(found.marks)) == (texts, (), marks)


def test_rows_that_stand_in_no_file() -> None:
    def given(form: str, *rows: sources.Given) -> list[tuple[str, ...]]:
        return [row.texts for row in sources.given(enumerate(rows, 1), form, "given")]

    assert given("labelled", "a", ("a", "b"), {"sentence": "c"}) == [("a",), ("a", "b"), ("c",)]
    assert given("answered", ("Who?", "a cat"), {"context": "a cat", "question": "Who?"}) == [("Who?", "a cat")] * 2
    assert given("related", "<e1>a</e1> <e2>b</e2>") == [("a b",)]
    with pytest.raises(DataError, match=r"given:2: 1 text; expected two"):
        given("answered", ("Who?", "a cat"), "Who?")
    with pytest.raises(DataError, match=r"given:1: no column for the context"):
        given("answered", {"question": "Who?"})
    with pytest.raises(DataError, match=r"given:1: no column for the head"):
        given("related", "a b")


# name: (form, rows, texts with spaces inside their marks are as they should be)
REAL = {
    "ner/conll2003_en/eng.testa": ("tagged", 3250),
    "ner/weibo_zh/weiboNER_2nd_conll.dev": ("tagged", 270),
    "ner/resume_zh/dev.char.bmes": ("tagged", 463),
    "relation/semeval2010_task8/TEST_FILE_FULL.TXT": ("related", 2717),
    "relation/sanwen_zh/valid.txt": ("related", 1793),
    "qa/cmrc2018_zh/cmrc2018_dev.json": ("answered", 3219),
    "qa/cmrc2018_zh/cmrc2018_trial.json": ("answered", 1000),  # two of its questions are empty
    "qa/xquad/xquad.zh.json": ("answered", 1190),
    "qa/subjqa_en/electronics.dev.csv.gz": ("answered", 261),
    "matching/stsb_en_zh/stsb-en-dev.csv": ("rated", 1500),
    "matching/stsb_en_zh/stsb-zh-test.csv": ("paired", 1379),
    "matching/afqmc_zh/dev.csv": ("paired", 4316),
    "sentiment_intensity/sst5/stsa.fine.dev": ("rated", 1101),
}


@pytest.mark.parametrize(("name", "form", "count"), [(name, *row) for name, row in REAL.items()])
def test_real_sets(shared_data: Path, name: str, form: str, count: int) -> None:
    found = sources.read(shared_data / name, form=form)
    assert len(found) == count
    for row in found:
        text = row.texts[-1]
        assert all(0 <= start < end <= len(text) or (start, end) == NOWHERE for start, end in row.marks)
        if form == "paired":
            assert len(row.texts) == 2 and len(row.labels) == 1
        if form == "tagged":
            assert len(row.marks) == len(row.labels) and text == text.strip()
        if form == "answered":
            for answer, mark in zip(row.labels, row.marks, strict=True):
                assert mark == NOWHERE or "".join(text[slice(*mark)].split()) == "".join(answer.split())
