"""Ensembles: what they answer is the mean of what their members say, however each of these cuts its rows and orders its labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import yanmo
from tests.joined import KINDS, PAIRS, TEXTS, write
from yanmo.engine import Engine
from yanmo.errors import ModelError
from yanmo.tasks.base import Answer
from yanmo.text.sources import given


def members(folder: Path, name: str) -> list[Path]:
    """Two of a kind, the second with its labels the other way round and a tokeniser of another kind."""
    kind = KINDS[name]
    turned = {} if kind.name in ("rate", "rerank") else {"labels": kind.labels[::-1]}
    return [write(folder / "a", kind, 1), write(folder / "b", kind, 2, vocabulary="character", **turned)]


def means(each: Sequence[Sequence[Answer]], key: str) -> np.ndarray:
    """(rows,) of a number, or (rows, labels) of probabilities, in the order of the first answer's."""
    if not isinstance(each[0][0][key], dict):
        return np.mean([[answer[key] for answer in answers] for answers in each], 0)
    labels = list(each[0][0][key])
    return np.mean([[[answer[key][label] for label in labels] for answer in answers] for answers in each], 0)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("classify", "probabilities"),
        ("classify, several", "probabilities"),
        ("rate", "rating"),
        ("rate, levels", "rating"),
        ("rate, levels", "probabilities"),
        ("relate", "probabilities"),
        ("rerank", "score"),
        ("embed, pairs", "similarity"),
    ],
)
def test_numbers_are_the_mean_of_the_members(name: str, key: str, tmp_path: Path) -> None:
    folders = members(tmp_path, name)
    each = [yanmo.load(folder).predict(KINDS[name].given) for folder in folders]
    joined = yanmo.load(folders).predict(KINDS[name].given)
    assert np.abs(means(each, key) - means([joined], key)).max() < 1e-6
    assert np.abs(means(each[:1], key) - means([joined], key)).max() > 1e-3  # the second has its say
    assert list(joined[0]) == list(each[0][0])


def test_labels_follow_the_joined_probabilities(tmp_path: Path) -> None:
    folders = members(tmp_path, "classify")
    for answer in yanmo.load(folders).predict(TEXTS):
        assert answer["label"] == max(answer["probabilities"], key=answer["probabilities"].get)
    folders = members(tmp_path / "several", "classify, several")
    engine = yanmo.load(folders)
    held = [yanmo.load(folder).task for folder in folders]
    limits = {
        label: np.mean([dict(zip(task.labels, task.thresholds.tolist(), strict=True))[label] for task in held])  # type: ignore[union-attr]
        for label in KINDS["classify"].labels
    }
    given_ = [answer["labels"] for answer in engine.predict(TEXTS)]
    assert given_ == [
        [label for label, p in answer["probabilities"].items() if p >= limits[label]]
        for answer in engine.predict(TEXTS)
    ]


def opinions(folder: Path, asked: Sequence[Any]) -> tuple[Any, list[Any]]:
    engine = yanmo.load(folder)
    task = engine.task
    assert task is not None
    rows = task.prepare(given(enumerate(asked, 1), task.form, "given"))
    with torch.inference_mode():
        return task, task.opinions(engine.model, task.batch(rows, None))  # type: ignore[arg-type]


def test_parts_of_speech_are_the_likeliest_of_the_mean(tmp_path: Path) -> None:
    name = "tag, parts of speech"
    folders = members(tmp_path, name)
    (one, first), (other, second) = (opinions(folder, TEXTS) for folder in folders)
    turned = [other.labels.index(label) for label in one.labels]
    joined = yanmo.load(folders).predict(TEXTS)
    for answer, a, b in zip(joined, first, second, strict=True):
        assert torch.allclose(a.sum(-1), torch.ones(len(a), dtype=torch.float64), atol=1e-6)
        best = ((a + b[:, turned]) / 2).argmax(-1).tolist()
        assert answer["tags"] == [one.labels[number] for number in best]


@pytest.mark.parametrize("name", ["tag", "tag, with a chain"])
def test_spans_are_decoded_from_the_mean(name: str, tmp_path: Path) -> None:
    """A span's probability is that of its tags beside every other tagging that the scheme allows: of a text of one word by hand."""
    folders = members(tmp_path, name)
    (one, (first,)), (other, (second,)) = (opinions(folder, ["good"]) for folder in folders)
    mean = (first[0] + second[0][[other.labels.index(label) for label in one.labels]]) / 2
    allowed = {label: float(p) for label, p in zip(one.labels, mean, strict=True) if not label.startswith("I-")}
    best = max(allowed, key=allowed.__getitem__)
    [answer] = yanmo.load(folders).predict(["good"])
    if best == "O":
        assert answer["entities"] == []
    else:
        [entity] = answer["entities"]
        assert entity["type"] == best[2:]
        assert entity["probability"] == pytest.approx(allowed[best] / sum(allowed.values()), abs=1e-6)


