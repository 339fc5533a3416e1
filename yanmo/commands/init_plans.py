"""What to train on rows of a kind, and how: the settings that are known to work, and the size that this machine trains in the time.

A new task adds its row to `PLANS`. A size is chosen by timing real training steps of each on the very rows; nothing is guessed
from the processor's name. What `yanmo init` writes is what a plan here answers.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from torch import nn

from yanmo import checkpoint, fit, machine
from yanmo.commands import finetune, pretrain
from yanmo.errors import DataError
from yanmo.job import Job
from yanmo.models import find
from yanmo.progress import say
from yanmo.settings import Block, put
from yanmo.tasks import TASKS
from yanmo.tasks.base import OWN, Task, lengths
from yanmo.text import corpus, sources, tokenizer
from yanmo.text.clean import language
from yanmo.text.recognise import Recognised
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

FAMILY = "yanmo-ngram-bert"  # from scratch: it learns most from little text (benchmarks/demo.py)
SAMPLE = 20_000_000  # characters of a text without labels that are read to choose by
SEEN = 20  # tokens that a pre-training sees for each parameter of its layers, at least (Hoffmann et al. 2022)
PASSES = 5  # over labelled rows, at least
MOST_PASSES = 20  # more are not worth their time: the run stops by itself where it no longer gets better


@dataclass(frozen=True)
class Question:
    """What `yanmo init` was asked."""

    path: Path
    files: Sequence[Path]  # what the path stands for: itself, or the training files of a folder
    seen: Recognised
    minutes: float
    base: str | None
    machine: machine.Machine


@dataclass
class Plan:
    """The answer."""

    verb: str
    entries: dict[str, tuple[Any, str]]  # dotted key -> (value, why)
    facts: dict[str, Any] = field(default_factory=dict)  # for --json, and to be shown


@dataclass(frozen=True)
class Fit:
    """What was measured of one size."""

    size: str
    passes: float  # over the rows, in the time
    parameters: int  # of its layers, without embeddings
    rate: float  # tokens a second


def classify(question: Question) -> Plan:
    """Labelled rows: a fresh model beside a linear SVM, or a given one fine-tuned."""
    if question.base is not None:
        return supervised(question, "classify")
    return supervised(
        question,
        "classify",
        {
            "task.token_dropout": (0.1, "the share of tokens that are hidden while it learns"),
            "task.svm": (True, "a linear SVM's score is added where held-out rows say that it helps"),
        },
    )


def _new(task: type[Task]) -> dict[str, float]:
    """The rate of what a task adds to a model."""
    if task.head != "base":
        return {"task_head": 2.0}
    return {} if task.own is Task.own else {OWN: 2.0}


def supervised(question: Question, name: str, more: Mapping[str, tuple[Any, str]] = MappingProxyType({})) -> Plan:
    """Rows for a task of TASKS: a fresh model, or a given one fine-tuned. more: settings of this task -> (value, why)."""
    task = TASKS[name][1]
    data = sources.Data(train=question.path, columns=question.seen.columns)
    rows, _ = finetune.read(data, sources.parts(data, task.form), task)
    texts = [text for row in rows["train"] for text in row.texts]
    named: dict[str, Any] = {"task.name": name} if name != next(iter(TASKS)) else {}
    if question.base is None:
        keys = named | {
            "model.family": FAMILY,
            "model.config": {"embedding_dropout": 0.1, "ngram_dropout": 0.1, "classifier_dropout": 0.2},
            **{key: value for key, (value, _) in more.items()},
            "train.batch_tokens": 2048,
            "train.lr": 5e-4,
            "train.rates": {"embeddings.ngrams": 4.0, **_new(task)},
            "train.warmup": 0.1,
            "train.average": 0.98,
            "train.evaluations": 5,
            "train.patience": 3,
        }
        why = {
            "model.family": f"a fresh {find(FAMILY).about}; for a model that you have: yanmo init ... model.base=FOLDER",
            "model.config": "these dropouts and rates were chosen on held-out reviews (benchmarks/demo.py)",
            **{key: reason for key, (_, reason) in more.items()},
            "train.average": "a moving average of the weights is what is scored and kept",
            "train.patience": "evaluations without a new best before it stops",
        }
    else:
        keys = named | {key: value for key, (value, _) in more.items()}
        keys |= {"model.base": question.base, "train.batch_tokens": 1024, "train.lr": 3e-5, "train.warmup": 0.1}
        why = {
            "train.lr": "a pre-trained model wants small steps",
            **{key: reason for key, (_, reason) in more.items()},
        }
    every = [row for part in rows.values() for row in part]
    counts = Counter(label for row in every for label in row.labels)
    facts: dict[str, Any] = {"rows": len(every), "language": language(texts)}
    with tempfile.TemporaryDirectory() as folder:
        cutter = _cutter(question, texts, Path(folder), keys)
        keys["task.max_length"], why["task.max_length"] = _longest(cutter, rows["train"], _positions(question.base))

        def job(size: str) -> Job:
            asked, labels = finetune.settled(
                _settings(finetune.Settings, {**keys, "data": data, "machine": question.machine}, size), rows
            )
            facts["labels"] = {label: counts[label] for label in labels or () if counts[label]}
            return finetune.prepare(
                asked, rows, labels, Path(folder) / "run", resuming=False, device=machine.prepare(question.machine)
            )

        chosen = _choose(question, job, lambda fit, total: fit.passes >= PASSES and fit.parameters <= total)
    keys.pop("tokenizer.base", None)
    passes = min(float(MOST_PASSES if question.base is None else 3), chosen.passes)
    keys["train.epochs"] = round(passes) if passes >= 1 else round(passes, 2)
    minutes = question.minutes * keys["train.epochs"] / chosen.passes
    why["train.epochs"] = f"about {minutes:.1f} minutes here: {chosen.rate:,.0f} tokens a second were measured"
    return _plan("finetune", question, keys, why, chosen, facts)


def texts(question: Question) -> Plan:
    """Text without labels: a model pre-trained on it."""
    sample, count, characters = _sample(question.files)
    keys: dict[str, Any] = {"train.minutes": question.minutes}
    why = {"train.minutes": "becomes a number of steps when the run begins"}
    if question.base is None:
        keys |= {"model.family": FAMILY, "train.lr": 4e-3, "train.warmup": 0.05}
        why["model.family"] = f"a fresh {find(FAMILY).about}; bert is one that other tools open, too"
    else:
        keys |= {"model.base": question.base, "train.lr": 3e-4}
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "sample.txt"
        part.write_text("".join(" ".join(text.split()) + "\n" for text in sample), "utf-8")
        _cutter(question, sample, Path(folder), keys)
        text = corpus.read(corpus.Texts(train=part))

        def job(size: str) -> Job:
            asked = _settings(pretrain.Settings, {**keys, "data.train": part, "machine": question.machine}, size)
            cutter = corpus.cutter(asked.data, asked.tokenizer)
            return pretrain.prepare(
                asked, text, cutter, Path(folder) / "run", resuming=False, device=machine.prepare(question.machine)
            )

        chosen = _choose(question, job, lambda fit, total: fit.passes * total >= SEEN * fit.parameters)
    keys.pop("tokenizer.base", None)
    passes = chosen.passes * sum(map(len, sample)) / characters
    why["train.minutes"] += (
        f"; about {passes:.1f} passes over the text: {chosen.rate:,.0f} tokens a second were measured"
    )
    facts = {"rows": count, "language": language(sample)}
    return _plan("pretrain", question, keys, why, chosen, facts)


# what the rows are for -> its plan; that of a new task is `partial(supervised, name=...)`, or a function of its own
PLANS: dict[str, Callable[[Question], Plan]] = {
    "classify": classify,
    "match": classify,
    "tag": partial(supervised, name="tag"),
    "rate": partial(supervised, name="rate"),
    "relate": partial(supervised, name="relate"),
    "read": partial(supervised, name="answer"),
    "pairs": partial(supervised, name="embed"),
    "rank": partial(supervised, name="rerank"),
    "texts": texts,
}
# what rows with labels may be for, in words
IN_WORDS = {
    "classify": "labelled texts and pairs (classify)",
    "rate": "numbers on a scale for texts (rate)",
    "tag": "tags of the words of a sentence: names, parts of speech (tag)",
    "relate": "relations of two names (relate)",
    "read": "answers that stand in a text (answer)",
    "answer": "questions with answers (answer)",
    "translate": "translations (translate)",
    "summarise": "summaries (summarise)",
    "instruct": "instructions with answers (chat)",
    "chat": "conversations (chat)",
    "prefer": "answers, one better than the other (chat)",
    "choose": "questions with choices (answer)",
    "rank": "queries with graded documents (rerank)",
    "pairs": "pairs of texts without labels (embed)",
}


def plan(question: Question) -> Plan:
    """Raises DataError for rows of a kind that no verb trains on yet; it says what they are."""
    if question.seen.kind not in PLANS:
        kinds = ", ".join(words for kind, words in IN_WORDS.items() if kind in PLANS)
        raise DataError(
            f"{question.path}: its rows look like {IN_WORDS.get(question.seen.kind, question.seen.kind)}. This version trains: {kinds}, "
            f"and text without labels. Where these rows are one of the two, name the columns: "
            f"data.columns.text=... data.columns.label=... (the file has: {', '.join(question.seen.present)})"
        )
    return PLANS[question.seen.kind](question)


def _choose(question: Question, job: Callable[[str], Job], enough: Callable[[Fit, int], bool]) -> Fit:
    """The largest size that sees enough of the rows in the time; the smallest where none does."""
    best = None
    for size in find(FAMILY).sizes if question.base is None else ("",):
        made = job(size)
        total = int(lengths(made.train).sum())
        passes = fit.steps_within(made, 60 * question.minutes) / made.steps_per_epoch
        found = Fit(size, passes, _layers(made), passes * total / (60 * question.minutes))
        say(f"{size or question.base}: {found.rate:,.0f} tokens a second, {passes:,.1f} passes in the time")
        fits = enough(found, total)
        best = found if fits or best is None else best
        if not fits:
            break
    assert best is not None  # noqa: S101 (there is a size)
    return best


def _layers(job: Job) -> int:
    return sum(part.weight.numel() for part in job.checkpoint.model.modules() if isinstance(part, nn.Linear))


def _cutter(question: Question, texts: Sequence[str], folder: Path, keys: dict[str, Any]) -> Tokenizer:
    """The tokeniser of the trial runs: the base's own, or one that is trained once and serves every size."""
    if question.base is not None:
        return checkpoint.source(question.base).tokenizer()
    made = tokenizer.train(texts, TokenizerSettings())
    made.save(folder)
    keys["tokenizer.base"] = folder
    return made


