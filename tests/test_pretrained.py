"""The models that come with the package, as they stand in it: small, whole, equal in `transformers`, found by name without a network."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers

import yanmo
from yanmo import checkpoint, files, hub
from yanmo.__main__ import main
from yanmo.errors import ModelError
from yanmo.hub import embedded
from yanmo.models import weights

ENCODER, WRITER = embedded.ENCODER, embedded.WRITER
CLASSES = {ENCODER: "AutoModelForMaskedLM", WRITER: "AutoModelForCausalLM"}
TEXTS = ["春风又绿江南岸，明月何时照我还。", "白日依山尽，黄河入海流。"]
MEGABYTES = 8


def folder(name: str) -> Path:
    return embedded.HUB.root / name


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where no folder has their names."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra by which names are fetched."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    status = main([*words])
    told = capsys.readouterr()
    assert status == 0, told.err
    return told.out, told.err


@pytest.mark.parametrize("name", CLASSES)
def test_it_is_small_and_whole(name: str) -> None:
    assert files.verify(folder(name)) == []
    assert sum(path.stat().st_size for path in folder(name).iterdir()) <= MEGABYTES * 1_000_000
    assert {stored.dtype for stored in weights.read_tensors(folder(name)).values()} == {torch.float16}
    assert json.loads((folder(name) / "config.json").read_text())["dtype"] == "float16"


@pytest.mark.parametrize("name", CLASSES)
def test_git_keeps_it(name: str) -> None:
    """What git ignores is no part of a wheel either."""
    root = Path(__file__).parents[1]
    if not (root / ".git").exists():
        pytest.skip("not a checkout")
    files_of_it = [str(path) for path in folder(name).iterdir()]
    done = subprocess.run(["git", "check-ignore", *files_of_it], cwd=root, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("", 1)


@pytest.mark.parametrize("name", CLASSES)
def test_transformers_opens_it_with_equal_logits(name: str) -> None:
    engine = yanmo.load(name)
    cutter = transformers.AutoTokenizer.from_pretrained(folder(name))
    theirs = getattr(transformers, CLASSES[name]).from_pretrained(folder(name), dtype=torch.float32).eval()
    for text in TEXTS:
        ids = engine.tokenizer.encode(text)
        assert cutter(text)["input_ids"] == ids and engine.tokenizer.unknown not in ids
        with torch.inference_mode():
            assert (engine.logits(torch.tensor([ids])) - theirs(torch.tensor([ids])).logits).abs().max() < 1e-4


@pytest.mark.parametrize("name", CLASSES)
def test_its_card_names_every_source(name: str) -> None:
    card = (folder(name) / "README.md").read_text("utf-8")
    table = card.split("## Sources")[1].split("## Training")[0]
    rows = [re.split(r" \| ", line.strip("| ")) for line in table.splitlines() if re.search(r"%\s*\|$", line)]
    assert rows and all(source and licence for source, licence, _, _ in rows)
    assert sum(float(share.rstrip("% ")) for *_, share in rows) == pytest.approx(100, abs=0.1 * len(rows))
    sittings = checkpoint.read_record(folder(name))["sittings"]
    assert all(f"| {number} | {one['seconds'] / 60:.0f} |" in card for number, one in enumerate(sittings, 1))
    assert f"{sittings[-1]['dev']['loss']:.4f}" in card


def test_a_folder_of_that_name_goes_first(small_folder: Path) -> None:
    assert hub.find(ENCODER).folder == folder(ENCODER)
    shutil.copytree(small_folder, ENCODER)
    assert hub.find(ENCODER) == hub.Found(Path(ENCODER))


@pytest.mark.usefixtures("bare")
def test_another_name_is_told_which_may_be_meant() -> None:
    with pytest.raises(Exception, match=r"did you mean yanmo-zh-mini\?"):
        hub.find("yanmo-zh-min")


@pytest.mark.usefixtures("bare")
def test_a_run_keeps_to_the_state_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("rows.tsv").write_text("label\ttext\n" + "".join(f"{'好坏'[i % 2]}\t第{i}部电影\n" for i in range(20)))
    words = ["finetune", ENCODER, "rows.tsv", "run=run", "train.steps=1", "train.evaluations=1", "task.max_length=16"]
    assert main(words) == 0
    held = files.sha256(folder(ENCODER) / files.MANIFEST)[:40]
    origin = {"name": ENCODER, "revision": held, "hub": embedded.PLACE}
    assert checkpoint.read_record(Path("run"))["base"] == origin
    Path("run/metrics.json").unlink()  # as if it had not been finished
    shutil.copytree(embedded.HUB.root, "newer")
    monkeypatch.setattr(embedded, "HUB", hub.Folder(tmp_path / "newer"))
    files.seal(tmp_path / "newer" / ENCODER, ["config.json"])
    capsys.readouterr()
    assert main(words) == 1
    assert f"{ENCODER}@{held}: this version of Yanmo brings revision" in capsys.readouterr().err
    with pytest.raises(ModelError, match="brings revision"):
        hub.find(f"{ENCODER}@{held}")


@pytest.mark.usefixtures("bare")
def test_verbs_take_the_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("texts.txt").write_text("".join(f"{text}\n" for text in TEXTS), "utf-8")
    out, _ = said(capsys, "evaluate", ENCODER, "texts.txt", "--json")
    assert json.loads(out)["test"]["pseudo_perplexity"] > 1
    out, _ = said(capsys, "evaluate", f"run={WRITER}", "data.test=texts.txt", "--json")
    assert json.loads(out)["test"]["bits_per_character"] > 0
    out, _ = said(capsys, "models", ENCODER, "--json")
    assert (json.loads(out)["family"], json.loads(out)["head"]) == ("bert", "masked")
    out, _ = said(capsys, "generate", ENCODER, "今天天气很[MASK]。", "n=2", "--json")
    assert len(json.loads(out)["texts"]) == 2
    assert main(["predict", ENCODER, "texts.txt"]) == 2
    assert "made for no task yet; fine-tune it first, with model.base=yanmo-zh-mini" in capsys.readouterr().err
    assert yanmo.load(ENCODER).embed(TEXTS).shape[0] == 2


@pytest.mark.usefixtures("bare")
def test_they_are_listed_and_pulled(capsys: pytest.CaptureFixture[str]) -> None:
    out, told = said(capsys, "hub", "list", "--json")
    assert [model["name"] for model in json.loads(out)["models"]] == list(CLASSES)
    assert "only what comes with the package is listed" in told and "yanmo[hub]" in told
    out, _ = said(capsys, "hub", "pull", WRITER, "--json")
    assert json.loads(out)["revision"] == embedded.find(WRITER).origin["revision"]  # type: ignore[union-attr]
    assert files.verify(Path("models", WRITER)) == []
    assert ENCODER in said(capsys, "models")[1]
    assert main(["hub", "list", "bert"]) == 1
    assert "yanmo[hub]" in capsys.readouterr().err


# ---- yanmo generate without a model


def lines(monkeypatch: pytest.MonkeyPatch, text: str = "") -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))


@pytest.mark.usefixtures("bare")
def test_a_poem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    lines(monkeypatch)
    poem, told = said(capsys, "generate")
    assert re.fullmatch("[\u3400-\u9fff，。]{20,}\n", poem)
    seed = re.search(r"the same again: (sampling\.seed=\d+)", told)
    assert seed is not None
    again, told = said(capsys, "generate", seed[1])
    assert again == poem and "again" not in told


def test_a_poem_from_its_first_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sampling.seed=1", "--json"]
    poem = json.loads(said(capsys, "generate", "春风", *words)[0])
    keys = {"max_new_tokens": 128, "sampling": {"temperature": 0.8, "seed": 1}}
    assert poem == {"prompt": "春风", "texts": [yanmo.load(WRITER).generate("春风", **keys)]}
    lines(monkeypatch, "春风\n")
    assert json.loads(said(capsys, "generate", *words)[0]) == poem
    named = ["max_new_tokens=128", "sampling.temperature=0.8"]
    assert json.loads(said(capsys, "generate", WRITER, "春风", *named, *words)[0]) == poem
    assert said(capsys, "generate", "春风", "beams=2", "max_new_tokens=8")[1] == ""
