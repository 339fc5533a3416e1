"""How well an index answers queries that somebody judged: `yanmo search INDEX queries=FILE judgements=FILE`."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.errors import DataError, gather, some
from yanmo.index import Hit, Index, documents
from yanmo.progress import bar, say
from yanmo.text import formats, sources

DEEP = 1000  # documents of a ranking that are scored, as in TREC
_AT_ONCE = 64  # queries
_USUAL = {  # what people call the columns of a table of judgements
    "query": ("query", "query_id", "query-id", "qid", "topic"),
    "document": ("document", "document_id", "doc_id", "doc", "docid", "corpus-id", "passage_id", "pid"),
    "grade": ("score", "grade", "relevance", "relevant", "label"),
}

Asker = Callable[[Sequence[str]], list[list[Hit]]]
Grades = dict[str, dict[str, float]]  # query -> document -> grade


def scores(
    opened: Index, askers: Mapping[str, Asker], queries: Path, judgements: Path, least: float | None
) -> dict[str, dict[str, Any]]:
    """The scores of each way of asking, over the queries that are judged; those of `tasks.metrics.ranking`, with `map_interval` beside them
    and, of all ways but the first, `against` that one: the difference of their MAP, with an interval and p. least: the grade from which
    on documents are relevant, all alike; None: above 0, and a grade is what nDCG gains."""
    from yanmo.tasks.metrics import ranking, significance

    sources.present([queries, judgements])
    grades, texts = _judged(opened, queries, judgements)
    if least is not None:
        grades = {
            query: {document: float(grade >= least) for document, grade in judged.items()}
            for query, judged in grades.items()
        }
    if idle := sum(max(judged.values()) <= 0 for judged in grades.values()):
        told = f"{judgements}: {idle:,} of {len(grades):,} queries have no relevant document"
        if idle == len(grades):
            raise DataError(f"{told}, so there is nothing to score; give another relevant=")
        say(told)
    found: dict[str, dict[str, Any]] = {}
    counts = []
    for way, ask in askers.items():
        run = _run(way, ask, texts)
        precisions = ranking.per_query(run, grades)["map"]
        counts.append(np.stack([precisions, np.ones(len(precisions))], 1))
        found[way] = ranking.ranking(run, grades) | {
            "map_interval": significance.interval(counts[-1], significance.mean)
        }
        if len(counts) > 1:
            against = significance.paired_bootstrap(counts[-1], counts[0], significance.mean)
            found[way]["against"] = {"way": next(iter(askers)), **against}
    return found


def told(found: Mapping[str, Mapping[str, Any]]) -> str:
    """For people: a line for each way of asking."""
    lines = []
    for way, each in found.items():
        intervals = [f"({low:.4f}-{high:.4f})" for low, high in (each["map_interval"], each["interval"])]
        more = f"  recall@100 {each['recall@100']:.4f}  MRR {each['mrr']:.4f}"
        lines.append(
            f"{way:8}  MAP {each['map']:.4f} {intervals[0]}  nDCG@10 {each['ndcg@10']:.4f} {intervals[1]}{more}"
        )
        if "against" in each:
            than, (low, high) = each["against"], each["against"]["interval"]
            lines[-1] += f"  MAP less that of {than['way']} {than['difference']:+.4f} ({low:+.4f} to {high:+.4f})"
    return "\n".join(lines) + "\n"


def _run(way: str, ask: Asker, texts: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """query -> document -> how good its place is: what stands in a ranking counts by its order, and scores may be equal."""
    run: dict[str, dict[str, float]] = {}
    names = list(texts)
    with bar(f"asking {len(names):,} queries ({way})", len(names), unit="queries") as advance:
        for begin in range(0, len(names), _AT_ONCE):
            block = names[begin : begin + _AT_ONCE]
            for name, hits in zip(block, ask([texts[each] for each in block]), strict=True):
                run[name] = {hit.document.id: -float(place) for place, hit in enumerate(hits)}
            advance(len(block))
    return run


def _judged(opened: Index, queries: Path, judgements: Path) -> tuple[Grades, dict[str, str]]:
    """The grades, and the text of each judged query. Raises DataError for judgements that fit neither the queries nor the index."""
    asked = {row.id: row.text for row in documents.rows(queries)}
    known = {document.id for document in opened.documents}
    grades: Grades = {}
    faults, strange = [], 0
    for row in formats.raw(judgements, columns=[*itertools.chain.from_iterable(_USUAL.values())]):
        where = f"{judgements}:{row.line}"
        cells = {name: next((row.fields[c] for c in usual if c in row.fields), None) for name, usual in _USUAL.items()}
        if lacking := [name for name, cell in cells.items() if cell is None]:
            faults.append(f"{where}: no column '{lacking[0]}'; the row has: {', '.join(row.fields)}")
            continue
        query, document = str(cells["query"]).strip(), str(cells["document"]).strip()
        try:
            grade = float(str(cells["grade"]))
        except ValueError:
            faults.append(f"{where}: grade '{cells['grade']}'; expected a number, above 0 for what is relevant")
            continue
        if not asked.get(query):
            faults.append(f"{where}: no query '{query}' in {queries}; it has {', '.join([*asked][:5])}, ...")
        strange += document not in known
        grades.setdefault(query, {})[document] = grade
    gather(faults, f"{judgements}: {some(len(faults), 'row')} can't be used:", DataError)
    if not grades:
        raise DataError(f"{judgements}: no rows. Expected a query, a document and its grade a row")
    if strange:
        told = f"{judgements}: {strange:,} of {sum(map(len, grades.values())):,} judgements are of documents that are not in the index"
        if strange == sum(map(len, grades.values())):
            raise DataError(
                f"{told}; it has {', '.join(sorted(known)[:5])}, ... Build it with the column of the ids: columns.id=..."
            )
        say(f"{told}, so they count as not found")
    if left := len(asked.keys() - grades.keys()):
        say(f"{queries}: {left:,} of {len(asked):,} queries are not judged, and not asked")
    return grades, {query: asked[query] for query in grades}
