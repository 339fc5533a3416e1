"""The table of what was measured, in the docs: every family stands in it, with a difference from its oracle that is small enough."""

from tests.measured import TOLERANCE, shown
from yanmo import models
from yanmo.models import FAMILIES


def test_every_family_stands_in_the_table() -> None:
    rows = shown()
    assert set(rows) == {models.find(name).model_type for name in FAMILIES}
    for name, (oracle, configurations, states, *others, _) in rows.items():
        assert oracle and int(configurations), name
        assert all(float(figure) < TOLERANCE for figure in (states, *filter(None, others))), name
