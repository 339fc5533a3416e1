"""Tags <-> spans in every scheme, which scheme some rows are in, and what becomes of sequences that break it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics.sequence_labeling import get_entities  # conlleval in Python

from yanmo.text import tagging
from yanmo.text.tagging import PLAIN, SCHEMES, Span

# The same spans in each scheme.
SPANS = [Span("A", 0, 1), Span("A", 1, 3), Span("B", 4, 7), Span("A", 7, 8)]
WRITTEN = {
    "IOB1": "I-A B-A I-A O I-B I-B I-B I-A O",
    "IOB2": "B-A B-A I-A O B-B I-B I-B B-A O",
    "BIOES": "S-A B-A E-A O B-B I-B E-B S-A O",
    "BMES": "S-A B-A E-A O B-B M-B E-B S-A O",
    "BILOU": "U-A B-A L-A O B-B I-B L-B U-A O",
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes(scheme: str) -> None:
    tags = WRITTEN[scheme].split()
    assert tagging.spans(tags) == SPANS
    assert tagging.written(SPANS, len(tags), scheme) == tags
    assert tagging.recognise([tags]) == scheme
    assert not list(tagging.breaks([tags], scheme))
    assert tagging.converted(tags, "IOB2") == WRITTEN["IOB2"].split()


@st.composite
def rows(draw: st.DrawFn) -> tuple[int, list[Span]]:
    edges = sorted(draw(st.sets(st.integers(0, 12), min_size=2)))
    found = [Span(draw(st.sampled_from("AB")), start, end) for start, end in itertools.pairwise(edges)]
    return edges[-1] + draw(st.integers(0, 2)), [span for span in found if draw(st.booleans())]


@given(rows(), st.sampled_from([*SCHEMES]))
def test_any_spans_survive(row: tuple[int, list[Span]], scheme: str) -> None:
    length, spans = row
    tags = tagging.written(spans, length, scheme)
    assert tagging.spans(tags) == spans and not list(tagging.breaks([tags], scheme))
    assert sum(tag != "O" for tag in tags) == sum(span.end - span.start for span in spans)


@given(st.lists(st.sampled_from([f"{letter}-{kind}" for letter in "BIES" for kind in "AB"] + ["O"])))
def test_any_sequence_is_read_as_conlleval_reads_it(tags: list[str]) -> None:
    assert tagging.spans(tags) == [Span(kind, start, end + 1) for kind, start, end in get_entities(tags)]
    mended = tagging.converted(tags, "BIOES")
    assert not list(tagging.breaks([mended], "BIOES")) and tagging.spans(mended) == tagging.spans(tags)


# tags, their scheme
RECOGNISED = {
    "nothing": ("", "IOB2"),
    "only O": ("O O O", "IOB2"),
    "only B": ("O B-A O B-A", "IOB2"),
    "only I": ("O I-A O I-A", "IOB1"),
    "only S": ("O S-A O S-A", "BIOES"),
    "words": ("B M E S B E S", "BMES"),
    "words of at most two": ("B E S B E S", "BIOES"),
    "spans of one type": ("O B I I O B", "IOB2"),
    "types with signs": ("B-PER.NAM I-PER.NAM O B-LOC-2", "IOB2"),
    "mostly sound": ("B-A I-A O B-B O B-A I-A O I-B I-A", "IOB2"),
    "parts of speech": ("DT NN VB O", PLAIN),
    "Chinese parts of speech": ("n v u Ng w", PLAIN),
}


@pytest.mark.parametrize(("tags", "scheme"), RECOGNISED.values(), ids=RECOGNISED)
def test_recognise(tags: str, scheme: str) -> None:
    assert tagging.recognise([tags.split()]) == scheme


def test_tags_of_no_scheme_among_others() -> None:
    rows = [["O", "B-PER", "I-PER", "b-PER"], ["O", "O", "b-PER"]]
    assert tagging.recognise(rows) == "IOB2"
    assert [tag for row in rows for tag in row if not tagging.fits(tag)] == ["b-PER"] * 2


# labels, their scheme
LABELS = {
    "IOB2": ("O B-A I-A B-B I-B", "IOB2"),
    "BIOES": ("O B-A I-A E-A S-A", "BIOES"),
    "words": ("B M E S", "BMES"),
    "IOB1": ("O I-A I-B B-B", "IOB1"),
    "no B": ("O I-A I-B", "IOB1"),
    "parts of speech": ("NN VB", PLAIN),
}


@pytest.mark.parametrize(("labels", "scheme"), LABELS.values(), ids=LABELS)
def test_scheme_of_labels(labels: str, scheme: str) -> None:
    assert tagging.scheme_of(labels.split()) == scheme


@pytest.mark.parametrize("scheme", [*SCHEMES][:-1])  # a model's labels never say IOB1 where they can say IOB2
def test_the_tags_of_types(scheme: str) -> None:
    labels = tagging.tag_set(["B", "A"], scheme)
    assert {*labels} >= {*WRITTEN[scheme].split()} - {"O"} and tagging.scheme_of(["O", *labels]) == scheme


# scheme, tags, where they break it and how, what they are taken for in IOB2
BROKEN = {
    "I behind O": ("IOB2", "O I-A I-A", [(1, "I-A behind O")], "O B-A I-A"),
    "I first": ("IOB2", "I-A O", [(0, "I-A at the beginning")], "B-A O"),
    "another type inside": ("IOB2", "B-A I-B", [(1, "I-B behind B-A")], "B-A B-B"),
    "B without need": ("IOB1", "I-A B-B", [(1, "B-B behind I-A")], "B-A B-B"),
    "B without E": ("BIOES", "B-A O", [(1, "O behind B-A")], "B-A O"),
    "B at the end": ("BIOES", "O B-A", [(1, "B-A at the end")], "O B-A"),
    "E without B": ("BIOES", "O E-A", [(1, "E-A behind O")], "O B-A"),
    "E of another type": ("BMES", "B-A M-A E-B O", [(2, "E-B behind M-A")], "B-A I-A B-B O"),
    "I behind E": ("BIOES", "B-A E-A I-A O", [(2, "I-A behind E-A"), (3, "O behind I-A")], "B-A I-A B-A O"),
    "a letter of another scheme": (
        "BIOES",
        "B-A M-A E-A",
        [(1, "M-A behind B-A"), (2, "E-A behind M-A")],
        "B-A I-A I-A",
    ),
    "words": ("BMES", "B B E", [(1, "B behind B")], "B B I"),
}


@pytest.mark.parametrize(("scheme", "tags", "broken", "mended"), BROKEN.values(), ids=BROKEN)
def test_broken(scheme: str, tags: str, broken: list[tuple[int, str]], mended: str) -> None:
    found = list(tagging.breaks([["O"], tags.split()], scheme))
    assert [(place, reason) for _, place, reason in found] == broken and {row for row, _, _ in found} == {1}
    assert tagging.converted(tags.split(), "IOB2") == mended.split()


def test_words_as_characters() -> None:
    characters, tags = tagging.segmented(["中共中央", "总书记", "江", "泽民"])
    assert "".join(characters) == "中共中央总书记江泽民" and "".join(tags) == "BMMEBMESBE"
    assert tagging.segmented(["江", "泽民"], ["nr", "nr"])[1] == ["S-nr", "B-nr", "E-nr"]
