"""Mentions and relations -> one graph: what is taken for one entity, who is asked about, how what was found is merged."""

import re
from typing import Any

import pytest

from yanmo.engine.graph import Mention, Relation, graph, linked, pairs

_MARK = re.compile(r"\[([^\]:]+):([A-Z]+)\]")


def marked(*texts: str) -> tuple[list[str], list[Mention]]:
    """Texts with [name:TYPE] in them -> the texts, and the mentions."""
    plain, mentions = [], []
    for document, text in enumerate(texts):
        out, end = "", 0
        for mark in _MARK.finditer(text):
            out += text[end : mark.start()]
            mentions.append(Mention(document, len(out), len(out) + len(mark[1]), mark[1], mark[2], 0.9))
            out, end = out + mark[1], mark.end()
        plain.append(out + text[end:])
    return plain, mentions


# (texts, the entity of each mention, by its normalised name)
LINKED: list[tuple[list[str], list[str]]] = [
    (["[Rome:LOC], [ROME:LOC]", "[Ｒｏｍｅ:LOC] [Rome:ORG]"], ["rome"] * 4),
    (["[New  York:LOC]", "[new york:LOC]"], ["new york"] * 2),
    (["[World Health Organization:ORG] (WHO)", "[WHO:ORG]"], ["world health organization", "who"]),
    (["[World Health Org:ORG] ([WHO:ORG])", "[WHO:ORG] [WHO:PER]"], [*["world health org"] * 3, "who"]),
    (["[Paris:LOC] ([France:LOC])"], ["paris", "france"]),
    (["[世界卫生组织:ORG]（[世卫组织:ORG]）", "[世卫组织:ORG]"], ["世界卫生组织"] * 3),
    (["[北京师范大学:ORG]（以下简称“[北师大:ORG]”），[北师大:ORG]"], ["北京师范大学"] * 3),
    (["[世界卫生组织:ORG]（简称[WHO:ORG]）"], ["世界卫生组织"] * 2),
    (["[世界卫生组织:ORG]（[WHO:ORG]）"], ["世界卫生组织", "who"]),
    # what an abbreviation is depends on the document; where others disagree it stays by itself
    (
        ["[Press Club:ORG] ([PC:ORG]) [PC:ORG]", "[Peace Corps:ORG] ([PC:ORG]) [PC:ORG]", "[PC:ORG]"],
        [*["press club"] * 3, *["peace corps"] * 3, "pc"],
    ),
    (["[Ann Lee:PER] met [Lee:PER]. [Ann:PER] left", "[Lee:PER]"], [*["ann lee"] * 3, "lee"]),
    (["[Ann Lee:PER] and [Bob Lee:PER]; [Lee:PER], [Bob:PER]"], ["ann lee", "bob lee", "lee", "bob lee"]),
    (["[Lee:PER] [Leeds:PER] [York:ORG] [New York:ORG]"], ["lee", "leeds", "york", "new york"]),
]


@pytest.mark.parametrize(("texts", "expected"), LINKED)
def test_linked(texts: list[str], expected: list[str]) -> None:
    plain, mentions = marked(*texts)
    assert all(plain[each.document][each.start : each.end] == each.text for each in mentions)
    keys = linked(mentions, plain)
    assert [name for _, name in keys] == expected
    assert [kind for kind, _ in keys] == [each.type for each in mentions]


def test_pairs() -> None:
    plain, mentions = marked("[Ann:PER] saw [Bob:PER] and [ANN:PER] in far away [Rome:LOC]")
    keys = linked(mentions, plain)
    text_order = [(0, 1), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert [*pairs(mentions, keys, range(4), 100, both=False)] == text_order
    assert {*pairs(mentions, keys, range(4), 100, both=True)} == {*text_order, *((b, a) for a, b in text_order)}
    assert [*pairs(mentions, keys, range(4), 13, both=False)] == [(0, 1), (1, 2), (2, 3)]


def test_a_graph() -> None:
    plain, mentions = marked("[Ann:PER] in [Rome:LOC]; [ANN:PER]", "[Ann:PER] not in [Rome:LOC]")
    relations = [Relation(0, 1, "In", 0.6), Relation(3, 4, "Not", 0.9), Relation(2, 1, "In", 0.8), Relation(4, 3, "Has", 1.0)]  # fmt: skip
    made: Any = graph(mentions, linked(mentions, plain), relations, [("a", 1), ("b", 7)])
    assert [(n["id"], n["name"], n["type"], n["count"]) for n in made["nodes"]] == [
        ("PER:Ann", "Ann", "PER", 3),
        ("LOC:Rome", "Rome", "LOC", 2),
    ]
    assert made["nodes"][0]["names"] == {"Ann": 2, "ANN": 1}
    assert made["nodes"][1]["mentions"][1] == {
        "file": "b",
        "line": 7,
        "from": 11,
        "to": 15,
        "text": "Rome",
        "probability": 0.9,
    }
    told = [(e["source"], e["key"], e["target"], e["count"], e["rank"]) for e in made["edges"]]
    assert told == [
        ("PER:Ann", "In", "LOC:Rome", 2, 1),
        ("LOC:Rome", "Has", "PER:Ann", 1, 2),
        ("PER:Ann", "Not", "LOC:Rome", 1, 3),
    ]
    assert made["edges"][0]["probability"] == pytest.approx(0.7) and made["edges"][0]["weight"] == pytest.approx(1.4)
    assert made["edges"][0]["mentions"][1] == {"file": "a", "line": 1, "head": [13, 16], "tail": [7, 11], "probability": 0.8}  # fmt: skip
    assert graph([], [], [], [])["nodes"] == []
