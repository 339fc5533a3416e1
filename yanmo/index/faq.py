"""When a question is near enough to a known one to be given its answer. Knows matches and answers, no text and no file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Tuned:
    """A threshold, and what becomes of the questions that it was tuned on."""

    threshold: float
    rows: int
    right: int  # given their answer
    wrong: int  # given another answer, or one where there is none
    rightly_unanswered: int  # have none, and are given none
    wrongly_unanswered: int  # have one


def tune(matches: Sequence[float], right: Sequence[bool], answerable: Sequence[bool]) -> Tuned:
    """The threshold under which most questions fare well: are given their answer, or none where there is none. Of several such it is
    the highest, since a wrong answer is worse than none; it lies halfway to the next lower match.

    matches: of the nearest known question to each of these, 0 to 1; right: whether that one has the question's answer; answerable:
    whether the question has an answer at all."""
    values, fits, known = np.array(matches, float), np.array(right, bool), np.array(answerable, bool)
    steps = np.unique(values)[::-1]  # a question is answered from its match on
    answered = values[None] >= np.append(np.inf, steps)[:, None]
    well = (answered & fits | ~answered & ~known).sum(1)
    chosen = int(well.argmax())
    bounds = np.concatenate([[1.0], steps, [0.0]])
    under = answered[chosen]
    return Tuned(
        float(bounds[chosen : chosen + 2].mean()),
        len(values),
        int((under & fits).sum()),
        int((under & ~fits).sum()),
        int((~under & ~known).sum()),
        int((~under & known).sum()),
    )
