"""Promise M5: a hostile tokenizer.json is refused by name, and no text makes a tokeniser slow."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from yanmo.errors import ModelError
from yanmo.text import tokenizer, tokenizer_file
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

# pattern: whether something that repeats is repeated
PATTERNS = {
    r"(a+)+": True,
    r"(a*)*$": True,
    r"(?:\p{L}+\s*)+": True,
    r"((a{2,})b)*": True,
    r"(a{1,500}){2,}": True,
    r"([^\]]+)+?": True,
    r"(x(?=y)|(z\)*)+)+": True,
    r"((a)+b)*": True,
    r"(a+)?": False,
    r"(a+){1,3}": False,
    r"(\p{N}{1,3})+": False,
    r"[(a+)+]": False,
    r"\(a+\)+": False,
    r"[\])+]+": False,
    r"a+b+": False,
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+": False,
    r"\p{N}{1,3}(?=(?:\p{N}{3})*\b)": False,
}


@pytest.mark.parametrize(("pattern", "nested"), PATTERNS.items(), ids=map(str, range(len(PATTERNS))))
def test_nested_quantifiers(pattern: str, nested: bool) -> None:
    assert tokenizer_file.nested_quantifiers(pattern) is nested


def split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


WORDS = {"type": "WordLevel", "vocab": {"[UNK]": 0, "a": 1}, "unk_token": "[UNK]"}
# name: (parts of the file, what the message says)
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "nested": ({"pre_tokenizer": split("(a+)+")}, r"'\(a\+\)\+' repeats what repeats"),
    "nested deep": (
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split("a"), split("(a*)*")]}},
        r"'\(a\*\)\*' repeats",
    ),
    "in the normaliser": (
        {"normalizer": {"type": "Replace", "pattern": {"Regex": "(a+)+"}, "content": ""}},
        r"'\(a\+\)\+' repeats",
    ),
    "a long pattern": ({"pre_tokenizer": split("a" * 20_000)}, "expression of 20,000 characters"),
    "long words": ({"model": {"type": "WordPiece", **WORDS, "max_input_chars_per_word": 10**7}}, "max_input_chars"),
    "a huge id": ({"model": {**WORDS, "vocab": {"[UNK]": 0, "a": 4_000_000_000}}}, "the id 4,000,000,000"),
    "a huge id of an added token": ({"added_tokens": [{"id": 4_000_000_000, "content": "b"}]}, "the id 4,000,000,000"),
    "unknown words": ({"model": {**WORDS, "unk_token": "<unk>"}}, "token for unknown words is '<unk>', which is not"),
    "a broken map": (  # the library panics
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        "not a readable tokeniser",
    ),
}


@pytest.mark.parametrize(("parts", "said"), HOSTILE.values(), ids=HOSTILE)
def test_m5_hostile_files_are_refused(parts: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps({"version": "1.0", "model": WORDS, **parts}), "utf-8")
    with pytest.raises(ModelError, match=said) as caught:
        tokenizer.load(tmp_path)
    assert str(file) in str(caught.value)


def test_m5_large_files_are_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    with file.open("wb") as opened:
        opened.truncate(tokenizer_file.LARGEST + 1)  # a hole: it takes no room
    with pytest.raises(ModelError, match="64 MB"):
        tokenizer.load(file)
    for entry in (b"{},", b'"a",'):
        file.write_bytes(b'{"model": {"vocab": [' + entry * 11_000_000 + b"0]}}")
        began = time.monotonic()
        with pytest.raises(ModelError, match=r"2,000,000 tokens"):
            tokenizer.load(file)
        assert time.monotonic() - began < 2


def test_m5_too_many_tokens_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_file, "MOST", 1)
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": WORDS}), "utf-8")
    with pytest.raises(ModelError, match="2 tokens; at most 1"):
        tokenizer.load(tmp_path)


TEXTS = ["the quick brown fox", "研墨磨字成文", "字里行间", "aa aaa ^ ^^", "e\u0301"] * 5
UNITS = {
    "a": "a",
    "^": "^",
    "marks": "\u0301",
    "marks in turn": "\u0301\u0316",
    "cjk": "研",
    "joined": "👩\u200d",
    "spaces": " ",
}


@pytest.fixture(scope="module", params=["word", "wordpiece", "bpe", "unigram", "a loaded BERT"])
def cutter(request: pytest.FixtureRequest, minilm: Path) -> Tokenizer:
    if request.param == "a loaded BERT":
        return tokenizer.load(minilm)
    return tokenizer.train(TEXTS, TokenizerSettings(kind=request.param, vocab=600))


def seconds(cutter: Tokenizer, text: str) -> float:
    """Of cutting it to a row, as training and answering do: the library reads all of it."""
    began = time.process_time()
    cutter.tokenise([Example((text,))], 128)
    return time.process_time() - began


@pytest.mark.parametrize("unit", UNITS.values(), ids=UNITS)
def test_m5_no_text_is_slow(cutter: Tokenizer, unit: str) -> None:
    quarter = unit * (250_000 // len(unit.encode()))
    found = [(seconds(cutter, quarter), seconds(cutter, 2 * quarter)) for _ in range(3)]  # the machine may be busy
    once, twice = (min(times) for times in zip(*found, strict=True))
    assert twice < 2 * 0.5
    assert min(twice / once, *(b / a for a, b in found)) <= 2.5
