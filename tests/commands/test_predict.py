"""What `yanmo predict` writes for a spreadsheet."""

import pytest

from yanmo.commands.predict import safe


@pytest.mark.parametrize("cell", ["=1+1", "+A1", "-A1", "@SUM(A1)", "\t=1", "\r=1", "=", "-", "＝1+1", "-2+3", "=-1"])
def test_d5_formulas_are_made_text(cell: str) -> None:
    assert safe(cell) == "'" + cell


@pytest.mark.parametrize("cell", ["", "good", "a=b", "3.5", "-3.5", "+7", "'=1", "很好", " =1"])
def test_all_else_stays(cell: str) -> None:
    assert safe(cell) == cell
