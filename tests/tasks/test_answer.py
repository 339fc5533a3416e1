"""Extractive question answering: windows, what they learn, the best piece over all of them, and when there is none."""

import math
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import yanmo
from tests import families
from tests.reliability.rows import ROWS, settings, write_data
from yanmo import baselines, checkpoint
from yanmo.tasks import answer, make
from yanmo.tasks.metrics import answers as metrics
from yanmo.text import sources, tokenizer
from yanmo.text.forms import NOWHERE
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

WORDS = [f"w{i}" for i in range(100)]
CONTEXT = " ".join(WORDS[:60])


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return tokenizer.train([" ".join(WORDS)] * 3, TokenizerSettings(kind="word", vocab=200))


def task_of(cutter: Tokenizer, **keys: Any) -> Any:
    return make(answer.Settings(**{"max_length": 32, "stride": 8, **keys}), cutter)


def asked(*words: str, context: str = CONTEXT) -> Example:
    """A question whose answers are these words of the context."""
    marks = tuple(
        (context.find(word), context.find(word) + len(word)) if word in context else NOWHERE for word in words
    )
    return Example(("w1 w2 w3", context), words, "q", marks=marks)


def windows(row: Example) -> list[list[int]]:
    assert row.ids is not None and row.places is not None
    cuts = np.flatnonzero(np.diff(row.places[:, 0])) + 1
    return [row.ids[start:end].tolist() for start, end in pairwise([0, *cuts.tolist(), len(row.ids)])]


def test_windows_cover_the_context(cutter: Tokenizer) -> None:
    [row, short] = task_of(cutter).prepare([asked("w5"), asked("w5", context="w4 w5")])
    question = cutter.encode("w1 w2 w3", special=False)
    found = windows(row)
    assert all(each[:5] == [cutter.cls, *question, cutter.sep] and each[-1] == cutter.sep for each in found)
    pieces = [each[5:-1] for each in found]
    assert [len(piece) for piece in pieces] == [26, 26, 24] and len(windows(short)) == 1
    assert all(one[-8:] == other[:8] for one, other in pairwise(pieces))
    assert pieces[0] + [id for piece in pieces[1:] for id in piece[8:]] == cutter.encode(CONTEXT, special=False)
    held = [cutter.decode([int(id)]) for id in row.ids[row.places[:, 1] >= 0]]
    assert held == [CONTEXT[start:end] for _, start, end in row.places.tolist() if start >= 0]
    batch = task_of(cutter).batch([row, short], None)
    assert batch.source.lengths == (32, 32, 30, 8) and batch.source.types is not None
    assert batch.source.types.tolist() == [int(i >= 5) for size in batch.source.lengths for i in range(size)]


def test_a_long_question_is_cut(cutter: Tokenizer) -> None:
    row = Example((CONTEXT, CONTEXT), ("w5",), marks=((15, 17),))
    found = windows(task_of(cutter, stride=4).prepare([row])[0])
    assert max(map(len, found)) == 32 and all(each[13] == cutter.sep for each in found)
    for kind in ("bpe", "unigram", "wordpiece", "character"):
        made = tokenizer.train(
            ["the naïve 研墨 😀 cats"] * 3, TokenizerSettings.model_validate({"kind": kind, "vocab": 500})
        )
        for question in ("😀研" * 40, "naïve" * 40, "the cats " * 40):
            [cut] = task_of(made, stride=11).prepare([Example((question, "😀 the naïve 研墨 cats" * 30))])
            assert max(map(len, windows(cut))) == 32 and cut.places is not None
            assert cut.places[:, 2].max() == len(cut.texts[1]), "all of the context is read"
    for wrong in ({"stride": 16}, {"max_length": 64, "stride": 28}):
        with pytest.raises(ValidationError, match="leaves no room in a window of"):
            task_of(cutter, **wrong)


