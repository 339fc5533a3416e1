"""The verbs know a task by its protocol only: one with another form of rows, and with parameters of its own, goes through all of them."""

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import yanmo
from tests.reliability.rows import digest, states
from yanmo import fit, tasks
from yanmo.__main__ import main
from yanmo.compression.quantise import quantise
from yanmo.errors import Interrupted, ModelError
from yanmo.models.base import Model
from yanmo.tasks import classify
from yanmo.tasks.base import OWN, Answer, Loss, Scores, Task
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


class Offsets(nn.Module):
    """What is added to the logits."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1, tags))
        self.spread = nn.Linear(tags, tags)  # a layer, which a quantiser may want

    def forward(self, logits: Tensor) -> Tensor:
        spread: Tensor = self.spread(logits)
        return spread + self.offset


class Tagger(Task):
    """A tag for each word, by its first token."""

    name = "tagger"
    head = "tag"
    best = "hits"
    form = "tagged"
    labelling = "tags"

    def __init__(self, settings: classify.Settings, tokenizer: Tokenizer, labels: Sequence[str]) -> None:
        self.settings, self.tokenizer, self.labels = settings, tokenizer, list(labels)

    def own(self, width: int) -> nn.Module:
        assert width == TINY["hidden_size"]
        return Offsets(len(self.labels))

    @classmethod
    def learnt(cls, settings: Any, examples: Sequence[Example], where: str) -> list[str]:
        return sorted({label for example in examples for label in example.labels})

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        return self.tokenizer.tokenise_marked(examples, self.settings.max_length)

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        run = pack([example.ids for example in examples if example.ids is not None])
        starts = run.starts.tolist()
        first = [start + e.places[:, 0] for start, e in zip(starts, examples, strict=True) if e.places is not None]
        tags = [self.labels.index(label) for example in examples for label in example.labels]
        rows = tuple(example.id for example in examples)
        return Batch(run, labels=torch.tensor(tags), select=torch.cat([*map(torch.from_numpy, first)]), rows=rows)

    def _logits(self, model: Model, batch: Batch) -> Tensor:
        assert self.module is not None
        found: Tensor = self.module(model.head(model.hidden(batch), batch.source)[batch.select])
        return found

    def loss(self, model: Model, batch: Batch) -> Loss:
        assert batch.labels is not None
        return Loss(F.cross_entropy(self._logits(model, batch), batch.labels, reduction="sum"), len(batch.labels))

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        tags = self._logits(model, batch).argmax(-1).tolist()
        rows = batch.source.row_of[batch.select].tolist()
        return [
            {"tags": [self.labels[tag] for tag, row in zip(tags, rows, strict=True) if row == number]}
            for number in range(len(batch.source.lengths))
        ]

    def score(self, answers: Sequence[Answer], examples: Sequence[Example]) -> Scores:
        pairs = [p for a, e in zip(answers, examples, strict=True) for p in zip(a["tags"], e.labels, strict=True)]
        return {"rows": len(examples), "hits": sum(a == b for a, b in pairs) / len(pairs)}

    def cells(self, answer: Answer) -> Mapping[str, str | float]:
        return {"tags": " ".join(answer["tags"]), "share": 0.5}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(
        tasks.TASKS, "classify", (classify.Settings, Tagger)
    )  # the settings' type stands since the import
    monkeypatch.chdir(tmp_path)
    names, others = ("Ann", "Bob", "Eve"), ("runs", "sees", "eats", "now")
    for part, count in (("train", 60), ("dev", 12), ("test", 12)):
        rows = [f"{names[i % 3]} B-PER\n{others[i % 4]} O\n{part} O\nd{i} O\n" for i in range(count)]
        Path(f"{part}.conll").write_text("\n".join(rows))
    return tmp_path


def words(run: str, **train: Any) -> dict[str, Any]:
    return {
        "run": run,
        "machine": {"threads": 1},
        "model": {"size": TINY},
        "tokenizer": {"kind": "word", "vocab": 200},
        "task": {"max_length": 32},
        "data": {name: f"{name}.conll" for name in ("train", "dev", "test")},
        "train": {"steps": 12, "batch_tokens": 64, "lr": 5e-3, "evaluations": 3, "save": {"every": 1}, **train},
    }


def test_through_every_verb(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = yanmo.finetune(**words("runs/a", steps=40))
    assert metrics["headline"] == "hits" and metrics["baseline"] == {} and metrics["test"]["hits"] > 0.7
    said = capsys.readouterr().err
    assert f"test: 12 rows, hits {metrics['test']['hits']:.4f}\n" in said and "warning" not in said
    assert "Hits" in Path("runs/a/report.html").read_text() and "| Hits |" in Path("runs/a/README.md").read_text()
    held = safetensors.torch.load_file("runs/a/heads.safetensors")
    assert {*held} == {"offset", "spread.weight", "spread.bias"} and held["offset"].abs().sum() > 0

    assert yanmo.evaluate("runs/a", data={"test": "test.conll"})["test"] == metrics["test"]
    engine = yanmo.load("runs/a")
    assert torch.equal(dict(engine.model.named_parameters())[f"{OWN}.offset"], held["offset"])
    [answer] = engine.predict([{"tokens": ["Ann", "runs", "now"]}])
    assert len(answer["tags"]) == 3
    Path("new.jsonl").write_text('{"tokens": ["Ann", "runs", "=1"]}\n')
    tags = " ".join(engine.predict([{"tokens": ["Ann", "runs", "=1"]}])[0]["tags"])
    capsys.readouterr()
    assert main(["predict", "runs/a", "new.jsonl"]) == 0
    assert capsys.readouterr().out == f"{tags}\t0.5000\tAnn runs =1\n"
    assert main(["predict", "runs/a", "new.jsonl", "out=out.csv"]) == 0
    assert Path("out.csv").read_text() == f"text,tags,share\nAnn runs =1,{tags},0.500000\n"
    assert main(["predict", "runs/a", "new.jsonl", "out=out.jsonl"]) == 0
    assert json.loads(Path("out.jsonl").read_text()) == {"text": "Ann runs =1", "tags": tags.split()}
    assert main(["data", "label", "train.conll", "label.run=runs/a", "out=labelled"]) == 2
    assert "label.run: runs/a does not give a text labels" in capsys.readouterr().err

    assert not [name for name in quantise(engine.model) if name.startswith(OWN)]
    Path("runs/a/heads.safetensors").write_bytes(safetensors.torch.save({"offset": torch.zeros(1, 9)}))
    with pytest.raises(ModelError, match="does not fit the task 'tagger'"):
        yanmo.load("runs/a")


@pytest.mark.parametrize("train", [{}, {"average": 0.9}, {"optimiser": "sgd", "rates": {OWN: 2.0}}], ids=str)
def test_r2_what_a_task_owns_is_resumed_to_the_bit(
    here: Path, monkeypatch: pytest.MonkeyPatch, train: dict[str, Any]
) -> None:
    yanmo.finetune(**words("whole", **train))
    steps = fit.loop.steps

    def stopping(*args: Any, **keys: Any) -> Any:
        for done in steps(*args, **keys):
            if done.number in (1, 5, 11):
                os.kill(os.getpid(), signal.SIGTERM)
            yield done

    monkeypatch.setattr(fit.loop, "steps", stopping)
    for _ in range(3):
        with pytest.raises(Interrupted):
            yanmo.finetune(**words("run", **train))
    yanmo.finetune(**words("run", **train))
    assert states(Path("run")) == states(Path("whole")) and digest(Path("run")) == digest(Path("whole"))
    kept = [Path(run, "heads.safetensors").read_bytes() for run in ("run", "whole")]
    assert kept[0] == kept[1]


def test_rows_of_a_context_stay_together(here: Path) -> None:
    """The held-out tenth of questions shares no context with the rest, and a row counts as leaked by what it asks."""
    from yanmo.commands.finetune import read
    from yanmo.text.sources import Data

    class Reader(Tagger):
        form = "answered"
        labelling = "words"

    rows = [
        {"context": f"Text {i} of many.", "question": f"Which of {n}?", "answers": [f"Text {i}"]}
        for i in range(40)
        for n in range(3)
    ]
    Path("a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    parts, _ = read(Data(train=Path("a.jsonl")), {"train": [Path("a.jsonl")]}, Reader)
    contexts = [{row.texts[1] for row in parts[name]} for name in ("train", "dev")]
    assert all(contexts) and not contexts[0] & contexts[1]


def test_leaks_of_every_form(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from yanmo.commands.finetune import read
    from yanmo.text.sources import Data

    def said(form: str, train: list[dict[str, Any]], test: list[dict[str, Any]]) -> str:
        for name, rows in (("train", train), ("test", test)):
            Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        kind: Any = type("Kind", (Tagger,), {"form": form})
        parts = {name: [Path(f"{name}.jsonl")] for name in ("train", "test")}
        read(Data(train=Path("train.jsonl"), test=Path("test.jsonl")), parts, kind)
        return capsys.readouterr().err

    many = [{"tokens": [f"w{i}", "b"], "tags": ["O", "O"]} for i in range(40)]
    assert "1 of 1 test rows stand in the training rows" in said(
        "tagged", many, [{"tokens": ["w1", "b"], "tags": ["O", "O"]}]
    )
    pairs = [{"text": f"a{i} b c", "head": f"a{i}", "tail": "b", "relation": "r"} for i in range(40)]
    assert "1 of 1 test rows" in said("related", pairs, pairs[:1])
    assert "warning" not in said(
        "related", pairs, [{**pairs[0], "tail": "c"}]
    )  # another question about the same sentence
