"""`yanmo models`: every family explained, and what is drawn is what is there."""

import json
from pathlib import Path

import pytest

from yanmo import models
from yanmo.__main__ import main
from yanmo.models import FAMILIES
from yanmo.models.base import HEADS


def asked(capsys, *words: str) -> dict:
    assert main(["models", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_family_says_what_it_is(capsys) -> None:
    table = asked(capsys)
    assert list(table) == list(FAMILIES)
    for name, row in table.items():
        assert row["about"] and row["paper"] and row["sizes"] and row["tasks"], name
        assert set(row["heads"]) <= set(HEADS)
    assert main(["models"]) == 0
    assert "learns from text: masked words" in capsys.readouterr().err


@pytest.mark.parametrize("name", FAMILIES)
def test_the_drawing_is_of_the_model(name: str, capsys) -> None:
    """The counts of the parts add up to the model's, and shapes were seen where modules were called."""
    found = asked(capsys, name, "size=tiny", "vocabulary=100")
    assert found["parts"]["parameters"] == found["parameters"]["tiny"] > 0
    shapes = str(found["parts"])
    assert "(t, " in shapes or "(rows, longest, " in shapes
    assert set(found["parameters"]) == set(models.find(name).sizes)
    assert main(["models", name, "size=tiny", "vocabulary=100"]) == 0
    drawn = capsys.readouterr().err
    assert "└─ " in drawn and found["code"] in drawn


def test_layers_that_are_equal_are_drawn_once(capsys) -> None:
    found = asked(capsys, "bert", "size=mini", "head=classify")
    layers = next(part for part in found["parts"]["parts"] if part["name"] == "layers")
    assert [(part["name"], part["times"]) for part in layers["parts"]] == [("0-3", 4)]
    assert layers["parts"][0]["takes"] == layers["parts"][0]["gives"] == "(t, 256)"
    head = next(part for part in found["parts"]["parts"] if part["name"] == "task_head")
    assert (head["takes"], head["gives"]) == ("(t, 256)", "(rows, 2)")


def test_a_folder(small_folder: Path, capsys) -> None:
    found = asked(capsys, str(small_folder))
    assert found["family"] == "bert" and found["head"] == "classify"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["bret"], "'bret' is not a family"),
        (["bert", "size=huge"], "'huge' is not a size of 'bert'"),
        (["gpt2", "head=next"], "has no 'next' head"),
        (["bert", "gpt2"], "expected `yanmo models`"),
    ],
)
def test_mistakes(words: list[str], expected: str, capsys) -> None:
    assert main(["models", *words]) == 2
    assert expected in capsys.readouterr().err
