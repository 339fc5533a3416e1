"""What a model writes while it learns: alike at each evaluation, shown and kept, and nothing of the run depends on it."""

from pathlib import Path
from typing import Any

import pytest
import torch

import yanmo
from tests.commands.test_pretrain import GPT2, RNN, T5
from tests.reliability.rows import ROWS, settings, write_data
from yanmo import checkpoint
from yanmo.engine import samples
from yanmo.engine.samples import Samples
from yanmo.errors import ModelError
from yanmo.train import track

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def pretrain(data: Path, run: Path, model: dict[str, Any], asked: dict[str, Any] | None = None) -> dict[str, Any]:
    keys = settings(ROWS["masked"], data, run, save={"every": 5})
    return yanmo.pretrain(**{**keys, "model": model, **({} if asked is None else {"samples": asked})})


def told(run: Path) -> dict[int, list[dict[str, str]]]:
    return {line["step"]: line["texts"] for line in track.read(run / track.FILE) if line["kind"] == "samples"}


def test_they_are_shown_logged_and_reported(data: Path, tmp_path: Path, capsys: Any) -> None:
    """At each evaluation, those that the checkpoint of that step writes again."""
    run, asked = tmp_path / "run", {"prompts": ["good w3", "<b>bad"], "count": 2, "tokens": 6}
    metrics = pretrain(data, run, {"family": "gpt2", "size": GPT2}, asked)
    found = told(run)
    assert list(found) == [5, 10, 15, 20]
    said = capsys.readouterr().err
    page = (run / "report.html").read_text()
    for step, texts in found.items():
        assert [text["prompt"] for text in texts] == ["good w3", "good w3", "<b>bad", "<b>bad"]
        assert f"step {step} of 20: held-out loss " in said
        for text in texts:
            assert f"    {text['prompt']}|{text['text']}\n" in said
        opened = checkpoint.load(run / "checkpoints" / f"step-{step:08d}")
        write = samples.writer(Samples(**asked), opened, CPU)
        assert write is not None and write() == texts
    assert found[5] != found[20] and len({text["text"] for text in found[20]}) > 1
    assert "Samples" in page and "&lt;b&gt;bad" in page and "<b>bad" not in page
    assert f"{metrics['dev']['perplexity']:.2f}" in page and "Bits per character" in page
    assert "perplexity" in said and "bits per character" in said


def test_nothing_depends_on_them(data: Path, tmp_path: Path) -> None:
    """Neither the random state nor the mode of the model: the whole training is that of a run without."""
    model = {"family": "gpt2", "size": GPT2}
    pretrain(data, tmp_path / "with", model, {"count": 3})
    pretrain(data, tmp_path / "without", model, {"count": 0})
    assert told(tmp_path / "with") and not told(tmp_path / "without")
    for step in (5, 10, 15, 20):
        for name in ("model.safetensors", "training.safetensors"):
            both = [tmp_path / run / "checkpoints" / f"step-{step:08d}" / name for run in ("with", "without")]
            assert both[0].read_bytes() == both[1].read_bytes()


def test_a_run_goes_on_with_other_samples(data: Path, tmp_path: Path) -> None:
    model = {"family": "gpt2", "size": GPT2}
    metrics = pretrain(data, tmp_path / "run", model, {"count": 1})
    assert pretrain(data, tmp_path / "run", model, {"count": 3}) == metrics


@pytest.mark.parametrize(
    ("model", "asked", "texts"),
    [
        ({"size": settings(ROWS["masked"], Path(), Path())["model"]["size"]}, {}, 0),  # a masked model writes nothing
        ({"family": "yanmo-rnn", "size": RNN}, {}, 2),
        ({"family": "t5", "size": T5}, {}, 0),  # it has nothing to read
        ({"family": "t5", "size": T5}, {"prompts": ["good <extra_id_0> w1"], "count": 1}, 1),
        (
            {"family": "gpt2", "size": GPT2},
            {"prompts": ["w1 " * 500], "tokens": 500},
            2,
        ),  # as many as there is room for
    ],
)
def test_who_writes(model: dict[str, Any], asked: dict[str, Any], texts: int, data: Path, tmp_path: Path) -> None:
    pretrain(data, tmp_path / "run", model, asked)
    assert {len(found) for found in told(tmp_path / "run").values()} == ({texts} if texts else set())


def test_a_prompt_that_does_not_fit_is_told_before_the_run_begins(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="leave room in the 512 positions of the model"):
        pretrain(data, tmp_path / "run", {"family": "gpt2", "size": GPT2}, {"prompts": ["w1 " * 600]})
    assert not (tmp_path / "run" / "settings.yaml").exists()
