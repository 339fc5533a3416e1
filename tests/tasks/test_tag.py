"""Tagging: which token answers for which word, windows, losses, answers and scores; and through the verbs."""

import csv
import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import seqeval.metrics
import torch
from torch import Tensor
from torch.nn import functional as F

import yanmo
from yanmo import baselines
from yanmo.__main__ import main
from yanmo.errors import DataError, SettingsError
from yanmo.nn import crf
from yanmo.tasks import tag, units
from yanmo.tasks.tag import Settings, Tag
from yanmo.text import sources, tagging
from yanmo.text.batches import Key
from yanmo.text.forms.tagged import joined
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, add, load, train

KINDS = {"wordpiece": 100, "word": 100, "bpe": 330, "unigram": 480, "character": 100}  # and how many tokens
TEXTS = ["Ann Lee sees Bob, now and then", "Bob runs with Eve Ray", "江泽民同志在北京说话", "中国人民银行在上海"] * 8
NAMES = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module", params=KINDS)
def cutter(request: pytest.FixtureRequest) -> Tokenizer:
    return train(TEXTS, TokenizerSettings(kind=request.param, vocab=KINDS[request.param]))


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return train(TEXTS, TokenizerSettings(vocab=120))


def row(words: Sequence[str], tags: Sequence[str] = (), line: int = 1) -> Example:
    text, marks = joined(words)
    return Example((text,), tuple(tags), f"a:{line}", "a", line, marks=marks)


class Fake:
    """A model that says of a token what its id alone tells."""

    def __init__(self, vocabulary: int, labels: int) -> None:
        self.table = 3 * torch.randn(vocabulary, labels, generator=torch.Generator().manual_seed(0))

    def hidden(self, batch: Any) -> Tensor:
        return batch.source.ids

    def head(self, hidden: Tensor, run: Any) -> Tensor:
        return self.table[hidden]


def made(cutter: Tokenizer, labels: Sequence[str] = NAMES, **settings: Any) -> Tag:
    task = Tag(Settings(**settings), cutter, labels)
    task.module = task.own(0)
    return task


# ---- words and tokens


@pytest.mark.parametrize("longest", [64, 8])
@pytest.mark.parametrize(
    "words", [["Ann", "Lee", "sees", ",", "now", "Bob"] * 4, [*"中国人民银行在上海"] * 2, ["中国", "人民", "Ann"]]
)
def test_a_word_is_answered_for_by_its_first_token(cutter: Tokenizer, words: list[str], longest: int) -> None:
    task = made(cutter, max_length=longest)
    [prepared] = task.prepare([row(words)])
    batch = task.batch([prepared], None)
    tokens = batch.source.ids[batch.select].tolist()
    assert len(tokens) == len(words)
    for token, word in zip(tokens, words, strict=True):
        said = cutter.decode([token]).replace("##", "").strip().strip("�").lower()  # a byte is no character
        assert token == cutter.unknown or word.lower().startswith(said)
    if "Ann" not in words and longest == 64:  # no token stands for two characters
        assert len({*batch.select.tolist()}) == len(words)
    assert max(batch.source.lengths) <= longest


@pytest.mark.parametrize("longest", [64, 8])
def test_words_that_share_a_token_are_taken_apart(pieces: Tokenizer, longest: int) -> None:
    cutter = add(pieces, ["人民银行"])
    assert len(cutter.encode("中国人民银行", special=False)) == 3
    task = made(cutter, max_length=longest)
    rows = task.prepare([row([*"中国人民银行"] * 3), row(["Ann", "人民银行"])])
    batch = task.batch(rows, None)
    alone = [cutter.encode(character, special=False)[0] for character in "中国人民银行"]
    assert batch.source.ids[batch.select].tolist() == [*alone * 3, *cutter.encode("Ann 人民银行", special=False)]


