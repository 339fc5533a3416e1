"""Every recipe runs two steps, on small data, from a small model."""

from pathlib import Path

import pytest

import yanmo

RECIPES = sorted((Path(__file__).parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_two_steps(recipe: Path, tmp_path: Path, small_folder: Path) -> None:
    rows = "".join(f"{'good' if i % 2 else 'bad'}\tsome words number {i}\n" for i in range(40))
    (tmp_path / "rows.tsv").write_text("label\ttext\n" + rows)
    keys = {} if "scratch" in recipe.stem else {"model": {"base": str(small_folder)}, "task": {"max_length": 16}}
    train = {"epochs": None, "minutes": None, "steps": 2}
    metrics = yanmo.finetune(recipe, run=tmp_path / "run", data={"train": tmp_path / "rows.tsv"}, train=train, **keys)
    assert metrics["train"]["steps"] == 2
