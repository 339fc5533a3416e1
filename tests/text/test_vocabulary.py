"""The five kinds on real text: equal for equal texts, equal to `transformers` to the offset, and what comes back from ids."""

import os
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
import tokenizers
from transformers import PreTrainedTokenizerFast

from yanmo.text import vocabulary
from yanmo.text.tokenizer import Tokenizer

ROOT = Path(__file__).parents[2]
EMOJI = "👩\u200d🔬 and 🏳️\u200d🌈"
ODD = [
    "😀🫠",
    EMOJI,
    "𠮷野家 㐂 龘",
    "\x00\x07\x1b[0m\x7f",
    "ＡＢＣ ﬁ Å",
    "e\u0301\u0323",
    "<0x41><0x0A>",
    "\ufffd\u2028",
    "한국어 ไทย",
]


SMILES = ("😀", "👍🏽", "👩\u200d🔬", "🇨🇳", "❤️", "🫠", "1️⃣")


@pytest.fixture(scope="module")
def lines(shared_data: Path) -> list[str]:
    """10,000 lines: Chinese, English, code with its spaces, and Chinese with emoji."""

    def some(path: Path, count: int) -> list[str]:
        return [line for line in path.read_text("utf-8").splitlines() if line.strip()][:count]

    novel = some(shared_data / "lm/chinese_novels/红楼梦.txt", 2400)
    play = some(shared_data / "lm/tinyshakespeare/input.txt", 7000)
    wiki = some(shared_data / "lm/wiki_demo_en/wiki_demo.txt", 200)
    code = [line for path in sorted(ROOT.glob("yanmo/text/*.py")) for line in some(path, 100)][:1000]
    smiling = [line[:40] + SMILES[number % len(SMILES)] + line[40:80] for number, line in enumerate(novel[:400])]
    mixed = [*novel, *smiling, *wiki, *code, *play][:10_000]
    assert len(mixed) == 10_000
    return mixed


@pytest.fixture(scope="module")
def trained(lines: list[str]) -> dict[str, tokenizers.Tokenizer]:
    return {kind: vocabulary.train(lines[::5], kind, 4000) for kind in vocabulary.KINDS}


@pytest.mark.parametrize("kind", vocabulary.KINDS)
def test_equals_transformers_to_the_offset(
    kind: str, lines: list[str], trained: dict[str, tokenizers.Tokenizer], tmp_path: Path
) -> None:
    made = Tokenizer(trained[kind])
    made.save(tmp_path)
    theirs = PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    sample = [*lines[::10], *ODD]
    found = theirs(sample, return_offsets_mapping=True)
    for line, ids, offsets in zip(sample, found["input_ids"], found["offset_mapping"], strict=True):
        ours = made.pieces(line)
        assert [piece.id for piece in ours] == ids
        assert [piece.offsets for piece in ours] == [tuple(pair) for pair in offsets]


def test_bytes_come_back_exactly(lines: list[str], trained: dict[str, tokenizers.Tokenizer]) -> None:
    made = Tokenizer(trained["bpe"])
    for line in [*lines, *ODD]:
        assert made.decode(made.encode(line)) == line


def test_unigram_comes_back_in_nfkc(lines: list[str], trained: dict[str, tokenizers.Tokenizer]) -> None:
    made = Tokenizer(trained["unigram"])
    for line in [*lines, *ODD, "a literal ▁ sign"]:
        assert made.decode(made.encode(line)) == unicodedata.normalize("NFKC", line).replace("▁", " ")


def test_known_characters_come_back_exactly(lines: list[str], trained: dict[str, tokenizers.Tokenizer]) -> None:
    made = Tokenizer(trained["character"])
    seen = set("".join(lines[::5]))
    for line in [*lines, "two  spaces\tA TAB\nÉ"]:
        ids = made.encode(line, special=False)
        assert len(ids) == len(line)
        assert [id == made.unknown for id in ids] == [character not in seen for character in line]
        assert made.decode(ids) == "".join(character for character in line if character in seen)


@pytest.mark.parametrize("kind", ["word", "wordpiece"])
def test_words_come_back_as_bert_reads_them(
    kind: str, lines: list[str], trained: dict[str, tokenizers.Tokenizer]
) -> None:
    """But for spaces, where no word is unknown: in lower case, without accents and control characters."""
    made, known = Tokenizer(trained[kind]), 0
    for line in lines:
        ids = made.encode(line)
        if made.unknown not in ids:
            known += 1
            expected = trained[kind].normalizer.normalize_str(line)
            assert "".join(made.decode(ids).split()) == "".join(expected.split())
    assert known > 2500


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_nothing_is_unknown(kind: str, lines: list[str], trained: dict[str, tokenizers.Tokenizer]) -> None:
    made = Tokenizer(trained[kind])
    assert not any(made.unknown in made.encode(line) for line in [*lines, *ODD])


def test_unigram_knows_whole_words(trained: dict[str, tokenizers.Tokenizer]) -> None:
    assert trained["unigram"].encode("宝玉笑道 the world", add_special_tokens=False).tokens == [
        "宝玉笑道",
        "▁the",
        "▁world",
    ]


TRAIN = """
import hashlib, sys
from pathlib import Path
from yanmo.text import vocabulary
lines = Path(sys.argv[1]).read_text("utf-8").splitlines()
for kind in vocabulary.KINDS:
    made = vocabulary.train(lines, kind, 2000)
    print(kind, hashlib.sha256(made.to_str(pretty=True).encode()).hexdigest())
"""


def test_equal_texts_give_equal_files(lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "lines.txt").write_text("\n".join(lines[::8]), "utf-8")
    found = set()
    for variables in ({"RAYON_NUM_THREADS": "1"}, {"RAYON_NUM_THREADS": "3"}, {"TOKENIZERS_PARALLELISM": "false"}):
        words = [sys.executable, "-c", TRAIN, str(tmp_path / "lines.txt")]
        done = subprocess.run(words, env={**os.environ, **variables}, capture_output=True, text=True, check=True)
        found.add(done.stdout)
    assert len(found) == 1
    assert found.pop().count("\n") == len(vocabulary.KINDS)