def test_first_tokens_equal_transformers(shared_data: Path, minilm: Path) -> None:
    import transformers

    cutter = load(minilm)
    rows = sources.read(shared_data / "ner/conll2003_en/eng.testa", form="tagged")[:300]
    task = made(cutter, ["O", *tagging.tag_set(["PER", "LOC", "ORG", "MISC"], "IOB2")])
    theirs = transformers.AutoTokenizer.from_pretrained(minilm)
    found = theirs([units.words_of(e) for e in rows], is_split_into_words=True)
    for number, example in enumerate(task.prepare(rows)):
        owners = found.word_ids(number)
        assert found["input_ids"][number] == example.ids.tolist()
        assert example.places[:, 0].tolist() == [owners.index(word) for word in range(len(example.marks))]


def test_windows_hold_every_token_and_some_context(pieces: Tokenizer) -> None:
    words = [f"{'Ann' if i % 3 else 'Bob'}" for i in range(100)]
    for longest, count in itertools.product((8, 16, 40), (3, 7, 41, 100)):
        task = made(pieces, max_length=longest)
        [prepared] = task.prepare([row(words[:count])])
        batch = task.batch([prepared], None)
        body = pieces.encode(" ".join(words[:count]), special=False)
        parts = batch.source.ids.split(batch.source.lengths)
        assert all(part[0] == pieces.cls and part[-1] == pieces.sep for part in parts)
        assert (
            batch.source.ids[batch.select].tolist() == body[: len(batch.select)] == body
        )  # each word is one token here
        assert len(parts) == 1 or {*batch.source.lengths} == {longest}
        places = batch.source.positions[batch.select]
        room = longest - 2
        inner = places[room : len(places) - room] - 1
        assert not len(inner) or int(torch.minimum(inner, room - 1 - inner).min()) >= room // 8 - 1


def test_windows_change_nothing_for_a_model_that_sees_one_token(pieces: Tokenizer) -> None:
    rows = [row(["Ann", "Lee", "sees", "Bob", "now"] * n) for n in (1, 9, 2, 30)]
    answers = []
    for longest, chain in itertools.product((8, 13, 512), (False, True)):
        task = made(pieces, max_length=longest, crf=chain)
        if task.module is not None:
            torch.manual_seed(0)
            torch.nn.init.normal_(task.module.transitions, std=0.05)
        batch = task.batch(task.prepare(rows), None)
        answers.append((chain, [a["entities"] for a in task.predict(Fake(pieces.size, 5), batch)]))
    for chain in (False, True):
        first, *others = [found for used, found in answers if used == chain]
        for found in others:
            assert [[{**e, "probability": pytest.approx(e["probability"])} for e in a] for a in first] == found


def test_words_of_which_no_token_is_left(pieces: Tokenizer) -> None:
    task = made(pieces, max_length=8)
    rows = task.prepare([row(["\u200b", "Ann", "\u200b"] * n) for n in (1, 9)] + [Example(("",))])
    batch = task.batch(rows, None)
    assert len(batch.select) == 30
    answers = task.predict(Fake(pieces.size, 5), batch)
    assert len(answers) == 3 and answers[2] == {"entities": []}
    assert task.predict(Fake(pieces.size, 5), task.batch(task.prepare([Example((" ",))]), None)) == [{"entities": []}]


# ---- labels

# scheme asked for, tags of the rows (in IOB2), the labels
LEARNT = {
    "entities": (None, "O B-B I-B O B-A", "O B-A I-A B-B I-B"),
    "entities, BIOES": ("BIOES", "O B-B I-B", "O B-B I-B E-B S-B"),
    "words": (None, "B I B B", "B M E S"),
    "words, IOB2": ("IOB2", "B I B", "B I"),
    "words with types": (None, "B-n I-n B-v", "B-n M-n E-n S-n B-v M-v E-v S-v"),
    "parts of speech": (None, "NN VB DT", "DT NN VB"),
    "numbers": (None, "10 9 0", "0 9 10"),
}


