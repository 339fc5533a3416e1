import random
from collections import Counter

import pytest

from yanmo.errors import DataError, SettingsError
from yanmo.text import samples
from yanmo.text.clean import canonical
from yanmo.text.dedup import deduplicate
from yanmo.text.sources import Example
from yanmo.text.split import first_per_label, leaks, position, split

PARTS = {"test": 0.27, "dev": 0.08, "train": 0.65}


def rows(*texts: str, label: str = "a") -> list[Example]:
    return [Example((text,), (label,), id=str(number)) for number, text in enumerate(texts)]


MANY = [Example((f"row number {number}",), ("ab"[number % 2],), id=str(number)) for number in range(4000)]


def test_position_is_fixed() -> None:
    one, same = rows("Hello, World", "helloworld！")
    assert position(one) == position(same) == 0x6A4E8C267246645E / 2**64


def test_every_row_falls_into_one_part_of_about_its_share() -> None:
    parts = split(MANY, PARTS)
    assert list(parts) == list(PARTS)
    assert sorted(int(example.id) for part in parts.values() for example in part) == list(range(4000))
    for name, share in PARTS.items():
        assert len(parts[name]) / 4000 == pytest.approx(share, abs=0.03)
        assert parts[name] == sorted(parts[name], key=lambda example: int(example.id))
    assert max(map(position, parts["test"])) < 0.27 <= min(map(position, parts["dev"]))


def test_rows_never_move_when_rows_are_added() -> None:
    before, after = split(MANY[:1500], PARTS), split(random.Random(0).sample(MANY, 4000), PARTS)
    for name in PARTS:
        assert set(before[name]) <= set(after[name])
    assert split(rows("Same text!", "same TEXT"), PARTS).keys() == PARTS.keys()
    assert Counter(map(len, split(rows("Same text!", "same TEXT"), PARTS).values())) == {2: 1, 0: 2}


@pytest.mark.parametrize("parts", [{}, {"train": 0.5}, {"train": 1.2, "test": -0.2}, {"train": 1.0, "test": 0.0}])
def test_shares_that_are_no_shares(parts: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match="add up to 1"):
        split(MANY, parts)


def test_first_per_label() -> None:
    chosen = first_per_label(MANY, 100)
    assert Counter(example.labels for example in chosen) == {("a",): 100, ("b",): 100}
    assert chosen == sorted(chosen, key=position)
    last = max(position(example) for example in chosen if example.labels == ("a",))
    assert sum(position(example) <= last for example in MANY if example.labels == ("a",)) == 100


def test_too_few_of_a_label_names_it() -> None:
    with pytest.raises(DataError, match="need 3 rows of each label, found b: 1"):
        first_per_label([*rows("one", "two", "three"), *rows("four", label="b")], 3)
    with pytest.raises(DataError, match="found none"):
        first_per_label([], 1)


def test_leaks_of_each_kind_both_ways() -> None:
    sentence = "the quick brown fox jumps over the lazy dog and runs away"
    train = rows(sentence, "a short training row", "好书")
    assert leaks(train, rows(sentence.upper(), "!")) == {"exact": 1, "near": 0, "fragments": 0}
    assert leaks(train, rows(sentence + " again")) == {"exact": 0, "near": 1, "fragments": 0}
    assert leaks(train, rows("fox jumps over the", "fox", "nothing of it")) == {"exact": 0, "near": 0, "fragments": 2}
    longer = "here stands a short training row, among a good many other words"
    assert leaks(train, rows(longer, "这是一本好书", "好")) == {"exact": 0, "near": 0, "fragments": 3}
    assert leaks([], rows("one")) == leaks(train, []) == {"exact": 0, "near": 0, "fragments": 0}


def test_nothing_of_the_real_test_reviews_stands_in_training() -> None:
    raw = samples.reviews()
    kept, _ = deduplicate(raw)
    parts = split(kept, PARTS)
    test = first_per_label(parts["test"], 2000)
    assert Counter(example.labels for example in test) == {("positive",): 2000, ("negative",): 2000}
    assert leaks([*parts["train"], *parts["dev"]], test) == {"exact": 0, "near": 0, "fragments": 0}
    together = "\n".join(canonical(example.texts[0]) for example in parts["train"])
    assert not any(canonical(example.texts[0]) in together for example in test[:300])


def test_a_careless_split_of_the_real_reviews_leaks() -> None:
    rows = random.Random(0).sample(samples.reviews(), 6000)
    counts = leaks(rows[1000:], rows[:1000])
    assert counts["exact"] > 100
    assert counts["fragments"] > 10