# what is asked for -> the first and last token of the answer in each of the three windows, (0, 0) where it is not whole
TARGETS: dict[str, tuple[Example, list[tuple[int, int]]]] = {
    "first window": (asked("w5"), [(10, 10), (0, 0), (0, 0)]),
    "two windows": (asked("w20 w21"), [(25, 26), (7, 8), (0, 0)]),
    "half in the first": (asked("w25 w26"), [(0, 0), (12, 13), (0, 0)]),
    "longer than a window": (asked(" ".join(WORDS[:50])), [(0, 0)] * 3),
    "part of a word": (asked("20 w2"), [(25, 26), (7, 8), (0, 0)]),
    "no answer": (asked(), [(0, 0)] * 3),
    "stands nowhere": (asked("none"), [(-100, -100)] * 3),
    "the second of two": (asked("none", "w59"), [(0, 0), (0, 0), (28, 28)]),
}


@pytest.mark.parametrize(("row", "expected"), TARGETS.values(), ids=TARGETS.keys())
def test_what_a_window_points_at(cutter: Tokenizer, row: Example, expected: list[tuple[int, int]]) -> None:
    task = task_of(cutter)
    batch = task.batch(task.prepare([asked("w1"), row]), None)
    assert batch.labels[3:].tolist() == [list(pair) for pair in expected]
    logits = torch.randn(len(batch.source.ids), 2, generator=torch.Generator().manual_seed(0))
    each = zip(logits.split(batch.source.lengths), batch.labels.tolist(), strict=True)
    right = [-(part.log_softmax(0)[pair, [0, 1]].mean()) for part, pair in each if pair[0] >= 0]
    loss = task.loss(Said(logits), batch)
    assert float(loss.total) == pytest.approx(float(sum(right)), rel=1e-5) and loss.count == len(right)


class Said:
    """A model that says these logits."""

    def __init__(self, logits: torch.Tensor) -> None:
        self.logits = logits

    def hidden(self, batch: Any) -> None:
        return None

    def head(self, hidden: None, run: Any) -> torch.Tensor:
        return self.logits


@pytest.mark.parametrize("threshold", [None, -2.0, 0.0, 3.0])
def test_the_best_piece_of_all_windows(cutter: Tokenizer, threshold: float | None) -> None:
    """As by trying every piece of every window in turn."""
    task = task_of(cutter, max_answer=4)
    task.threshold = threshold
    contexts = [CONTEXT, "w7", " ".join(WORDS[30:70]), "w9 w8 w9"]
    prepared = task.prepare([asked(context=context) for context in contexts])
    batch = task.batch(prepared, None)
    silent = 0
    for seed in range(20):
        logits = 3 * torch.randn(len(batch.source.ids), 2, generator=torch.Generator().manual_seed(seed))
        found = task.predict(Said(logits), batch)
        start = 0
        for row, context, said in zip(prepared, contexts, found, strict=True):
            own = logits[start : start + len(row.ids)].tolist()
            start += len(row.ids)
            places = row.places.tolist()
            pieces: dict[tuple[int, int], float] = {}
            for i, j in product(range(len(own)), repeat=2):
                if i <= j < i + 4 and places[i][0] == places[j][0] and min(places[i][1], places[j][1]) >= 0:
                    key = (places[i][1], places[j][2])
                    pieces[key] = max(pieces.get(key, -math.inf), own[i][0] + own[j][1])
            first = [i for i, place in enumerate(places) if i == 0 or places[i - 1][0] != place[0]]
            nothing = min(sum(own[i]) for i in first)
            best = max(pieces, key=pieces.__getitem__)
            top = sorted(pieces.values(), reverse=True)[:20]
            total = sum(map(math.exp, [nothing, *top]))
            none = threshold is not None and nothing - pieces[best] > threshold
            silent += none
            assert (said["start"], said["end"]) == (NOWHERE if none else best)
            assert said["answer"] == ("" if none else context[slice(*best)])
            assert said["no_answer"] == pytest.approx(math.exp(nothing) / total, rel=1e-4)
            assert said["probability"] == pytest.approx(math.exp(nothing if none else pieces[best]) / total, rel=1e-4)
    assert (silent > 0) == (threshold is not None)