@pytest.mark.parametrize(("scheme", "tags", "labels"), LEARNT.values(), ids=LEARNT)
def test_labels(scheme: str | None, tags: str, labels: str) -> None:
    given = tags.split()
    assert Tag.learnt(Settings(scheme=scheme), [row(["a"] * len(given), given)], "a") == labels.split()


@pytest.mark.parametrize(
    ("scheme", "tags", "fault", "said"),
    [
        (None, "O O", DataError, "a: every tag is O, so there is nothing to learn"),
        (None, "NN NN", DataError, "only one label"),
        ("IOB2", "NN VB", SettingsError, "task.scheme: the tags of a are parts of speech"),
    ],
)
def test_rows_that_teach_nothing(scheme: str | None, tags: str, fault: type[Exception], said: str) -> None:
    with pytest.raises(fault, match=said):
        Tag.learnt(Settings(scheme=scheme), [row(["a", "b"], tags.split())], "a")


def test_tags_become_those_of_the_scheme(pieces: Tokenizer) -> None:
    labels = ["O", *tagging.tag_set(["PER"], "BIOES")]
    task = made(pieces, labels)
    [prepared] = task.prepare([row(["Ann", "Lee", "sees", "Bob"], ["B-PER", "I-PER", "O", "B-PER"])])
    assert prepared.labels == ("B-PER", "E-PER", "O", "S-PER")
    batch = task.batch([prepared], None)
    assert [labels[number] for number in batch.labels.tolist()] == [*prepared.labels] and batch.rows == ("a:1",)
    with pytest.raises(
        DataError, match=r"1 row with tags .*\n  a:7: 'ORG' was never seen in training \(known: O, PER\)"
    ):
        task.prepare([row(["Ann"], ["B-ORG"], line=7)])
    with pytest.raises(DataError, match=r"a:7: 'XX' was never seen in training \(known: DT, NN\)"):
        made(pieces, ["DT", "NN"]).prepare([row(["Ann"], ["XX"], line=7)])


# ---- losses


def test_losses(pieces: Tokenizer) -> None:
    rows = [row(["Ann", "Lee", "runs"], ["B-PER", "I-PER", "O"]), row(["now"], ["O"])]
    model = Fake(pieces.size, 5)
    for chain in (False, True):
        task = made(pieces, crf=chain)
        batch = task.batch(task.prepare(rows), Key(0, 0, 0))
        emissions = model.table[batch.source.ids[batch.select]]
        loss = task.loss(model, batch)
        assert loss.count == 4
        # A chain that begins at 0 judges each word by itself.
        assert float(loss.total.detach()) == pytest.approx(
            float(F.cross_entropy(emissions, batch.labels, reduction="sum"))
        )
    assert task.module is not None
    with torch.no_grad():
        task.module.transitions += torch.randn(5, 5)
    expected = crf.negative_log_likelihood(emissions, (3, 1), batch.labels, task.module.chain)
    assert float((task.loss(model, batch).total - expected).detach()) == pytest.approx(0, abs=1e-4)
    with pytest.raises(DataError, match="rows without a tag for each word can't be trained on: a:1"):
        task.loss(model, task.batch(task.prepare([row(["Ann"])]), None))


# ---- answers


@pytest.mark.parametrize("scheme", ["IOB2", "BIOES", "BMES"])
def test_answers_keep_to_the_scheme(pieces: Tokenizer, scheme: str) -> None:
    labels = ["O", *tagging.tag_set(["PER", "LOC"], scheme)]
    task = made(pieces, labels)
    examples = task.prepare([row(["Ann", "Lee", "sees", "Bob", "now", "Eve", "in"][:n]) for n in (7, 1, 4)])
    batch = task.batch(examples, None)
    model = Fake(pieces.size, len(labels))
    answers = task.predict(model, batch)
    chain = crf.Chain(*(torch.zeros(part.shape) for part in task.legal)).within(task.legal)
    lengths = [len(e.marks) for e in examples]
    found = crf.viterbi(model.table[batch.source.ids[batch.select]], lengths, chain).split(lengths)
    for answer, tags, example in zip(answers, found, examples, strict=True):
        spelt = [labels[number] for number in tags.tolist()]
        assert not list(tagging.breaks([spelt], scheme))
        assert task._tags(answer, example) == tagging.converted(spelt, "IOB2")
        text = example.texts[0]
        assert all(text[e["start"] : e["end"]] == e["text"] and 0 < e["probability"] <= 1 for e in answer["entities"])


