"""What stands behind a score: the slices of the rows where it is lower, the rows that are answered worst, those that the model knew from
training, and whether another run's score differs by more than chance.

Everything here is ready for JSON. It knows tasks by their protocol, and neither models nor pages.
"""

import io
import json
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from yanmo import files
from yanmo.errors import DataError, SettingsError, some
from yanmo.tasks.base import Answer, Scores, Statistics, Task
from yanmo.tasks.metrics import significance
from yanmo.text import doubts, formats, sources, tagging
from yanmo.text.clean import language
from yanmo.text.columns import Columns
from yanmo.text.forms import FORMS
from yanmo.text.sources import Example
from yanmo.wording import in_a_sentence

ERRORS = "errors.jsonl"
_QUANTILES = (0.25, 0.5, 0.75)  # of the lengths of texts
FEWEST = 10  # rows of a slice, or of those that are left; a score of fewer says nothing
_LANGUAGES = {"zh": "Chinese", "en": "English"}
_CERTAIN = 0.05  # a p value below it is no chance
_JUDGED_BY_ROW = ("classes", "tags", "words")  # labels of which a row's answer is right or wrong; of numbers it is off


@dataclass(frozen=True)
class Answered:
    """Labelled rows, as their task prepared them, and its answers."""

    task: Task
    answers: Sequence[Answer]
    rows: Sequence[Example]

    @property
    def headline(self) -> str:
        """The score that these rows are judged by."""
        return (self.task.headline or self.task.judged_by(self.rows)).removeprefix("-")

    def scores(self) -> Scores:
        return self.task.score(self.answers, self.rows)

    def statistics(self) -> Statistics | None:
        return self.task.statistics(self.answers, self.rows)

    def wrongness(self) -> np.ndarray | None:
        return self.task.wrongness(self.answers, self.rows)

    def only(self, kept: np.ndarray) -> "Answered":
        """Of the rows with these numbers."""
        return Answered(self.task, [self.answers[row] for row in kept], [self.rows[row] for row in kept])

    def apart(self) -> dict[str, "Answered"]:
        """Of rows of several tasks those of each, under its name; else these, under ""."""
        names = self.task.parts(self.task.settings)
        tasks = np.array([row.task for row in self.rows])
        found = {name: np.flatnonzero(tasks == name) for name in names}
        each = {name: replace(self.only(rows), task=self.task.one(name)) for name, rows in found.items() if len(rows)}
        return each if names else {"": self}


