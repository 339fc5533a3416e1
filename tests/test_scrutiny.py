"""What stands behind a score, of answers that are made up: slices, errors, leaks, and whether two runs differ."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from yanmo import scrutiny
from yanmo.scrutiny import Answered
from yanmo.tasks import classify, make, tag
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return train(["one two three"] * 3, TokenizerSettings(kind="word", vocab=100))


def answered(
    cutter: Tokenizer, right: Sequence[bool], texts: Sequence[str] = (), sure: Sequence[float] = ()
) -> Answered:
    """Rows of the labels no and yes in turn. sure: the probability given to the answer."""
    task, labels = make(classify.Settings(), cutter, ["no", "yes"]), ("no", "yes")
    texts, sure = texts or ["text"] * len(right), sure or [0.9] * len(right)
    answers: list[dict[str, Any]] = []
    for row, (is_right, share) in enumerate(zip(right, sure, strict=True)):
        label = labels[row % 2] if is_right else labels[1 - row % 2]
        answers.append(
            {"label": label, "probabilities": {each: share if each == label else 1 - share for each in labels}}
        )
    rows = [Example((text,), (labels[row % 2],), file="f.tsv", line=row + 2) for row, text in enumerate(texts)]
    return Answered(task, answers, rows)


def test_slices(cutter: Tokenizer) -> None:
    """Half of the rows are Chinese and short, and answered by chance alone."""
    texts = ["很短的话" + "长" * (row % 5) if row % 4 < 2 else "a longer text " + "x" * row for row in range(200)]
    found = scrutiny.slices(answered(cutter, [row % 4 > 1 or row % 8 > 3 for row in range(200)], texts))
    assert (found["measure"], found["rows"], found["score"]) == ("accuracy", 200, 0.75)
    chinese, english = found["by"]["language"]
    assert (chinese["name"], chinese["rows"], chinese["score"]) == ("Chinese", 100, 0.5)
    assert (english["name"], english["rows"], english["score"]) == ("English", 100, 1.0)
    assert 0.38 < chinese["interval"][0] < 0.45 < 0.55 < chinese["interval"][1] < 0.62
    assert [each["rows"] for each in found["by"]["label"]] == [100, 100]
    lengths = found["by"]["length"]
    assert sum(each["rows"] for each in lengths) == 200 and lengths[0]["name"].startswith("4 to ")
    below = [(kind, each["name"]) for kind, each in scrutiny.below(found)]
    assert ("language", "Chinese") in below and ("language", "English") not in below


@pytest.mark.parametrize(
    ("texts", "kinds"),
    [
        (["one"] * 40, {"label"}),  # of one length and language
        (["one"] * 35 + ["一"] * 5, {"label"}),  # five rows say nothing
        (["one"] * 20 + ["three"] * 20, {"label", "length"}),
    ],
)
def test_slices_that_say_nothing_are_left_out(cutter: Tokenizer, texts: list[str], kinds: set[str]) -> None:
    assert {*scrutiny.slices(answered(cutter, [True] * 40, texts))["by"]} == kinds


def test_errors_stand_worst_first(cutter: Tokenizer) -> None:
    given = answered(cutter, [True, False, False, True], ["a", "b", "c", "d"], [0.6, 0.7, 0.95, 0.9])
    found = scrutiny.errors(given)
    assert [(error["file"], error["line"], error["text"]) for error in found] == [("f.tsv", 4, "c"), ("f.tsv", 3, "b")]
    assert [error["wrongness"] for error in found] == pytest.approx([0.95, 0.7])
    assert (found[0]["truth"], found[0]["answer"]) == ("no", {"label": "yes", "probability": 0.95})
    assert scrutiny.lines(found).count("\n") == 2


def test_tags_are_told_as_people_read_them(cutter: Tokenizer) -> None:
    marks = ((0, 3), (4, 7), (8, 12))
    table = [
        (["O", "B-PER", "I-PER"], ("B-PER", "I-PER", "O"), {"entities": []}, "Ann Lee (PER)"),
        (
            ["NN", "VB"],
            ("NN", "VB", "NN"),
            {"words": ["Ann", "Lee", "runs"], "tags": ["VB"] * 3},
            "Ann/NN Lee/VB runs/NN",
        ),
    ]
    for labels, tags, answer, told in table:
        task = make(tag.Settings(), cutter, labels)
        [error] = scrutiny.errors(Answered(task, [answer], [Example(("Ann Lee runs",), tags, marks=marks)]))
        assert error["truth"] == told


def test_leaks_are_counted_and_left_out(cutter: Tokenizer) -> None:
    given = answered(cutter, [True, True, False, False, True], ["Known!", "of dev", "new", "newer", ":-)"])
    learnt = {"train": [Example(("known",)), Example((":-(",))], "dev": [Example(("Of Dev",)), Example(("KNOWN",))]}
    found = scrutiny.leaks(given.rows, learnt, "labelled")
    assert {name: rows.tolist() for name, rows in found.items()} == {
        "train": [True, False, False, False, False],
        "dev": [True, True, False, False, False],
    }
    told = scrutiny.leaked(given, found)
    assert (told["train"], told["dev"], told["of"]) == (1, 2, 5)
    assert "without" not in told  # a score of three rows says nothing
    more = answered(
        cutter, [True] * 2 + [True] * 9 + [False] * 3, ["Known!", "of dev", *(f"new {i}" for i in range(12))]
    )
    rest = scrutiny.leaked(more, scrutiny.leaks(more.rows, learnt, "labelled"))["without"]
    assert rest["rows"] == 12 and rest["accuracy"] == pytest.approx(9 / 12)
    assert scrutiny.warned(told) == "1 of 5 test rows stand in the training rows, and 2 in the dev rows"
    every = scrutiny.leaked(given, {"train": np.ones(5, bool)})
    assert every == {"train": 5, "of": 5}


def test_two_runs(cutter: Tokenizer) -> None:
    row = np.arange(400)
    worse = answered(cutter, [*map(bool, row % 4 != 0)])
    better = answered(cutter, [*map(bool, row % 10 != 0)])
    near = answered(cutter, [*map(bool, (row + 1) % 4 != 0)])
    found = scrutiny.compare(better, worse, "B", "A")
    assert found["difference"] == pytest.approx(0.15, abs=0.03) and found["p"] < 0.01
    assert found["sentence"].startswith("B is better than A: macro F1 +0.1")
    test = found["mcnemar"]
    assert test["only_ours"] - test["only_theirs"] == 400 // 4 - 400 // 10
    assert scrutiny.compare(worse, better, "A", "B")["sentence"].startswith("A is worse than B: macro F1 -0.1")
    assert scrutiny.compare(near, worse, "C", "A")["sentence"].startswith("no difference can be shown between C and A")
