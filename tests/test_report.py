"""The report and the model card of a small invented run folder: well-formed, self-contained, escaped, and tolerant."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from yanmo import report
from yanmo.errors import DataError

EVIL = '<img src=x onerror="alert(1)">'
VOID = {"meta", "link", "br", "img", "hr", "input"}


class Balanced(HTMLParser):
    """Raises on a tag that is closed out of turn; collects the tags and the addresses."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [
            value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data")
        ]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def check_page(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    parser.close()
    assert not parser.open
    assert not parser.tags & {"script", "img", "iframe", "object", "embed"}
    assert all(address.startswith("#") or address == "data:," for address in parser.addresses)
    assert "url(" not in page
    assert "@import" not in page
    return parser


def scores(f1: float, low: float, high: float) -> dict[str, Any]:
    classes = {label: {"precision": f1, "recall": 0.75, "f1": f1, "support": 2000} for label in ("好评", EVIL)}
    numbers = {"rows": 4000, "accuracy": 0.8125, "macro_f1": f1, "macro_precision": 0.7, "mcc": 0.6}
    return {**numbers, "interval": [low, high], "classes": classes, "confusion": [[1500, 500], [250, 1750]]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "reviews"
    run.mkdir()
    metrics = {
        "train": {"rows": 9000},
        "test": scores(0.8654, 0.8551, 0.8757),
        "baseline": {"svm": scores(0.8561, 0.8452, 0.8672), "majority": {"macro_f1": 0.3333, "accuracy": 0.5}},
        "cost": {"seconds": 272.4, "steps": 1200, "tokens": 4915200, "tokens_per_second": 18044, "parameters": 3214082},
    }
    log = [
        {"kind": "train", "step": step, "epoch": 0, "loss": 6 / (1 + step / 50), "lr": 3e-4} for step in range(1, 1001)
    ]
    log += [{"kind": "dev", "step": step, "loss": 0.5, "macro_f1": 0.7 + step / 1e4} for step in (500, 1000)]
    log.append({"kind": "train", "step": 1001, "loss": float("nan")})
    lines = "".join(json.dumps(line) + "\n" for line in log) + '{"kind": "train", "step": 1002, "loss": 0.98'
    (run / "metrics.json").write_text(json.dumps(metrics), "utf-8")
    (run / "metrics.jsonl").write_text(lines, "utf-8")
    (run / "settings.yaml").write_text(f"run: runs/x\ntrain: {{lr: 3.0e-4, note: '{EVIL}', steps: null}}\n", "utf-8")
    config = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "好评", "1": EVIL},
    }
    (run / "config.json").write_text(json.dumps(config | {"hidden_size": 256}), "utf-8")
    return run


def make_card(folder: Path, **changes: Any) -> tuple[dict[str, Any], str]:
    given = {
        "language": "zh",
        "about": "评论的褒贬。",
        "base": None,
        "data": {"data/评论.tsv": "ab" * 32},
        "license": "mit",
    }
    _, front, body = report.card(folder, **(given | changes)).split("---\n", 2)
    return yaml.safe_load(front), body


def test_the_page_is_whole_self_contained_and_escaped(folder: Path) -> None:
    report.write(folder / "report.html", f"评论 {EVIL}", f"{EVIL}", report.run_sections(folder))
    page = (folder / "report.html").read_text("utf-8")
    assert {"svg", "table", "details", "title"} <= check_page(page).tags
    assert EVIL not in page
    assert "&lt;img src=x" in page
    for told in ("好评", "0.8654", "0.8561", "0.8551 – 0.8757", "1,750", "87.5%", "4 min 32 s", "3,214,082", "3.0e-4"):
        assert told in page, told
    assert "The model won" in page
    assert "intervals overlap" in page
    assert "The axis begins at 0." in page


def test_a_cut_line_and_a_loss_that_is_no_number_are_left_out(folder: Path) -> None:
    (training,) = (section for section in report.run_sections(folder) if section.title == "Training")
    losses = training.parts[0]
    assert isinstance(losses, report.Lines)
    assert len(losses.series["training"]) <= 200
    assert losses.series["dev"] == [(500, 0.5), (1000, 0.5)]
    page = check_page(str(report.html(losses)))
    assert "svg" in page.tags
    assert not re.search(r"\bnan\b|1002", str(report.html(losses)))


def test_the_baseline_may_win() -> None:
    ours, theirs = {"macro_f1": 0.81}, {"svm": {"macro_f1": 0.856}}
    assert report.verdict(ours, theirs, "macro_f1").startswith("The baseline won: Macro F1 0.8100 against 0.8560")
    assert report.verdict(theirs["svm"], theirs, "macro_f1").startswith("A tie")
    assert report.verdict({"loss": 2.0}, theirs, "") == ""