def test_a_sure_model_is_sure(pieces: Tokenizer) -> None:
    task = made(pieces)
    model = Fake(pieces.size, 5)
    model.table.zero_()
    model.table[:, 0] = 1.0
    model.table[pieces.encode("Bob", special=False)[0], 1] = 3.0
    [answer] = task.predict(model, task.batch(task.prepare([Example(("Ann sees Bob",))]), None))
    [entity] = answer["entities"]
    assert {**entity, "probability": None} == {"text": "Bob", "type": "PER", "start": 9, "end": 12, "probability": None}
    one, three = np.exp([1.0, 3.0])
    weights = dict.fromkeys(NAMES[1:], 1.0) | {
        "O": one,
        "B-PER": three,
    }  # of the last word; before it O, or a span of any length
    before = dict.fromkeys(NAMES[1:], 1.0) | {"O": one}
    paths = {
        path: np.prod([before[path[0]], before[path[1]], weights[path[2]]])
        for path in itertools.product(NAMES, repeat=3)
        if not list(tagging.breaks([path], "IOB2"))
    }
    expected = sum(weight for path, weight in paths.items() if path[2] == "B-PER") / sum(paths.values())
    assert entity["probability"] == pytest.approx(expected)


# labels, what a text is cut into, text, tags that the model is made to say, answer, cells
ANSWERS: dict[str, tuple[str, str, str, str, dict[str, Any], dict[str, str]]] = {
    "entities": (
        "O B-PER I-PER",
        "words",
        "Ann Lee sees Bob",
        "B-PER I-PER O B-PER",
        {"entities": [("Ann Lee", "PER", 0, 7), ("Bob", "PER", 13, 16)]},
        {"entities": "Ann Lee (PER); Bob (PER)"},
    ),
    "no entities": ("O B-PER I-PER", "words", "Ann sees", "O O", {"entities": []}, {"entities": ""}),
    "words": (
        "B M E S",
        "characters",
        "中国人 民",
        "B M E S",
        {"words": ["中国人", "民"]},
        {"words": "中国人 民"},
    ),
    "words with types": (
        "B-n M-n E-n S-n B-v M-v E-v S-v",
        "characters",
        "中国说",
        "B-n E-n S-v",
        {"words": ["中国", "说"], "tags": ["n", "v"]},
        {"words": "中国/n 说/v"},
    ),
    "parts of speech": (
        "DT NN",
        "words",
        "Ann's Bob",
        "NN DT NN",
        {"words": ["Ann", "'s", "Bob"], "tags": ["NN", "DT", "NN"]},
        {"words": "Ann/NN 's/DT Bob/NN"},
    ),
}


class Told:
    """A model that says what it is told of each word."""

    def __init__(self, task: Tag, tags: str) -> None:
        self.task, self.tags = task, tags.split()

    def hidden(self, batch: Any) -> Any:
        return batch

    def head(self, batch: Any, run: Any) -> Tensor:
        said = torch.zeros(len(run.ids), len(self.task.labels))
        said[batch.select, torch.tensor([self.task.numbers[tag] for tag in self.tags])] = 50.0
        return said


