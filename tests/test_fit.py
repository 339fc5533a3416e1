"""The run as a whole: budgets, signals, early stopping, averages, what a finished folder holds. Its promises: tests/reliability/."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import yanmo
from tests.reliability import rows
from tests.reliability.rows import Row, digest, write_data
from tests.reliability.test_resume import stop_after
from yanmo import checkpoint, files, runs
from yanmo.errors import Interrupted, RunError, SettingsError
from yanmo.tasks.base import lengths
from yanmo.text import corpus, tokens
from yanmo.train import track

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def settings(verb: str, data: Path, run: Path, **train: Any) -> dict[str, Any]:
    return rows.settings(Row(verb), data, run, **train)


def test_a_task_is_learnt_and_the_folder_is_whole(data: Path, tmp_path: Path) -> None:
    """The score comes with the folder: transformers opens it, gives the same logits; evaluate and predict need it alone."""
    run = tmp_path / "run"
    metrics = yanmo.finetune(**settings("finetune", data, run, steps=150, patience=8, evaluations=15))
    assert metrics["test"]["accuracy"] > 0.9 and metrics["test"]["rows"] == 60
    assert metrics["baseline"].keys() == {"majority", "naive_bayes", "svm"}
    present = {path.name for path in run.iterdir()} - {"events"}
    assert present == {
        *("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "yanmo.json", "README.md"),
        *("settings.yaml", "metrics.json", "metrics.jsonl", "errors.jsonl", "report.html", "manifest.json"),
    }
    assert list((run / "events").glob("events.out.tfevents.*"))
    assert yanmo.evaluate(run, data={"test": data / "test.tsv"})["test"] == metrics["test"]

    texts = ["w1 w2 good great", "w3 awful", "w4 w5 w6 w7 poor bad"]
    engine = yanmo.load(run)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run)
    tokens = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        theirs = transformers.AutoModelForSequenceClassification.from_pretrained(run).eval()(**tokens).logits
    assert (engine.logits(tokens.input_ids, tokens.attention_mask) - theirs).abs().max() < 1e-5
    answers = engine.predict(texts)
    assert [answer["label"] for answer in answers] == ["pos", "neg", "neg"]
    probabilities = torch.tensor([[answer["probabilities"][label] for label in ("neg", "pos")] for answer in answers])
    assert (probabilities - theirs.softmax(-1)).abs().max() < 1e-5


def test_pretrained_then_finetuned(data: Path, tmp_path: Path) -> None:
    pretrained = yanmo.pretrain(**settings("pretrain", data, tmp_path / "pre", steps=60))
    log = [row["loss"] for row in track.read(tmp_path / "pre" / track.FILE) if row["kind"] == "dev"]
    assert log[-1] < log[0] and pretrained["dev"]["loss"] == min(log)
    model = transformers.AutoModelForMaskedLM.from_pretrained(tmp_path / "pre")
    assert model.config.vocab_size == yanmo.load(tmp_path / "pre").tokenizer.size
    asked = settings("finetune", data, tmp_path / "fine")
    asked["model"] = {"base": str(tmp_path / "pre"), "config": {"hidden_dropout_prob": 0.2}}
    asked["tokenizer"] = {}
    yanmo.finetune(**asked)
    assert json.loads((tmp_path / "fine" / "config.json").read_text())["hidden_dropout_prob"] == 0.2


@pytest.mark.parametrize(
    "budget, steps",
    [({"steps": 7}, 7), ({"epochs": 2.0}, None), ({"tokens": 1000}, None), ({"minutes": 0.02}, None)],
    ids=["steps", "epochs", "tokens", "minutes"],
)
@pytest.mark.parametrize("row", [Row("finetune"), Row("pretrain"), Row("pretrain", text="shards")], ids=str)
def test_budgets(row: Row, budget: dict[str, Any], steps: int | None, data: Path, tmp_path: Path) -> None:
    asked = rows.settings(row, data, tmp_path / "run", evaluations=1, **budget)
    if "steps" not in budget:
        del asked["train"]["steps"]
    metrics = rows.VERBS[row.verb](**asked)
    record = json.loads((tmp_path / "run" / "yanmo.json").read_text())
    assert record["steps"] == metrics["train"]["steps"]
    if steps:
        assert metrics["train"]["steps"] == steps
    if "tokens" in budget:
        assert metrics["cost"]["tokens"] == pytest.approx(1000, rel=0.2)
    if "minutes" in budget:
        assert metrics["cost"]["seconds"] == pytest.approx(1.2, abs=1.2)
    if "epochs" in budget:
        assert metrics["cost"]["tokens"] == pytest.approx(2 * tokens_of(row, data), rel=0.05)


def tokens_of(row: Row, data: Path) -> int:
    """Of the training rows, which are a word a token between two special ones."""
    if row.verb == "finetune":
        texts = [line.split("\t")[1] for line in (data / "train.tsv").read_text().splitlines()[1:]]
        return sum(len(text.split()) + 2 for text in texts)
    cutter = tokens.load(data / "shards").tokenizer
    return int(lengths(corpus.read(corpus.Texts(train=data / row.text)).rows(cutter, 16, False)[0]).sum())


def test_the_probe_leaves_no_trace(data: Path, tmp_path: Path) -> None:
    """What `minutes` became, given as `steps`, gives the very same run."""
    asked = settings("finetune", data, tmp_path / "a")
    del asked["train"]["steps"]
    yanmo.finetune(**{**asked, "train": {**asked["train"], "minutes": 0.02}})
    steps = json.loads((tmp_path / "a" / "yanmo.json").read_text())["steps"]
    yanmo.finetune(**settings("finetune", data, tmp_path / "b", steps=steps))
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_early_stopping_keeps_the_best(data: Path, tmp_path: Path) -> None:
    metrics = yanmo.finetune(**settings("finetune", data, tmp_path / "run", steps=400, evaluations=40, patience=2))
    assert metrics["train"]["steps"] < metrics["train"]["planned_steps"] == 400
    log = [row for row in track.read(tmp_path / "run" / track.FILE) if row["kind"] == "dev"]
    best = max(row["macro_f1"] for row in log)
    assert metrics["dev"]["macro_f1"] == best
    assert metrics["train"]["best_step"] == next(row["step"] for row in log if row["macro_f1"] == best)
    assert metrics["train"]["steps"] == metrics["train"]["best_step"] + 2 * 10


def test_settings_of_an_existing_run(data: Path, tmp_path: Path) -> None:
    asked = settings("finetune", data, tmp_path / "run")
    first = yanmo.finetune(**asked)
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    assert yanmo.finetune(**asked) == first  # finished already: nothing is done again
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before
    other = {**asked, "train": {**asked["train"], "lr": 1e-3}}
    with pytest.raises(SettingsError, match=r"train\.lr: was 0\.005, now 0\.001"):
        yanmo.finetune(**other)
    assert (tmp_path / "run" / "metrics.json").exists()
    yanmo.finetune(**{**other, "force": True})
    assert yanmo.finetune(**other)["cost"]["steps"] == 20


def test_a_run_older_than_a_key_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that a later version knows stands at its default there; another value of it is another run."""
    asked, file = settings("pretrain", data, tmp_path / "run"), tmp_path / "run" / "settings.yaml"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Interrupted):
            yanmo.pretrain(**asked)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if not line.startswith("  schedule:")))
    assert len(file.read_text().splitlines()) == len(lines) - 1
    with pytest.raises(SettingsError, match=r"train\.schedule: was 'linear', now 'wsd'"):
        yanmo.pretrain(**settings("pretrain", data, tmp_path / "run", schedule="wsd"))
    assert yanmo.pretrain(**asked)["cost"]["steps"] == 20
    file.write_text("schedules: 3\n")  # nobody's settings are told key by key
    with pytest.raises(SettingsError, match=r"schedules: was 3, now '.absent.'"):
        yanmo.pretrain(**asked)


