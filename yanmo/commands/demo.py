"""`yanmo demo`: the whole life of a small language model on real Chinese reviews, made of the same verbs that a user has.

It begins with yanmo-zh-mini, which comes with the package, gives it the n-grams of the reviews, and goes on pre-training it on them
before it learns their labels.
Every stage leaves its result in the run folder and is passed over when it stands there, so that a demo that was stopped goes on.
The run folder is the fine-tuned model's own; `data/`, `tokenizer/`, `pretrained/`, `scratch/` and `int8/` stand in it.
"""

import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from yanmo import baselines, checkpoint, evaluation, files, hub, machine, report, runs, settings
from yanmo.commands import demo_report
from yanmo.commands.finetune import finetune
from yanmo.commands.pretrain import pretrain
from yanmo.compression import quantise
from yanmo.engine import Engine, load
from yanmo.errors import SettingsError
from yanmo.progress import bar, say
from yanmo.settings import Words
from yanmo.tasks.base import lengths
from yanmo.tasks.metrics.classification import classification
from yanmo.text import clean, dedup, samples, sources, split, tokenizer
from yanmo.text.batches import once
from yanmo.text.sources import Example
from yanmo.text.tokenizer import TokenizerSettings

PARTS = {"test": 0.27, "dev": 0.08, "train": 0.65}  # by hash; the test set is the first 2,000 of each class of its part
TEST_ROWS = 2000  # of each class
FULL = 5.0  # minutes from which on all rows are used; less time takes a share of them
SHARES = {"pretrain": 0.30, "finetune": 0.22}  # of the minutes; the network that is not pre-trained takes as much again
BASE, FAMILY = hub.embedded.ENCODER, "yanmo-bert-ngrams"  # a BERT, which is widened
SIZE = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")  # what makes a network the same
LABELS = ["negative", "positive"]
# Chosen on the dev rows and on training rows held out for it.
PRETRAIN: dict[str, Any] = {"lr": 1e-3, "warmup": 0.05, "rates": {"embeddings.more.tables": 4.0}}
DROPOUTS: dict[str, Any] = {
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "ngram_dropout": 0.1,
    "classifier_dropout": 0.2,
}
TASK: dict[str, Any] = {"token_dropout": 0.1, "svm": True}
FINETUNE: dict[str, Any] = {
    "batch_tokens": 2048,
    "lr": 5e-4,
    "rates": {"embeddings.more.tables": 4.0, "task_head": 2.0},
    "warmup": 0.1,
    "average": 0.98,
    "evaluations": 5,
    "patience": 3,
}


class Settings(runs.Common):
    run: Path = Field(Path("runs/demo"), description="the run folder")
    minutes: float = Field(10.0, gt=0, description="wall minutes for the whole of it; 0.3 runs every stage small")


def demo(settings_file: str | Path | None = None, **keys: Any) -> dict[str, Any]:
    """Run the demo; the keys are those of `yanmo demo --print-settings`. Returns what metrics.json holds."""
    return command(Words(settings.from_arguments(Settings, settings_file, keys)))


def command(words: Words[Settings]) -> dict[str, Any]:
    asked = words.settings
    if words.paths:
        raise SettingsError(
            f"the demo takes no files ({words.paths[0]}); for your own data see `yanmo finetune --help`"
        )
    began = time.monotonic()
    with files.lock(asked.run / "data.lock"):
        if asked.force:
            runs.clear(asked.run)  # the model first: it was made of what goes next
            for name in ("int8", "scratch", "pretrained", "tokenizer", "data"):
                if (asked.run / name).exists():
                    files.remove(asked.run / name)
        facts = _data(asked)
        _tokenizer(asked)
        metrics = _train(asked)
        metrics["baseline"]["from_scratch"] = _from_scratch(asked)["test"]
        metrics["careless"] = metrics.get("careless") or _careless(asked)
        metrics["int8"] = _int8(asked)
        engine = load(asked.run, device=machine.prepare(asked.machine))
        rows = sources.read(asked.run / "data" / "test.tsv")
        metrics["test"]["linear_alone"] = _linear_alone(engine, rows)
        metrics["examples"] = [
            {"text": row.texts[0], "truth": row.labels[0], **answer}
            for row, answer in zip(rows[:5], engine.predict([row.texts[0] for row in rows[:5]]), strict=True)
        ]
        files.write_json(asked.run / runs.METRICS, metrics)
        report.write_run(
            asked.run,
            title="Yanmo demo",
            summary=demo_report.summary(metrics),
            sections=demo_report.sections(asked.run, facts, metrics),
        )
    demo_report.show(asked.run, metrics)
    say(f"this call took {time.monotonic() - began:.0f} s")
    return metrics


