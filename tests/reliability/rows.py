"""What is killed, stopped and resumed: a row for each objective, task and method. A new one adds its line to ROWS."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import yanmo
from yanmo.text import sources, tokenizer, tokens
from yanmo.train import track

TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
GPT2 = {"n_embd": 16, "n_layer": 1, "n_head": 2}
PARTS = {
    "encoder": {"model_type": "bert", **TINY},
    "decoder": {"model_type": "gpt2", **GPT2},
    "latent_size": 8,
    "variational": True,
}
GOOD, BAD = (
    ["good", "great", "fine", "lovely", "superb", "nice"],
    ["bad", "awful", "poor", "dull", "dreadful", "boring"],
)
FILLER = [f"w{i}" for i in range(40)]
VERBS: dict[str, Callable[..., dict[str, Any]]] = {"pretrain": yanmo.pretrain, "finetune": yanmo.finetune}


@dataclass(frozen=True)
class Row:
    verb: str
    train: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)  # blocks beside `train`
    text: str = "text.txt"  # what is pre-trained on
    rows: str = "{}.tsv"  # what is fine-tuned on: train, dev and test
    precision: str = "float32"
    folds: int | None = None  # instead of dev and test rows
    tasks: dict[str, tuple[dict[str, Any], str]] = field(default_factory=dict)  # of several: settings, and their `rows`


# One more for each objective: the family that learns by it, and how.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "causal": {"model": {"family": "gpt2", "size": GPT2}},
    "masked words, static": {"objective": {"unit": "word", "static": True}},
    "permutation": {"model": {"family": "xlnet", "size": {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}}},
    "span": {
        "model": {"family": "t5", "size": {"d_model": 16, "num_layers": 1, "num_heads": 2, "d_kv": 8, "d_ff": 32}}
    },
    "denoise": {
        "model": {"family": "yanmo-rnn", "size": {"hidden_size": 16, "num_hidden_layers": 1}},
        "objective": {"name": "denoise", "delete": 0.1},
    },
    "denoise, variational": {"model": {"family": "yanmo-autoencoder", "size": PARTS}},
    "order": {"objective": {"name": "order"}},
    "masked and next": {"objective": {"name": "combined"}},
}
_TASK_RATE = {"rates": {"task_own": 2.0}}
ROWS = {
    "masked": Row("pretrain"),
    "classify": Row("finetune"),
    "classify, averaged": Row("finetune", {"average": 0.9}),
    "tag, with a chain of its own": Row("finetune", more={"task": {"name": "tag", "crf": True}}, rows="{}.conll"),
    "rate": Row("finetune", {"layer_decay": 0.8}, {"task": {"name": "rate"}}),
    "relate": Row("finetune", _TASK_RATE, {"task": {"name": "relate"}}, rows="related-{}.jsonl"),
    "answer": Row("finetune", more={"task": {"name": "answer", "max_length": 32}}, rows="answered-{}.jsonl"),
    "embed, texts alone": Row("finetune", more={"task": {"name": "embed"}}),
    "rerank": Row("finetune", more={"task": {"name": "rerank"}}, rows="{}-ranked.tsv"),
    "cloze": Row("finetune", more={"task": {"name": "cloze", "words": {"neg": "bad", "pos": "good"}}}),
    "nearest": Row("finetune", more={"task": {"name": "nearest"}}),
    "several tasks": Row(
        "finetune",
        tasks={
            "praise": ({"name": "classify", "token_dropout": 0.1}, "{}.tsv"),
            "words": ({"name": "tag", "crf": True}, "{}.conll"),
            "score": ({"name": "rate"}, "{}.tsv"),
        },
    ),
    "masked, accumulated, rolling back": Row("pretrain", {"accumulate": 2, "on_fault": "rollback", "spike": 6.0}),
    "masked, from shards": Row("pretrain", text="shards"),
    "masked, in bfloat16": Row("pretrain", precision="bfloat16"),
    "masked, averaged, warm-up-stable-decay": Row("pretrain", {"average": 0.9, "schedule": "wsd"}),
    **{name: Row("pretrain", more=more) for name, more in OBJECTIVES.items()},
}


FOLDED = Row("finetune", {"steps": 10}, folds=3)  # a run of runs; see test_folds.py


def tagged(line: str) -> str:
    """The words of a sentence with tags: praise and blame are spans."""
    words = line.split()[1:]
    kinds = ["PRAISE" if word in GOOD else "BLAME" if word in BAD else "" for word in words]
    return "".join(f"{word} {f'I-{kind}' if kind else 'O'}\n" for word, kind in zip(words, kinds, strict=True)) + "\n"


def write_data(folder: Path) -> Path:
    """Sentences of praise and blame that a tiny network can learn, and plain text."""
    generator = torch.Generator().manual_seed(0)

    def words(pool: list[str], count: int) -> str:
        return " ".join(pool[i] for i in torch.randint(0, len(pool), (count,), generator=generator))

    for name, rows in (("train", 240), ("dev", 60), ("test", 60)):
        lines = []
        for i in range(rows):
            length = int(torch.randint(1, 9, (1,), generator=generator))
            lines.append(
                f"{'pos' if i % 2 else 'neg'}\t{words(FILLER, length)} {words(GOOD if i % 2 else BAD, 2)} {name}{i}\t{length}\n"
            )
        (folder / f"{name}.tsv").write_text("label\ttext\tscore\n" + "".join(lines))
        (folder / f"{name}.conll").write_text("".join(map(tagged, lines)))
        for form, made in (("related", _related), ("answered", _answered)):
            found = [made(i, words) | {"id": f"{name}{i}"} for i in range(rows // 3)]
            (folder / f"{form}-{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in found))
        ranked = [f"q{i % 9}\t{' '.join(line.split()[1:])}\t{i % 2}\n" for i, line in enumerate(lines)]
        (folder / f"{name}-ranked.tsv").write_text("query\tdocument\trelevance\n" + "".join(ranked))
    text = folder / "text.txt"
    text.write_text("".join(words(FILLER + GOOD + BAD, 12) + f" d{i}\n" for i in range(300)))
    cutter = tokenizer.train(sources.read_texts(text), tokenizer.TokenizerSettings(kind="word", vocab=400))
    tokens.prepare([text], cutter, folder / "shards", shard_tokens=1000)
    return folder


def _related(i: int, words: Callable[[list[str], int], str]) -> dict[str, Any]:
    """A word of praise between two names: who praises whom is said by what stands before it."""
    one, other = ("<e1>{}</e1>", "<e2>{}</e2>")[:: 1 if i % 2 else -1]
    verb = words(GOOD if i % 3 else BAD, 1)
    relation = ("praises(e1,e2)" if i % 2 else "praises(e2,e1)") if i % 3 else "Other"
    text = (
        f"{words(FILLER, 2)} {one.format(words(FILLER, 1))} {verb} {other.format(words(FILLER, 1))} {words(FILLER, 2)}"
    )
    return {"text": text, "relation": relation}


def _answered(i: int, words: Callable[[list[str], int], str]) -> dict[str, Any]:
    """A word of praise or of blame in a text of some windows; a fifth of the questions has none."""
    said = words(BAD if i % 2 else GOOD, 1)
    before, after = words(FILLER, i % 40), words(FILLER, 39 - i % 40)
    context = f"{before} {said} {after}" if i % 5 else f"{before} {after}"
    answers = [{"text": said, "start": len(before) + 1}] if i % 5 else []
    return {"question": "what blame" if i % 2 else "what praise", "context": context, "answers": answers}


def settings(row: Row, data: Path, run: Path, **train: Any) -> dict[str, Any]:
    """Settings of a small run with dropout on, so that the random state matters."""
    common: dict[str, Any] = {
        "run": str(run),
        "machine": {"threads": 1, "precision": row.precision},
        "model": {"size": TINY},
        "tokenizer": {} if row.text == "shards" else {"kind": "word", "vocab": 400},  # shards bring theirs
        "train": {"steps": 20, "batch_tokens": 128, "lr": 5e-3, "evaluations": 4, **row.train, **train},
        **row.more,
    }
    if row.verb == "pretrain":
        objective = {"max_length": 16, **row.more.get("objective", {})}
        return {**common, "data": {"train": str(data / row.text)}, "objective": objective}

    def rows(pattern: str) -> dict[str, Any]:
        return {name: str(data / pattern.format(name)) for name in ("train", "dev", "test")}

    if row.tasks:
        tasks = {name: {"max_length": 16, **task} for name, (task, _) in row.tasks.items()}
        files = {"tasks": {name: rows(pattern) for name, (_, pattern) in row.tasks.items()}}
        return {**common, "data": files, "task": {"name": "multitask", "tasks": tasks}}
    given = {"train": rows(row.rows)["train"], "folds": row.folds} if row.folds else rows(row.rows)
    return {**common, "data": given, "task": {"max_length": 16, **row.more.get("task", {"token_dropout": 0.1})}}


def state(checkpoint: Path) -> dict[str, str]:
    """Everything that training goes on from, without the time: weights, optimiser, average, random states, cursor, counters."""
    found = {
        str(path.relative_to(checkpoint)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(checkpoint.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", "training.json")
    }
    progress = json.loads((checkpoint / "training.json").read_text())
    return {**found, "training.json": json.dumps({key: v for key, v in progress.items() if key != "seconds"})}


def states(run: Path) -> dict[str, dict[str, str]]:
    """The state of every training checkpoint that stands in a run folder."""
    return {path.name: state(path) for path in sorted((run / "checkpoints").glob("step-*[0-9]"))}


def digest(run: Path) -> str:
    """Of everything that a finished run leaves behind and that does not tell the time; with its checkpoints, where these are kept."""
    folds = sorted((run / "folds").glob("*"))
    total = hashlib.sha256((run / ("predictions.jsonl" if folds else "model.safetensors")).read_bytes())
    metrics = json.loads((run / "metrics.json").read_text())
    metrics.pop("cost")
    total.update(json.dumps([metrics, *map(digest, folds)], sort_keys=True).encode())
    if folds:
        return total.hexdigest()
    for line in track.read(run / track.FILE):
        line.pop("tokens_per_second", None)
        total.update(json.dumps(line, sort_keys=True).encode())
    total.update(json.dumps(states(run)).encode())
    return total.hexdigest()
