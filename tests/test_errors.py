"""Messages that quote what somebody else wrote."""

import pytest

from yanmo.errors import DataError, Interrupted, ModelError, YanmoError


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("model_type '\x1b[2J\x07' is unknown", r"model_type '\x1b[2J\x07' is unknown"),
        ("'\ud800' and '\u202egnp.exe'", r"'\ud800' and '\u202egnp.exe'"),
        ("研墨\u3000磨\n\ttwo lines", "研墨\u3000磨\n\ttwo lines"),
    ],
)
def test_messages_do_nothing_to_a_terminal(message: str, shown: str) -> None:
    assert str(ModelError(message)) == shown


def test_what_is_quoted_stays_short() -> None:
    assert str(DataError(f"a.csv: {'x' * 10**6} is no label\nuse another")).endswith("xxx is no label\nuse another")
    assert len(str(DataError(f"{'x' * 10**6}\nb"))) < 1100
    assert len(str(YanmoError("x\n" * 10**6))) < 8100
    assert str(Interrupted("stopped", 2)) == "stopped" and Interrupted("stopped", 2).exit_status == 130
