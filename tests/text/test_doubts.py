"""What looks like a mistake in labelled rows."""

import pytest

from yanmo.errors import DataError
from yanmo.text import doubts
from yanmo.text.sources import Example


def rows(labels: list[str], first: int = 0) -> list[Example]:
    return [Example((f"text {i}",), (label,), f"a.csv:{i}", "a.csv", i) for i, label in enumerate(labels, first)]


# labels of the training rows: what is said of them
LABELS = {
    "sound": (["a", "b"] * 30, []),
    "case, width and spaces": (["a b", "Ａ B", "c"] * 20, ["'a b' (20 rows), 'Ａ B' (20 rows)"]),
    "1 and 1.0": (["1", "1.0", "0"] * 20, ["'1' (20 rows), '1.0' (20 rows)"]),
    "1 and 1.5": (["1", "1.5"] * 30, []),
    "stray": (["0", "1"] * 30 + ["2"], ["'2' (a.csv:60); a slip of the pen"]),
    "few rows of all": (["0", "1", "2"], []),
    "many labels, a row each": ([f"intent {i}" for i in range(40)], []),
}


@pytest.mark.parametrize(("labels", "expected"), LABELS.values(), ids=LABELS)
def test_labels(labels: list[str], expected: list[str]) -> None:
    found = doubts.find({"train": rows(labels)})
    assert len(found) == len(expected)
    assert all(part in said for part, said in zip(expected, found, strict=True))


def test_no_classes() -> None:
    many = rows([f"{i / 7:.3f}" for i in range(100)])
    with pytest.raises(DataError, match="100 different labels in 100 rows: these are no classes"):
        doubts.find({"train": many})
    swapped = [Example((row.labels[0][:1],), row.texts, row.id, row.file, row.line) for row in many]
    with pytest.raises(DataError, match="are the columns in each other's place"):
        doubts.find({"train": swapped})


def test_rows_of_two_parts() -> None:
    train = rows(["a", "b"] * 30)
    assert doubts.find({"train": train, "test": rows(["a", "b"] * 10, first=100)}) == []
    [said] = doubts.find({"train": train, "test": rows(["a", "b"] * 10, first=50)})
    assert said.startswith("10 of 20 test rows stand in the training rows, too (a.csv:50, for one)")
    [said] = doubts.find({"train": train, "dev": train})
    assert "the dev rows are the training rows" in said
