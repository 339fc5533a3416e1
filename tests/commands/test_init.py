"""`yanmo init`: what it writes runs as it stands, and the size is the one that fits the time."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import yanmo
from yanmo import fit, settings
from yanmo.__main__ import main
from yanmo.commands import init_plans
from yanmo.commands.init_plans import Fit

WORDS = "river stone cloud market engine letter window garden silver winter".split()  # noqa: SIM905


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fit, "_PROBE_SECONDS", 0.2)
    rows = [f"{n} {' '.join(WORDS[(n * k) % 10] for k in range(1, 9))}" for n in range(200)]
    Path("reviews.csv").write_text(
        "id,comment,feeling\n" + "".join(f"{n},{row},{'good' if n % 3 else 'bad'}\n" for n, row in enumerate(rows))
    )
    Path("book.txt").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_labelled_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "reviews.csv", "minutes=0.1", "--json"]) == 0
    said = capsys.readouterr()
    found = json.loads(said.out)
    assert (found["verb"], found["rows"], found["labels"]) == ("finetune", 200, {"bad": 67, "good": 133})
    assert found["columns"] == {"text": "comment", "pair": None, "label": "feeling"}
    assert "next: yanmo finetune reviews.yaml" in said.err
    text = Path("reviews.yaml").read_text()
    assert "# Written by `yanmo init reviews.csv`: 200 rows, utf-8, mostly English; 2 labels: good 133, bad 67" in text
    assert "columns: {text: comment, label: feeling}  # not used: id" in text
    assert main(["finetune", "reviews.yaml", "train.epochs=0.1"]) == 0
    metrics = json.loads(Path("runs/reviews/metrics.json").read_text())
    assert {"dev", "baseline", "cost"} <= metrics.keys()


def test_words_with_tags(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [f"Ann I-PER\nsees O\nRome{i} I-LOC\n" for i in range(60)]
    Path("names.conll").write_text("\n".join(rows))
    found = yanmo.init("names.conll", minutes=0.1)
    assert (found["verb"], found["labels"]) == ("finetune", {"B-LOC": 60, "B-PER": 60, "O": 60})
    content, _ = settings.read_file(Path(found["out"]))
    assert content["task"]["name"] == "tag" and "columns" not in content["data"]
    assert main(["finetune", found["out"], "train.epochs=0.1"]) == 0


def test_numbers_on_a_scale(here: Path) -> None:
    rows = "".join(f"{' '.join(WORDS[(n * k) % 10] for k in range(1, 9))} {n},{n % 9 / 2}\n" for n in range(200))
    Path("stars.csv").write_text("comment,score\n" + rows)
    found = yanmo.init("stars.csv", minutes=0.1)
    assert (found["verb"], found["kind"], found["labels"]) == ("finetune", "rate", {})
    content, _ = settings.read_file(Path(found["out"]))
    assert content["task"]["name"] == "rate" and content["data"]["columns"] == {"text": "comment", "label": "score"}
    assert main(["finetune", found["out"], "train.epochs=0.1"]) == 0
    assert "ridge" in json.loads(Path("runs/stars/metrics.json").read_text())["baseline"]


@pytest.mark.parametrize(
    ("task", "row"),
    [
        ("relate", lambda n: {"head": "stone", "tail": f"w{n}", "relation": f"r{n % 2}", "text": f"w{n} near stone"}),
        (
            "answer",
            lambda n: {"question": "what?", "context": f"a near river {n}", "answers": [{"text": "near", "start": 2}]},
        ),
    ],
    ids=["relate", "answer"],
)
def test_rows_of_other_forms(here: Path, task: str, row: Callable[[int], dict[str, Any]]) -> None:
    rows = [row(n) for n in range(100)]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = yanmo.init("rows.jsonl", minutes=0.05)
    text = Path(found["out"]).read_text()
    assert f"name: {task}" in text and "not used" not in text
    assert main(["finetune", found["out"], "train.epochs=0.1"]) == 0


def test_pairs_and_ranked_rows(here: Path) -> None:
    rows = [" ".join(WORDS[(n * k) % 10] for k in range(1, 5)) for n in range(60)]
    Path("pairs.csv").write_text("text,pair\n" + "".join(f"{row} {n},n{n} {row[:9]}\n" for n, row in enumerate(rows)))
    Path("ranked.jsonl").write_text(
        "".join(
            json.dumps({"query": f"{rows[n // 4]} {n // 4}", "document": rows[n % 7], "relevance": n % 2}) + "\n"
            for n in range(240)
        )
    )
    for name, task in (("pairs.csv", "embed"), ("ranked.jsonl", "rerank")):
        found = yanmo.init(name, minutes=0.1)
        assert found["verb"] == "finetune" and f"name: {task}" in Path(found["out"]).read_text()
        assert main(["finetune", found["out"], "train.epochs=0.1"]) == 0


def test_text(here: Path) -> None:
    found = yanmo.init("book.txt", minutes=0.1, out="mine.yaml")
    assert (found["verb"], found["rows"], found["kind"]) == ("pretrain", 200, "texts")
    assert main(["pretrain", "mine.yaml", "train.minutes=0.01"]) == 0
    assert Path("runs/book/metrics.json").is_file()


def test_a_folder_of_parts(here: Path) -> None:
    Path("set").mkdir()
    Path("reviews.csv").rename("set/train.csv")
    Path("set/test.csv").write_text("comment,feeling\nriver stone,good\nmarket engine,bad\n")
    found = yanmo.init("set", minutes=0.1)
    assert main(["finetune", found["out"], "train.epochs=0.1"]) == 0
    metrics = json.loads(Path("runs/set/metrics.json").read_text())
    assert metrics["test"]["rows"] == 2, "the folder's own test part was scored"


def test_a_base(here: Path, small_folder: Path) -> None:
    long = Path("reviews.csv").read_text().replace("river", "river " * 80)
    Path("reviews.csv").write_text(long)
    found = yanmo.init("reviews.csv", minutes=0.1, **{"model.base": str(small_folder)})
    content, _ = settings.read_file(Path(found["out"]))
    assert content["model"] == {"base": str(small_folder)}
    assert content["task"]["max_length"] == 64, "it has no more positions"
    assert main(["finetune", found["out"], "train.epochs=0.1"]) == 0


def test_what_stands_there_is_not_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("reviews.yaml").write_text("mine")
    assert main(["init", "reviews.csv"]) == 2
    assert "error: reviews.yaml: stands there already" in capsys.readouterr().err
    assert Path("reviews.yaml").read_text() == "mine"


def test_rows_that_no_verb_trains_on_yet(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("quiz.jsonl").write_text('{"question": "Which?", "choices": ["this", "that"], "label": 1}\n' * 20)
    assert main(["init", "quiz.jsonl"]) == 1
    assert "its rows look like questions with choices (answer)" in capsys.readouterr().err
    assert not Path("quiz.yaml").exists()


@pytest.mark.parametrize(("minutes", "size"), [(0.5, "tiny"), (5, "mini"), (1e6, "small")])
def test_the_size_fits_the_time(minutes: float, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size is half as fast as the one before it; 3,000 steps a pass of 10 tokens each, and small is the last that may be learnt
    from so many tokens."""
    speeds = {"tiny": 8000, "mini": 4000, "small": 2000, "medium": 1000}  # steps a minute
    layers = {"tiny": 1_000, "mini": 5_000, "small": 25_000, "medium": 125_000}
    monkeypatch.setattr(fit, "steps_within", lambda job, seconds: speeds[job.size] * seconds / 60)
    monkeypatch.setattr(init_plans, "lengths", lambda rows: __import__("numpy").full(3000, 10))
    monkeypatch.setattr(init_plans, "_layers", lambda job: layers[job.size])

    def enough(found: Fit, total: int) -> bool:
        return found.passes >= 5 and found.parameters <= total

    question = SimpleNamespace(base=None, minutes=minutes)
    chosen = init_plans._choose(
        question, lambda size: SimpleNamespace(size=size, train=[], steps_per_epoch=3000), enough
    )  # type: ignore[arg-type,return-value]
    assert chosen.size == size
