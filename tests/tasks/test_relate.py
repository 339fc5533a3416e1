"""Relation classification: where the signs stand, what is kept of long rows, which score counts, and that the entities are read."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import yanmo
from tests import families
from yanmo import baselines, checkpoint
from yanmo.errors import DataError, SettingsError
from yanmo.models.base import Model
from yanmo.tasks import make, relate, restore
from yanmo.tasks.base import OWN, attach
from yanmo.tasks.metrics.relations import relations, semeval
from yanmo.text import sources, tokenizer
from yanmo.text.batches import Key
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

NAMES = ["ann", "bob", "eve", "kim"]
TEXT = "@ # ann bob eve kim saw and far near the"
TINY = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return tokenizer.train([TEXT] * 3, TokenizerSettings(kind="word", vocab=100))


def marked(text: str, *entities: str) -> Example:
    return Example((text,), marks=tuple((text.index(each), text.index(each) + len(each)) for each in entities))


# (text, first, second, max_length, what is read)
SIGNED = [
    ("ann saw bob", ("ann", "bob"), 32, "[CLS] @ ann @ saw # bob # [SEP]"),
    ("ann saw bob", ("bob", "ann"), 32, "[CLS] # ann # saw @ bob @ [SEP]"),
    ("ann bob", ("ann", "bob"), 32, "[CLS] @ ann @ # bob # [SEP]"),
    ("ann bob", ("bob", "ann"), 32, "[CLS] # ann # @ bob @ [SEP]"),
    ("the ann saw bob far", ("saw", "ann saw bob"), 32, "[CLS] the # ann @ saw @ bob # far [SEP]"),
    ("the near ann and far the bob saw near", ("ann", "bob"), 16, "[CLS] the near @ ann @ and far the # bob # saw near [SEP]"),
    (f"{'the ' * 20}ann and bob{' far' * 20}", ("ann", "bob"), 16, "[CLS] the the the the @ ann @ and # bob # far far far [SEP]"),
    (f"ann{' near' * 20} eve{' far' * 20} bob", ("ann", "bob"), 16, "[CLS] @ ann @ near near near near far far far far # bob # [SEP]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "entities", "longest", "expected"), SIGNED)
def test_signs(cutter: Tokenizer, text: str, entities: tuple[str, str], longest: int, expected: str) -> None:
    task = make(relate.Settings(max_length=longest), cutter, ["x", "y"])
    [row] = task.prepare([marked(text, *entities)])
    assert row.ids is not None and row.places is not None
    found = [cutter.inner.id_to_token(id) for id in row.ids]
    assert " ".join(found) == expected and len(found) <= longest
    assert [found[place] for place in row.places[1:]] == ["@", "#"] and row.places[0] == 0
    before = [found[:place].count(found[place]) for place in row.places[1:]]
    assert before == [0, 0], "the signs that open"


def test_an_entity_that_no_token_stands_for(cutter: Tokenizer) -> None:
    task = make(relate.Settings(max_length=32), cutter, ["x", "y"])
    [row] = task.prepare([marked("ann \u200b saw", "\u200b", "ann")])
    assert row.ids is not None and row.places is not None
    found = [cutter.inner.id_to_token(id) for id in row.ids]
    assert " ".join(found) == "@ @ [CLS] # ann # saw [SEP]" and found[row.places[1]] == "@"


def test_every_family_can_be_asked(cutter: Tokenizer, tmp_path: Path) -> None:
    rows = [marked("ann saw bob far", "ann", "bob"), marked("the eve saw ann", "ann", "eve")]
    for name, folder in families.folders(tmp_path, cutter).items():
        opened = checkpoint.load(folder, head="base", labels=["x", "y"])
        task = make(relate.Settings(), cutter, ["x", "y"])
        attach(opened.model, task, getattr(opened.config, opened.family.width))
        model: Model = opened.model  # type: ignore[assignment]
        prepared = task.prepare(
            [Example(e.texts, (label,), marks=e.marks) for e, label in zip(rows, "xy", strict=True)]
        )
        loss = task.loss(model, task.batch(prepared, Key(0, 0, 0)))
        loss.total.backward()
        assert loss.count == 2 and all(
            p.grad is not None and p.grad.abs().sum() > 0
            for n, p in opened.model.named_parameters()
            if n.startswith(OWN)
        ), name
        together = (
            [a["probabilities"]["x"] for a in task.predict(model, task.batch(prepared, None))]
            if opened.model.eval()
            else []
        )
        alone = [task.predict(model, task.batch([row], None))[0]["probabilities"]["x"] for row in prepared]
        assert together == pytest.approx(alone, abs=1e-6), name


def test_what_counts(cutter: Tokenizer) -> None:
    official = ["Other", "Likes(e1,e2)", "Likes(e2,e1)", "Sees(e1,e2)"]
    # (labels, task.none) -> (the label of no relation, the score that counts)
    table: list[tuple[list[str], str | None, tuple[str | None, str]]] = [
        (official, None, ("Other", "macro_f1")),
        (official, "Sees(e1,e2)", ("Sees(e1,e2)", "micro_f1")),
        (["Other", "Likes"], None, ("Other", "micro_f1")),
        (official[1:], None, (None, "micro_f1")),
        (["NA", "per:age"], None, ("NA", "micro_f1")),
        (["Near", "unknown"], None, ("unknown", "micro_f1")),
        (["no_relation", "org:top"], None, ("no_relation", "micro_f1")),
        (["none", "likes"], "none", ("none", "micro_f1")),
    ]
    generator = np.random.default_rng(0)
    for labels, named, expected in table:
        task: Any = make(relate.Settings(none=named), cutter, labels)
        assert (task.none, task.best) == expected
        truths, guesses = generator.choice(len(labels), (2, 40))
        answers = [
            {"label": labels[g], "probabilities": {label: float(label == labels[g]) for label in labels}}
            for g in guesses
        ]
        found = task.score(answers, [Example(("",), (labels[t],)) for t in truths])
        matrix, names = found.pop("confusion"), found.pop("confusion_labels")
        assert names == labels and np.array_equal(np.array(matrix)[truths, guesses] > 0, np.ones(40, bool))
        assert np.array(matrix).sum() == 40
        if expected[1] == "macro_f1":
            counted = semeval([labels[t] for t in truths], [labels[g] for g in guesses])
        else:
            counted = relations(truths, guesses, labels, expected[0])
        assert found.items() >= counted.items()
        assert found["ece"] == pytest.approx(1 - found["accuracy"])
    with pytest.raises(SettingsError, match=r"task\.none: no training row has the relation 'nil'; they have: a, b"):
        make(relate.Settings(none="nil"), cutter, ["a", "b"])


def test_a_relation_that_was_never_seen(cutter: Tokenizer) -> None:
    task = make(relate.Settings(), cutter, ["a", "b"])
    with pytest.raises(DataError, match=r"f\.tsv:3: relation 'c' was never seen in training \(known: a, b\)"):
        task.prepare([Example(("ann saw bob",), ("c",), file="f.tsv", line=3, marks=((0, 3), (8, 11)))])


def rows(count: int, seed: int) -> list[dict[str, str]]:
    """Who is nearer to whom: every sentence has four names, and only the marks say which two are asked about."""
    generator = np.random.default_rng(seed)
    found = []
    for i in range(count):
        names = generator.permutation(NAMES).tolist()
        first, second = sorted(generator.choice(4, 2, replace=False).tolist(), reverse=bool(i % 2))
        relation = "Other" if second - first in (2, 3) else "Before(e1,e2)" if first < second else "Before(e2,e1)"
        names[first], names[second] = f"<e1>{names[first]}</e1>", f"<e2>{names[second]}</e2>"
        found.append({"text": " and ".join(names), "relation": relation})
    return found


def test_the_marks_are_learnt_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for seed, (name, count) in enumerate({"train": 400, "test": 60}.items()):
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows(count, seed)))
    metrics = yanmo.finetune(
        run="run",
        model={"size": TINY},
        tokenizer={"kind": "word", "vocab": 100},
        task={"name": "relate", "max_length": 32},
        data={"train": "train.jsonl", "dev": "test.jsonl", "test": "test.jsonl"},
        train={"steps": 150, "batch_tokens": 512, "lr": 3e-3, "evaluations": 2},
        machine={"threads": 1},
    )
    assert metrics["headline"] == "macro_f1" and metrics["test"]["macro_f1"] > 0.95
    assert metrics["baseline"].keys() == {"majority", "svm"}
    assert yanmo.evaluate("run", data={"test": "test.jsonl"})["test"] == metrics["test"]
    engine = yanmo.load("run")
    asked = ["<e1>ann</e1> and <e2>bob</e2> and eve and kim", "<e2>ann</e2> and <e1>bob</e1> and eve and kim"]
    asked += ["<e1>ann</e1> and bob and eve and <e2>kim</e2>"]
    assert [a["label"] for a in engine.predict(asked)] == ["Before(e1,e2)", "Before(e2,e1)", "Other"]
    assert (
        engine.predict([{"text": "ann and bob and eve", "head": "bob", "tail": "ann"}])[0]["label"] == "Before(e2,e1)"
    )
    assert "Confusions" in Path("run/report.html").read_text()
    task = engine.task
    assert task is not None and restore(task.record(), engine.tokenizer, ["a", "b"]).settings == task.settings


def test_the_svm_knows_what_stands_between() -> None:
    """The words are the same in every row; only what stands between the entities, and which comes first, differ."""

    def row(i: int) -> Example:
        text = "ann saw bob near eve" if i % 2 else "ann near bob saw eve"
        marks = ((0, 3), (text.index("bob"), text.index("bob") + 3))
        return Example((text,), (f"{'saw' if i % 2 else 'near'}{i % 3 % 2}",), marks=marks[:: -1 if i % 3 % 2 else 1])

    made = [row(i) for i in range(60)]
    labels = sorted({label for each in made for label in each.labels})
    found = baselines.relate(made, made[:12], labels, relate.Settings())
    assert found["svm"]["micro_f1"] == 1.0 and found["majority"]["micro_f1"] == pytest.approx(1 / 3)


def test_semeval(shared_data: Path, minilm: Path) -> None:
    """The entities of real rows stand between their signs; the official score of the baseline is that of a good one."""
    folder = shared_data / "relation/semeval2010_task8"
    train, test = (sources.read(folder / name, form="related") for name in ("TRAIN_FILE.TXT", "TEST_FILE_FULL.TXT"))
    labels = sources.label_set(train, "")
    cutter = tokenizer.load(minilm)
    task: Any = make(relate.Settings(max_length=128), cutter, labels)
    signs = np.array(task.signs)
    for row in task.prepare(test):
        for sign, (start, end), place in zip(signs, row.marks, row.places[1:], strict=True):
            inside = row.ids[place + 1 :].tolist()
            held = cutter.decode(inside[: inside.index(sign)]).replace(" ", "")
            assert row.ids[place] == sign and row.texts[0][start:end].lower().replace(" ", "") in held
    assert len(labels) == 19 and task.best == "macro_f1"
    found = baselines.relate(train, test, labels, task.settings)
    assert found["majority"]["macro_f1"] == 0.0 and found["svm"]["macro_f1"] > 0.74
