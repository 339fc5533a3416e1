"""Soups: the mean of weights, what it is a mean of, what has none; and both ways of joining by the verbs."""

import csv
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import yanmo
from tests.joined import KINDS, TEXTS, Kind, write
from tests.reliability.rows import digest, states, write_data
from yanmo import checkpoint, fit, joining, runs
from yanmo.__main__ import main
from yanmo.checkpoint import Checkpoint
from yanmo.errors import Interrupted, ModelError, SettingsError
from yanmo.models import ModelSettings


def weights(opened: Path | Checkpoint) -> dict[str, torch.Tensor]:
    """What a folder holds, or would if the model was written."""
    held = checkpoint.contents(opened if isinstance(opened, Checkpoint) else checkpoint.load(opened))
    return {f"{file} {name}": t for file, part in held.items() if isinstance(part, dict) for name, t in part.items()}


@pytest.mark.parametrize("name", KINDS)
def test_tensors_are_the_mean(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [write(tmp_path / str(seed), KINDS[name], seed) for seed in range(3)]
    soup = joining.load(folders, "weights")
    each, found = [weights(folder) for folder in folders], weights(soup)
    assert found.keys() == each[0].keys()
    for key, tensor in found.items():
        assert torch.allclose(tensor, torch.stack([held[key] for held in each]).mean(0), atol=1e-6), key
    answers = yanmo.load(folders, join="weights").predict(KINDS[name].given)
    assert answers != yanmo.load(folders[0]).predict(KINDS[name].given)
    assert "warning" not in capsys.readouterr().err
    checkpoint.write(tmp_path / "soup", soup)
    assert yanmo.load(tmp_path / "soup").predict(KINDS[name].given) == answers


def test_tied_weights_count_once(tmp_path: Path) -> None:
    from yanmo import models
    from yanmo.models import ModelSettings
    from yanmo.text import tokenizer

    cutter = tokenizer.train(TEXTS * 3, tokenizer.TokenizerSettings(kind="word", vocab=100))
    size = {"n_embd": 16, "n_layer": 1, "n_head": 2}
    for seed in (0, 1):
        family, config = models.configure(ModelSettings(family="gpt2", size=size), vocab_size=cutter.size)
        torch.manual_seed(seed)
        made = checkpoint.create(family, config, "causal")
        checkpoint.write(tmp_path / str(seed), Checkpoint(made, family, "causal", cutter))
    each, found = (
        [weights(tmp_path / str(seed)) for seed in (0, 1)],
        weights(joining.soup([tmp_path / "0", tmp_path / "1"])),
    )
    for key, tensor in found.items():
        assert torch.allclose(tensor, (each[0][key] + each[1][key]) / 2, atol=1e-6), key


def test_strangers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kind = KINDS["classify"]
    made = [write(tmp_path / str(seed), kind, seed, moved=0.0) for seed in (0, 1)]
    joining.load(made, "weights")
    assert f"the weights of {made[1]} and {made[0]} have little in common" in capsys.readouterr().err


UNLIKE: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "labels": ("classify", {"labels": ("b", "a", "c")}, ["its labels are b, a, c, not a, b, c in this order"]),
    "task": (
        "rate, levels",
        {},
        ["its labels are 1, 2, 4, not a, b, c in this order", "made for the task 'rate', not for the task 'classify'"],
    ),
    "several": (
        "classify",
        {"settings": {"several": True}},
        ["task.several is True, not False", "has task_own.thresholds"],
    ),
    "tokeniser": ("classify", {"vocabulary": "character"}, ["another tokeniser"]),
    "shapes": (
        "classify",
        {"intermediate_size": 48},
        ["config key intermediate_size is 48, not 32", "layers.0.feedforward.part.up.weight is (48, 16), not (32, 16)"],
    ),
    "layers": (
        "classify",
        {"num_hidden_layers": 2},
        ["config key num_hidden_layers is 2, not 1", "has layers.1.attention.part.query.weight"],
    ),
    "heads": ("classify", {"num_attention_heads": 4}, ["config key num_attention_heads is 4, not 2"]),
}


