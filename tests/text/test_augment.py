"""Augmentation: what each transform may change, and that a seed repeats it."""

from collections import Counter

import numpy as np
import pytest

from yanmo.errors import DataError, SettingsError
from yanmo.text.augment import TRANSFORMS, Augment, augment, read_synonyms
from yanmo.text.samples import reviews

TABLE = {"好": ["棒", "不错"], "good": ["fine", "great"], "房间": ["客房"]}


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("text", ["房间很好，早餐一般。", "a good room, and a bad breakfast", "好", "!"])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_transforms_keep_what_they_promise(name: str, text: str) -> None:
    for seed in range(30):
        new = TRANSFORMS[name](text, 0.3, generator(seed), TABLE)
        before, after = Counter(text.replace(" ", "")), Counter(new.replace(" ", ""))
        assert new
        if name == "delete":
            assert after <= before
        elif name == "swap":
            assert after == before
        else:
            words = [word for others in TABLE.values() for word in others]
            assert new == text or any(word in new for word in words)


def test_delete_drops_its_share() -> None:
    text = "字" * 20_000
    assert len(TRANSFORMS["delete"](text, 0.1, generator(), {})) == pytest.approx(18_000, rel=0.02)


def test_words_stay_apart() -> None:
    for seed in range(50):
        assert sorted(TRANSFORMS["swap"]("one two three", 0.5, generator(seed), {}).split()) == ["one", "three", "two"]
        left = TRANSFORMS["delete"]("one two three", 0.5, generator(seed), {}).split()
        assert left and set(left) <= {"one", "two", "three"}


def test_the_longest_word_of_the_table_wins() -> None:
    table = {"房": ["屋"], "房间": ["客房"]}
    assert TRANSFORMS["synonym"]("房间", 0.1, generator(), table) == "客房"


def test_augment_is_repeated_by_its_seed() -> None:
    texts = [row.texts[0] for row in reviews()[:200] if len(row.texts[0]) > 10]
    settings = Augment(transforms=["delete", "swap", "synonym"], copies=2)
    first = [augment(text, settings, 7, TABLE) for text in texts]
    assert first == [augment(text, settings, 7, TABLE) for text in texts]
    assert first != [augment(text, settings, 8, TABLE) for text in texts]
    for text, rows in zip(texts, first, strict=True):
        assert text not in {new for _, new in rows} and len({new for _, new in rows}) == len(rows)
    assert sum(map(len, first)) > 3 * len(texts)


def test_mistakes() -> None:
    with pytest.raises(SettingsError, match="no 'translate'; known: delete, swap, synonym"):
        augment("a", Augment(transforms=["translate"]), 0, {})
    with pytest.raises(SettingsError, match="needs a table"):
        augment("a b", Augment(transforms=["synonym"]), 0, {})
    assert read_synonyms([(1, "好 棒,不错"), (2, ""), (3, "好\t妙")], "t") == {"好": ["棒", "不错", "妙"]}
    with pytest.raises(DataError, match=r"t:2: 'x' has no synonym"):
        read_synonyms([(1, "a b"), (2, "x")], "t")
