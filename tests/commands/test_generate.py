"""`yanmo generate`: prompts from words, files and standard input; texts in order, as they come."""

import io
import json
import sys
from pathlib import Path

import pytest
import torch

import yanmo
from yanmo import checkpoint, models
from yanmo.__main__ import main
from yanmo.checkpoint import Checkpoint
from yanmo.commands.generate import in_order
from yanmo.engine.writing import Piece
from yanmo.models import ModelSettings
from yanmo.text import tokenizer
from yanmo.text.tokenizer import TokenizerSettings


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small recurrent language model."""
    path = tmp_path_factory.mktemp("writer") / "model"
    cutter = tokenizer.train(["a good film", "这部电影很好"] * 5, TokenizerSettings(kind="wordpiece", vocab=100))
    settings = ModelSettings(family="yanmo-rnn", size={"hidden_size": 16, "num_hidden_layers": 1})
    family, config = models.configure(settings, vocab_size=cutter.size)
    torch.manual_seed(0)
    model = checkpoint.create(family, config, "causal")
    checkpoint.write(path, Checkpoint(model, family, "causal", cutter))
    return path


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    status = main(["generate", *words])
    told = capsys.readouterr()
    assert status == 0, told.err
    return told.out


DRAW = ("sampling.temperature=1", "max_new_tokens=12")


def test_words_files_and_standard_input(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = ["a good", "这部电影"]
    expected = yanmo.generate(folder, prompts, sampling={"temperature": 1}, max_new_tokens=12, n=2)
    lines = [{"prompt": prompt, "texts": texts} for prompt, texts in zip(prompts, expected, strict=True)]
    given = said(capsys, str(folder), *prompts, *DRAW, "n=2", "--json")
    assert [json.loads(line) for line in given.splitlines()] == lines
    (tmp_path / "prompts.txt").write_text("a good\n\n这部电影\n", "utf-8")
    assert said(capsys, str(folder), str(tmp_path / "prompts.txt"), *DRAW, "n=2", "--json") == given
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("a good\n这部电影\n".encode())))
    assert said(capsys, f"run={folder}", *DRAW, "n=2", "--json") == given
    plain = said(capsys, str(folder), *prompts, *DRAW, "n=2")
    assert plain == "".join(text + "\n" for texts in expected for text in texts)


def test_it_streams(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    written: list[str] = []
    monkeypatch.setattr("yanmo.commands.generate._write", written.append)
    assert main(["generate", str(folder), "a good", *DRAW]) == 0
    assert len(written) > 3 and not any("\ufffd" in piece for piece in written)


def test_texts_come_in_order() -> None:
    rows = [(0, 1, "c"), (0, 0, "a"), (1, 0, "e"), (0, 0, "b"), (0, 1, "d"), (1, 1, "f")]
    pieces = [Piece(p, s, text, text in "bdef") for p, s, text in rows]
    assert "".join(piece.text for piece in in_order(pieces, 2)) == "abcdef"
    assert [piece.text for piece in in_order(iter(pieces[:2]), 2)] == ["a", "c"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["once upon a time"], "not o n c e"),
        (["once", "upon"], "once: no such folder"),
        (["{folder}", "nowhere.txt"], "nowhere.txt: no such file"),
        (["{folder}", "a", "n=3"], "would all be the same"),
        (["{folder}", "a", "sampling.top_k=3"], "nothing is drawn at temperature 0"),
        (["nowhere", "a"], "nowhere: no such folder"),
    ],
)
def test_mistakes(folder: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", *(word.format(folder=folder) for word in words)]) in (1, 2)
    told = capsys.readouterr()
    assert message in told.err and not told.out


def test_a_folder_that_can_not_write(small_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", str(small_folder), "a good film"]) == 1
    assert "no head that writes" in capsys.readouterr().err