@pytest.mark.parametrize("case", UNLIKE)
def test_what_is_unlike_is_one_error(case: str, tmp_path: Path) -> None:
    name, changes, expected = UNLIKE[case]
    kind = KINDS["classify"]
    settled = Kind("classify", kind.labels, (("several", False),))
    one = write(tmp_path / "one", settled, 1)
    other = write(tmp_path / "other", settled if name == "classify" else KINDS[name], 1, **changes)
    with pytest.raises(ModelError) as told:
        joining.load([one, one, other], "weights")
    said = str(told.value)
    assert f"these models are not alike, so their weights can't be averaged (against {one}):" in said
    for fault in expected:
        assert f"{other}: {fault}" in said, said


def test_dropout_is_no_difference(tmp_path: Path) -> None:
    kind = KINDS["classify"]
    joining.load([write(tmp_path / "a", kind, 1), write(tmp_path / "b", kind, 2, hidden_dropout_prob=0.3)], "weights")


# ---- the verbs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def pair(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two models of the labels in `data`, as they are named in a working folder."""
    monkeypatch.chdir(tmp_path)
    kind = Kind("classify", ("neg", "pos"))
    return [str(write(Path(name), kind, seed)) for seed, name in enumerate("ab")]


def scores(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert main(["evaluate", *words, "machine.threads=1", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["test"]
    return found


def test_evaluate_and_predict(pair: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test = f"data.test={data / 'test.tsv'}"
    joined = [scores(capsys, "model.base=[a, b]", test, *more) for more in ([], ["model.join=weights"])]
    assert joined[0]["rows"] == 60 and joined[0]["brier"] != joined[1]["brier"]
    assert (
        yanmo.evaluate(model={"base": pair}, data={"test": str(data / "test.tsv")}, machine={"threads": 1})["test"]
        == joined[0]
    )
    assert scores(capsys, "model.base=[a]", test) == scores(capsys, "model.base=a", test) == scores(capsys, "a", test)
    assert main(["predict", "model.base=[a, b]", str(data / "test.tsv"), "out=out.csv", "machine.threads=1"]) == 0
    with Path("out.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 60
    assert yanmo.predict(pair, ["good"]) == yanmo.load(pair).predict(["good"])


def test_what_any_member_was_trained_on_is_told(
    pair: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {name: str(data / f"{name}.tsv") for name in ("train", "test")}
    one = {"threads": 1}
    yanmo.finetune(
        run="tuned", model={"base": "a"}, data=rows, task={"max_length": 16}, train={"steps": 1}, machine=one
    )
    for join in ("probabilities", "weights"):
        capsys.readouterr()
        yanmo.evaluate(model={"base": ["tuned", "tuned"], "join": join}, data={"test": rows["train"]}, machine=one)
        assert "tuned, tuned was trained on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluate", "a", "model.base=[a, b]"], "model.base: a, b and the run a are given; leave one of them out"),
        (["predict", "a", "model.base=[a, b]"], "model.base: a, b and the run a are given; leave one of them out"),
        (["evaluate", "model.base=[]"], "model.base: expected a folder, or a list of folders"),
        (
            ["evaluate", "model.base=[a, b]", "model.join=mean"],
            "model.join: input should be 'probabilities' or 'weights'",
        ),
        (["evaluate", "model.base=[a, nowhere]"], "nowhere: no such folder"),
        (["finetune", "model.base=[a, b]", "model.join=probabilities"], "model.join: input should be 'weights'"),
        (["finetune", "model.base=[a, a]", "run=a"], "a: holds a model that is not a run of Yanmo's"),
        (["finetune", "model.base=[a, b]", "model.size=tiny"], "but model.base=a, b is given; leave one of them out"),
    ],
)
def test_mistakes(words: list[str], said: str, pair: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"data.test={data / 'test.tsv'}"] if words[0] == "evaluate" else []
    rows = [f"data.train={data / 'train.tsv'}"] if words[0] == "finetune" else rows
    assert main([*words, *rows]) in (1, 2)
    assert said in capsys.readouterr().err


# ---- training


def asked(data: Path, run: str, **train: Any) -> dict[str, Any]:
    return {
        "run": run,
        "machine": {"threads": 1},
        "model": {"base": ["a", "b"]},
        "data": {name: str(data / f"{name}.tsv") for name in ("train", "dev", "test")},
        "task": {"max_length": 16},
        "train": {"batch_tokens": 128, "lr": 5e-3, "evaluations": 2, "save": {"every": 1}, **train},
    }


def test_a_soup_is_kept_by_a_run_of_no_steps(pair: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = yanmo.finetune(**asked(data, "run", steps=0))
    found, soup = weights(Path("run")), weights(joining.soup(pair))
    assert found.keys() == soup.keys() and all(torch.equal(found[name], soup[name]) for name in soup)
    test = f"data.test={data / 'test.tsv'}"
    assert metrics["test"]["brier"] == scores(capsys, "model.base=[a, b]", "model.join=weights", test)["brier"]
    assert metrics["dev"]["rows"] == 60 and metrics["cost"]["steps"] == 0
    assert "Started from: a, b, whose weights were averaged" in Path("run/README.md").read_text()
    assert yanmo.finetune(**asked(data, "run", steps=0)) == metrics


def test_a_head_for_other_labels_is_new(pair: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in pair:
        write(Path(name), KINDS["classify"], ord(name))
    yanmo.finetune(**asked(data, "run", steps=0))
    assert "new, not from a, b: " in capsys.readouterr().err
    found, each = weights(Path("run")), [weights(Path(name)) for name in pair]
    name = "model.safetensors bert.embeddings.word_embeddings.weight"
    assert torch.allclose(found[name], (each[0][name] + each[1][name]) / 2, atol=1e-6)
    assert found["model.safetensors classifier.weight"].std() > 0.01  # drawn, once


def test_r2_a_run_that_began_with_a_soup_resumes_bit_for_bit(pair: list[str], data: Path) -> None:
    yanmo.finetune(**asked(data, "whole", steps=3))
    steps = fit.loop.steps

    def stopping(*args: Any, **keys: Any) -> Any:
        for done in steps(*args, **keys):
            os.kill(os.getpid(), signal.SIGTERM)
            yield done

    for _ in range(3):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupted):
            patch.setattr(fit.loop, "steps", stopping)
            yanmo.finetune(**asked(data, "run", steps=3))
    yanmo.finetune(**asked(data, "run", steps=3))
    assert states(Path("run")) == states(Path("whole")) and digest(Path("run")) == digest(Path("whole"))
    with pytest.raises(SettingsError, match=r"model\.base: was \['a', 'b'\], now 'a'"):
        yanmo.finetune(**{**asked(data, "run", steps=3), "model": {"base": "a"}})


def test_bases_of_a_hub_stay_at_their_commits(tmp_path: Path) -> None:
    commits = ["1" * 40, "2" * 40]
    origins = [{}, *({"name": "team/one", "revision": commit, "hub": "https://hub"} for commit in commits)]
    (tmp_path / checkpoint.RECORD).write_text(json.dumps({"base": origins}))
    run = runs.Run(tmp_path, runs.Common(), resuming=True)
    found = run.pinned(ModelSettings(base=["here", "team/one", "team/one@old"]))
    assert found.base == ["here", *(f"team/one@{commit}" for commit in commits)]
    (tmp_path / checkpoint.RECORD).write_text(json.dumps({"base": origins[1]}))
    assert run.pinned(ModelSettings(base="team/one")).base == f"team/one@{commits[0]}"
    assert run.pinned(ModelSettings()).base is None