def _positions(base: str | None) -> int:
    """The longest row that a base can read, as far as it says so; at most 512 tokens, which most models have."""
    if base is None:
        return 512
    content = checkpoint.source(base).content
    return min(512, int(content.get(find(content["model_type"]).positions, 512)))


def _longest(cutter: Tokenizer, rows: Sequence[sources.Example], most: int) -> tuple[int, str]:
    """The room that all but a hundredth of the rows need, at most `most`, and why."""
    sizes = np.array([2 + sum(map(len, cutter.encode_all(row.texts))) for row in rows[:2000]])
    needed = int(np.percentile(sizes, 99))
    longest = min(most, max(32, -(-needed // 16) * 16))
    return longest, f"tokens; {(sizes <= longest).mean():.0%} of the rows fit"


def _sample(paths: Sequence[Path]) -> tuple[list[str], int, int]:
    """(texts from the beginning, how many texts there are, and how many characters they have)."""
    sample: list[str] = []
    count = characters = 0
    for text in chain.from_iterable(map(sources.texts, paths)):
        if characters < SAMPLE:
            sample.append(text)
        count, characters = count + 1, characters + len(text)
    if not sample:
        raise DataError(f"{paths[0]}: the file has no text. Expected one document a line.")
    return sample, count, characters


def _settings(schema: type[Block], keys: Mapping[str, Any], size: str) -> Any:
    content: dict[str, Any] = {}
    for key, value in {**keys, **({"model.size": size} if size else {})}.items():
        put(content, key, value.model_dump() if isinstance(value, Block) else value)
    return schema.model_validate(content)


def _plan(
    verb: str,
    question: Question,
    keys: Mapping[str, Any],
    why: Mapping[str, str],
    chosen: Fit,
    facts: dict[str, Any],
) -> Plan:
    found = {key: (value, why.get(key, "")) for key, value in keys.items()}
    if chosen.size:
        found["model.size"] = (chosen.size, f"{chosen.parameters / 1e6:.1f} million parameters in its layers")
    names = {name: value for name, value in question.seen.columns.model_dump().items() if value is not None}
    first: dict[str, tuple[Any, str]] = {
        "run": (Path("runs") / question.path.stem.split(".")[0], "the folder that gets all of it"),
        "data.train": (question.path, ""),
    }
    if verb == "finetune" and names:
        whole = question.seen.kind in ("relate", "read")  # forms that know more columns than these
        others = [name for name in question.seen.present if name not in names.values() and not whole]
        first["data.columns"] = (names, f"not used: {', '.join(others)}" if others else "")
    measured = {"size": chosen.size, "tokens_per_second": round(chosen.rate), "passes": round(chosen.passes, 1)}
    kept = {"format": question.seen.format, "encoding": question.seen.encoding}
    return Plan(verb, {**first, **found}, {**kept, **facts, **measured})
