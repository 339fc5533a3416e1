"""What every task says of its answers row by row: what its headline score is made of, and how wrong each answer is."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from yanmo.tasks import TASKS, answer, classify, cloze, embed, make, nearest, rate, relate, rerank, tag
from yanmo.tasks.base import Answer, Task
from yanmo.tasks.metrics.significance import interval
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train

ROWS = 60
LABELS = ["a", "b", "c"]
Case = tuple[Task, list[Example], list[Answer], np.ndarray]  # and how wrong the answers are


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return train(["one two three"] * 3, TokenizerSettings(kind="word", vocab=100))


def shares(generator: np.random.Generator, labels: Sequence[str] = LABELS) -> list[dict[str, float]]:
    return [
        dict(zip(labels, row, strict=True)) for row in generator.dirichlet(np.ones(len(labels)), size=ROWS).tolist()
    ]


def classes(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    task = make(classify.Settings(), cutter, LABELS)
    truths = generator.choice(LABELS, ROWS).tolist()
    answers = [{"label": max(each, key=each.__getitem__), "probabilities": each} for each in shares(generator)]
    wrong = [0 if a["label"] == t else 1 - a["probabilities"][t] for a, t in zip(answers, truths, strict=True)]
    return task, [Example(("",), (truth,)) for truth in truths], answers, np.array(wrong)


def worded(settings: Any) -> Callable[[Tokenizer, np.random.Generator], Case]:
    """As `classes`, of a task that knows labels by their words."""

    def case(cutter: Tokenizer, generator: np.random.Generator) -> Case:
        return make(settings, cutter, LABELS), *classes(cutter, generator)[1:]

    return case


def several(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    task = make(classify.Settings(several=True), cutter, LABELS)
    truths = [tuple(label for label in LABELS if generator.random() < 0.4) for _ in range(ROWS)]
    answers = [
        {"labels": [k for k, p in each.items() if p >= 0.5], "probabilities": each} for each in shares(generator)
    ]
    wrong = [
        sum(abs((k in t) - p) for k, p in a["probabilities"].items() if (k in t) != (k in a["labels"]))
        for a, t in zip(answers, truths, strict=True)
    ]
    return task, [Example(("",), truth) for truth in truths], answers, np.array(wrong)


def ratings(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    truths, guesses = generator.normal(size=(2, ROWS)).tolist()
    task = make(rate.Settings(levels=[]), cutter, ["rating"])
    rows = [Example(("",), (str(truth),)) for truth in truths]
    wrong = np.abs(np.array(truths) - guesses)
    return task, rows, [{"rating": guess} for guess in guesses], wrong


def levels(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    truths, guesses = generator.integers(1, 4, ROWS), generator.uniform(1, 3, ROWS)
    task = make(rate.Settings(levels=[1, 2, 3]), cutter, ["1", "2", "3"])
    wrong = np.where(np.floor(guesses + 0.5) == truths, 0, np.abs(guesses - truths))
    return task, [Example(("",), (str(t),)) for t in truths], [{"rating": float(guess)} for guess in guesses], wrong


def related(labels: Sequence[str]) -> Callable[[Tokenizer, np.random.Generator], Case]:
    def made(cutter: Tokenizer, generator: np.random.Generator) -> Case:
        _, _, answers, _ = classes(cutter, generator)
        task, truths = make(relate.Settings(), cutter, labels), generator.choice(labels, ROWS).tolist()
        answers = [
            {"label": max(each, key=each.__getitem__), "probabilities": each} for each in shares(generator, labels)
        ]
        wrong = [0 if a["label"] == t else 1 - a["probabilities"][t] for a, t in zip(answers, truths, strict=True)]
        return task, [Example(("",), (truth,)) for truth in truths], answers, np.array(wrong)

    return made


WORDS, MARKS = ("Ann", "met", "Bob"), ((0, 3), (4, 7), (8, 11))


def entities(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    task = make(tag.Settings(), cutter, ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"])
    kinds = ["", "PER", "LOC"]
    truths, guesses = (generator.choice(kinds, (ROWS, 3)) for _ in range(2))
    rows = [
        Example(("Ann met Bob",), tuple(f"B-{kind}" if kind else "O" for kind in row), marks=MARKS) for row in truths
    ]
    answers = [
        {"entities": [{"type": k, "start": s, "end": e} for k, (s, e) in zip(row, MARKS, strict=True) if k]}
        for row in guesses.tolist()
    ]
    differ = truths != guesses
    wrong = (differ & (truths != "")).sum(1) + (differ & (guesses != "")).sum(1)
    return task, rows, answers, wrong


def speech(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    task = make(tag.Settings(), cutter, ["NN", "VB"])
    truths, guesses = (generator.choice(["NN", "VB"], (ROWS, 3)) for _ in range(2))
    rows = [Example(("Ann met Bob",), tuple(row), marks=MARKS) for row in truths.tolist()]
    answers = [{"words": WORDS, "tags": row} for row in guesses.tolist()]
    return task, rows, answers, (truths != guesses).sum(1)


def answered(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    task = make(answer.Settings(), cutter)
    table = [("red", 0.0), ("red car", 1 - 2 / 3), ("blue", 1.0)]
    chosen = generator.integers(3, size=ROWS)
    rows = [Example(("what colour?", "a red car"), ("red",))] * ROWS
    return task, rows, [{"answer": table[i][0]} for i in chosen], np.array([table[i][1] for i in chosen])


def ranked(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    task = make(rerank.Settings(), cutter)
    # Of three documents the first is the right one, and stands first, second, last, or level with the second.
    table = [
        ([0.9, 0.5, 0.1], [0, 0, 0]),
        ([0.5, 0.9, 0.1], [0.5, 1, 0]),
        ([0.1, 0.5, 0.9], [1, 1, 1]),
        ([0.5, 0.5, 0.1], [0.25, 0.5, 0]),
    ]
    chosen = generator.integers(len(table), size=ROWS // 3)
    rows = [Example((f"q{q}", f"d{d}"), (str(int(d == 0)),)) for q in range(len(chosen)) for d in range(3)]
    answers = [{"score": score} for each in chosen for score in table[each][0]]
    return task, rows, answers, np.array([wrong for each in chosen for wrong in table[each][1]])


def compared(first: np.ndarray, second: np.ndarray) -> Answer:
    found = embed.Compared(similarity=float(first @ second))
    found.vectors = np.stack([first, second])
    return found


def pairs(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    task, near = make(embed.Settings(), cutter), np.eye(ROWS)
    # Each query lies at its own document, or at the next one and a little at its own: this is found second.
    shifted = generator.random(ROWS) < 0.5
    asked = [near[i] if not shifted[i] else 0.8 * near[(i + 1) % ROWS] + 0.6 * near[i] for i in range(ROWS)]
    rows = [Example((f"q{i}", f"d{i}")) for i in range(ROWS)]
    return task, rows, [compared(asked[i], near[i]) for i in range(ROWS)], np.where(shifted, 0.5, 0)


def scored(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    truths = generator.permutation(ROWS)
    guesses = truths.copy()
    guesses[[0, 1]] = guesses[[1, 0]]
    rows = [Example((f"q{i}", f"d{i}"), (str(truth),)) for i, truth in enumerate(truths)]
    answers: list[Answer] = [{"similarity": float(guess) / ROWS} for guess in guesses]
    return make(embed.Settings(), cutter), rows, answers, np.abs(truths - guesses) / ROWS


def texts(cutter: Tokenizer, generator: np.random.Generator) -> Case:
    vectors = generator.normal(size=(ROWS, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    near = np.exp(-2 * ((vectors[:, None] - vectors) ** 2).sum(-1))
    wrong = (near.sum(1) - 1) / (ROWS - 1)
    rows = [Example((f"t{i}",)) for i in range(ROWS)]
    return make(embed.Settings(), cutter), rows, [{"vector": vector} for vector in vectors.tolist()], wrong


CASES: dict[str, list[Callable[[Tokenizer, np.random.Generator], Case]]] = {
    "classify": [classes, several],
    "rate": [ratings, levels],
    "relate": [related(["Other", "Likes(e1,e2)", "Likes(e2,e1)"]), related(["NA", "likes", "sees"])],
    "tag": [entities, speech],
    "answer": [answered],
    "embed": [pairs, scored, texts],
    "rerank": [ranked],
    "cloze": [worded(cloze.Settings(words=dict(zip(LABELS, ("one", "two", "three"), strict=True))))],
    "nearest": [worded(nearest.Settings(words=dict(zip(LABELS, ("one", "two", "three"), strict=True))))],
    "multitask": [],  # each of its tasks has its own
}


@pytest.mark.parametrize("name", TASKS)
def test_scores_are_made_of_rows(name: str, cutter: Tokenizer) -> None:
    for case in CASES[name]:
        task, rows, answers, wrong = case(cutter, np.random.default_rng(0))
        scores: dict[str, Any] = task.score(answers, rows)
        headline = (task.headline or task.judged_by(rows)).removeprefix("-")
        found = task.statistics(answers, rows)
        assert found is not None and task.wrongness(answers, rows) == pytest.approx(wrong)
        assert float(found.score(found.counts.sum(0))) == pytest.approx(scores[headline], abs=1e-9)
        low, high = interval(found.counts, found.score)
        assert low < scores[headline] < high
        if found.first is None:
            assert len(found.counts) == len(rows)
        else:  # the rows that are judged together
            assert (
                len(found.counts) == scores["rows"] == len(found.first) == len({rows[i].texts[0] for i in found.first})
            )
        if "interval" in scores and name != "classify":  # whose own draws the cells of its table
            assert [low, high] == pytest.approx(scores["interval"], abs=0.05)