def test_missing_files_are_tolerated(tmp_path: Path) -> None:
    assert report.run_sections(tmp_path) == []
    check_page(report.render("Empty", "", []))
    front, body = make_card(tmp_path)
    assert front["tags"] == ["yanmo"]
    assert "Not evaluated yet" in body
    (tmp_path / "metrics.json").write_text("[1,")
    with pytest.raises(DataError, match=r"metrics\.json"):
        report.run_sections(tmp_path)


def test_a_pretraining_run_has_no_classes(tmp_path: Path) -> None:
    dev = {"rows": 500, "loss": 2.31, "pseudo_perplexity": 10.07, "accuracy": 0.52}
    (tmp_path / "metrics.json").write_text(json.dumps({"dev": dev}))
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "yanmo-ngram", "architectures": ["NgramForMaskedLM"]})
    )
    page = report.render("Pre-training", "", report.run_sections(tmp_path))
    check_page(page)
    assert "10.07" in page
    front, body = make_card(tmp_path)
    assert (front["library_name"], front["pipeline_tag"]) == ("yanmo", "fill-mask")
    assert "yanmo finetune" in body


@pytest.mark.parametrize(
    "part",
    [
        report.Text(EVIL),
        report.Code(EVIL),
        report.Figures({EVIL: EVIL}),
        report.Table([EVIL], [[EVIL], [None]], EVIL),
        report.Table(["a", "b"], []),
        report.Lines({EVIL: [(1, 2.0)]}, EVIL, EVIL, EVIL),
        report.Lines({"a": []}, "x", "y"),
        report.Lines({"a": [(0, 0), (10**6, 1e-9)], "b": [(3, -4.0)]}, "x", "y"),
        report.Bars({EVIL: 0.9, "b": 0.8}, {EVIL: (0.85, 0.95)}, EVIL, EVIL),
        report.Bars({"a": -1.0, "b": 2.0}),
        report.Bars({"a": 0.0}),
        report.Bars({}),
        report.Confusion([EVIL, "b"], [[0, 0], [1, 2]], EVIL),
    ],
)
def test_every_part_is_whole_and_escaped(part: report.Part) -> None:
    page = str(report.html(part))
    check_page(page)
    assert "<img" not in page


def test_bars_stay_on_their_axis() -> None:
    for values in ({"a": 0.86, "b": 0.85}, {"a": 0.1, "b": 0.9}, {"a": -3.0, "b": 1.0}, {"a": -3.0, "b": -1.0}):
        for bar in report.Bars(values).plot()["bars"]:
            assert bar["left"] >= 0
            assert bar["width"] >= 0
            assert bar["left"] + bar["width"] <= 100.01


def test_many_classes_become_a_list_of_confusions(folder: Path) -> None:
    labels = [f"class {i}" for i in range(30)]
    matrix = [[9 if i == j else int(j == i + 1) * i for j in range(30)] for i in range(30)]
    classes = {label: {"precision": 1.0, "recall": 1.0, "f1": 1.0, "support": 9} for label in labels}
    test = {"rows": 270, "macro_f1": 1.0, "classes": classes, "confusion": matrix}
    (folder / "metrics.json").write_text(json.dumps({"test": test}))
    (section,) = (section for section in report.run_sections(folder) if section.title == "Confusions")
    (table,) = section.parts
    assert isinstance(table, report.Table)
    assert list(table.rows[0]) == ["class 28", "class 29", 28]
    assert len(table.rows) == 20


def test_the_card_is_read_by_the_hub_and_by_people(folder: Path) -> None:
    front, body = make_card(folder, base="bert-base-chinese")
    assert front["language"] == "zh"
    assert front["license"] == "mit"
    assert front["library_name"] == "transformers"
    assert front["pipeline_tag"] == "text-classification"
    assert front["base_model"] == "bert-base-chinese"
    assert front["metrics"] == ["accuracy", "f1"]
    assert front["tags"] == ["yanmo", "bert"]
    (index,) = front["model-index"]
    (result,) = index["results"]
    assert index["name"] == "reviews"
    assert result["task"] == {"type": "text-classification"}
    assert {"type": "f1", "name": "Macro F1", "value": 0.8654} in result["metrics"]
    for told in (
        "评论的褒贬。",
        "ab" * 32,
        "0.8654",
        "TF-IDF + linear SVM",
        "yanmo predict",
        "`train.lr`",
        "256",
        "| 4 min 32 s |",
    ):
        assert told in body, told
    assert "<img" not in body
    assert "base_model" not in make_card(folder, base=str(folder))[0]


def test_the_whole_report_is_one_call(folder: Path) -> None:
    first = report.Section("数据", [report.Text("17,400 rows")])
    report.write_run(folder, title="Demo", sections=[first])
    page = (folder / "report.html").read_text("utf-8")
    check_page(page)
    assert page.index("数据") < page.index("Result")
