"""Every recipe runs two steps, on small data, from a small model; and what makes their corpora."""

from pathlib import Path

import pytest
import yaml

import yanmo
from recipes import zh_mini_corpus

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))
POEM = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_two_steps(recipe: Path, tmp_path: Path, small_folder: Path) -> None:
    train = {"epochs": None, "minutes": None, "tokens": None, "steps": 2}
    if "task" in yaml.safe_load(recipe.read_text("utf-8")):
        rows = "".join(f"{'good' if i % 2 else 'bad'}\tsome words number {i}\n" for i in range(40))
        (tmp_path / "rows.tsv").write_text("label\ttext\n" + rows)
        keys = {} if "scratch" in recipe.stem else {"model": {"base": str(small_folder)}, "task": {"max_length": 16}}
        data = {"train": tmp_path / "rows.tsv"}
        metrics = yanmo.finetune(recipe, run=tmp_path / "run", data=data, train=train, **keys)
    else:
        (tmp_path / "texts.txt").write_text(f"{POEM}\n" * 40, "utf-8")
        data = dict.fromkeys(("train", "dev"), tmp_path / "texts.txt")
        metrics = yanmo.pretrain(recipe, run=tmp_path / "run", data=data, train={**train, "batch_tokens": 64})
    assert metrics["train"]["steps"] == 2


def test_passages_are_neighbouring_paragraphs() -> None:
    paragraphs = [f"{'字' * (7 * number % 90)}第{number}段。" for number in range(400)]
    found = list(zh_mini_corpus.passages(paragraphs, 1e9))
    assert "".join(found) == "".join(paragraphs)
    lengths = [len(passage) for passage in found]
    assert max(lengths) <= max(zh_mini_corpus.PASSAGES)
    assert min(lengths) < 100 and sum(length > 240 for length in lengths) > 10  # short ones and long ones
    cut = list(zh_mini_corpus.passages(paragraphs, 2000))
    assert cut == found[: len(cut)] and sum(map(len, cut)) <= 2000


def test_the_corpus_leaves_out_what_is_for_tests() -> None:
    files = [file for file, *_ in zh_mini_corpus.DATA.values()]
    assert not [file for file in files if "cmrc2018_dev" in file or "xquad" in file]


def test_sayings_lose_their_colours(tmp_path: Path) -> None:
    (tmp_path / "chinese").write_text("要有\x1b[33m礼貌\x1b[m\n%\n善意\n", "utf-8")
    assert list(zh_mini_corpus.sayings(tmp_path, "*")) == ["要有礼貌", "善意\n"]
