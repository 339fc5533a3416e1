"""Tokenisers: every kind trains, saves, loads, and gives the ids that `transformers` gives for the same file."""

import os
import sys
from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from yanmo import machine
from yanmo.errors import ModelError, SettingsError
from yanmo.text import tokenizer
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

KINDS = ("wordpiece", "word", "bpe", "unigram", "character")
LINES = [
    "研墨，磨字成文。The ink stone grinds text.",
    "这部电影很好看！I'd see it again, 10/10",
    "不好看……  two  spaces\tand a tab",
    "full-width ＡＢＣ１２３ and emoji 😀",
    "Café naïve ﬁne",
    "",
    "[MASK] and [CLS] are words here",
]
TEXTS = [line for line in LINES for _ in range(3)] + [f"word{i} 字{chr(0x4E00 + i)}" for i in range(200)]


@pytest.fixture(scope="module", params=KINDS)
def made(request: pytest.FixtureRequest) -> Tokenizer:
    return tokenizer.train(TEXTS, TokenizerSettings(kind=request.param, vocab=600))


def test_special_tokens(made: Tokenizer) -> None:
    assert [made.pad, made.unknown, made.cls, made.sep, made.mask] == [0, 1, 2, 3, 4]
    assert made.special == [0, 1, 2, 3, 4]
    assert 100 < made.size <= 600
    assert made.encode("研墨")[0] == made.cls
    assert made.encode("研墨")[-1] == made.sep
    assert made.pieces("研墨")[0] == (made.inner.id_to_token(2), 2, (0, 0))