def test_every_family_can_be_asked(cutter: Tokenizer, tmp_path: Path) -> None:
    task = task_of(cutter)
    prepared = task.prepare([asked("w20"), asked("w5", context="w4 w5")])
    for name, folder in families.folders(tmp_path, cutter).items():
        model: Any = checkpoint.load(folder, head="span").model.eval()
        loss = task.loss(model, task.batch(prepared, None))
        assert loss.count == 4 and math.isfinite(float(loss.total)), name
        together = [said["probability"] for said in task.predict(model, task.batch(prepared, None))]
        alone = [task.predict(model, task.batch([row], None))[0]["probability"] for row in prepared]
        assert together == pytest.approx(alone, abs=1e-6), name


def test_a_context_that_no_token_stands_for(cutter: Tokenizer) -> None:
    task = task_of(cutter)
    batch = task.batch(task.prepare([Example(("w1", "\u200b"))]), None)
    [said] = task.predict(Said(torch.zeros(len(batch.source.ids), 2)), batch)
    assert (said["answer"], said["start"], said["end"], said["probability"]) == ("", -1, -1, 1.0)


def test_white_space_is_no_part_of_an_answer() -> None:
    for start, end in ((3, 8), (3, 9), (4, 8), (4, 9)):
        assert answer.stripped("the cats ran", start, end) == (4, 8)


def test_the_threshold_is_the_best_for_the_dev_rows(cutter: Tokenizer) -> None:
    generator = np.random.default_rng(0)
    dev = [asked("w5") if i % 3 else asked() for i in range(60)]

    def given() -> list[dict[str, Any]]:
        assert task.threshold is None, "asked for the best pieces"
        return [
            {"answer": "w5" if right else "w6", "no_answer": share, "probability": 1 - share}
            for right, share in zip(generator.random(60) < 0.8, shares, strict=True)
        ]

    shares = [min(max(0.3 + 0.3 * (not row.labels) + 0.2 * generator.standard_normal(), 0.01), 0.99) for row in dev]
    task = task_of(cutter)
    assert task.calibrate([asked("w1")], dev, given) == "" and task.threshold is None and task.tensors() == {}
    generator = np.random.default_rng(1)
    assert task.calibrate([asked("w1"), asked()], dev, given) == "always_answering"
    generator = np.random.default_rng(1)
    kept, task.threshold = task.threshold, None
    answers_ = given()

    def total(threshold: float) -> float:
        odds = [math.log(a["no_answer"] / a["probability"]) for a in answers_]
        guesses = ["" if each > threshold else a["answer"] for a, each in zip(answers_, odds, strict=True)]
        return float(metrics.answers([row.labels for row in dev], guesses, metrics.squad2, resamples=1)["f1"])

    assert total(kept) == max(map(total, np.linspace(-6, 6, 2000))) > max(total(-99), total(99))
    task.threshold = kept
    other = task_of(cutter)
    other.take(task.tensors())
    assert other.threshold == kept


@pytest.mark.parametrize(("answered", "said"), [(True, ""), (False, "always_answering")])
def test_a_threshold_is_a_number(cutter: Tokenizer, answered: bool, said: str) -> None:
    """Also where the best is to answer every dev row, or none: a folder with an infinite number can't be opened."""
    dev = [asked("w5") if answered else asked() for _ in range(4)]
    task, given = task_of(cutter), [{"answer": "w5", "no_answer": 0.5, "probability": 0.5}] * 4
    assert task.calibrate([asked("w1"), asked()], dev, lambda: given) == said
    assert all(math.isfinite(float(tensor)) for tensor in task.tensors().values())
    assert bool(task.tensors()) is not answered


def test_how_languages_are_scored() -> None:
    english, chinese = asked("w5"), Example(("谁发明了造纸术？", "蔡伦。"), ("蔡伦",))
    assert answer.measure([english]) is metrics.squad1
    assert answer.measure([english, asked()]) is metrics.squad2
    assert answer.measure([chinese, Example(chinese.texts)]) is metrics.cmrc