# ---- the stages


def _share(asked: Settings) -> float:
    return min(1.0, asked.minutes / FULL)


def _data(asked: Settings) -> dict[str, Any]:
    """Reviews, clean and split, as files; the counts of what was removed."""
    folder = asked.run / "data"
    wanted = {"minutes": asked.minutes, "seed": asked.seed}
    if (folder / "facts.json").is_file():
        facts: dict[str, Any] = json.loads((folder / "facts.json").read_text("utf-8"))
        if facts["asked"] != wanted:
            raise SettingsError(
                f"{asked.run}: a demo with other settings stands here: {facts['asked']}, now {wanted}. "
                f"Give the old ones to go on with it, another run=..., or force=true to start anew."
            )
        return facts
    share = _share(asked)
    with bar("1 data", 5, unit="steps") as advance:
        advance(0, note="reading the reviews")
        raw = samples.reviews()[:: round(1 / share)]
        advance(note="normalising")
        rows = [Example((clean.normalise(row.texts[0]),), row.labels, row.id, row.file, row.line) for row in raw]
        advance(note="removing duplicates, contradictions, fragments")
        kept, counts = dedup.deduplicate(rows)
        advance(note="splitting by hash")
        parts = split.split(kept, PARTS)
        parts["test"] = split.first_per_label(parts["test"], round(TEST_ROWS * share))
        advance(note="looking for leaks")
        leaks = split.leaks([*parts["train"], *parts["dev"]], parts["test"])
        advance(note=f"{counts.kept:,} distinct reviews of {counts.rows:,}")
    facts = {
        "asked": wanted,
        "counts": asdict(counts),
        "parts": {name: len(part) for name, part in parts.items()},
        "leaks": leaks,
    }
    contents: dict[str, files.Content] = {
        f"{name}.tsv": "label\ttext\n" + "".join(f"{row.labels[0]}\t{row.texts[0]}\n" for row in part)
        for name, part in parts.items()
    }
    contents["reviews.txt"] = "".join(f"{row.texts[0]}\n" for row in parts["train"])
    contents["facts.json"] = files.to_json(facts)
    files.write_folder(folder, contents)
    return facts


def _tokenizer(asked: Settings) -> None:
    """For the network that begins from nothing; the other one has its own."""
    folder = asked.run / "tokenizer"
    if not (folder / tokenizer.FILE).is_file():
        with bar("2 tokeniser"):
            texts = sources.read_texts(asked.run / "data" / "reviews.txt")
            tokenizer.train(texts, TokenizerSettings()).save(folder)


def _train(asked: Settings) -> dict[str, Any]:
    """Stages 3 to 5: pre-training, fine-tuning, evaluation beside the baselines."""
    data = asked.run / "data"
    common: dict[str, Any] = {"seed": asked.seed, "force": asked.force, "machine": asked.machine.model_dump()}
    say(f"3 pre-training: {BASE} goes on with the reviews")
    pretrain(
        run=asked.run / "pretrained",
        model={"base": BASE, "family": FAMILY},
        data={"train": data / "reviews.txt", "dev": data / "dev.tsv"},
        train={"minutes": asked.minutes * SHARES["pretrain"], **PRETRAIN},
        **common,
    )
    say("4 fine-tuning and 5 evaluation")
    return finetune(
        run=asked.run,
        model={"base": str(asked.run / "pretrained"), "config": DROPOUTS},
        data={name: data / f"{name}.tsv" for name in PARTS},
        task=TASK,
        train={"minutes": asked.minutes * SHARES["finetune"], **FINETUNE},
        **common,
    )