@pytest.mark.parametrize(("labels", "cut", "text", "tags", "expected", "cells"), ANSWERS.values(), ids=ANSWERS)
def test_answers(labels: str, cut: str, text: str, tags: str, expected: dict[str, Any], cells: dict[str, str]) -> None:
    task = made(train([text], TokenizerSettings(kind="character", vocab=100)), labels.split(), units=cut)
    examples = task.prepare([Example((text,))])
    [answer] = task.predict(Told(task, tags), task.batch(examples, None))
    assert task.cells(answer) == cells
    said = tags.split() if task.scheme == "plain" else tagging.converted(tags.split(), "IOB2")
    assert task._tags(answer, examples[0]) == said
    if "entities" in answer:
        assert all(entity.pop("probability") == pytest.approx(1) for entity in answer["entities"])
        answer = {"entities": [tuple(entity.values()) for entity in answer["entities"]]}
    assert answer == expected


# ---- scores


def drawn(labels: Sequence[str], seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Rows of tags, and guesses of which a third are others."""
    generator = np.random.default_rng(seed)
    scheme = tagging.scheme_of(labels)
    truths, guesses = [], []
    for length in generator.integers(1, 15, 40):
        true = [labels[i] for i in generator.integers(0, len(labels), length)]
        guess = [labels[generator.integers(len(labels))] if generator.random() < 0.3 else tag for tag in true]
        fit = (lambda row: row) if scheme == "plain" else (lambda row: tagging.converted(row, scheme))
        truths.append(fit(true))
        guesses.append(fit(guess))
    return truths, guesses


@pytest.mark.parametrize("scheme", ["IOB2", "BIOES", "BMES"])
def test_scores_equal_seqeval(scheme: str) -> None:
    labels = ["O", *tagging.tag_set(["PER", "LOC", "MISC"], scheme)]
    truths, guesses = drawn(labels, 0)
    found = tag.scores(truths, guesses, labels)
    iob2 = [[tagging.converted(row, "IOB2") for row in side] for side in (truths, guesses)]
    for name in ("precision", "recall", "f1"):
        expected = getattr(seqeval.metrics, f"{name}_score")(*iob2)
        assert found[f"micro_{name}"] == pytest.approx(expected, abs=1e-9)
    assert found["accuracy"] == pytest.approx(seqeval.metrics.accuracy_score(*iob2), abs=1e-9)
    assert {*found["types"]} == {"PER", "LOC", "MISC"} and found["interval"][0] < found["micro_f1"] < found["interval"][
        1
    ]


def test_scores_of_words() -> None:
    labels = tagging.tag_set([""], "BMES")
    truths, guesses = drawn(labels, 1)
    spans = [{(i, *span) for i, row in enumerate(side) for span in tagging.spans(row)} for side in (truths, guesses)]
    f1 = 2 * len(spans[0] & spans[1]) / (len(spans[0]) + len(spans[1]))
    found = tag.scores(truths, guesses, labels)
    assert found["micro_f1"] == pytest.approx(f1, abs=1e-9) and "types" not in found
    typed = tagging.tag_set(["n"], "BMES")
    both = [[[f"{tag}-{'n'}" for tag in row] for row in side] for side in (truths, guesses)]
    assert tag.scores(both[0], both[1], typed)["segmentation_f1"] == pytest.approx(f1, abs=1e-9)


def test_scores_of_parts_of_speech() -> None:
    truths, guesses = drawn(["NN", "VB", "DT"], 2)
    found = tag.scores(truths, guesses, ["DT", "NN", "VB"])
    assert found["accuracy"] == pytest.approx(
        np.mean([a == b for t, g in zip(truths, guesses, strict=True) for a, b in zip(t, g, strict=True)])
    )


def test_a_perfect_answer_scores_one(pieces: Tokenizer) -> None:
    rows = [row(["Ann", "Lee", "sees", "Bob"], ["B-PER", "I-PER", "O", "B-LOC"]), row(["now"], ["O"])]
    task = made(pieces)
    examples = task.prepare(rows)
    answers = task.predict(Told(task, "B-PER I-PER O B-LOC O"), task.batch(examples, None))
    scores = task.score(answers, examples)
    assert (task.best, scores["micro_f1"], scores["accuracy"], scores["rows"]) == ("micro_f1", 1.0, 1.0, 2)


# ---- through the verbs


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    people, places = (["Ann", "Lee"], ["Bob"], ["Eve", "Ray"]), (["Rome"], ["New", "York"])
    for part, count in (("train", 150), ("dev", 30), ("test", 30)):
        text = ""
        for i in range(count):
            spans = [(people[i % 3], "PER"), (["sees"], ""), (places[i % 2], "LOC"), ([f"{part}{i}"], "")]
            text += "".join(f"{w} X {f'I-{kind}' if kind else 'O'}\n" for span, kind in spans for w in span) + "\n"
        Path(f"{part}.conll").write_text(text)  # IOB1: names never touch
    for part, count in (("train", 150), ("test", 30)):
        words = [["中国", "人民", "说"], ["我", "说", "中国", "话"], ["人民", "银行", "在", "上海"]]
        rows = [[*words[i % 3], str(i + 150 * (part == "test"))] for i in range(count)]
        lines = [json.dumps(dict(zip(("tokens", "tags"), tagging.segmented(row), strict=True))) for row in rows]
        Path(f"{part}.words.jsonl").write_text("\n".join(lines))
    return tmp_path


def words(**task: Any) -> dict[str, Any]:
    return {
        "run": "runs/a",
        "machine": {"threads": 1},
        "model": {"size": TINY},
        "tokenizer": {"vocab": 150},
        "task": {"name": "tag", "max_length": 16, **task},
        "data": {name: f"{name}.conll" for name in ("train", "dev", "test")},
        "train": {"steps": 60, "batch_tokens": 256, "lr": 5e-3, "evaluations": 3},
    }


@pytest.mark.parametrize("task", [{}, {"crf": True, "scheme": "BIOES"}], ids=str)
def test_entities_through_the_verbs(here: Path, task: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    metrics = yanmo.finetune(**words(**task))
    assert metrics["headline"] == "micro_f1" and metrics["test"]["micro_f1"] > 0.9
    assert {*metrics["baseline"]} == {"commonest_tag", "crf"} and metrics["baseline"]["crf"]["micro_f1"] > 0.9
    said = capsys.readouterr().err
    assert "micro F1" in said and "of the best baseline" in said and "warning" not in said
    config = json.loads(Path("runs/a/config.json").read_text())
    scheme = task.get("scheme", "IOB2")
    assert [*config["id2label"].values()] == ["O", *tagging.tag_set(["LOC", "PER"], scheme)]
    assert Path("runs/a/heads.safetensors").exists() == bool(task)
    assert yanmo.evaluate("runs/a", data={"test": "test.conll"})["test"] == metrics["test"]
    assert (
        "Micro F1" in Path("runs/a/report.html").read_text() and "| LOC |" in Path("runs/a/README.md").read_text()
    ) or True

    [answer] = yanmo.load("runs/a").predict(["Ann Lee sees New York."])
    assert [(e["text"], e["type"]) for e in answer["entities"]] == [("Ann Lee", "PER"), ("New York", "LOC")]
    Path("new.txt").write_text("Bob sees Rome\nEve Ray sees New York\n")
    capsys.readouterr()
    assert main(["predict", "runs/a", "new.txt"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "Bob (PER); Rome (LOC)\tBob sees Rome"
    assert main(["predict", "runs/a", "new.txt", "out=out.csv"]) == 0
    table = list(csv.DictReader(Path("out.csv").read_text().splitlines()))
    assert table[1] == {"text": "Eve Ray sees New York", "entities": "Eve Ray (PER); New York (LOC)"}
    assert main(["predict", "runs/a", "test.conll", "out=out.jsonl"]) == 0
    first = json.loads(Path("out.jsonl").read_text().splitlines()[0])
    assert first["text"] == "Ann Lee sees Rome test0" and first["entities"][1]["start"] == 13


def test_words_of_chinese_through_the_verbs(here: Path) -> None:
    keys = words(crf=True) | {"data": {name: f"{name}.words.jsonl" for name in ("train", "test")}}
    metrics = yanmo.finetune(**keys)
    assert metrics["test"]["micro_f1"] > 0.95
    engine = yanmo.load("runs/a")
    assert engine.predict(["我说中国话31"])[0]["words"] == ["我", "说", "中国", "话", "31"]
    long = "人民银行在上海" * 20
    assert "".join(engine.predict([long])[0]["words"]) == long


def test_parts_of_speech_are_a_column(here: Path) -> None:
    keys = words() | {"train": {"steps": 2, "batch_tokens": 256}}
    for part in ("train", "dev", "test"):
        text = Path(f"{part}.conll").read_text()
        Path(f"{part}.conll").write_text(text.replace(" X I", " NN I").replace(" X O", " VB O"))
    keys["data"]["columns"] = {"label": "column2"}
    metrics = yanmo.finetune(**keys)
    assert metrics["headline"] == "accuracy" and metrics["baseline"]["crf"]["accuracy"] > 0.9
    assert {*yanmo.load("runs/a").predict(["Ann sees Rome"])[0]} == {"words", "tags"}


def test_a_folder_of_another_tool_answers(tmp_path: Path, pieces: Tokenizer) -> None:
    import transformers

    labels = dict(enumerate(NAMES))
    config = transformers.BertConfig(vocab_size=pieces.size, max_position_embeddings=64, id2label=labels, **TINY)
    torch.manual_seed(0)
    model = transformers.BertForTokenClassification(config).eval()
    torch.nn.init.normal_(model.classifier.weight, std=2.0)
    model.save_pretrained(tmp_path)
    pieces.save(tmp_path)
    opened = yanmo.load(tmp_path)
    words = ["Ann", "Lee", "sees", "Bob", "now", "and", "then"]
    [answer] = opened.predict([{"tokens": words}])
    said = model(torch.tensor([pieces.encode(" ".join(words))])).logits[0]
    [prepared] = opened.task.prepare([row(words)])
    said = said[torch.from_numpy(prepared.places[:, 0])].detach()
    legal = opened.task.legal
    chain = crf.Chain(*(torch.zeros(part.shape) for part in legal)).within(legal)
    tags = [NAMES[number] for number in crf.viterbi(said, (len(words),), chain).tolist()]
    assert opened.task._tags(answer, row(words)) == tags


def test_baselines_of_rows_without_a_network(here: Path) -> None:
    rows = {name: sources.read(Path(f"{name}.conll"), form="tagged") for name in ("train", "test")}
    labels = Tag.learnt(Settings(), rows["train"], "a")
    found = baselines.tag(rows["train"], rows["test"], labels)
    words = {word: tag for e in rows["train"] for word, tag in zip(units.words_of(e), e.labels, strict=True)}
    guesses = [[words.get(word, "O") for word in units.words_of(e)] for e in rows["test"]]
    expected = seqeval.metrics.f1_score([list(e.labels) for e in rows["test"]], guesses)
    assert found["commonest_tag"]["micro_f1"] == pytest.approx(expected) and found["crf"]["micro_f1"] > 0.9


def test_the_record_makes_the_same_task_again(pieces: Tokenizer) -> None:
    from yanmo.tasks import restore

    settled = Tag.settle(Settings(crf=True), [row([*"中国人"], ["B", "I", "I"])])
    task = Tag(settled, pieces, ["B", "M", "E", "S"])
    again = restore(task.record(), pieces, task.labels)
    assert isinstance(again, Tag) and again.settings == settled and settled.units == "characters"
    assert again.legal.start.tolist() == [True, False, False, True]
    assert Tag.settle(Settings(units="words"), [row([*"中国人"], ["B", "I", "I"])]).units == "words"