def test_answers_of_several_windows_are_learnt(tmp_path: Path) -> None:
    """Words of praise or blame in contexts of one to three windows, some without; saved, opened and evaluated it says the same."""
    data = write_data(tmp_path)
    asked_for = settings(ROWS["answer"], data, tmp_path / "run", steps=60)
    metrics_ = yanmo.finetune(**asked_for)
    scores = metrics_["test"]
    assert metrics_["headline"] == "f1" and scores["exact"] > 0.9 and scores["unanswerable"]["exact"] > 0.5
    assert metrics_["baseline"]["no_answer"]["f1"] == pytest.approx(0.2) and "overlap" in metrics_["baseline"]
    assert scores["always_answering"] <= 0.8, "without the threshold a question always has an answer"
    again = yanmo.evaluate(tmp_path / "run", data={"test": asked_for["data"]["test"]})["test"]
    assert {key: scores[key] for key in again} == again
    engine = yanmo.load(tmp_path / "run")
    context = f"{' w1' * 30} superb {' w2' * 30}"
    [said, none] = engine.predict([("what praise", context), ("what praise", "w1 w2 w3")])
    assert said["answer"] == "superb" == context[said["start"] : said["end"]] and none["answer"] == ""
    assert list(engine.task.cells(said)) == ["answer", "start", "end", "probability"]  # type: ignore[union-attr]


def test_a_folder_of_transformers(tmp_path: Path, cutter: Tokenizer) -> None:
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(0)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    theirs = BertForQuestionAnswering(BertConfig(vocab_size=cutter.size, initializer_range=0.5, **size)).eval()
    theirs.save_pretrained(tmp_path)
    cutter.save(tmp_path)
    [said] = yanmo.load(tmp_path).predict([("w1 w2", "w3 w4 w5 w6")])
    ids, types = torch.tensor([cutter.inner.encode("w1 w2", "w3 w4 w5 w6").ids]), torch.tensor([[0] * 4 + [1] * 5])
    with torch.no_grad():
        out = theirs(input_ids=ids, token_type_ids=types)
    scores = (
        (out.start_logits[0, 4:8, None] + out.end_logits[0, None, 4:8])
        .triu()
        .masked_fill(torch.ones(4, 4).tril(-1) > 0, -99)
    )
    first, last = divmod(int(scores.argmax()), 4)
    assert said["answer"] == " ".join(f"w{i}" for i in range(3 + first, 4 + last))


def test_the_sentence_of_the_question() -> None:
    def row(question: str, context: str, *words: str) -> Example:
        return Example((question, context), words)

    train = [row("q", "c", "two words")]
    english = row(
        "Who painted the old barn?",
        "It was red. The old barn was painted by Anna Maria Berg in 1.5 days. Ann left.",
        "Anna Maria",
    )
    chinese = row("造纸术是谁发明的？", "汉朝很长。造纸术由蔡伦发明。他死了。", "蔡伦")
    assert baselines._overlapping(english.texts[0], english.texts[1], 3) == "by Anna Maria"
    assert baselines._overlapping("It?", english.texts[1], 3) == "was red" and baselines._overlapping("?", "!", 3) == ""
    found = baselines.answer(train, [chinese], ())
    assert found.keys() == {"overlap"} and found["overlap"]["f1"] == 0.5  # 由蔡
    assert baselines.answer([row("q", "c")], [english], ())["no_answer"]["f1"] == 0.0


REAL = {
    "qa/xquad/xquad.en.json": 0.99,
    "qa/subjqa_en/electronics.dev.csv.gz": 0.97,
    "qa/cmrc2018_zh/cmrc2018_trial.json": 0.8,
}


@pytest.mark.parametrize(("name", "share"), REAL.items())
def test_places_of_real_answers(shared_data: Path, minilm: Path, name: str, share: float) -> None:
    """In windows of 128 tokens: where a window has the answer, its tokens are the answer, to the character."""
    cutter = tokenizer.load(minilm)
    task = task_of(cutter, max_length=128, stride=32)
    rows = [row for row in sources.read(shared_data / name, form="answered") if {*row.marks} - {NOWHERE}]
    held = 0
    for row in task.prepare(rows[:400]):
        batch = task.batch([row], None)
        starts = batch.source.starts.tolist()
        found = {
            row.texts[1][row.places[start + first, 1] : row.places[start + last, 2]]
            for start, (first, last) in zip(starts, batch.labels.tolist(), strict=True)
            if last
        }
        own = row.texts[1][slice(*next(mark for mark in row.marks if mark != NOWHERE))]
        held += bool(found)
        assert len(found) < 2 and all(own in each and len(each) <= len(own) + 12 for each in found)
    assert held >= share * min(len(rows), 400)
