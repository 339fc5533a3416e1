"""What an inspection finds, on small rows whose faults are known and on real sets."""

import random
from pathlib import Path

from yanmo.inspection import describe, doubtful_labels, inspect
from yanmo.text import sources
from yanmo.text.sources import Example


def rows(*texts: str, label: str = "a") -> list[Example]:
    return [Example((text,), (label,), f"x:{i}") for i, text in enumerate(texts, 1)]


def test_facts_of_a_part() -> None:
    found = describe(
        rows(
            "好房间",
            "好房间",
            "Good room, quiet",
            "good  ROOM quiet",
            "12345",
            "哈哈哈哈哈哈哈哈哈哈哈哈",
            "bad \ufffd text",
            label="p",
        )
    )
    assert (found["rows"], found["distinct"]) == (7, 6)
    assert found["labels"] == {"p": 7}
    assert found["languages"] == {"zh": 3, "en": 3, "none": 1}
    assert found["scripts"] == {"Han": 18, "Latin": 33, "digits": 5}
    assert found["duplicates"]["exact"] == 2  # one of them but for case and spaces
    assert found["odd"]["why"] == {
        "no letter": 1,
        "repeats itself": 1,
        "a character that stands for a decoding error": 1,
    }
    assert found["lengths"]["shortest"] == 3 and found["lengths"]["longest"] == 16
    assert sum(count for _, _, count in found["lengths"]["histogram"]) == 7


def test_no_rows_and_no_labels() -> None:
    assert describe([])["rows"] == 0
    assert doubtful_labels([Example(("text",)) for _ in range(50)]) == {"count": 0, "rows": []}


def test_leakage_of_each_kind() -> None:
    long = "这家酒店的房间很干净，早餐也很丰富，下次来还住这里，服务员的态度特别好"
    train = rows("one two three four", "Same but for case", long)
    test = rows("one two three four", "same, but for CASE", long[:-2], "nothing like it")
    found = inspect({"train": train, "test": test})["leakage"]
    assert found["exact"] == {"train/test": 1}
    assert found["near"]["train/test"] + found["fragments"]["train/test"] == 2


def test_known_leaks_of_real_sets(shared_data: Path) -> None:
    folder = shared_data / "classification_zh/chnsenticorp"
    found = inspect({name: sources.read(folder / f"{name}.tsv") for name in ("train", "test")})
    assert found["parts"]["train"]["rows"] == 9600 and found["parts"]["train"]["distinct"] == 8249
    assert found["leakage"]["exact"] == {"train/test": 331}


def test_wrong_labels_are_found(shared_data: Path) -> None:
    """Of 2,000 reviews 100 get the wrong label: the rows that are doubted most hold many times their share of these."""
    generator = random.Random(0)
    clean = sources.read(shared_data / "classification_zh/chnsenticorp/train.tsv")[:2000]
    wrong = set(generator.sample(range(2000), 100))
    spoilt = [
        Example(row.texts, ("1" if row.labels[0] == "0" else "0",) if i in wrong else row.labels, str(i))
        for i, row in enumerate(clean)
    ]
    found = doubtful_labels(spoilt)
    right = sum(int(entry["row"]) in wrong for entry in found["rows"])
    assert right / len(found["rows"]) > 0.5  # 0.05 by chance
    assert all(entry["rather"] != entry["label"] for entry in found["rows"])


def test_rare_labels_do_not_stop_it() -> None:
    few = rows(*(f"good day {i}" for i in range(30))) + rows(*(f"bad night {i}" for i in range(30)), label="b")
    found = doubtful_labels([*few, *rows("good day again", label="rare")])
    assert "rare" not in {entry["rather"] for entry in found["rows"]}
