"""Where words stand in a text."""

from yanmo.text.forms.base import Mark


def nearest(text: str, wanted: str, start: int | None) -> Mark | None:
    """Where `wanted` stands in a text: at `start`, else at the nearest place (None: at the first), else where it stands but for white
    space; None where it does not."""
    begin = start or 0
    if start is not None and start >= 0 and text.startswith(wanted, start):
        return start, start + len(wanted)
    after, before = text.find(wanted, max(0, begin)), text.rfind(wanted, 0, max(0, begin) + len(wanted))
    places = [place for place in (before, after) if place >= 0]
    if places:
        found = min(places, key=lambda place: abs(place - begin))
        return found, found + len(wanted)
    kept = [i for i, character in enumerate(text) if not character.isspace()]
    bare, sought = "".join(text[i] for i in kept), "".join(wanted.split())
    first = bare.find(sought) if sought else -1
    return None if first < 0 else (kept[first], kept[first + len(sought) - 1] + 1)
