"""Texts by their words: to the id what the library gives for the whole, or not taken on at all."""

from pathlib import Path

import numpy as np
import pytest
import tokenizers
from hypothesis import given
from hypothesis import settings as budget_of
from hypothesis import strategies as st
from tokenizers import AddedToken, normalizers, pre_tokenizers

from yanmo.text import tokenizer, vocabulary, wordwise
from yanmo.text.wordwise import Wordwise

LINES = [
    "研墨，磨字成文。The ink stone grinds text.",
    "Café naïve ﬁne [mask] I'd don't 10/10 3.14",
    "e\u0301 ￥ _x_ ## <a@b.c>",
]


def like_bert(kind: str, **changes: bool) -> tokenizers.Tokenizer:
    signs = [chr(code) for code in (*range(0x21, 0x250), *range(0x3001, 0x3020), *range(0x4DB0, 0x4E30), 0xFF0C)]
    inner = vocabulary.train([*LINES, " ".join(signs), "".join(signs)] * 3, kind, 4000)
    if changes:
        inner.normalizer = normalizers.BertNormalizer(**changes)
    return inner


@pytest.fixture(scope="module")
def readers(minilm: Path) -> dict[str, Wordwise]:
    inners = {
        "word": like_bert("word"),
        "wordpiece": like_bert("wordpiece"),
        "cased": like_bert("wordpiece", lowercase=False),
        "cased, no accents": like_bert("wordpiece", lowercase=False, strip_accents=True),
        "with accents": like_bert("word", lowercase=True, strip_accents=False),
        "a loaded BERT": tokenizer.load(minilm).inner,
    }
    assert all(map(wordwise.fits, inners.values()))
    return {name: Wordwise(inner) for name, inner in inners.items()}


def same(reader: Wordwise, texts: list[str]) -> None:
    expected = [found.ids for found in reader._inner.encode_batch(texts, add_special_tokens=False)]
    ids, ends = reader.encode(texts)
    assert [part.tolist() for part in np.split(ids, ends)[:-1]] == expected
    assert (ids.dtype, len(ends), ends[-1]) == (np.int32, len(texts), len(ids))


# Where the rules of BERT are: spaces of all kinds, controls, accents alone, signs, Chinese characters and what stands beside them,
# half of a text that could be a special token.
ODD = st.sampled_from(
    [
        *" \t\n\r\x00\x1c\x85\xa0\u200b\u2028\u3000\ufeff\ufffd\u0301\u0323\u093e,.'-_#[]，。“”…—·￥$^`",
        "[MASK]",
        "[UNK]",
        "[MAS",
    ]
)
CHINESE = st.characters(min_codepoint=0x4DA0, max_codepoint=0x4E20)
WORDS = st.sampled_from(["ink", "Stone", "é", "研墨", "ß", "İ", "ΑΣ", "가", "𠮷", "豈", "😀"])
TEXT = st.lists(st.one_of(ODD, CHINESE, WORDS, st.characters(exclude_categories=["Cs"])), max_size=30).map("".join)


@given(st.lists(TEXT, min_size=1, max_size=20))
@budget_of(max_examples=300, deadline=None)
def test_any_text_has_the_ids_of_the_library(readers: dict[str, Wordwise], texts: list[str]) -> None:
    for reader in readers.values():
        same(reader, texts)


def test_real_text_has_the_ids_of_the_library(readers: dict[str, Wordwise], shared_data: Path) -> None:
    for name in ("chinese_novels/红楼梦.txt", "wikitext2/valid.txt", "tinyshakespeare/input.txt"):
        lines = (shared_data / "lm" / name).read_text("utf-8").splitlines()[:1000]
        for reader in (readers["wordpiece"], readers["a loaded BERT"]):
            same(reader, lines)


def test_what_is_remembered_is_bounded(readers: dict[str, Wordwise], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wordwise, "_MOST", 100)
    reader = Wordwise(readers["wordpiece"]._inner)
    for start in range(0, 2000, 50):
        same(reader, [f"word{number}" for number in range(start, start + 50)])
        assert len(reader._known) <= 150
    same(reader, ["x" * 10_000 + " ink", "y" * 33])
    assert max(map(len, reader._known)) <= 32
    for number in range(50):  # nor is much kept of words that are not remembered
        same(reader, [f"{'x' * 40}{number}"])
        assert len(reader._ids) < 4 * 100 + 100


def other(kind: str = "wordpiece", **changes: object) -> tokenizers.Tokenizer:
    inner = like_bert(kind)
    for name, value in changes.items():
        setattr(inner, name, value)
    return inner


def added(token: AddedToken) -> tokenizers.Tokenizer:
    inner = like_bert("wordpiece")
    inner.add_tokens([token])
    return inner


# What reads a word by what stands around it, or reads text in another way.
OTHERS = {
    "byte-level bpe": lambda: vocabulary.train(LINES, "bpe", 600),
    "unigram": lambda: vocabulary.train(LINES, "unigram", 600),
    "another normaliser": lambda: other(normalizer=normalizers.NFKC()),
    "Chinese text in words": lambda: other(normalizer=normalizers.BertNormalizer(handle_chinese_chars=False)),
    "control characters kept": lambda: other(normalizer=normalizers.BertNormalizer(clean_text=False)),
    "another cut": lambda: other(pre_tokenizer=pre_tokenizers.Whitespace()),
    "an added word": lambda: added(AddedToken("ink stone", single_word=True)),
    "a special token that takes its space": lambda: added(AddedToken("<x>", special=True, lstrip=True)),
}


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_others_are_left_to_the_library(make: object) -> None:
    assert callable(make)
    assert not wordwise.fits(make())
