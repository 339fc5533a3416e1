"""Entities and relations that two runs found in texts -> a small knowledge graph. Pure functions; knows no model and no file.

Which mentions are one entity, by rules and nothing learnt:

- the same name (NFKC, without case, any space as one) of the same type, in all documents;
- a name in brackets behind a longer one of its type, whose letters it has in their order, the first of them first (World Health
  Organization (WHO): Schwartz & Hearst 2003), or any that is said to be its short form (简称); in its document, and in the others where
  none of them says anything else;
- a part of a person's name (PARTS), its first words or its last (Obama, of Barack Obama), where just one such name stands in the document.

Nothing that was found is dropped: relations that contradict each other stand side by side, ranked.
"""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

PARTS = frozenset({"PER", "PERSON", "PER.NAM"})  # types, as data sets call persons, of whose names a part is enough
_OPENED = re.compile(r"\s*[(（]\s*(?P<said>(?:以下)?(?:简称|下称)(?:为)?[:：]?)?\s*[“\"「]?$")
_CLOSED = re.compile(r"[”\"」]?\s*[)）]")
_BETWEEN = 12  # characters that a bracket takes at most, with what stands in it before the name

Key = tuple[str, str]  # an entity: (type, normalised name)


@dataclass(frozen=True, slots=True)
class Mention:
    """An entity where it stands in a text."""

    document: int
    start: int  # characters
    end: int
    text: str
    type: str
    probability: float

    @property
    def key(self) -> Key:
        return self.type, normalised(self.text)


@dataclass(frozen=True, slots=True)
class Relation:
    """What one mention is to another, by their numbers."""

    head: int
    tail: int
    name: str
    probability: float


