"""Which part each row of a corpus goes to, such that what belongs together stays together and what was divided once never moves.

Knows keys, clusters (rows that are near duplicates, fragments of one another, or of one group) and what was divided before. Knows no texts
or files.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from yanmo.text.split import check_shares, place_of

Parts = list[str | None]


def divide(
    keys: Sequence[str],
    clusters: Sequence[Hashable],
    shares: Mapping[str, float],
    known: Mapping[str, str],
    *,
    strata: Sequence[str] | None = None,
    times: Sequence[Any] | None = None,
    cuts: Sequence[Any] | None = None,
) -> Parts:
    """The part of each row; None for a row that is set aside, because it would join rows that were put into different parts before.

    keys: of the texts, equal for equal texts. known: key -> part, from before. By default a free cluster goes where its smallest key
    says. With strata (labels), the shares hold within each stratum, as near as whole clusters allow. With times, the earliest rows go to
    the first part; cuts: the times at which the later parts begin, from before.
    """
    check_shares(shares)
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, cluster in enumerate(clusters):
        members[cluster].append(row)
    parts: Parts = [known.get(key) for key in keys]
    free: list[list[int]] = []
    for rows in members.values():
        before = {part for row in rows if (part := parts[row]) is not None}
        if len(before) == 1:
            [part] = before
            for row in rows:
                parts[row] = part
        elif not before:
            free.append(rows)
    if times is not None:
        chosen = _by_time(free, times, shares, cuts if cuts is not None else begins(times, shares))
    elif strata is not None:
        chosen = _by_stratum(free, keys, strata, shares, parts)
    else:
        chosen = [place_of(min(keys[row] for row in rows), shares) for rows in free]
    for rows, part in zip(free, chosen, strict=True):
        for row in rows:
            parts[row] = part
    return parts


def begins(times: Sequence[Any], shares: Mapping[str, float]) -> list[Any]:
    """The times at which the second and later parts begin, when the rows in the order of time are cut by their shares."""
    order = sorted(times)
    return [order[min(len(order) - 1, round(edge * len(order)))] for edge in list(accumulate(shares.values()))[:-1]]


def _by_time(
    free: Sequence[list[int]], times: Sequence[Any], shares: Mapping[str, float], cuts: Sequence[Any]
) -> list[str]:
    """A cluster goes where its earliest row belongs, so that no later part repeats an earlier one."""
    names = list(shares)
    return [names[bisect_right(cuts, min(times[row] for row in rows))] for rows in free]


def _by_stratum(
    free: Sequence[list[int]], keys: Sequence[str], strata: Sequence[str], shares: Mapping[str, float], parts: Parts
) -> list[str]:
    """The largest clusters first, each to the part that lacks most of the stratum which most of its rows are of."""
    stratum = [Counter(strata[row] for row in rows).most_common(1)[0][0] for rows in free]
    there = Counter((label, part) for label, part in zip(strata, parts, strict=True) if part is not None)
    total = Counter(label for label, part in zip(strata, parts, strict=True) if part is not None)
    for label, rows in zip(stratum, free, strict=True):
        total[label] += len(rows)
    chosen = [""] * len(free)
    for unit in sorted(range(len(free)), key=lambda i: (-len(free[i]), min(keys[row] for row in free[i]))):
        label = stratum[unit]
        chosen[unit] = max(shares, key=lambda part: shares[part] * total[label] - there[label, part])
        there[label, chosen[unit]] += len(free[unit])
    return chosen
