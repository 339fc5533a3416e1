"""The parts of a data-set folder, by the names of its files."""

from pathlib import Path

import pytest

from yanmo.errors import DataError
from yanmo.text import formats

CASES = {
    "usual": (["train.csv", "dev.csv", "test.csv"], {"train": ["train.csv"], "dev": ["dev.csv"], "test": ["test.csv"]}),
    "other words": (
        ["x_valid.txt", "TRAIN_FILE.TXT", "eval_list.json"],
        {"dev": ["x_valid.txt"], "train": ["TRAIN_FILE.TXT"], "test": ["eval_list.json"]},
    ),
    "suffixes": (
        ["eng.train", "eng.testa", "eng.testb"],
        {"train": ["eng.train"], "dev": ["eng.testa"], "test": ["eng.testb"]},
    ),
    "pieces": (
        ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"],
        {"train": ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]},
    ),
    "numbers and a whole": (
        ["train_0.json", "train_1.json", "train_all.json"],
        {"train": ["train_0.json", "train_1.json"], "train_all": ["train_all.json"]},
    ),
    "dev and trial": (["a_dev.json", "a_trial.json"], {"dev": ["a_dev.json"], "trial": ["a_trial.json"]}),
    "several sets": (["en-train.csv", "zh-train.csv"], {"en-train": ["en-train.csv"], "zh-train": ["zh-train.csv"]}),
    "languages": (
        ["train.de.gz", "train.en.gz", "val.de", "val.en"],
        {"train": ["train.de.gz", "train.en.gz"], "dev": ["val.de", "val.en"]},
    ),
    "two files": (["x.en.json", "x.zh.json"], {"x.en": ["x.en.json"], "x.zh": ["x.zh.json"]}),
    "folders": (["dev/a.csv", "dev/b.csv", "test/a.csv"], {"dev": ["dev/a.csv", "dev/b.csv"], "test": ["test/a.csv"]}),
    "no rows in them": (
        [
            "a.txt",
            "README",
            "readme.md",
            "LICENSE",
            "DATA_LICENSE",
            "_about.txt",
            "class.txt",
            "label_names.json",
            "TEST_KEY.TXT",
            "1.png",
            "hotel_db.json.gz",
        ],
        {"a": ["a.txt"]},
    ),
    "a part whose name has a word of a list": (["class_train.csv"], {"train": ["class_train.csv"]}),
}


@pytest.mark.parametrize(("names", "expected"), CASES.values(), ids=CASES)
def test_splits(tmp_path: Path, names: list[str], expected: dict[str, list[str]]) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert {
        part: [str(path.relative_to(tmp_path)) for path in paths] for part, paths in formats.splits(tmp_path).items()
    } == expected


def test_no_data(tmp_path: Path) -> None:
    (tmp_path / "tnews").mkdir()
    with pytest.raises(DataError, match="no data file in this folder; name one of its folders: tnews"):
        formats.load(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        formats.splits(tmp_path / "nosuch")
    with pytest.raises(DataError, match="no such file"):
        formats.load(tmp_path / "nosuch")