def behind(given: Answered, learnt: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """What metrics.json says of these rows beside their scores: `slices`, and `leaks` from the rows that were learnt from (train) or chosen
    by (dev); of several tasks those of each, under `tasks`."""
    told = {}
    for name, each in given.apart().items():
        known = {part: [row for row in rows if name in ("", row.task)] for part, rows in learnt.items()}
        told[name] = {
            "slices": slices(each),
            "leaks": leaked(each, leaks(each.rows, known, each.task.form)),
        }
    return told.get("", {"tasks": told})


# ---- slices


def slices(given: Answered) -> dict[str, Any]:
    """The score of all rows and of each slice: `by` length (quarters of the rows by the characters of a text), label (where labels are
    classes) and language, each slice with its `name`, `rows`, `score` and `interval`. The `measure` is what the task is judged by; where
    labels are classes the share of right rows, since an average over classes means something else where some are absent. Empty where the
    score is no function of sums over rows."""
    made, measure = given.statistics(), given.headline
    wrong = given.wrongness() if given.task.labelling == "classes" else None
    if wrong is not None:
        made = Statistics(np.stack([wrong == 0, np.ones(len(wrong))], 1), significance.mean)
        measure = "accuracy"
    if made is None:
        return {}
    counts, score, first = made
    units = [given.rows[row] for row in (range(len(counts)) if first is None else first)]

    def scored(chosen: np.ndarray) -> dict[str, Any]:
        part = counts[chosen]
        if first is None and wrong is None:  # the ranks of a rank correlation are those among the slice's own rows
            own = given.only(np.flatnonzero(chosen)).statistics()
            part = part if own is None else own.counts
        found = {"rows": len(part), "score": float(score(part.sum(0)))}
        return found | {"interval": significance.interval(part, score)}

    groups = {
        kind: [{"name": name, **scored(chosen)} for name, chosen in parts.items() if chosen.sum() >= FEWEST]
        for kind, parts in _groups(given.task, units).items()
    }
    whole = {"measure": measure, **scored(np.ones(len(counts), bool))}
    return whole | {"by": {kind: each for kind, each in groups.items() if len(each) > 1}}


def below(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(kind, slice) of the slices whose whole interval is below the score of all rows, the lowest first."""
    low = [
        (kind, each)
        for kind, group in found.get("by", {}).items()
        for each in group
        if each["interval"][1] < found["score"]
    ]
    return sorted(low, key=lambda pair: float(pair[1]["score"]))


def _groups(task: Task, rows: Sequence[Example]) -> dict[str, dict[str, np.ndarray]]:
    """kind -> name of a slice -> (rows,) which are in it."""
    texts = [row.texts[FORMS[task.form].together] for row in rows]  # of a query or a context that of all its rows
    spoken = np.array([language([text]) for text in texts])
    labels = sorted({label for row in rows for label in row.labels}) if task.labelling == "classes" else []
    return {
        "length": _by_length(np.array([len(text) for text in texts])),
        "label": {label: np.array([label in row.labels for row in rows]) for label in labels},
        "language": {name: spoken == code for code, name in _LANGUAGES.items()},
    }


def _by_length(sizes: np.ndarray) -> dict[str, np.ndarray]:
    lows = np.unique([sizes.min(), *(np.quantile(sizes, _QUANTILES, method="higher") + 1), sizes.max() + 1]).tolist()
    return {
        f"{low} to {high - 1} characters" if high - 1 > low else f"{some(low, 'character')}": (low <= sizes)
        & (sizes < high)
        for low, high in pairwise(lows)
    }


# ---- errors


def errors(given: Answered) -> list[dict[str, Any]]:
    """The rows that are answered wrongly, the worst first: file, line, text (or texts), truth, answer, wrongness; of several tasks one
    task's behind another's."""
    if (tasks := given.apart()).keys() != {""}:
        return [error for each in tasks.values() for error in errors(each)]
    wrong = given.wrongness()
    if wrong is None:
        return []
    worst = np.argsort(-wrong, kind="stable")[: np.count_nonzero(wrong > 0)]
    return [_error(given.task, given.answers[row], given.rows[row], float(wrong[row])) for row in worst]


def lines(errors: Sequence[Mapping[str, Any]]) -> str:
    """As errors.jsonl has them."""
    return "".join(json.dumps(error, ensure_ascii=False) + "\n" for error in errors)


def _error(task: Task, answer: Answer, row: Example, wrong: float) -> dict[str, Any]:
    return {
        "file": row.file,
        "line": row.line,
        "text": row.texts[0] if len(row.texts) == 1 else list(row.texts),
        "truth": _truth(task, row),
        "answer": dict(task.cells(answer)),
        "wrongness": wrong,
    }


def _truth(task: Task, example: Example) -> str:
    """The labels as people read them."""
    if task.labelling != "tags":
        return "; ".join(example.labels)
    words = [example.texts[-1][start:end] for start, end in example.marks]
    if not all(map(tagging.fits, example.labels)):
        return " ".join(map("/".join, zip(words, example.labels, strict=True)))
    found = [
        (example.texts[-1][example.marks[s.start][0] : example.marks[s.end - 1][1]], s.type)
        for s in tagging.spans(example.labels)
    ]
    return "; ".join(f"{text} ({kind})" if kind else text for text, kind in found)


# ---- rows that the model knows


def learnt_from(record: Mapping[str, Any], form: str) -> tuple[dict[str, list[Example]], str]:
    """The training and dev rows that a run folder's record names, where they are still what they were; and why others are not there."""
    parts, inputs = record.get("parts") or {}, record.get("inputs") or {}
    known = {name: [*map(Path, parts[name])] for name in ("train", "dev") if parts.get(name)}
    if not known:
        return {}, "the folder does not say which rows it was trained on"
    found: dict[str, list[Example]] = {}
    for name, paths in known.items():
        for path in paths:
            file = formats.container(path)
            if not file.exists():
                return {}, f"{path}, on which it was trained, is not here any more"
            if file.is_file() and str(file) in inputs and files.sha256(file) != inputs[str(file)]:
                return {}, f"{path}, on which it was trained, has changed since"
            try:
                with redirect_stderr(io.StringIO()):  # what is mended in these rows was said when they were learnt
                    rows = sources.read(path, Columns(**(record.get("columns") or {})), form=form)
            except DataError as error:
                return {}, f"{path}, on which it was trained, can't be read any more ({str(error).splitlines()[0]})"
            found.setdefault(name, []).extend(rows)
    return found, ""


def leaks(rows: Sequence[Example], learnt: Mapping[str, Sequence[Example]], form: str) -> dict[str, np.ndarray]:
    """(rows,) booleans for each part that was learnt from (train) or chosen by (dev): which rows ask what is asked there, too."""
    asked = FORMS[form].asked
    return {name: np.array(doubts.known(each, rows, asked), bool) for name, each in learnt.items()}


def clean(found: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """The numbers of those of so many rows that `leaks` found nowhere."""
    return np.flatnonzero(~np.any([np.zeros(rows, bool), *found.values()], axis=0))


def leaked(given: Answered, found: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """What `leaks` found, in numbers: how many rows stand in each part, of how many, and where some do and enough do not the scores
    `without` those."""
    told: dict[str, Any] = counted(found)
    kept = clean(found, len(given.rows))
    return told | ({"without": given.only(kept).scores()} if FEWEST <= len(kept) < len(given.rows) else {})


def counted(found: Mapping[str, np.ndarray]) -> dict[str, int]:
    told = {name: int(each.sum()) for name, each in found.items()}
    return told | {"of": max(map(len, found.values()), default=0)}


def warned(told: Mapping[str, Any], name: str = "test") -> str:
    """What `counted` gives, in words; "" where no row is known."""
    train, dev = told.get("train", 0), told.get("dev", 0)
    if train and dev:
        return f"{train:,} of {some(told['of'], f'{name} row')} stand in the training rows, and {dev:,} in the dev rows"
    place, count = ("training", train) if train else ("dev", dev)
    return f"{count:,} of {some(told['of'], f'{name} row')} stand in the {place} rows" if count else ""


# ---- two runs


def compare(ours: Answered, theirs: Answered, name: str, against: str) -> dict[str, Any]:
    """Ours less theirs on the same rows: the `difference` of their headline score, its `interval`, `p` (paired bootstrap); where a row is
    right or wrong also `mcnemar`; and all of it in a `sentence` that calls them by these names. Empty where the score is no function of
    sums over rows."""
    mine, its = ours.statistics(), theirs.statistics()
    if mine is None or its is None:
        return {}
    found = significance.paired_bootstrap(mine.counts, its.counts, mine.score)
    wrong = [each for each in (ours.wrongness(), theirs.wrongness()) if each is not None]
    if ours.task.labelling in _JUDGED_BY_ROW and len(wrong) == 2:
        found["mcnemar"] = significance.mcnemar(wrong[0] == 0, wrong[1] == 0)
    return {"run": name, "against": against, **found, "sentence": _sentence(found, name, against, ours.headline)}


def comparable(names: Sequence[str], tasks: Sequence[Task]) -> None:
    """Raise SettingsError for runs of different tasks, or that answer with different labels."""
    kinds = {name: task.name for name, task in zip(names, tasks, strict=True)}
    if len({*kinds.values()}) > 1:
        told = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise SettingsError(f"runs of different tasks can't be compared: {told}. Give runs of one task")
    known = [_meant(task, task.labels) for task in tasks]
    for name, each in zip(names, known, strict=True):
        if apart := sorted(known[0] ^ each):
            shown = ", ".join(f"'{label}'" for label in apart[:5]) + (", ..." if len(apart) > 5 else "")
            raise SettingsError(
                f"runs with different labels can't be compared: only one of {names[0]} and {name} knows {shown}. "
                "Give runs that were trained on the same labels"
            )


def _meant(task: Task, labels: Sequence[str]) -> set[str]:
    """The labels; of tags of spans their types, since one may write them as IOB2 and another as BIOES."""
    if task.labelling == "classes":
        return {*labels}
    if task.labelling != "tags":
        return set()
    return {*labels} if tagging.scheme_of(labels) == tagging.PLAIN else {tagging.part(label)[1] for label in labels}


def _sentence(found: Mapping[str, Any], ours: str, theirs: str, measure: str) -> str:
    low, high = found["interval"]
    figures = f"{found['difference']:+.4f} [{low:+.4f}, {high:+.4f}], p = {found['p']:.3g}"
    if found["p"] >= _CERTAIN or low <= 0 <= high:
        return f"no difference can be shown between {ours} and {theirs}: {in_a_sentence(measure)} {figures}"
    won = "better" if found["difference"] > 0 else "worse"
    return f"{ours} is {won} than {theirs}: {in_a_sentence(measure)} {figures}"
