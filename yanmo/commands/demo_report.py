"""What the demo says in the end: the sections of its report, and the lines on the screen."""

from pathlib import Path
from typing import Any

from yanmo import runs
from yanmo.commands.finetune import verdict
from yanmo.progress import say
from yanmo.report import Code, Lines, Section, Table, Text
from yanmo.train import track


def summary(metrics: dict[str, Any]) -> str:
    test, scratch = metrics["test"], metrics["baseline"]["from_scratch"]["macro_f1"]
    return (
        f"{verdict(metrics)}. The score joins the network with a linear model of its own, which also reads words, in a proportion that the "
        f"dev rows chose; the network alone reaches {test['network_alone']:.4f}, the linear model alone {test['linear_alone']:.4f}, and "
        f"the network from nothing, without pre-training, {scratch:.4f}."
    )


def sections(folder: Path, facts: dict[str, Any], metrics: dict[str, Any]) -> list[Section]:
    counts, parts, leaks = facts["counts"], facts["parts"], facts["leaks"]
    careless, int8 = metrics["careless"], metrics["int8"]
    log = track.read(folder / "pretrained" / track.FILE)
    meaning = {
        "rows": "lines of the package",
        "empty": "without a letter or digit",
        "contradicting": "the same text under both labels: all dropped",
        "exact": "the same text as an earlier row, apart from spaces, punctuation, case and width",
        "near": "half of the 8-character runs in common with an earlier row, or more",
        "fragments": "stand within another row",
        "kept": "distinct reviews",
    }
    return [
        Section(
            "Data",
            [
                Table(["rows", "what they are", "count"], [[key, meaning[key], counts[key]] for key in meaning]),
                Text(
                    "Split by a hash of the text, so that rows never move when others are added: "
                    f"{parts['train']:,} to train, {parts['dev']:,} to choose by, {parts['test']:,} to test. Test rows that stand "
                    f"in the other parts: {leaks['exact']} exactly, {leaks['near']} nearly, {leaks['fragments']} as fragments."
                ),
            ],
        ),
        Section(
            "Why a careless split would have looked better",
            [
                Text(
                    f"Split at random without removing duplicates, the same linear SVM seems to reach macro F1 "
                    f"{careless['macro_f1']:.3f} instead of {metrics['baseline']['svm']['macro_f1']:.3f}. That is leakage, not skill: "
                    f"of its {careless['rows']:,} test rows, {careless['leaks']['exact']:,} stand in its training rows word for word."
                )
            ],
        ),
        Section(
            "Pre-training",
            [
                Lines(
                    {
                        "training": [(row["step"], row["loss"]) for row in log if row["kind"] == "train"],
                        "held out": [(row["step"], row["loss"]) for row in log if row["kind"] == "dev"],
                    },
                    "step",
                    "loss",
                    "Masked language modelling on the training reviews, going on with yanmo-zh-mini, which read no review.",
                ),
            ],
        ),
        Section(
            "Eight bits",
            [
                Table(
                    ["", "float32", "int8"],
                    [
                        ["size, MB", round(int8["megabytes"]["float32"], 2), round(int8["megabytes"]["int8"], 2)],
                        ["macro F1", int8["macro_f1"]["float32"], int8["macro_f1"]["int8"]],
                        ["speed (float32 = 1)", 1.0, round(int8["speed"], 2)],
                    ],
                    f"{int8['layers']} linear layers ({int8['linear_parameters']:,} parameters) as integers; the rest stays.",
                )
            ],
        ),
        Section(
            "Five reviews",
            [
                Table(
                    ["review", "truth", "answer", "probability"],
                    [
                        [row["text"], row["truth"], row["label"], round(max(row["probabilities"].values()), 3)]
                        for row in metrics["examples"]
                    ],
                    "The first five rows of the test set in the order of their hash, not picked.",
                )
            ],
        ),
        Section("Go on", [Code("\n".join(_commands(folder)))]),
    ]


def _commands(folder: Path) -> list[str]:
    return [
        f"echo 房间很干净，下次还住这里 | yanmo predict {folder}",
        f"yanmo evaluate {folder} data.test={folder}/data/test.tsv --json",
        f"yanmo finetune model.base={folder}/pretrained data.train=YOURS.tsv data.test=TEST.tsv run=runs/mine",
    ]


def show(folder: Path, metrics: dict[str, Any]) -> None:
    test = metrics["test"]
    rows = {
        "this model": test["macro_f1"],
        "its network alone": test["network_alone"],
        "its linear model alone": test["linear_alone"],
        "its int8 form": metrics["int8"]["macro_f1"]["int8"],
        "the same, from nothing": metrics["baseline"]["from_scratch"]["macro_f1"],
        "TF-IDF + linear SVM": metrics["baseline"]["svm"]["macro_f1"],
        "naive Bayes": metrics["baseline"]["naive_bayes"]["macro_f1"],
        "(SVM, careless split)": metrics["careless"]["macro_f1"],
    }
    say(f"\nmacro F1 on {test['rows']:,} test reviews")
    for name, value in rows.items():
        say(f"  {name:28} {value:.4f}")
    say(summary(metrics))
    say("\nfive reviews, live")
    for row in metrics["examples"]:
        say(f"  {row['label']:9} {max(row['probabilities'].values()):.3f}  (truth: {row['truth']})  {row['text'][:40]}")
    say(f"\nreport: {folder / runs.REPORT}\ngo on with:")
    for line in _commands(folder):
        say(f"  {line}")
