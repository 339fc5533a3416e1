import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yanmo.errors import DataError, SettingsError
from yanmo.text import samples
from yanmo.text.clean import canonical
from yanmo.text.dedup import deduplicate
from yanmo.text.sources import Example
from yanmo.text.split import begins, divide, first_per_label, held_out, key, leaks, position, positions, split

PARTS = {"test": 0.27, "dev": 0.08, "train": 0.65}


def rows(*texts: str, label: str = "a") -> list[Example]:
    return [Example((text,), (label,), id=str(number)) for number, text in enumerate(texts)]


def place(row: Example) -> float:
    return position(row.texts[0])


MANY = [Example((f"row number {number}",), ("ab"[number % 2],), id=str(number)) for number in range(4000)]


def test_position_is_fixed() -> None:
    one, same = rows("Hello, World", "helloworld！")
    assert place(one) == place(same) == 0x6A4E8C267246645E / 2**64
    assert positions([row.texts[0] for row in MANY]).tolist() == [*map(place, MANY)]


def test_rows_are_held_out_of_what_a_division_left_too() -> None:
    train, dev = held_out(MANY, 0.1)
    assert [train, dev] == [split(MANY, {"dev": 0.1, "train": 0.9})[name] for name in ("train", "dev")]
    left = split(MANY, {"test": 0.2, "train": 0.8})["train"]
    train, dev = held_out(left, 0.1)
    assert len(dev) / len(left) == pytest.approx(0.1, abs=0.03)
    assert sorted(row.id for row in train + dev) == sorted(row.id for row in left)
    more = held_out([*left, *rows("another one")], 0.1)  # no row moves when rows are added
    assert {row.id for row in dev} <= {row.id for row in more[1]}


def test_every_row_falls_into_one_part_of_about_its_share() -> None:
    parts = split(MANY, PARTS)
    assert list(parts) == list(PARTS)
    assert sorted(int(example.id) for part in parts.values() for example in part) == list(range(4000))
    for name, share in PARTS.items():
        assert len(parts[name]) / 4000 == pytest.approx(share, abs=0.03)
        assert parts[name] == sorted(parts[name], key=lambda example: int(example.id))
    assert max(map(place, parts["test"])) < 0.27 <= min(map(place, parts["dev"]))


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
    assert chosen == sorted(chosen, key=place)
    last = max(place(example) for example in chosen if example.labels == ("a",))
    assert sum(place(example) <= last for example in MANY if example.labels == ("a",)) == 100


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


# ---- parts that stay (D4)

SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}


def keys_of(count: int, start: int = 0) -> list[str]:
    return [key(f"text {i}") for i in range(start, start + count)]


def test_shares_are_kept() -> None:
    found = Counter(divide(keys_of(20_000), range(20_000), SHARES, {}))
    for part, share in SHARES.items():
        assert found[part] / 20_000 == pytest.approx(share, abs=0.01)
    with pytest.raises(SettingsError, match="add up to 1"):
        divide(keys_of(3), range(3), {"train": 0.5}, {})


@given(st.integers(0, 10**6), st.sampled_from(["hash", "strata", "times"]))
def test_d4_nothing_straddles_and_nothing_moves(seed: int, by: str) -> None:
    """Rows come in three deliveries; a later one may join clusters of an earlier."""
    generator = random.Random(seed)
    all_keys, links = keys_of(120), list(range(120))
    labels = [generator.choice("ab") for _ in all_keys]
    times = [generator.randint(0, 50) for _ in all_keys]
    known: dict[str, str] = {}
    cuts = None
    for count in (40, 80, 120):
        for _ in range(8):  # near duplicates are found among what is there by now
            a, b = generator.randrange(count), generator.randrange(count)
            links = [links[a] if link == links[b] else link for link in links]
        extra = {"strata": {"strata": labels[:count]}, "times": {"times": times[:count], "cuts": cuts}, "hash": {}}[by]
        parts = divide(all_keys[:count], links[:count], SHARES, known, **extra)  # type: ignore[arg-type]
        cuts = cuts or begins(times[:count], SHARES)
        for row, part in enumerate(parts):
            if all_keys[row] in known:
                assert part == known[all_keys[row]]  # an old row never moves
        for cluster in set(links[:count]):
            rows = [row for row in range(count) if links[row] == cluster]
            old = {known[all_keys[row]] for row in rows if all_keys[row] in known}
            new = {parts[row] for row in rows if all_keys[row] not in known}
            if len(old) > 1:
                assert new <= {None}  # a bridge is set aside
            elif old:
                assert new <= old
            else:
                assert len(new) == 1 and None not in new
        known |= {all_keys[row]: part for row, part in enumerate(parts) if part is not None}


def test_strata_hold_their_shares() -> None:
    labels = ["rare"] * 30 + ["common"] * 970
    parts = divide(keys_of(1000), range(1000), SHARES, {}, strata=labels)
    found = Counter(zip(labels, parts, strict=True))
    assert [found["rare", part] for part in SHARES] == [21, 3, 6]
    assert [found["common", part] for part in SHARES] == [679, 97, 194]
    more = divide(
        keys_of(1100),
        range(1100),
        SHARES,
        dict(zip(keys_of(1000), parts, strict=True)),
        strata=[*labels, *["rare"] * 100],
    )  # type: ignore[arg-type]
    assert more[:1000] == parts
    assert Counter(more[i] for i in range(1100) if i < 30 or i >= 1000) == {"train": 91, "dev": 13, "test": 26}


def test_time_cuts() -> None:
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(280)]
    cuts = begins(days, SHARES)
    parts = divide(keys_of(280), range(280), SHARES, {}, times=days)
    assert parts == ["train"] * 196 + ["dev"] * 28 + ["test"] * 56
    clusters = [0 if i in (5, 270) else i for i in range(280)]  # a row of the last days repeats one of the first
    assert divide(keys_of(280), clusters, SHARES, {}, times=days)[270] == "train"
    later = divide(
        keys_of(300),
        range(300),
        SHARES,
        dict(zip(keys_of(280), parts, strict=True)),
        times=[*days, *["2025-01-01"] * 20],
        cuts=cuts,
    )  # type: ignore[arg-type]
    assert later[:280] == parts and set(later[280:]) == {"test"}
