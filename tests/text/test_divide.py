"""Parts that never change (D4): clusters stay together, old rows stay where they are, bridges are set aside."""

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from yanmo.errors import SettingsError
from yanmo.text.divide import begins, divide
from yanmo.text.split import key

SHARES = {"train": 0.7, "dev": 0.1, "test": 0.2}


def keys(count: int, start: int = 0) -> list[str]:
    return [key(f"text {i}") for i in range(start, start + count)]


def test_shares_are_kept() -> None:
    found = Counter(divide(keys(20_000), range(20_000), SHARES, {}))
    for part, share in SHARES.items():
        assert found[part] / 20_000 == pytest.approx(share, abs=0.01)
    with pytest.raises(SettingsError, match="add up to 1"):
        divide(keys(3), range(3), {"train": 0.5}, {})


@given(st.integers(0, 10**6), st.sampled_from(["hash", "strata", "times"]))
def test_d4_nothing_straddles_and_nothing_moves(seed: int, by: str) -> None:
    """Rows come in three deliveries; a later one may join clusters of an earlier."""
    generator = random.Random(seed)
    all_keys, links = keys(120), list(range(120))
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
    parts = divide(keys(1000), range(1000), SHARES, {}, strata=labels)
    found = Counter(zip(labels, parts, strict=True))
    assert [found["rare", part] for part in SHARES] == [21, 3, 6]
    assert [found["common", part] for part in SHARES] == [679, 97, 194]
    more = divide(
        keys(1100), range(1100), SHARES, dict(zip(keys(1000), parts, strict=True)), strata=[*labels, *["rare"] * 100]
    )  # type: ignore[arg-type]
    assert more[:1000] == parts
    assert Counter(more[i] for i in range(1100) if i < 30 or i >= 1000) == {"train": 91, "dev": 13, "test": 26}


def test_time_cuts() -> None:
    days = [f"2024-{1 + i // 28:02d}-{1 + i % 28:02d}" for i in range(280)]
    cuts = begins(days, SHARES)
    parts = divide(keys(280), range(280), SHARES, {}, times=days)
    assert parts == ["train"] * 196 + ["dev"] * 28 + ["test"] * 56
    clusters = [0 if i in (5, 270) else i for i in range(280)]  # a row of the last days repeats one of the first
    assert divide(keys(280), clusters, SHARES, {}, times=days)[270] == "train"
    later = divide(
        keys(300),
        range(300),
        SHARES,
        dict(zip(keys(280), parts, strict=True)),
        times=[*days, *["2025-01-01"] * 20],
        cuts=cuts,
    )  # type: ignore[arg-type]
    assert later[:280] == parts and set(later[280:]) == {"test"}
