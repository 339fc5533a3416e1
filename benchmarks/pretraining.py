"""What pre-training is worth: one small Chinese encoder that begins from nothing, from 5 and from 20 wall minutes of pre-training on one
core, then learns the topics of news titles (THUCNews, 10) and the disciplines of papers by their titles (CSL, 13) from 4,000 titles each,
twice, beside a linear SVM.

python recipes/zh_mini_corpus.py runs/zh-mini-corpus     what it is pre-trained on, once
python benchmarks/pretraining.py                         about 45 minutes of one core
python benchmarks/pretraining.py 0.01                    the same at a hundredth of the minutes and of the rows, to see it run

YANMO_DATA names the folder of the data sets; default ../shared/data. Written row by row into benchmarks/results/pretraining.json, and the
plot beside it: a row that stands there is not done again, one that was broken off goes on. At a share of it: into runs/pretraining-SHARE.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere
import yanmo
from yanmo import files, machine, settings
from yanmo.text import sources, tokenizer

HERE = Path(__file__).parent
RECIPE = HERE.parent / "recipes" / "zh-mini.yaml"
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data")) / "classification_zh"
CORPUS = Path("runs/zh-mini-corpus")
MINUTES = (0, 5, 20)  # of pre-training
SEEDS = (0, 1)  # of fine-tuning
DROPOUTS = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
# The same for all, and not tuned for any of them; enough epochs for the network from nothing, the best of the dev rows is taken.
TRAIN = {"epochs": 10, "batch_tokens": 2048, "lr": 5e-4, "warmup": 0.1, "evaluations": 5}
ROWS = 4000  # titles to learn from: few, as those who label them by hand have them
MACHINE = {"threads": 1}  # the recipe's, so that what else the machine does is felt less


# ---- the data: {part: [(label, title)]}

Rows = dict[str, list[tuple[str, str]]]


def _cells(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()]


def thucnews() -> Rows:
    """Of the rows of dev.txt (its train part is not at hand) 1,000 to choose by, then those to learn from; those of test.txt to score."""
    folder = DATA / "thucnews_titles"
    names = (folder / "class.txt").read_text("utf-8").split()
    known, test = (
        [(names[int(label)], title) for title, label in _cells(folder / name)] for name in ("dev.txt", "test.txt")
    )
    return {"train": known[1000 : 1000 + ROWS], "dev": known[:1000], "test": test}


def csl() -> Rows:
    """The first of 8,000, and 1,000 and 1,000 as they were published."""
    folder = DATA / "csl_category"
    return {
        part: [(label, title) for _, title, label in _cells(folder / f"{part}.tsv")[:ROWS]]
        for part in ("train", "dev", "test")
    }


SETS: dict[str, Callable[[], Rows]] = {"THUCNews": thucnews, "CSL": csl}


def prepare(runs: Path, share: float) -> None:
    """The tokeniser of all networks, and the rows as files."""
    if not (runs / tokenizer.FILE).is_file():
        texts = [text for path in sorted((CORPUS / "text").glob("*.txt")) for text in sources.read_texts(path)]
        recipe, _ = settings.read_file(RECIPE)
        tokenizer.train(texts, tokenizer.TokenizerSettings(**recipe["tokenizer"])).save(runs)
    for name, read in SETS.items():
        for part, rows in read().items():
            kept = rows[:: max(1, min(round(1 / share), len(rows) // 200))]
            text = "label\ttext\n" + "".join(f"{label}\t{title}\n" for label, title in kept)
            files.write_file(runs / "data" / name / f"{part}.tsv", text)


# ---- the networks


def pretrained(runs: Path, minutes: int, share: float) -> dict[str, Any]:
    metrics = yanmo.pretrain(
        RECIPE,
        run=runs / f"minutes-{minutes}",
        tokenizer={"base": runs / tokenizer.FILE, "kind": None, "vocab": None},
        data={"train": CORPUS / "text"},
        train={"tokens": None, "minutes": minutes * share, "average": None, "evaluations": 2},
    )
    cost = metrics["cost"]
    return {
        "held_out_loss": round(metrics["dev"]["loss"], 4),
        **{key: cost[key] for key in ("steps", "tokens", "seconds", "parameters", "precision") if key in cost},
    }


def finetuned(runs: Path, name: str, minutes: int, seed: int, share: float) -> dict[str, Any]:
    if minutes:
        pretrained(runs, minutes, share)  # nothing where it stands; its row may be older than the folder
    recipe, _ = settings.read_file(RECIPE)
    fresh = {**recipe["model"], "config": {**recipe["model"]["config"], **DROPOUTS}}
    base = {"base": str(runs / f"minutes-{minutes}"), "config": DROPOUTS}
    metrics = yanmo.finetune(
        run=runs / f"{name}-{minutes}-{seed}",
        model=base if minutes else fresh,
        **({} if minutes else {"tokenizer": {"base": runs / tokenizer.FILE}}),
        data={part: runs / "data" / name / f"{part}.tsv" for part in ("train", "dev", "test")},
        task={"name": "classify", "max_length": 64},
        train=TRAIN,
        seed=seed,
        machine=MACHINE,
    )
    return {
        "accuracy": metrics["test"]["accuracy"],
        "macro_f1": metrics["test"]["macro_f1"],
        "dev_macro_f1": metrics["dev"]["macro_f1"],
        "seconds": metrics["cost"]["seconds"],
        "svm_accuracy": metrics["baseline"]["svm"]["accuracy"],
    }


# ---- the plot

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 640, 360, 60, 50, 50
_COLOURS = ("#4c78a8", "#c8963e")


def plot(path: Path, rows: Mapping[str, Any]) -> None:
    """Mean test accuracy over minutes of pre-training, a line for each set; each seed a dot; the SVM dashed."""
    scores = [value for row in rows.values() for value in (row["accuracy"], row["svm_accuracy"])]
    low, high = min(scores) - 0.01, max(scores) + 0.01

    def place(minutes: float, score: float) -> tuple[float, float]:
        across = _LEFT + minutes / max(MINUTES) * (_WIDTH - _LEFT - 120)
        return across, _TOP + (high - score) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        '<text x="8" y="22" font-size="15">Test accuracy after pre-training (dashed: TF-IDF and a linear SVM)</text>',
    ]
    for minutes in MINUTES:
        x, _ = place(minutes, low)
        parts.append(f'<text x="{x:.0f}" y="{_HEIGHT - 28}" text-anchor="middle">{minutes}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">minutes of pre-training</text>')
    for colour, name in zip(_COLOURS, SETS, strict=True):
        means = {minutes: mean(row["accuracy"] for row in found) for minutes, found in _by_minutes(rows, name).items()}
        svm = place(0, _svm(rows, name))[1]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in means.items()))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>'
            for minutes, found in _by_minutes(rows, name).items()
            for x, y in (place(minutes, row["accuracy"]) for row in found)
        ]
        parts += [
            f'<text x="{x:.1f}" y="{y - 8:.1f}" text-anchor="middle">{score:.3f}</text>'
            for score, (x, y) in ((score, place(minutes, score)) for minutes, score in means.items())
        ]
        parts.append(
            f'<line x1="{_LEFT}" y1="{svm:.1f}" x2="{_WIDTH - 120}" y2="{svm:.1f}" stroke="{colour}" stroke-dasharray="6 4"/>'
        )
        parts.append(f'<text x="{_WIDTH - 112}" y="{svm + 4:.1f}" fill="{colour}">{name}</text>')
    files.write_file(path, "\n".join([*parts, "</svg>", ""]))


def _by_minutes(rows: Mapping[str, Any], name: str) -> dict[int, list[Any]]:
    return {minutes: [rows[row_name(name, minutes, seed)] for seed in SEEDS] for minutes in MINUTES}


def _svm(rows: Mapping[str, Any], name: str) -> float:
    score: float = rows[row_name(name, MINUTES[0], SEEDS[0])]["svm_accuracy"]
    return score


# ---- results


def row_name(name: str, minutes: int, seed: int) -> str:
    return f"{name}, {minutes} minutes, seed {seed}"


def stages(runs: Path, share: float) -> dict[str, dict[str, Callable[[], dict[str, Any]]]]:
    """What there is to measure, in its order."""
    return {
        "pretraining": {f"{minutes} minutes": lambda m=minutes: pretrained(runs, m, share) for minutes in MINUTES[1:]},
        "finetuning": {
            row_name(name, minutes, seed): lambda n=name, m=minutes, s=seed: finetuned(runs, n, m, s, share)
            for name in SETS
            for minutes in MINUTES
            for seed in SEEDS
        },
    }


def fill(runs: Path, result: Path, share: float) -> dict[str, Any]:
    """Do what has no result yet."""
    known: dict[str, Any] = json.loads(result.read_text("utf-8")) if result.exists() else {}
    known |= {
        "command": "python benchmarks/pretraining.py",
        "corpus": json.loads((CORPUS / "sources.json").read_text("utf-8")),
        "settings": TRAIN,
    }
    for table, rows in stages(runs, share).items():
        for name, measure in rows.items():
            if name not in known.setdefault(table, {}):
                print(name, file=sys.stderr)
                known[table][name] = measure()
                known["machine"] = machine.fingerprint()
                files.write_json(result, known)
    return known


def table(rows: Mapping[str, Any]) -> list[str]:
    head = [
        "| test accuracy (mean of 2 seeds) | from nothing | 5 minutes | 20 minutes | TF-IDF + SVM |",
        "| --- " * 5 + "|",
    ]
    return head + [
        f"| {name} | "
        + " | ".join(f"{mean(row['accuracy'] for row in found):.3f}" for found in _by_minutes(rows, name).values())
        + f" | {_svm(rows, name):.3f} |"
        for name in SETS
    ]


def main(arguments: Sequence[str]) -> None:
    share = float(arguments[0]) if arguments else 1.0
    if not DATA.is_dir():
        sys.exit(f"{DATA}: no data sets there; set YANMO_DATA")
    if not (CORPUS / "sources.json").is_file():
        sys.exit(f"{CORPUS}: no corpus there; first python recipes/zh_mini_corpus.py {CORPUS}")
    runs = Path("runs") / ("pretraining" if share == 1.0 else f"pretraining-{share:g}")
    result = (HERE / "results" if share == 1.0 else runs) / "pretraining.json"
    runs.mkdir(parents=True, exist_ok=True)
    prepare(runs, share)
    rows = fill(runs, result, share)["finetuning"]
    plot(result.with_suffix(".svg"), rows)
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main(sys.argv[1:])
