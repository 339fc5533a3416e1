"""`yanmo tokenizer`: train, add, show; and a run on a base with more tokens."""

import json
from pathlib import Path

import pytest

from yanmo import checkpoint
from yanmo.__main__ import main
from yanmo.text import tokenizer

LINES = ["the ink stone grinds text", "研墨磨字成文"] * 20


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n".join(LINES), "utf-8")
    return tmp_path


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    status = main(words)
    out, err = capsys.readouterr()
    return status, out, err


def test_train_says_how_it_cuts(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = run(["tokenizer", "train", "text.txt", "tokenizer.vocab=100", "out=cut", "--json"], capsys)
    assert status == 0
    found = json.loads(out)["languages"]
    assert found["zh"] == {"texts": 20, "characters_per_token": 1.0, "unknown": 0.0}
    assert found["en"]["characters_per_token"] == pytest.approx(len(LINES[0]) / 5)
    assert "zh: 1.00 characters per token, 0.00% unknown" in err


def test_unknown_tokens_are_counted() -> None:
    cutter = tokenizer.train(LINES, tokenizer.TokenizerSettings(kind="word", vocab=100))
    assert tokenizer.statistics(cutter, ["墨龘龘龘"])["zh"] == {
        "texts": 1,
        "characters_per_token": 1.0,
        "unknown": 0.75,
    }


def test_show_names_ids_and_offsets(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["tokenizer", "train", "text.txt", "tokenizer.kind=bpe", "tokenizer.vocab=300", "out=cut"], capsys)
    status, out, _ = run(["tokenizer", "show", "the ink 龘", "tokenizer.base=cut", "--json"], capsys)
    assert status == 0
    row = json.loads(out)["rows"][0]
    assert row["pieces"][:3] == ["[CLS]", "the", "Ġink"]
    assert row["offsets"][:3] == [[0, 0], [0, 3], [3, 7]]
    assert row["offsets"][-2] == [8, 9]  # each byte of a character stands for the whole of it
    assert row["ids"] == tokenizer.load(here / "cut").encode("the ink 龘")
    assert json.loads(out)["languages"] == {"en": {"texts": 1, "characters_per_token": 9 / 6, "unknown": 0.0}}
    status, _, err = run(["tokenizer", "show", "the ink 龘", "tokenizer.base=cut"], capsys)
    assert f"{row['ids'][2]:>8}      3     7  Ġink  ' ink'" in err
    assert "en: 1.50 characters per token, 0.00% unknown" in err


# name: (words, what the message says)
WRONG = {
    "no tokens": (["add", "tokenizer.base=cut", "out=x"], "give the words and the tokeniser"),
    "no base": (["add", "tokens=[a b]", "out=x"], "give the words and the tokeniser"),
    "itself": (["add", "tokens=[a b]", "tokenizer.base=cut", "out=cut"], "give another folder"),
    "there already": (["add", "tokens=[研, 磨墨]", "tokenizer.base=cut", "out=x"], "'研': it is a token already"),
    "base": (["train", "text.txt", "tokenizer.base=cut"], "`yanmo tokenizer add` extends"),
    "no verb": (["extend"], "yanmo tokenizer add"),
}


@pytest.mark.parametrize(("words", "said"), WRONG.values(), ids=WRONG)
def test_wrong_words(words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["tokenizer", "train", "text.txt", "tokenizer.vocab=100", "out=cut"], capsys)
    status, _, err = run(["tokenizer", *words], capsys)
    assert status == 2
    assert said in err
    assert not (here / "x").exists()


@pytest.mark.parametrize("given", ["tokens=[研墨, Ink Stone]", "tokens=words.txt"])
def test_a_base_learns_new_words(given: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "words.txt").write_text("研墨\nInk Stone\n", "utf-8")
    quick = ["train.steps=2", "train.evaluations=1", "machine.threads=1", "data.dev=text.txt"]
    size = "model.size={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}"
    assert run(["pretrain", "text.txt", "run=old", size, "tokenizer.vocab=100", *quick], capsys)[0] == 0
    status, out, _ = run(["tokenizer", "add", given, "tokenizer.base=old", "out=cut", "--json"], capsys)
    assert (status, json.loads(out)["added"]) == (0, 2)
    words = ["pretrain", "text.txt", "model.base=old", "tokenizer.base=cut", "run=new", *quick]
    status, _, err = run(words, capsys)
    assert status == 0, err
    assert "2 tokens of cut are new" in err
    opened = checkpoint.load(here / "new")
    assert opened.config.vocab_size == opened.tokenizer.size == tokenizer.load(here / "old").size + 2  # type: ignore[attr-defined]
    assert [piece.token for piece in opened.tokenizer.pieces("研墨 ink stone")][1:-1] == ["研墨", "ink stone"]
    status, _, err = run([*words, "run=again", "model.size=mini"], capsys)
    assert status == 2
    assert "model.size: says how a model from scratch is made" in err
