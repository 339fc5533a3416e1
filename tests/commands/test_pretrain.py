"""Pre-training from token shards: the model that the text itself gives; several folders by weight; what does not go together is refused."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import yanmo
from tests.reliability.rows import TINY
from yanmo import checkpoint, evaluation, models
from yanmo.__main__ import main
from yanmo.errors import DataError, SettingsError, YanmoError
from yanmo.tasks import objectives_of
from yanmo.text import corpus, tokens
from yanmo.text.tokenizer import Tokenizer
from yanmo.train import track

QUICK = {
    "train": {"steps": 6, "batch_tokens": 256, "evaluations": 2},
    "machine": {"threads": 1},
    "model": {"size": TINY},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two texts, a tokeniser of the first, both as shards; another tokeniser, and a shard folder of it."""
    here = tmp_path_factory.mktemp("data")
    for name, words in (("a", ("ink", "stone", "brush", "paper")), ("b", ("墨", "石", "笔", "纸"))):
        lines = [" ".join(words[(i * k + k) % 4] for k in range(1, 9)) + f" {i}\n" for i in range(400)]
        (here / f"{name}.txt").write_text("".join(lines))
    for name, text in (("tokenizer", "a"), ("other", "b")):
        assert main(["tokenizer", "train", f"{here}/{text}.txt", "tokenizer.vocab=300", f"out={here}/{name}"]) == 0
    for name, text, cutter in (
        ("shards_a", "a", "tokenizer"),
        ("shards_b", "b", "tokenizer"),
        ("strange", "b", "other"),
    ):
        assert (
            main(["tokenizer", "encode", f"{here}/{text}.txt", f"tokenizer.base={here}/{cutter}", f"out={here}/{name}"])
            == 0
        )
    return here


def weights(run: Path) -> bytes:
    return (run / "model.safetensors").read_bytes()