def normalised(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def linked(mentions: Sequence[Mention], texts: Sequence[str]) -> list[Key]:
    """Which entity each mention is. texts: of the documents; the mentions stand in their order."""
    said = _short_forms(mentions, texts)
    everywhere: dict[Key, set[Key]] = defaultdict(set)
    for (_, short), long in said.items():
        everywhere[short].add(long)
    known = {short: next(iter(longs)) for short, longs in everywhere.items() if len(longs) == 1}
    keys = [said.get((mention.document, mention.key)) or known.get(mention.key, mention.key) for mention in mentions]
    there: dict[int, set[Key]] = defaultdict(set)
    for mention, key in zip(mentions, keys, strict=True):
        if key[0] in PARTS:
            there[mention.document].add(key)
    return [_whole(key, there[mention.document]) for mention, key in zip(mentions, keys, strict=True)]


def _short_forms(mentions: Sequence[Mention], texts: Sequence[str]) -> dict[tuple[int, Key], Key]:
    """(document, short name) -> the long name behind which it stands in brackets."""
    found: dict[tuple[int, Key], Key] = {}
    for long, short in pairwise(mentions):
        text = texts[short.document]
        near = long.document == short.document and long.type == short.type and short.start - long.end <= _BETWEEN
        opened = _OPENED.fullmatch(text, long.end, short.start) if near else None
        if opened is None or not _CLOSED.match(text, short.end) or len(short.text) >= len(long.text):
            continue
        if opened["said"] or _letters_of(normalised(short.text), normalised(long.text)):
            found.setdefault((short.document, short.key), long.key)
    return found


def _letters_of(short: str, long: str) -> bool:
    """Whether all letters of a short name stand in the long one, in their order, the first of both being one."""
    letters = [letter for letter in short if letter.isalnum()]
    rest = iter(long)
    return bool(letters) and long.startswith(letters[0]) and all(letter in rest for letter in letters)


def _whole(key: Key, there: set[Key]) -> Key:
    """A person by the one longer name that begins or ends with the words of this one."""
    longer = [each for each in there if each != key and f" {each[1]} ".startswith(f" {key[1]} ") and each[0] == key[0]]
    longer += [each for each in there if each != key and f" {each[1]} ".endswith(f" {key[1]} ") and each[0] == key[0]]
    return longer[0] if key[0] in PARTS and len({*longer}) == 1 else key


def pairs(
    mentions: Sequence[Mention], keys: Sequence[Key], sentence: Sequence[int], reach: int, *, both: bool
) -> Iterator[tuple[int, int]]:
    """Which mentions of a sentence, by their numbers in the order of the text, are to be asked about: two entities with at most `reach`
    characters between them. both: in either order, not only in that of the text."""
    for place, first in enumerate(sentence):
        for second in sentence[place + 1 :]:
            if mentions[second].start - mentions[first].end <= reach and keys[first] != keys[second]:
                yield first, second
                if both:
                    yield second, first


def graph(
    mentions: Sequence[Mention], keys: Sequence[Key], relations: Sequence[Relation], where: Sequence[tuple[str, int]]
) -> dict[str, Any]:
    """The nodes and edges that `networkx.node_link_graph` reads. keys: of `linked`; where: file and line of each document.

    A node is an entity: its commonest `name`, all `names`, `type`, in how many places it stands (`count`), how sure these are in the mean
    (`probability`), and where (`mentions`). An edge is a relation of two nodes, found in `count` places; `weight` is the sum of their
    probabilities, and `rank` its place by that among all that is said of these two, in either direction."""
    groups: dict[Key, list[Mention]] = defaultdict(list)
    for mention, key in zip(mentions, keys, strict=True):
        groups[key].append(mention)
    ids = {key: f"{key[0]}:{_name(key, found)}" for key, found in groups.items()}
    nodes = [
        {
            "id": ids[key],
            "name": _name(key, found),
            "type": key[0],
            "count": len(found),
            "probability": sum(mention.probability for mention in found) / len(found),
            "names": dict(Counter(mention.text for mention in found).most_common()),
            "mentions": [
                {**_where(each, where), "from": each.start, "to": each.end, "text": each.text, "probability": each.probability}
                for each in found
            ],
        }
        for key, found in groups.items()
    ]  # fmt: skip
    return {
        "directed": True,
        "multigraph": True,
        "graph": {},
        "nodes": sorted(nodes, key=lambda node: -len(node["mentions"])),
        "edges": _edges(mentions, keys, relations, where, ids),
    }


def _edges(
    mentions: Sequence[Mention],
    keys: Sequence[Key],
    relations: Sequence[Relation],
    where: Sequence[tuple[str, int]],
    ids: Mapping[Key, str],
) -> list[dict[str, Any]]:
    groups: dict[tuple[Key, Key, str], list[Relation]] = defaultdict(list)
    for relation in relations:
        groups[keys[relation.head], keys[relation.tail], relation.name].append(relation)
    weights = {edge: sum(relation.probability for relation in found) for edge, found in groups.items()}
    ranks: Counter[frozenset[Key]] = Counter()
    edges = []
    for edge in sorted(groups, key=lambda edge: -weights[edge]):
        (head, tail, name), found = edge, groups[edge]
        ranks[frozenset((head, tail))] += 1
        edges.append(
            {
                "source": ids[head],
                "target": ids[tail],
                "key": name,
                "relation": name,
                "count": len(found),
                "probability": weights[edge] / len(found),
                "weight": weights[edge],
                "rank": ranks[frozenset((head, tail))],
                "mentions": [
                    {
                        **_where(mentions[each.head], where),
                        "head": [mentions[each.head].start, mentions[each.head].end],
                        "tail": [mentions[each.tail].start, mentions[each.tail].end],
                        "probability": each.probability,
                    }
                    for each in found
                ],
            }
        )
    return edges


def _name(key: Key, found: Sequence[Mention]) -> str:
    """The commonest spelling of an entity's own name, of equals the first."""
    own = Counter(" ".join(mention.text.split()) for mention in found if mention.key == key)
    return own.most_common(1)[0][0] if own else key[1]


def _where(mention: Mention, where: Sequence[tuple[str, int]]) -> dict[str, Any]:
    file, line = where[mention.document]
    return {"file": file, "line": line}