def _from_scratch(asked: Settings) -> dict[str, Any]:
    """The same network and fine-tuning without pre-training: what pre-training was worth."""
    data = asked.run / "data"
    base = checkpoint.source(BASE).content
    say("5 evaluation: the same network, not pre-trained (outside the minutes)")
    return finetune(
        run=asked.run / "scratch",
        model={"family": FAMILY, "size": {key: base[key] for key in SIZE}, "config": DROPOUTS},
        tokenizer={"base": asked.run / "tokenizer"},
        data={name: data / f"{name}.tsv" for name in PARTS},
        task={**TASK, "svm": False},
        train={"minutes": asked.minutes * SHARES["finetune"], **FINETUNE},
        seed=asked.seed,
        force=asked.force,
        machine=asked.machine.model_dump(),
    )


def _linear_alone(engine: Engine, rows: Sequence[Example]) -> float:
    """The macro F1 of what the network was joined with."""
    task: Any = engine.task
    guesses = task.evidence.margins([row.texts[0] for row in rows]).argmax(-1).numpy()
    truths = np.array([task.numbers[row.labels[0]] for row in rows])
    score: float = classification(truths, guesses, task.labels)["macro_f1"]
    return score


def _careless(asked: Settings) -> dict[str, Any]:
    """What an SVM seems to reach when the raw lines are split at random: many test rows then stand in training."""
    with bar("5 evaluation: a careless split", 3, unit="steps") as advance:
        rows = [row for row in samples.reviews() if row.texts[0].strip()]
        random.Random(asked.seed).shuffle(rows)
        rows = rows[: round(len(rows) * _share(asked))]
        cut = round(2 * TEST_ROWS * _share(asked))
        test, train = rows[:cut], rows[cut:]
        advance(note="an SVM")
        scores = baselines.classify(train, test, LABELS)["svm"]
        advance(note="counting its leaks")
        leaks = split.leaks(train, test)
        advance()
        return {"rows": len(test), "macro_f1": scores["macro_f1"], "leaks": leaks}


def _int8(asked: Settings) -> dict[str, Any]:
    """The linear layers as 8-bit integers: size, speed and score, before and after."""
    folder = asked.run / "int8"
    if (folder / runs.METRICS).is_file():
        found: dict[str, Any] = json.loads((folder / runs.METRICS).read_text("utf-8"))
        return found
    device = machine.prepare(asked.machine)
    with bar("6 int8", 5, unit="steps") as advance:
        before, after = load(asked.run, device=device), load(asked.run, device=device)
        layers = quantise.quantise(after.model)
        advance(note="scoring")
        assert before.task is not None  # noqa: S101 (a run of `finetune` has one)
        prepared = before.task.prepare(sources.read(asked.run / "data" / "test.tsv"))
        scores = {}
        for name, engine in (("float32", before), ("int8", after)):
            scores[name] = evaluation.evaluate(engine.model, before.task, prepared, device=device)["macro_f1"]
            advance()
        advance(note="timing")
        batches = [batch.to(device) for batch, _ in once(prepared, lengths(prepared), before.task.batch, budget=4096)]

        @torch.inference_mode()
        def run(model: Any) -> None:
            for batch in batches:
                model.head(model.hidden(batch), batch.source)

        speed = quantise.compare(before.model, after.model, run)
        linear = sum(
            tensor.numel()
            for name, tensor in before.model.state_dict().items()
            if name.removesuffix(".weight") in layers
        )
        found = {
            "layers": len(layers),
            "linear_parameters": linear,
            "megabytes": {name: quantise.size_of(e.model) / 1e6 for name, e in (("float32", before), ("int8", after))},
            "macro_f1": scores,
            "speed": speed,
        }
        parts = checkpoint.writable(checkpoint.contents(after.checkpoint))
        files.write_folder(folder, {**parts, runs.METRICS: files.to_json(found)})
    return found