@pytest.mark.parametrize("family", ["bert", "yanmo-ngram-bert"])
def test_shards_give_the_model_that_their_text_gives(family: str, data: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {**QUICK, "model": {"family": family, "size": TINY}}
    base = {"tokenizer": {"base": str(data / "tokenizer")}}
    from_text = yanmo.pretrain(**keys, **base, data={"train": str(data / "a.txt")}, run=str(tmp_path / "text"))
    found = yanmo.pretrain(**keys, data={"train": str(data / "shards_a")}, run=str(tmp_path / "shards"))
    assert weights(tmp_path / "text") == weights(tmp_path / "shards")
    assert (found["train"], found["dev"]) == (from_text["train"], from_text["dev"])
    record = json.loads((tmp_path / "shards" / "yanmo.json").read_text())
    assert list(record["inputs"]) == [str(data / "shards_a" / "manifest.json")]


def test_text_is_encoded_once(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also by the family that learns its n-grams from the text before it is cut into rows."""
    whole, count = Tokenizer.encode_each, 0

    def counted(self: Tokenizer, texts: Iterable[str]) -> Iterator[np.ndarray]:
        nonlocal count
        for ids in whole(self, texts):
            count += 1
            yield ids

    monkeypatch.setattr(Tokenizer, "encode_each", counted)
    model, base = {"family": "yanmo-ngram-bert", "size": TINY}, {"base": str(data / "tokenizer")}
    yanmo.pretrain(
        **{**QUICK, "model": model}, tokenizer=base, data={"train": str(data / "a.txt")}, run=str(tmp_path / "run")
    )
    assert count == 400


def test_folders_by_weight_from_the_command_line(data: Path, tmp_path: Path) -> None:
    """A folder of shards is data, another folder is the model to go on from."""
    assert (
        main(
            ["pretrain", f"{data}/shards_a", f"run={tmp_path}/first", f"model.size={json.dumps(TINY)}", "train.steps=2"]
        )
        == 0
    )
    words = [
        "pretrain",
        f"{tmp_path}/first",
        f"{data}/shards_a",
        f"{data}/shards_b",
        "train.steps=4",
        f"run={tmp_path}/second",
    ]
    assert main([*words, "data.weights=[3, 1]"]) == 0
    metrics = json.loads((tmp_path / "second" / "metrics.json").read_text())
    both = [len(tokens.load(data / name).split()[0]) for name in ("shards_a", "shards_b")]
    assert metrics["train"]["rows"] == sum(both)
    assert metrics["dev"]["rows"] == 800 - sum(both)


def test_held_out_shards(data: Path, tmp_path: Path) -> None:
    given = {"train": str(data / "shards_a"), "dev": str(data / "shards_b")}
    metrics = yanmo.pretrain(**QUICK, data=given, run=str(tmp_path / "run"))
    assert metrics["train"]["rows"] == 400
    assert metrics["dev"]["rows"] == 400


def test_an_average_is_scored_and_kept(data: Path, tmp_path: Path) -> None:
    """The held-out scores are the average's, step by step, and the folder holds the weights that they are of."""
    given = {"train": str(data / "shards_a")}
    keys: dict[str, Any] = {**QUICK, "data": given, "machine": {"threads": 1, "precision": "float32"}}
    train = {**QUICK["train"], "steps": 20, "evaluations": 4, "lr": 1e-2, "save": {"every": 5}}
    plain = yanmo.pretrain(**{**keys, "train": train}, run=str(tmp_path / "plain"))
    found = yanmo.pretrain(**{**keys, "train": {**train, "average": 0.9}}, run=str(tmp_path / "run"))
    assert found["dev"]["loss"] != plain["dev"]["loss"]
    log = [line["loss"] for line in track.read(tmp_path / "run" / track.FILE) if line["kind"] == "dev"]
    for step, loss in zip((5, 10, 15, 20), log, strict=True):
        place = tmp_path / "run" / "checkpoints" / f"step-{step:08d}"
        assert held_out(place, data) == pytest.approx(loss, rel=1e-5)
        trained = {
            name.removeprefix("weights."): tensor
            for name, tensor in load_file(place / "training.safetensors").items()
            if name.startswith("weights.")
        }
        same = checkpoint.load(tmp_path / "plain" / "checkpoints" / place.name).model.state_dict()
        averaged = checkpoint.load(place).model.state_dict()
        assert all(torch.equal(same[name], tensor) for name, tensor in trained.items())
        assert not all(torch.equal(averaged[name], tensor) for name, tensor in trained.items())
    assert held_out(tmp_path / "run", data) == pytest.approx(min(log), rel=1e-5)


def held_out(folder: Path, data: Path) -> float:
    """The loss of a folder's model on the text that the run held out."""
    engine = yanmo.load(folder)
    assert engine.task is not None
    rows = corpus.read(corpus.Texts(train=[data / "shards_a"])).rows(
        engine.tokenizer, engine.task.row_length, engine.task.unbroken
    )[1]  # type: ignore[attr-defined]
    return float(evaluation.evaluate(engine.model, engine.task, rows, device=torch.device("cpu"))["loss"])


WRONG: dict[str, tuple[dict[str, Any], type[YanmoError], str]] = {
    "text and shards": ({"train": ["a.txt", "shards_a"]}, SettingsError, "has shards and .*a.txt is text"),
    "weights of text": ({"train": ["a.txt"], "weights": [1.0]}, SettingsError, "1 weights for 0 folders"),
    "too many weights": ({"train": ["shards_a"], "weights": [1.0, 2.0]}, SettingsError, "2 weights for 1 folders"),
    "a weight of nothing": ({"train": ["shards_a"], "weights": [0.0]}, SettingsError, "data.weights"),
    "two tokenisers": (
        {"train": ["shards_a", "strange"]},
        DataError,
        "strange: these shards were made with another tokeniser",
    ),
    "held-out of another": ({"train": ["shards_a"], "dev": "strange"}, DataError, "made with another tokeniser"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_does_not_go_together_is_refused(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, kind, said = WRONG[name]
    monkeypatch.chdir(data)
    with pytest.raises(kind, match=said):
        yanmo.pretrain(**QUICK, data=given, run=str(tmp_path / "run"))


@pytest.mark.parametrize(
    "words", [["tokenizer", "encode", "a.txt"], ["tokenizer", "encode", "a.txt", "out=x"], ["tokenizer", "encode"]]
)
def test_encode_says_what_it_needs(words: list[str], data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(data)
    assert main(words) == 2
    assert "yanmo tokenizer encode FILE... tokenizer.base=FOLDER out=SHARDS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "objective", "said"),
    [
        ({"family": "gpt2"}, {"name": "masked"}, "objective 'masked' does not fit 'gpt2'; fits: causal$"),
        ({}, {"name": "causal"}, "objective 'causal' does not fit 'bert'; fits: masked"),
        ({"family": "yanmo-cnn"}, None, "no objective fits 'yanmo-cnn': it learns from labels only"),
        ({"family": "gpt2"}, {"rate": 0.2}, "unknown key 'objective.rate'"),
        ({"family": "gtp2"}, {"max_length": 16}, "model.family: model_type 'gtp2' is not a family"),
        ({}, {"name": "maskd"}, "objective: no such name; known: masked, causal"),
    ],
)
def test_an_objective_that_does_not_fit_is_refused_before_anything_is_read(
    model: dict[str, Any], objective: Any, said: str, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"model": model, **({"objective": objective} if objective else {})}
    with pytest.raises(SettingsError, match=said):
        yanmo.pretrain(**keys, data={"train": str(tmp_path / "nosuch.txt")}, run=str(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


BART = {"d_model": 16} | {
    f"{side}_{key}": n
    for side in ("encoder", "decoder")
    for key, n in (("layers", 1), ("attention_heads", 2), ("ffn_dim", 32))
}
LLAMA = {**TINY, "num_key_value_heads": 2}
RNN = {"hidden_size": 16, "num_hidden_layers": 1}
TXL = {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
T5 = {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 32}
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2}
SIZES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "yanmo-bert-ngrams", "yanmo-ngram-bert"), TINY),
    "distilbert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32},
    "gpt2": GPT2,
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3"), LLAMA),
    **dict.fromkeys(("transfo-xl", "yanmo-transformer-xl", "xlnet"), TXL),
    "yanmo-rnn": RNN,
    "yanmo-gated-cnn": RNN,
    **dict.fromkeys(("transformer", "marian", "bart", "mbart"), BART),
    **dict.fromkeys(("t5", "mt5"), T5),
    "yanmo-autoencoder": {
        "encoder": {"model_type": "bert", **TINY},
        "decoder": {"model_type": "gpt2", **GPT2},
        "latent_size": 8,
        "variational": True,
    },
}
FITTING = [(family, name) for family in models.FAMILIES for name in objectives_of(models.find(family))]


@pytest.mark.parametrize(("family", "name"), FITTING, ids=map(" ".join, FITTING))
def test_every_family_learns_by_every_objective_that_it_admits(
    family: str, name: str, data: Path, tmp_path: Path
) -> None:
    """Two steps from text; the folder opens again with its task, and its held-out scores are found again."""
    keys: dict[str, Any] = {
        "model": {"family": family, "size": SIZES[family]},
        "machine": {"threads": 1},
        "train": {"steps": 2, "batch_tokens": 256, "evaluations": 1},
        "tokenizer": {"vocab": 150},
        "objective": {"name": name, "max_length": 16},
    }
    (tmp_path / "dev.txt").write_text("ink stone brush paper. brush ink\npaper stone ink ink.\n" * 20)
    given = {"train": str(data / "a.txt"), "dev": str(tmp_path / "dev.txt")}
    found = yanmo.pretrain(**keys, data=given, run=str(tmp_path / "run"))
    assert found["cost"]["steps"] == 2 and found["dev"]["rows"] > 0
    opened = yanmo.load(tmp_path / "run")
    assert opened.task is not None and opened.task.name == name
    assert opened.checkpoint.head == opened.task.head
    again = yanmo.evaluate(tmp_path / "run", data={"test": str(tmp_path / "dev.txt")}, machine={"threads": 1})["test"]
    assert again == pytest.approx(found["dev"], rel=1e-4)


def test_a_run_goes_on_from_a_folder_by_its_familys_own_objective(data: Path, tmp_path: Path) -> None:
    """Also where the folder stands among the words and only some of the objective's keys are given."""
    common = [f"{data}/a.txt", "train.steps=2", "train.evaluations=1", "machine.threads=1"]
    first = [f"model.size={json.dumps(GPT2)}", "model.family=gpt2", "tokenizer.vocab=150", f"run={tmp_path}/first"]
    assert main(["pretrain", *common, *first]) == 0
    assert main(["pretrain", f"{tmp_path}/first", *common, "objective.max_length=12", f"run={tmp_path}/second"]) == 0
    record = json.loads((tmp_path / "second" / "yanmo.json").read_text())
    assert record["task"] == {"name": "causal", "max_length": 12}
    assert main(["pretrain", f"{tmp_path}/first", *common, "objective.name=masked", f"run={tmp_path}/third"]) == 2