def test_a_rare_label_is_trained_on(data: Path, tmp_path: Path) -> None:
    """Held-out rows are drawn by hash; a label of which no row would be left to learn from keeps its rows in training."""
    rows = (data / "train.tsv").read_text() + "".join(f"rare{i}\tonly one row of it {i}\t1\n" for i in range(30))
    (tmp_path / "train.tsv").write_text(rows)
    asked = settings("finetune", data, tmp_path / "run", steps=2)
    asked["data"] = {"train": tmp_path / "train.tsv"}
    assert yanmo.finetune(**asked)["train"]["rows"] > 200
    assert len(json.loads((tmp_path / "run" / "config.json").read_text())["id2label"]) == 32


def test_changed_data_is_seen_on_resume(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = tmp_path / "train.tsv"
    own.write_text((data / "train.tsv").read_text())
    asked = settings("finetune", data, tmp_path / "run")
    asked["data"]["train"] = own
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Interrupted):
            yanmo.finetune(**asked)
    own.write_text(own.read_text() + "pos\tone more\t1\n")
    with pytest.raises(SettingsError, match=r"train\.tsv has changed"):
        yanmo.finetune(**asked)


def test_damaged_checkpoint_is_passed_over(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    asked = settings("finetune", data, tmp_path / "run")
    yanmo.finetune(**settings("finetune", data, tmp_path / "whole"))
    with monkeypatch.context() as patch:
        stop_after(patch, 9)
        with pytest.raises(Interrupted):
            yanmo.finetune(**asked)
    weights = tmp_path / "run" / runs.CHECKPOINTS / "step-00000009" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    yanmo.finetune(**asked)  # begins again, since no other checkpoint is there
    assert "is not what was written" in capsys.readouterr().err
    assert digest(tmp_path / "run") == digest(tmp_path / "whole")


def test_somebody_elses_model_is_not_overwritten(data: Path, tmp_path: Path, minilm: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    with pytest.raises(RunError, match="nothing is overwritten"):
        yanmo.finetune(**{**settings("finetune", data, tmp_path / "run"), "force": True})
    assert (tmp_path / "run" / "config.json").read_text() == "{}"


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_r8_signal_from_outside(number: int, status: int, data: Path, tmp_path: Path) -> None:
    """A real process, a real signal: it exits with the status, saved, and the same command goes on."""
    run = tmp_path / "run"
    words = [
        *(
            sys.executable,
            "-m",
            "yanmo",
            "finetune",
            f"run={run}",
            f"data.train={data}/train.tsv",
            f"data.dev={data}/dev.tsv",
        ),
        *(
            "model.size={hidden_size: 64, num_hidden_layers: 2, num_attention_heads: 2, intermediate_size: 128}",
            "machine.threads=1",
        ),
        *("train.steps=4000", "train.evaluations=4", "train.batch_tokens=512", "tokenizer.kind=word"),
    ]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 90
    while not (run / track.FILE).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    began = time.monotonic()
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == status, error
    assert time.monotonic() - began < 30 and "Traceback" not in error and "The same command goes on from here." in error
    [saved] = (run / runs.CHECKPOINTS).glob("step-*")
    assert files.verify(saved) == []
    state = json.loads((saved / "training.json").read_text())
    assert f"stopped at step {state['step']} of 4000" in error
    assert checkpoint.load(saved).head == "classify"  # a checkpoint is an ordinary model folder
