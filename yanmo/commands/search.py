"""`yanmo search index=FOLDER data=docs.jsonl` builds an index, or adds to it; `yanmo search FOLDER "query"` asks it, also with queries from
files or standard input. With `model=` it has vectors beside words; documents with an answer are a FAQ. With `judgements=` it is scored.

What asks for words alone imports no torch.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import Field

from yanmo import index, settings
from yanmo.commands import search_scores
from yanmo.errors import SettingsError, gather, some
from yanmo.index import Columns, Hit, Index, documents, faq
from yanmo.index.index import Embed, Mode, Score
from yanmo.machine import Machine
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.text import formats, sources

if TYPE_CHECKING:
    import numpy as np

    from yanmo.engine import Engine

_SHOWN = 100  # letters of a text on a terminal
_AT_ONCE = 256  # queries


class Settings(Block):
    index: Path | None = Field(None, description="the folder of the index")
    data: Path | list[Path] | None = Field(None, description="files of documents that are put in")
    columns: Columns = Field(default_factory=Columns, description="which column is what")
    delete: str | list[str] = Field([], description="ids of documents that go")
    model: str | None = Field(
        None, description="a folder or name; puts vectors beside the words; null: the index's own"
    )
    mode: Mode | None = Field(
        None, description="lexical, dense or hybrid; null: hybrid where there are vectors, else lexical"
    )
    rerank: Path | None = Field(None, description="a run that scores pairs, and so puts what was found in a new order")
    k: int = Field(10, ge=1, description="documents for each query")
    depth: int = Field(100, ge=1, description="how many of each ranking are joined, or put in a new order")
    threshold: float | None = Field(
        None, ge=0, le=1, description="FAQ: the least match of an answer; null: as it was tuned"
    )
    tune: Path | None = Field(
        None, description="FAQ: questions with the answers that they should be given, or none; sets the threshold"
    )
    queries: Path | None = Field(None, description="queries with ids, for which it is scored")
    judgements: Path | None = Field(
        None,
        description="which documents are relevant to these queries: columns query, document, grade, or TREC's qrels",
    )
    relevant: float | None = Field(
        None, description="the least grade of a relevant document, all alike; null: above 0, and nDCG gains the grade"
    )
    machine: Machine = Field(default_factory=Machine)


def search(folder: str | Path, queries: Sequence[str] = (), **keys: Any) -> list[dict[str, Any]]:
    """What `yanmo search FOLDER QUERY... --json` prints, an answer a query, after the changes that the keys ask for. (For many calls, keep
    the index: `yanmo.index.load(folder).search(queries)`.)"""
    asked = settings.from_arguments(Settings, None, {**keys, "index": folder})
    _change(asked, Path(folder))
    return [*_answers(asked, index.load(Path(folder)), queries)] if queries else []


def command(words: Words[Settings]) -> dict[str, Any] | None:
    asked, given = words.settings, list(words.typed)
    if asked.index is None and given:
        asked.index = Path(given.pop(0))
    if asked.index is None:
        raise SettingsError(
            'expected an index: yanmo search index=FOLDER data=DOCUMENTS.jsonl builds one, yanmo search FOLDER "query" asks it'
        )
    if (asked.queries is None) != (asked.judgements is None):
        raise SettingsError("to score an index it takes both: queries=FILE judgements=FILE")
    if asked.judgements and given:
        raise SettingsError(f"'{given[0]}': with judgements= the queries are those of queries={asked.queries} alone")
    done = _change(asked, asked.index)
    if asked.judgements:
        return done | _scored(asked, index.load(asked.index), words.json)
    if done and not given:
        return done
    opened = index.load(asked.index)
    if not given and sys.stdin.isatty():
        return _told(asked.index, opened)
    if not (queries := [*_queries(given)] if given else _lines()):
        raise SettingsError(f'no query given: yanmo search {asked.index} "query", or lines on standard input')
    for answer in _answers(asked, opened, queries):
        sys.stdout.write(
            json.dumps(answer, ensure_ascii=False) + "\n" if words.json else _shown(answer, len(queries) > 1)
        )
    return None


# ---- changes


def _change(asked: Settings, folder: Path) -> dict[str, Any]:
    """Do what the keys ask for, and say it; nothing where they ask for nothing."""
    if folder.is_file():
        raise SettingsError(f"index={folder}: a file, expected a folder. To build one: index=FOLDER data={folder}")
    given, gone = sources.listed(asked.data), [asked.delete] if isinstance(asked.delete, str) else asked.delete
    sources.present(given)
    old = index.load(folder) if index.is_index(folder) else None
    done: dict[str, Any] = {}
    if given or gone or (asked.model and old and old.vectors is None):
        new, empty = documents.read(given, asked.columns) if given else ([], [])
        if empty:
            say(f"{some(len(empty), 'row')} without text left out: {', '.join(empty[:5])}{' ...' * (len(empty) > 5)}")
        model = asked.model or (old.about.model if old else None)
        embed = _embedder(model, asked.machine) if model else None
        with nullcontext() if embed else bar("making the index"):
            change = index.change(folder, new, gone, embed=embed, model=model and _place(model))
        if model and (old is None or old.vectors is None):
            _doubt(model)
        done = {"index": str(folder), **asdict(change)}
        counts = ", ".join(f"{count:,} {name}" for name, count in asdict(change).items() if name != "documents")
        say(f"{folder}: {some(change.documents, 'document')} ({counts})")
    if asked.tune:
        opened = index.load(folder)
        tuned = _tune(asked, opened, asked.tune)
        index.set_threshold(folder, tuned.threshold, asked.mode or opened.mode)
        done |= {"index": str(folder), "tuned": asdict(tuned)}
        say(
            f"threshold {tuned.threshold:.4f}: of {some(tuned.rows, 'question')} {tuned.right:,} get their answer, {tuned.wrong:,} a wrong "
            f"one, {tuned.rightly_unanswered:,} rightly none, {tuned.wrongly_unanswered:,} wrongly none"
        )
    return done


def _tune(asked: Settings, opened: Index, path: Path) -> faq.Tuned:
    _needs_answers(opened, f"tune={path}")
    sources.present([path])
    rows = [row for row in documents.rows(path, asked.columns) if row.text]
    found = _asker(asked, opened)([row.text for row in rows])
    nearest = [hits[0] if hits else None for hits in found]
    right = [
        hit is not None and bool(row.answer) and hit.document.answer == row.answer
        for hit, row in zip(nearest, rows, strict=True)
    ]
    if all(row.answer for row in rows):
        say(
            f"{path}: every question has an answer, so nothing shows when there should be none; the threshold will be low"
        )
    return faq.tune([hit.match if hit else 0 for hit in nearest], right, [bool(row.answer) for row in rows])


def _needs_answers(opened: Index, key: str) -> None:
    if not opened.about.answers:
        raise SettingsError(f"{key}: for a FAQ, and these documents have no answers (columns question and answer)")


def _place(model: str) -> str:
    """How the index remembers a model: a folder by its whole path, so that it is found from elsewhere."""
    return str(Path(model).resolve()) if Path(model).exists() else model


def _doubt(model: str) -> None:
    """Say so where a model was not made for what it is used for."""
    from yanmo import hub

    if not (hub.resolve(model) / "modules.json").is_file():
        say(
            f"warning: {model} was not trained to embed sentences (its folder has no modules.json), so words alone may find more: "
            "mode=lexical"
        )


# ---- questions


def _asker(asked: Settings, opened: Index) -> Callable[[Sequence[str]], list[list[Hit]]]:
    """Queries -> what is found for each."""
    mode, model = asked.mode or opened.mode, asked.model or opened.about.model
    embed = _embedder(model, asked.machine) if model and mode != "lexical" else None
    rerank = _scorer(asked.rerank, asked.machine) if asked.rerank else None
    return partial(opened.search, k=asked.k, mode=mode, embed=embed, rerank=rerank, depth=asked.depth)


def _scored(asked: Settings, opened: Index, as_json: bool) -> dict[str, Any]:
    """How well it answers judged queries: in one mode, or in all that it has; as it is, and in the order of a reranker."""
    assert asked.queries is not None and asked.judgements is not None  # noqa: S101 (`command`)
    modes = (asked.mode,) if asked.mode else ("lexical",) if opened.vectors is None else get_args(Mode)
    deep = asked.model_copy(update={"k": min(search_scores.DEEP, len(opened.documents)), "rerank": None})
    ways = {str(mode): _asker(deep.model_copy(update={"mode": mode}), opened) for mode in modes}
    if asked.rerank:
        ways["reranked"] = _asker(asked.model_copy(update={"k": asked.depth}), opened)
    found = search_scores.scores(opened, ways, asked.queries, asked.judgements, asked.relevant)
    if not as_json:
        sys.stdout.write(search_scores.told(found))
    return {"index": str(asked.index), "scores": found}


def _answers(asked: Settings, opened: Index, queries: Sequence[str]) -> Iterator[dict[str, Any]]:
    least = opened.about.threshold if asked.threshold is None else asked.threshold
    if asked.threshold is not None:
        _needs_answers(opened, "threshold")
    elif least is not None and asked.mode not in (None, opened.mode):
        raise SettingsError(
            f"mode={asked.mode}: the threshold was tuned for mode={opened.mode}; give one: threshold=..."
        )
    ask = _asker(asked, opened)
    for begin in range(0, len(queries), _AT_ONCE):
        block = queries[begin : begin + _AT_ONCE]
        for query, hits in zip(block, ask(block), strict=True):
            answer: dict[str, Any] = {"query": query}
            if opened.about.answers:
                near = hits and hits[0].match >= (least or 0)
                answer["answer"] = (hits[0].document.answer or None) if near else None
            yield answer | {"results": [_result(hit) for hit in hits]}


def _result(hit: Hit) -> dict[str, Any]:
    content = hit.document.content()
    return {"id": content.pop("id"), "score": hit.score, "match": hit.match, **content}


def _shown(answer: Mapping[str, Any], several: bool) -> str:
    """For people: a line for each document."""
    head = [answer["query"]] if several else []
    if "answer" in answer:
        head.append(f"answer: {answer['answer']}" if answer["answer"] is not None else "no answer")
    by = "match" if "answer" in answer else "score"  # a match is what a threshold speaks of
    rows = [
        f"{place:3}  {result[by]:8.4f}  {result['id']}  {_short(result['text'])}"
        for place, result in enumerate(answer["results"], 1)
    ]
    return "\n".join([*head, *(rows or ["nothing found"]), *[""] * several]) + "\n"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN else line[: _SHOWN - 3] + "..."


def _told(folder: Path, opened: Index) -> dict[str, Any]:
    about = opened.about
    made = f"vectors by {about.model}" if opened.vectors is not None else "no vectors"
    say(f'{folder}: {some(len(opened.documents), "document")}, words, {made}. Ask it: yanmo search {folder} "query"')
    return {"index": str(folder), "documents": len(opened.documents), **asdict(about)}


def _queries(given: Sequence[str]) -> Iterator[str]:
    """Each word is a query, or a file of queries where it names one."""
    absent = [f"{formats.absent(Path(word))}" for word in given if sources.is_name(word) and not sources.is_file(word)]
    gather(absent, "expected a query, or a file of queries:", SettingsError)
    for word in given:
        yield from (row.text for row in documents.rows(Path(word))) if sources.is_file(word) else [word]


def _lines() -> list[str]:
    return [text for _, text in sources.decode(sys.stdin.buffer, "standard input") if text.strip()]


# ---- models, which are opened when they are needed


def _embedder(model: str, asked: Machine) -> Embed:
    @cache
    def opened() -> "Engine":
        from yanmo import machine
        from yanmo.engine import load

        if Path(model).is_absolute() and not Path(model).exists():
            raise SettingsError(
                f"the model of these vectors, {model}, is not there; give its place as model=..., or mode=lexical"
            )
        return load(model, device=machine.prepare(asked))

    def embed(texts: Sequence[str]) -> "np.ndarray":
        from yanmo.commands.embed import vectors

        return vectors(opened(), texts)

    return embed


def _scorer(run: Path, asked: Machine) -> Score:
    from yanmo.commands.predict import opened

    engine = opened(run, asked)

    def score(pairs: Sequence[tuple[str, str]]) -> list[float]:
        answers = engine.predict([*pairs])
        if answers and "score" not in answers[0]:
            raise SettingsError(
                f"rerank={run}: its task gives pairs of texts no score; expected a run of the task rerank"
            )
        return [float(answer["score"]) for answer in answers]

    return score
