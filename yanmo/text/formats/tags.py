"""Tags of spans: which schemes there are, which one rows follow, and the same spans in IOB2."""

import re
from collections.abc import Iterable, Sequence

TAG = re.compile(r"O|[BIESMLU]-\S+")  # of IOB1, IOB2, BIOES, BMES or BILOU
_BEGIN, _END = "BSU", "ESLU"
_ALONE = frozenset("ESMLU")  # prefixes that only schemes have in which the end of a span shows


def iob2(tags: Iterable[str]) -> list[str]:
    """Tags of IOB1, IOB2, BIOES, BMES or BILOU as IOB2: B- before the first token of every span, I- before its others."""
    found, inside = [], ""
    for tag in tags:
        prefix, _, kind = tag.partition("-")
        if not kind:
            found.append(tag)
            inside = ""
            continue
        found.append(f"{'B' if prefix in _BEGIN or kind != inside else 'I'}-{kind}")
        inside = "" if prefix in _END else kind
    return found


def broken(rows: Sequence[Sequence[str]]) -> list[int]:
    """The rows whose tags are not as their scheme has them, the scheme being that which most of these rows follow: in IOB1 a B- parts two
    spans of a kind that touch, and begins no other; in IOB2 every span begins with it; in the others every end shows, too."""
    if any(tag[:1] in _ALONE and "-" in tag for row in rows for tag in row):
        return [number for number, row in enumerate(rows) if not _closed(row)]
    wrong = [
        [number for number, row in enumerate(rows) if not fits(row)]
        for fits in (_every_span_begins, _only_touching_spans_begin)
    ]
    return min(wrong, key=len)


def _pairs(row: Sequence[str]) -> Iterable[tuple[str, str, str, str]]:
    """(prefix, kind) of each tag's neighbour before it and its own."""
    before = ("O", "")
    for tag in row:
        prefix, _, kind = tag.partition("-")
        yield (*before, prefix, kind)
        before = (prefix, kind)


def _every_span_begins(row: Sequence[str]) -> bool:
    return all(prefix != "I" or kind == last_kind for _, last_kind, prefix, kind in _pairs(row))


def _only_touching_spans_begin(row: Sequence[str]) -> bool:
    return all(prefix != "B" or kind == last_kind for _, last_kind, prefix, kind in _pairs(row))


def _closed(row: Sequence[str]) -> bool:
    """BIOES, BMES, BILOU: a span of several tokens has a beginning and an end, in one kind."""
    for last, last_kind, prefix, kind in _pairs([*row, "O"]):
        begun = last in "BIM"  # the span before is not over
        if begun != (prefix in "IMEL") or (begun and kind != last_kind):
            return False
    return True
