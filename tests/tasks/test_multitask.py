"""Several tasks over one encoder: what a batch of all of them costs and answers, how tasks are drawn, what a run leaves, and mistakes."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import yanmo
from tests.reliability.rows import TINY, write_data
from yanmo import checkpoint, overview
from yanmo.errors import DataError, SettingsError, YanmoError
from yanmo.models.base import Model
from yanmo.tasks import make, multitask
from yanmo.tasks.base import lengths
from yanmo.tasks.multitask import JOINED, Multitask
from yanmo.text import batches, sources
from yanmo.text.batches import Key
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train

# Each task that can be joined, classify in both its forms. Their names would stand in the way of what modules and folders call their parts.
TASKS: dict[str, tuple[dict[str, Any], str]] = {
    "train": ({"name": "classify"}, "{}.tsv"),
    "head": ({"name": "classify", "several": True}, "several-{}.jsonl"),
    "task_head": ({"name": "tag", "crf": True}, "{}.conll"),
    "type": ({"name": "rate"}, "{}.tsv"),
    "rows": ({"name": "relate"}, "related-{}.jsonl"),
    "tasks": ({"name": "answer", "max_length": 32}, "answered-{}.jsonl"),
    "own": ({"name": "embed"}, "{}.tsv"),
    "mean_score": ({"name": "rerank"}, "{}-ranked.tsv"),
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_data(tmp_path_factory.mktemp("data"))
    for part in ("train", "dev", "test"):
        rows = [line.split("\t") for line in (folder / f"{part}.tsv").read_text().splitlines()[1:]]
        found = [{"text": text, "label": [label, *(["long"] if int(n) > 4 else [])]} for label, text, n in rows]
        (folder / f"several-{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
    return folder


def settings(data: Path, run: Path, *names: str, **more: Any) -> dict[str, Any]:
    def files(pattern: str) -> dict[str, str]:
        return {part: str(data / pattern.format(part)) for part in ("train", "dev", "test")}

    tasks = {name: {"max_length": 16, **TASKS[name][0]} for name in names or TASKS}
    return {
        "run": str(run),
        "machine": {"threads": 1},
        "model": {"size": TINY},
        "tokenizer": {"kind": "word", "vocab": 400},
        "task": {"name": "multitask", "tasks": tasks},
        "data": {"tasks": {name: files(TASKS[name][1]) for name in tasks}},
        "train": {"steps": 12, "batch_tokens": 512, "lr": 5e-3, "evaluations": 2},
        **more,
    }


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    yanmo.finetune(**settings(data, folder))
    return folder


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    return train(["a b c d e f"] * 3, TokenizerSettings(kind="word", vocab=100))


# ---- what a run leaves


def test_a_score_a_task(run: Path) -> None:
    """Each with its interval and its own baselines; the mean of what they are judged by chooses the checkpoint."""
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["headline"] == "mean_score" and {JOINED[TASKS[name][0]["name"]] for name in TASKS} == {
        *JOINED.values()
    }
    found = overview.tasks(metrics)
    assert [*found] == [*TASKS]
    for name, each in found.items():
        low, high = each["test"].get("interval", (-np.inf, np.inf))
        assert low <= each["test"][each["headline"]] <= high, name
        assert each["test"]["rows"] and each["dev"]["headline"] == each["headline"]
        assert ("interval" in each["test"]) == bool(each["baseline"]) == (name != "own"), (
            "texts alone are judged by none"
        )
    assert found["head"]["headline"] == "macro_f1" and found["task_head"]["headline"] == "micro_f1"
    judged = {name: each["headline"] for name, each in found.items()} | {"head": "average_precision"}
    expected = np.mean([metrics["test"]["tasks"][name][key] for name, key in judged.items()])
    assert metrics["test"]["mean_score"] == pytest.approx(expected)


def test_what_people_read_says_each_task(run: Path) -> None:
    page, card = ((run / name).read_text("utf-8") for name in ("report.html", "README.md"))
    for name in TASKS:
        assert f"Result: {name}" in page and f"| {name.replace('_', chr(92) + '_')} |" in card
    assert "The model won in" in page and "The model won in" in card
    assert "task=train" in card and "Classes: task_head" in page
    curves = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"mean_score", "train/macro_f1", "type/spearman"} <= {key for line in curves for key in line}


def test_each_task_is_asked_by_its_name(run: Path, data: Path) -> None:
    """The folder gives the scores again that the run had: encoder, heads, chain, thresholds and labels are all there."""
    metrics = json.loads((run / "metrics.json").read_text())
    for name, (_, pattern) in TASKS.items():
        scores = yanmo.evaluate(run, task=name, data={"test": str(data / pattern.format("test"))})["test"]
        held = metrics["test"]["tasks"][name]
        assert scores[held["headline"]] == pytest.approx(held[held["headline"]], abs=1e-6), name
    model = yanmo.load(run)
    assert model.predict(["w1 good great"], task="train")[0]["label"] in ("pos", "neg")
    assert "entities" in model.predict(["w1 good great"], task="task_head")[0]
    assert yanmo.predict(run, [("what praise", "w1 good w2")], task="tasks")[0].keys() >= {"answer", "start"}
    every = "train, head, task_head, type, rows, tasks, own, mean_score"
    for task, said in ((None, f"several tasks; say which .*one of {every}"), ("trian", "did you mean 'train'")):
        with pytest.raises(SettingsError, match=said):
            model.predict(["a"], task=task)
    with pytest.raises(SettingsError, match=f"say which .*{every}"):
        yanmo.evaluate(run, data={"test": str(data / "test.tsv")})


def test_the_columns_of_the_task_count(run: Path, data: Path, tmp_path: Path) -> None:
    """A run whose tasks read other columns of one table; predict reads those of the task that it is asked for."""
    (tmp_path / "both.tsv").write_text(
        "a\tb\tx\ty\n" + "".join(f"w{i} good\tw{i} bad\t{'pn'[i % 2]}\t{'uv'[i % 2]}\n" for i in range(40))
    )
    columns = {"one": {"text": "a", "label": "x"}, "two": {"text": "b", "label": "y"}}
    more = {
        "train": {"steps": 1},
        "task": {"name": "multitask", "tasks": {name: {"max_length": 8} for name in columns}},
    }
    rows = {name: {"train": str(tmp_path / "both.tsv"), "columns": each} for name, each in columns.items()}
    yanmo.finetune(**settings(data, tmp_path / "run", "train", **more) | {"data": {"tasks": rows}})
    for name, labels in (("one", "pn"), ("two", "uv")):
        engine = yanmo.load(tmp_path / "run")
        engine.choose(name)
        assert engine.checkpoint.record["columns"]["text"] == columns[name]["text"]
        assert engine.predict(["w1"])[0]["label"] in labels


def test_the_bare_encoder_opens_as_usual(run: Path, data: Path, tmp_path: Path) -> None:
    """Its config and weights are those of a model without a head, and the labels of the tasks stand in the record."""
    config, record = (json.loads((run / name).read_text()) for name in ("config.json", "yanmo.json"))
    assert config["architectures"] == ["BertModel"] and "id2label" not in config
    assert record["task"]["labels"]["train"] == ["neg", "pos"]
    assert not [name for name in load_file(run / "model.safetensors") if "for_" in name]
    assert {name.split(".")[0] for name in load_file(run / "heads.safetensors")} == {f"for_{n}" for n in TASKS} - {
        "for_own"
    }
    ids = torch.tensor([[2, 9, 11, 3]])
    bare = checkpoint.load(run, head="base").model.eval()
    with torch.inference_mode():
        states = bare.hidden(batches.Batch(batches.pack([ids[0].numpy()])))  # type: ignore[operator]
    assert torch.allclose(yanmo.load(run).hidden(ids)[0], states, atol=1e-6)
    alone = {"train": str(data / "train.tsv"), "dev": str(data / "dev.tsv")}
    steps = {"steps": 1, "evaluations": 1}
    base = {"model": {"base": str(run)}, "tokenizer": {}, "train": steps}
    yanmo.finetune(**settings(data, tmp_path / "one", "train", **base) | {"data": alone, "task": {"max_length": 16}})
    yanmo.finetune(**settings(data, tmp_path / "several", "type", "rows", **base))
    assert checkpoint.load(tmp_path / "several").head == "base"


def test_the_same_command_again_and_with_force(data: Path, tmp_path: Path) -> None:
    asked = settings(data, tmp_path / "run", "train", "type", train={"steps": 2, "batch_tokens": 256})
    first = yanmo.finetune(**asked)
    assert yanmo.finetune(**asked) == first
    again = yanmo.finetune(**asked, force=True)
    assert again["test"] == first["test"]


# ---- one batch


@pytest.fixture(scope="module")
def prepared(run: Path, data: Path) -> tuple[Multitask, Model, list[Example]]:
    opened = checkpoint.load(run)
    task, rows = opened.task, []
    assert isinstance(task, Multitask)
    for name, (_, pattern) in TASKS.items():
        read = sources.read(data / pattern.format("dev"), form=task.members[name].task.form)
        rows += [Example(e.texts, e.labels, e.id, e.file, e.line, marks=e.marks, task=name) for e in read[:5]]
    order = np.random.default_rng(0).permutation(len(rows))
    return task, opened.model.eval(), task.prepare([rows[i] for i in order])  # type: ignore[return-value]


def test_a_mixed_batch_is_its_tasks_apart(prepared: tuple[Multitask, Model, list[Example]]) -> None:
    """The states are computed once for all rows, and yet losses and answers are those of each task by itself."""
    task, model, rows = prepared
    batch = task.batch(rows, Key(0, 0, 0))
    assert len(batch.source.ids) == sum(len(part.source.ids) for _, _, part in batch.parts)
    totals = []
    for name in TASKS:
        own = [row for row in rows if row.task == name]
        member = task.members[name]
        alone = member.loss(model, member.task.batch(own, Key(0, 0, 0)))
        totals.append(float(alone.total.detach()) / alone.count * len(own))
    together = task.loss(model, batch)
    assert together.count == len(rows)
    assert float(together.total.detach()) == pytest.approx(sum(totals), rel=1e-5)
    with torch.inference_mode():
        answers = task.predict(model, task.batch(rows, None))
    for name in ("train", "type", "task_head", "mean_score"):
        member = task.members[name]
        own = [row for row in rows if row.task == name]
        with torch.inference_mode():
            alone_answers = member.predict(model, member.task.batch(own, None))
        for found, expected in zip(
            [a for a, row in zip(answers, rows, strict=True) if row.task == name], alone_answers, strict=True
        ):
            assert found.keys() == expected.keys()
            assert task.members[name].task.cells(found).keys() == task.members[name].task.cells(expected).keys()
            numbers = [[v for v in each.values() if isinstance(v, float)] for each in (found, expected)]
            assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)


def test_every_task_teaches_the_encoder(prepared: tuple[Multitask, Model, list[Example]]) -> None:
    task, model, rows = prepared
    for name in TASKS:
        model.zero_grad()  # type: ignore[attr-defined]
        task.loss(model, task.batch([row for row in rows if row.task == name], Key(0, 0, 0))).total.backward()
        named = [(n, p.grad) for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]  # type: ignore[attr-defined]
        taught = {n.split(".")[1] for n, _ in named if n.startswith("task_own.")}
        assert taught == ({f"for_{name}"} if name != "own" else set()), "its own head and no other's"
        assert any(not n.startswith("task_own.") for n, _ in named), name


# ---- how tasks are drawn

SIZES = {"few": 25, "some": 100, "many": 900}


@pytest.mark.parametrize(
    ("temperature", "shares"),
    [(1.0, [25 / 1025, 100 / 1025, 900 / 1025]), (2.0, [5 / 45, 10 / 45, 30 / 45]), (1e9, [1 / 3] * 3)],
)
def test_temperature(cutter: Tokenizer, temperature: float, shares: list[float]) -> None:
    asked = multitask.Settings(temperature=temperature, tasks={name: {"max_length": 8} for name in SIZES})
    task = make(asked.model_copy(update={"labels": {name: ["x", "y"] for name in SIZES}}), cutter)
    rows = task.prepare([Example(("a b c",), ("x",), task=name) for name, size in SIZES.items() for _ in range(size)])
    drawn = task.drawn(rows)
    counts = np.zeros(3)
    for epoch in range(3):
        chosen = batches.drawn(drawn, 0, epoch)
        assert np.array_equal(chosen, batches.drawn(drawn, 0, epoch)), "a pure function of seed and epoch"
        counts += [sum(drawn[int(row)].task == name for row in chosen) for name in SIZES]
        if temperature == 1:
            assert sorted(chosen) == [*range(len(rows))], "every row once"
    assert counts / counts.sum() == pytest.approx(shares, abs=0.002)
    assert np.array_equal(lengths(drawn)[:5], lengths(rows)[:5])


# ---- mistakes

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "one task alone": ({"task.tasks": {}}, r"task.tasks: expected two tasks or more"),
    "no such kind": ({"task.tasks.one.name": "translate"}, "no such name; known: classify, rate, relate, tag, answer"),
    "within itself": ({"task.tasks.one.name": "multitask"}, "no such name; known: classify"),
    "a key of a task": (
        {"task.tasks.one.max_lenght": 3},
        r"unknown key 'task.tasks.one.max_lenght'; did you mean 'task.tasks.one.max_length'",
    ),
    "a value of a task": ({"task.tasks.one.max_length": 3}, r"task.tasks.one.max_length: .*equal to 4 \(given: 3\)"),
    "no rows": ({"data.tasks.two.train": None}, "data.tasks.two.train: no rows to train on"),
    "another's rows": ({"data.tasks.tow.train": "x"}, "data.tasks.tow: no task is called so; did you mean 'two'"),
    "rows of no task": ({"data.train": "x"}, "data.train: of which task.*data.tasks.one.train="),
    "a temperature": ({"task.temperature": 0.5}, "task.temperature: .*equal to 1"),
    "one task with rows of several": ({"task": {"name": "tag"}}, "data.tasks: for task.name=multitask alone"),
    "a column": ({"data.tasks.two.columns.label": "x"}, "no column 'x'.*with data.tasks.two.columns.label="),
    "several labels": (
        {"data.tasks.two.train": "several-train.jsonl", "task.tasks.two.several": False},
        r"learn them all \(task.tasks.two.several=true\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes(name: str, data: Path, tmp_path: Path) -> None:
    keys, said = WRONG[name]
    keys = {key: str(data / value) if str(value).endswith(".jsonl") else value for key, value in keys.items()}
    whole = {
        "run": str(tmp_path / "run"),
        "task.name": "multitask",
        "task.tasks.one.name": "classify",
        "task.tasks.two.name": "classify",
        "data.tasks.one.train": str(data / "train.tsv"),
        "data.tasks.two.train": str(data / "train.tsv"),
        "model.size": TINY,
        "train.steps": 1,
    }
    drop = {"task.tasks": "task.tasks.", "task": "task."}.get(next(iter(keys)), " ")
    whole = {key: value for key, value in whole.items() if not key.startswith(drop)}
    with pytest.raises((SettingsError, DataError), match=f"(?s){said}") as told:
        yanmo.finetune(**whole | keys)
    assert isinstance(told.value, YanmoError) and not (tmp_path / "run" / "config.json").exists()