def test_equals_transformers_after_saving(made: Tokenizer, tmp_path: Path) -> None:
    made.save(tmp_path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for loaded in (made, tokenizer.load(tmp_path), tokenizer.load(tmp_path / "tokenizer.json")):
        assert [loaded.encode(line) for line in LINES] == [theirs(line)["input_ids"] for line in LINES]
        assert [loaded.encode(line, special=False) for line in LINES] == [
            ids.tolist() for ids in loaded.encode_all(LINES)
        ]
        assert loaded.decode(loaded.encode(LINES[0])) == theirs.decode(
            theirs(LINES[0])["input_ids"], skip_special_tokens=True
        )
    before = (tmp_path / "tokenizer.json").read_bytes()
    tokenizer.load(tmp_path).save(tmp_path)
    if made.inner.model.__class__.__name__ != "Unigram":  # whose scores are read back one unit in the last place away
        assert (tmp_path / "tokenizer.json").read_bytes() == before


def test_nothing_is_lost_by_bytes_and_pieces(made: Tokenizer) -> None:
    for line in ("The ink stone grinds text.", "研墨磨字成文"):
        if not {made.unknown} & {*made.encode(line)}:
            assert made.decode(made.encode(line)).replace(" ", "").lower() == line.replace(" ", "").lower()


@pytest.mark.parametrize("longest", [4, 5, 8, 100])
def test_rows_and_truncation(made: Tokenizer, tmp_path: Path, longest: int) -> None:
    made.save(tmp_path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    single = [Example((line,), ("x",), f"{i}", "a.tsv", i) for i, line in enumerate(LINES)]
    pairs = [Example((line, LINES[0])) for line in LINES]
    found = made.tokenise(single + pairs, longest)
    for example, row in zip(single, found, strict=False):
        expected = theirs(example.texts[0], truncation=True, max_length=longest)["input_ids"]
        assert row.ids is not None
        assert row.ids.tolist() == expected
        assert row.types is None
        assert (row.labels, row.id, row.where) == (example.labels, example.id, example.where)
    for example, row in zip(pairs, found[len(single) :], strict=True):
        expected = theirs(*example.texts, truncation=True, max_length=longest, return_token_type_ids=True)
        assert row.ids is not None
        assert row.types is not None
        assert row.ids.tolist() == expected["input_ids"]
        assert row.types.tolist() == expected["token_type_ids"]
    assert max(len(row.ids) for row in found if row.ids is not None) <= longest
    assert len(made.encode(LINES[0] * 20)) > longest  # truncation is not left behind


@pytest.mark.parametrize("longest", [8, 9, 64])
def test_chunks_lose_no_token(made: Tokenizer, longest: int) -> None:
    rows = made.chunks(made.encode_all(LINES), longest, "train")
    assert all(row.ids is not None and 3 <= len(row.ids) <= longest for row in rows)
    assert all(row.ids[0] == made.cls and row.ids[-1] == made.sep for row in rows if row.ids is not None)
    assert len({row.id for row in rows}) == len(rows)
    for number, ids in enumerate(made.encode_all(LINES), 1):
        pieces = [row.ids[1:-1] for row in rows if row.line == number and row.ids is not None]
        assert np.concatenate([*pieces, ids[:0]]).tolist() == ids.tolist()


@pytest.mark.parametrize("longest", [8, 9, 64])
@pytest.mark.parametrize("marks", ["both", "none", "the last"])
def test_unbroken_rows_say_every_token_once(made: Tokenizer, longest: int, marks: str) -> None:
    """Each row begins with the last token of the row before; the signs stand at a document's ends."""
    made.cls, made.sep = {"both": (made.cls, made.sep), "none": (None, None), "the last": (None, made.sep)}[marks]
    documents = [
        *filter(len, made.encode_all(LINES)),
        *(np.arange(10, 10 + size, dtype=np.int32) for size in range(1, 70)),
    ]
    rows = made.chunks(documents, longest, "train", unbroken=True)
    assert len({row.id for row in rows}) == len(rows)
    before, after = ([] if id is None else [id] for id in (made.cls, made.sep))
    for number, ids in enumerate(documents, 1):
        parts = [row.ids.tolist() for row in rows if row.line == number and row.ids is not None]
        assert all(len(part) == longest for part in parts[:-1]) and len(parts[-1]) <= longest
        assert all(one[-1] == other[0] for one, other in pairwise(parts))
        whole = [*before, *ids.tolist(), *after]
        assert parts[0][:1] + [id for part in parts for id in part[1:]] == whole
        assert len(parts) == 1 or len(parts[-1]) > 1  # none that says nothing


def test_no_rows(made: Tokenizer) -> None:
    assert made.tokenise([], 8) == []
    assert made.chunks([], 8, "train") == []
    assert made.chunks(made.encode_all([""]), 8, "train") == []


# ---- long texts, many texts


@pytest.fixture(scope="module")
def long_texts(shared_data: Path) -> list[str]:
    """Documents with and without line ends, with and without spaces."""
    novel = (shared_data / "lm/chinese_novels/红楼梦.txt").read_text("utf-8")[:60_000]
    play = (shared_data / "lm/tinyshakespeare/input.txt").read_text("utf-8")[:60_000]
    return [novel, novel.replace("\n", ""), "", play, play.replace("\n", "  "), "the end"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_text_in_pieces_has_the_ids_of_the_whole(
    kind: str, long_texts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = tokenizer.train(
        long_texts[0].splitlines()[:200] + long_texts[3].splitlines()[:300],
        TokenizerSettings.model_validate({"kind": kind, "vocab": 1500}),
    )
    monkeypatch.setattr(tokenizer, "_LONG", 700)
    monkeypatch.setattr(tokenizer, "_NEAR", 200)
    monkeypatch.setattr(tokenizer, "_AT_ONCE", 3000)
    found = made.encode_all(long_texts)
    assert [ids.tolist() for ids in found] == [made.encode(text, special=False) for text in long_texts]
    # Where there is no place to cut, nothing is lost all the same.
    dense = "x" * 2001
    assert kind not in ("bpe", "unigram", "character") or made.decode(made.encode_all([dense])[0].tolist()) == dense


def test_texts_are_taken_as_they_come() -> None:
    """A stream without end is encoded; what is read ahead of what is given stays within a few blocks."""
    cutter = tokenizer.train(TEXTS, TokenizerSettings(vocab=300))
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield LINES[read % 2] * 100

    line = len(LINES[0]) * 100
    for given, ids in enumerate(islice(cutter.encode_each(texts()), 1000), 1):
        assert len(ids) > 100
        assert (read - given) * line < (machine.cores() + 3) * tokenizer._AT_ONCE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the library's threads do it")
def test_all_cores_encode(made: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In turns, by as many processes as there are cores; in their order."""
    monkeypatch.setattr(tokenizer, "_AT_ONCE", 100)
    here, seen = made.encode_here, tmp_path / "processes"

    def noted(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        with seen.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return here(texts)

    monkeypatch.setattr(made, "encode_here", noted)
    texts = [f"{line} {number}" for number in range(50) for line in LINES]
    found = made.encode_all(texts)
    assert len({*seen.read_text().split()}) == machine.cores() or machine.cores() == 1
    assert [ids.tolist() for ids in found] == [made.encode(text, special=False) for text in texts]


# name: (content of tokenizer.json or None, what the message must contain)
BROKEN = {
    "missing": (None, ["no tokeniser here", "yanmo tokenizer train"]),
    "empty": ("", ["not a readable tokeniser"]),
    "cut short": ('{"version": "1.0", "model": {"type": "Wo', ["not a readable tokeniser", "Unterminated"]),
    "a list": ("[]", ["not a readable tokeniser"]),
    "no model": ("{}", ["not a readable tokeniser"]),
    "unknown model": ('{"version": "1.0", "model": {"type": "Magic"}}', ["not a readable tokeniser"]),
    "merges without words": ('{"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["b c"]}}', ["not a readable"]),
}


@pytest.mark.parametrize(("content", "expected"), BROKEN.values(), ids=BROKEN)
def test_broken_files(tmp_path: Path, content: str | None, expected: list[str]) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content, "utf-8")
    with pytest.raises(ModelError) as caught:
        tokenizer.load(tmp_path)
    assert all(part in str(caught.value) for part in [*expected, str(tmp_path / "tokenizer.json")])


def test_a_vocabulary_that_can_not_be_made() -> None:
    texts = ["".join(map(chr, range(0x4E00, 0x4F00)))]
    with pytest.raises(SettingsError, match=r"tokenizer\.vocab: 100 can't be made .*another tokenizer\.kind"):
        tokenizer.train(texts, TokenizerSettings(kind="unigram", vocab=100))


# kind, word, a text, the tokens it becomes
ADDED = [
    ("wordpiece", "磨字", "研磨字成", ["研", "磨字", "成"]),
    ("wordpiece", "GrindStone", "the grindstone", ["the", "grindstone"]),
    ("wordpiece", "Café", "a cafe", ["a", "cafe"]),
    ("wordpiece", "grin", "grinds text", ["grinds", "text"]),  # only as a word of its own
    ("wordpiece", "字10", "成字10", ["成", "字10"]),
    ("bpe", "text! 磨", "text! 磨", ["text! 磨"]),
    ("bpe", "ink stone", "ink stone", ["ink stone"]),
    ("unigram", "naïve stone", "naïve stone", ["naïve stone"]),
]


@pytest.mark.parametrize(("kind", "word", "text", "tokens"), ADDED)
def test_added_words(kind: str, word: str, text: str, tokens: list[str], tmp_path: Path) -> None:
    old = tokenizer.train(TEXTS, TokenizerSettings.model_validate({"kind": kind, "vocab": 600}))
    content = old.content()
    made = tokenizer.add(old, [word, word])
    assert old.content() == content
    assert made.size == old.size + 1
    made.save(tmp_path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    for opened in (made, tokenizer.load(tmp_path)):
        assert [piece.token for piece in opened.pieces(text)][1:-1] == tokens
        assert opened.encode(text) == theirs(text)["input_ids"]
        assert [opened.encode(line) for line in LINES if word not in line] == [
            old.encode(line) for line in LINES if word not in line
        ]
    if word != "grin":
        assert tokenizer.added(old, made, "x") == {old.size: old.encode(word, special=False)}
    assert tokenizer.added(old, old, "x") == {}


def test_words_that_can_not_be_added() -> None:
    cutter = tokenizer.train(TEXTS, TokenizerSettings(kind="bpe", vocab=600))
    with pytest.raises(SettingsError) as caught:
        tokenizer.add(cutter, ["", "[MASK]", "naïve", "磨墨"])  # the library takes ï for a byte
    assert str(caught.value).count("\n") == 3
    assert all(
        part in str(caught.value) for part in ("'': it is empty", "'[MASK]': it is a token", "'naïve': it would")
    )


def test_marks_become_tokens() -> None:
    """The tokens of each mark are those that share a character with it; a mark behind the cut, or of nothing, has none."""
    cutter = tokenizer.train(["the cats ran to the moon", "小猫 跑"] * 3, TokenizerSettings(vocab=100))
    text = "the cats ran to the moon"
    spans = [(start, end) for start in range(len(text)) for end in range(start + 1, len(text) + 1)]
    for before, longest in (((), 100), (("moon cats",), 100), ((), 9), (("moon cats",), 18)):
        [row] = cutter.tokenise_marked([Example((*before, text), marks=(*spans, (-1, -1)))], longest)
        [plain] = cutter.tokenise([Example((*before, text))], longest)
        assert row.ids.tolist() == plain.ids.tolist() and row.places.shape == (len(spans) + 1, 2)
        assert (row.types is None) == (plain.types is None)
        cutter.inner.enable_truncation(longest)
        found = cutter.inner.encode(*before, text)
        cutter.inner.no_truncation()
        for (start, end), place in zip([*spans, (-1, -1)], row.places.tolist(), strict=True):
            own = [
                token
                for token, (a, b) in enumerate(found.offsets)
                if found.sequence_ids[token] == len(before) and a < end and b > start and a < b
            ]
            assert place == ([own[0], own[-1] + 1] if own else [-1, -1])
    assert cutter.tokenise_marked([Example((text,))], 9)[0].places.shape == (0, 2)
