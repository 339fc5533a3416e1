"""What the tests of the families measured against their oracles, and the table in docs/families.md that shows it.

`YANMO_TABLE=write python -m pytest tests/models` writes the table anew.
"""

import os
from collections import defaultdict
from pathlib import Path

from torch import Tensor

PAGE = Path(__file__).parents[1] / "docs/families.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
STATES, LOSS, GRADIENTS, PIECES = "states and logits", "loss", "gradients", "decoding in pieces"
WHAT = (STATES, LOSS, GRADIENTS, PIECES)
TOLERANCE = 1e-5

_largest: dict[tuple[str, str], float] = {}
_oracles: dict[str, set[str]] = defaultdict(set)
_cases: dict[str, set[str]] = defaultdict(set)
_counts: dict[str, str] = {}


def within(
    family: str, case: str, what: str, oracle: str, difference: Tensor | float, tolerance: float = TOLERANCE
) -> None:
    """Assert that a difference from the oracle is below the tolerance, and keep it for the table."""
    largest = float(difference.abs().max() if isinstance(difference, Tensor) else abs(difference))
    assert largest < tolerance, f"{family} {case}: {what} differ from {oracle} by {largest:.3g}"
    key = (family, what)
    _largest[key] = max(_largest.get(key, 0.0), largest)
    _oracles[family] |= {oracle} if what != PIECES else set()
    _cases[family].add(case)


def counted(family: str, size: str, parameters: int) -> None:
    """A published number of parameters was met."""
    _counts[family] = f"{size}: {parameters:,}"


def rows() -> dict[str, list[str]]:
    """What was measured in this run: family -> the other cells."""
    found = {}
    for family, oracles in _oracles.items():
        differences = [f"{_largest[family, what]:.1e}" if (family, what) in _largest else "" for what in WHAT]
        found[family] = [
            "; ".join(sorted(oracles)),
            str(len(_cases[family])),
            *differences,
            _counts.get(family, ""),
        ]
    return found


def write() -> None:
    """Put what was measured into the page, if that was asked for; families that were not stay as they stand there."""
    if os.environ.get("YANMO_TABLE") != "write" or not _oracles:
        return
    head = ["family", "oracle", "configurations", *WHAT, "published parameters, met"]
    found = [[f"`{family}`", *cells] for family, cells in sorted({**shown(), **rows()}.items())]
    table = "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *found))
    text = PAGE.read_text("utf-8")
    before, rest = text.split(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{table}\n{END}{rest.split(END)[1]}", "utf-8")


def shown() -> dict[str, list[str]]:
    """The table as it stands in the page: family -> the other cells."""
    lines = PAGE.read_text("utf-8").split(BEGIN)[1].split(END)[0].strip().splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0].strip("`"): row[1:] for row in cells}