def test_answers_are_the_piece_with_most_of_the_mean(tmp_path: Path) -> None:
    folders = members(tmp_path, "answer")
    asked = KINDS["answer"].given
    (_, first), (_, second) = (opinions(folder, asked) for folder in folders)
    for answer, a, b, (_, text) in zip(yanmo.load(folders).predict(asked), first, second, asked, strict=True):
        mean = {piece: (a.get(piece, 0.0) + b.get(piece, 0.0)) / 2 for piece in {**a, **b}}
        assert sum(mean.values()) == pytest.approx(1)
        nothing = mean.pop((-1, -1))
        kept = sorted(mean.values(), reverse=True)[:20]
        start, end = max(mean, key=mean.__getitem__)
        assert (answer["start"], answer["end"]) == (start, end) and answer["answer"] == text[start:end]
        assert answer["probability"] == pytest.approx(kept[0] / (nothing + sum(kept)), abs=1e-9)
        assert answer["no_answer"] == pytest.approx(nothing / (nothing + sum(kept)), abs=1e-9)


def test_the_threshold_of_no_answer_is_the_mean_of_those_that_have_one(tmp_path: Path) -> None:
    engine = yanmo.load(members(tmp_path, "answer"))
    assert all(answer["answer"] for answer in engine.predict(KINDS["answer"].given))
    one, other = engine.task.members  # type: ignore[union-attr]
    one.threshold = -1e9
    assert not any(answer["answer"] for answer in engine.predict(KINDS["answer"].given))
    other.threshold = 3e9
    assert all(answer["answer"] for answer in engine.predict(KINDS["answer"].given))


def test_vectors_are_as_near_as_on_the_mean(tmp_path: Path) -> None:
    folders = members(tmp_path, "embed")
    near = []
    for opened in (*folders, folders):
        vectors = np.array([answer["vector"] for answer in yanmo.load(opened).predict(TEXTS)])
        near.append(vectors @ vectors.T)
    assert np.abs((near[0] + near[1]) / 2 - near[2]).max() < 1e-6
    engine = yanmo.load(folders)
    rows = engine.task.prepare(given(enumerate(PAIRS, 1), engine.task.form, "given"))  # type: ignore[union-attr]
    scores = engine.task.score(engine.predict(PAIRS), rows)  # type: ignore[union-attr]
    assert 0 < scores["ndcg@10"] <= 1  # which needs the vectors behind the similarities


def rounded(answer: Any) -> Any:
    """With floats that may differ in their last digits made alike."""
    if isinstance(answer, dict):
        return {key: rounded(value) for key, value in answer.items()}
    if isinstance(answer, (list, tuple)):
        return [rounded(value) for value in answer]
    return pytest.approx(answer, abs=1e-5) if isinstance(answer, float) else answer


@pytest.mark.parametrize("name", [name for name in KINDS if name not in ("embed", "tag, with a chain")])
def test_a_model_joined_with_itself_is_that_model(name: str, tmp_path: Path) -> None:
    """(Vectors become longer, and chains give way to what each word's tags are by them.)"""
    folder, asked = write(tmp_path / "a", KINDS[name], 3), KINDS[name].given
    assert yanmo.load([folder, folder]).predict(asked) == rounded(yanmo.load(folder).predict(asked))
    assert yanmo.load([folder]).predict(asked) == yanmo.load(folder).predict(asked)


def test_rows_of_no_words(tmp_path: Path) -> None:
    engine = yanmo.load(members(tmp_path, "tag, with a chain"))
    assert engine.predict([" "]) == [{"entities": []}]
    assert engine.predict([" ", "good"])[1:] == engine.predict(["good"])


# ---- what can't be


def fault(folders: Sequence[Path]) -> str:
    with pytest.raises(ModelError) as told:
        yanmo.load(folders)
    return str(told.value)


def test_what_can_not_be_joined_is_told_at_once(tmp_path: Path) -> None:
    classify, several, rate = (KINDS[name] for name in ("classify", "classify, several", "rate"))
    one = write(tmp_path / "one", classify, 1)
    more = write(tmp_path / "more", classify, 1, labels=("a", "b", "d", "e"))
    told = fault([one, more, write(tmp_path / "several", several, 1), write(tmp_path / "rate", rate, 1)])
    assert told.split("\n  ") == [
        f"their answers are not of one kind, so they can't be averaged (against {one}):",
        f"{more}: has labels of its own: d, e",
        f"{more}: lacks the labels: c",
        f"{tmp_path / 'several'}: its answers are of the kind multi_label_classification, not single_label_classification",
        f"{tmp_path / 'rate'}: made for the task 'rate', not 'classify'",
    ]
    with pytest.raises(ModelError, match="expected the name of a model"):
        yanmo.load([])


def test_words_cut_in_two_ways(tmp_path: Path) -> None:
    kind = KINDS["tag"]
    folders = [write(tmp_path / units, kind, 1, settings={"units": units}) for units in ("words", "characters")]
    with pytest.raises(ModelError, match=r"given:1: these models cut it into other words.*the same task\.units"):
        yanmo.load(folders).predict(TEXTS)


def test_an_ensemble_only_predicts(tmp_path: Path) -> None:
    engine: Engine = yanmo.load(members(tmp_path, "classify"))
    for ask in (lambda: engine.embed(TEXTS), lambda: engine.hidden(torch.ones(1, 2, dtype=torch.long))):
        with pytest.raises(ModelError, match="an ensemble only predicts"):
            ask()
    with pytest.raises(ModelError, match="no head that writes"):
        engine.generate("a")
