"""The demo, small (minutes=0.3): every stage runs, stops and goes on, and says what is true."""

import json
import signal
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import yanmo
from yanmo import files
from yanmo.commands.demo import SIZE
from yanmo.errors import SettingsError
from yanmo.hub import embedded
from yanmo.text import sources, split, tokenizer
from yanmo.train import track

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo in a process of its own, stopped once in the middle of pre-training by Ctrl-C, then run to its end."""
    folder = tmp_path_factory.mktemp("demo") / "demo"
    words = [sys.executable, "-m", "yanmo", "demo", "minutes=0.3", f"run={folder}", "--json"]
    process = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = folder / "pretrained" / track.FILE
    deadline = time.monotonic() + 120
    while (
        not (log.exists() and log.read_text())  # the first steps are done; on a busy machine there are few
        and time.monotonic() < deadline
        and process.poll() is None
    ):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert "The same command goes on from here." in error and "Traceback" not in error
    step = json.loads(next(folder.glob("pretrained/checkpoints/step-*/training.json")).read_text())["step"]

    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)  # exactly one JSON object
    assert printed == json.loads((folder / "metrics.json").read_text())
    assert (
        json.loads((folder / "pretrained" / "metrics.json").read_text())["cost"]["steps"] >= step > 0
    )  # a busy machine has time for one
    return folder


def test_data_is_counted_and_clean(demo: Path) -> None:
    facts = json.loads((demo / "data" / "facts.json").read_text())
    counts = facts["counts"]
    assert counts["rows"] == sum(counts[key] for key in counts if key != "rows")
    rows = {name: sources.read(demo / "data" / f"{name}.tsv") for name in ("train", "dev", "test")}
    assert split.leaks([*rows["train"], *rows["dev"]], rows["test"]) == {"exact": 0, "near": 0, "fragments": 0}
    labels = [row.labels[0] for row in rows["test"]]
    assert labels.count("positive") == labels.count("negative") == 120
    assert files.verify(demo / "data") == []
    trained_on = (demo / "data" / "reviews.txt").read_text().splitlines()
    assert trained_on == [row.texts[0] for row in rows["train"]]  # the tokeniser and the objective saw no other review


def test_it_begins_with_what_comes_with_the_package(demo: Path) -> None:
    """And the network that begins from nothing has the same size and step 2's tokeniser."""
    own = embedded.find(embedded.ENCODER)
    assert own is not None and json.loads((demo / "pretrained" / "yanmo.json").read_text())["base"] == own.origin
    cut = {place: tokenizer.load(demo / place).content() for place in ("tokenizer", "pretrained", "scratch", ".")}
    assert cut["pretrained"] == cut["."] == tokenizer.load(own.folder).content() != cut["tokenizer"] == cut["scratch"]
    sizes = [json.loads((folder / "config.json").read_text()) for folder in (own.folder, demo, demo / "scratch")]
    assert all({key: size[key] for key in SIZE} == {key: sizes[0][key] for key in SIZE} for size in sizes)


def test_scores_are_those_of_the_model(demo: Path) -> None:
    metrics = json.loads((demo / "metrics.json").read_text())
    again = yanmo.evaluate(demo, data={"test": demo / "data" / "test.tsv"})["test"]
    for key in ("accuracy", "macro_f1", "interval", "confusion"):
        assert again[key] == metrics["test"][key]
    assert {"svm", "naive_bayes", "majority", "from_scratch"} <= metrics["baseline"].keys()
    engine = yanmo.load(demo)
    texts = [row["text"] for row in metrics["examples"]]
    for shown, answer in zip(metrics["examples"], engine.predict(texts), strict=True):
        assert answer["label"] == shown["label"]
        assert answer["probabilities"] == pytest.approx(shown["probabilities"], abs=1e-5)


def test_int8_folder_is_a_model_of_its_own(demo: Path) -> None:
    metrics = json.loads((demo / "metrics.json").read_text())
    config = json.loads((demo / "int8" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "yanmo-int8"
    assert metrics["int8"]["megabytes"]["int8"] < metrics["int8"]["megabytes"]["float32"]
    again = yanmo.evaluate(demo / "int8", data={"test": demo / "data" / "test.tsv"})["test"]
    assert again["macro_f1"] == metrics["int8"]["macro_f1"]["int8"]
    ids = torch.tensor([yanmo.load(demo).tokenizer.encode("房间很干净，下次还住这里")])
    before, after = (yanmo.load(folder).hidden(ids) for folder in (demo, demo / "int8"))
    assert torch.nn.functional.cosine_similarity(before, after, dim=-1).min() > 0.98


def test_report_is_self_contained(demo: Path) -> None:
    page = (demo / "report.html").read_text()

    class Links(HTMLParser):
        found: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            assert tag != "script"
            self.found += [value or "" for name, value in attrs if name in ("src", "href")]

    Links().feed(page)
    assert not [link for link in Links.found if not link.startswith(("#", "data:"))]
    for part in ("careless", "Pre-training", "Eight bits", "Five reviews", "contradicting"):
        assert part in page


def test_other_settings_are_refused_and_a_second_demo_too(demo: Path) -> None:
    with pytest.raises(SettingsError, match=r"'minutes': 0\.3.*now.*'minutes': 0\.4"):
        yanmo.demo(run=demo, minutes=0.4)
    with files.lock(demo / "data.lock"), pytest.raises(Exception, match="another process"):
        yanmo.demo(run=demo, minutes=0.3)
