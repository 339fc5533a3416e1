"""Each mistake that a user can make gives one clear message, an exit status of 1 or 2 and no traceback."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from yanmo import files
from yanmo.__main__ import main

ROWS = [
    ("a good film", "positive"),
    ("a bad film", "negative"),
    ("这部电影很好", "positive"),
    ("这部电影不好", "negative"),
] * 6
QUICK = ["train.steps=2", "train.evaluations=1", "machine.threads=1", "task.max_length=32"]
FINETUNE = ["finetune", "data.train=train.tsv", "data.dev=dev.tsv", "model.base=model", *QUICK]
SCRATCH = [
    "model.size={hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}",
    "tokenizer.vocab=100",
]


@pytest.fixture
def here(tmp_path: Path, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with sound data (train.tsv, dev.tsv) and a sound model (model)."""
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "train.tsv", ROWS)
    table(tmp_path / "dev.tsv", ROWS[:4])
    shutil.copytree(small_folder, tmp_path / "model")
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in handlers.items():
        signal.signal(number, handler)


def table(path: Path, rows: list[tuple[str, str]], header: str = "text\tlabel") -> None:
    path.write_text("".join(line + "\n" for line in [header, *("\t".join(row) for row in rows)]), "utf-8")


def write(name: str, content: str | bytes) -> Callable[[Path], None]:
    return lambda here: files.write_file(here / name, content)


def config(**changes: object) -> Callable[[Path], None]:
    def change(here: Path) -> None:
        file = here / "model/config.json"
        files.write_json(file, json.loads(file.read_text("utf-8")) | changes)

    return change


def record(content: object) -> Callable[[Path], None]:
    return lambda here: files.write_json(here / "model/yanmo.json", content)


def remove(name: str) -> Callable[[Path], None]:
    return lambda here: files.remove(here / name)


def pickled(here: Path) -> None:
    (here / "model/model.safetensors").rename(here / "model/pytorch_model.bin")


def misshapen(here: Path) -> None:
    file = here / "model/model.safetensors"
    tensors = safetensors.torch.load_file(file)
    tensors["bert.embeddings.LayerNorm.weight"] = torch.ones(17)
    tensors["stranger"] = torch.ones(1)
    del tensors["bert.embeddings.LayerNorm.bias"]
    safetensors.torch.save_file(tensors, file)


def cut_short(here: Path) -> None:
    file = here / "model/model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def unseen(name: str) -> Callable[[Path], None]:
    return lambda here: table(here / name, [("fine", "positive"), ("so so", "neutral")])


def stdin(content: bytes) -> Callable[[Path], None]:
    def change(here: Path) -> None:
        sys.stdin = io.TextIOWrapper(io.BytesIO(content))  # pytest puts its own back

    return change


def nothing(here: Path) -> None:
    pass


def new(*words: str) -> list[str]:
    """A fine-tuning command with other words."""
    keys = {word.partition("=")[0] for word in words}
    return [word for word in FINETUNE if word.partition("=")[0] not in keys] + [
        word for word in words if word[-1:] != "="
    ]


EVALUATE = ["evaluate", "model", "data.test=dev.tsv", "machine.threads=1"]
PREDICT = ["predict", "model", "machine.threads=1"]

# name: (how the folder is spoilt, command, exit status, what the message must contain)
Mistake = tuple[Callable[[Path], None], list[str], int, list[str]]
USAGE: dict[str, Mistake] = {
    "unknown verb": (nothing, ["fintune"], 2, ["fintune"]),
    "unknown option": (nothing, ["finetune", "--fast"], 2, ["--fast"]),
    "unknown key": (nothing, new("train.lrr=1"), 2, ["unknown key 'train.lrr'", "did you mean 'train.lr'?"]),
    "unknown key in a file": (
        write("s.yaml", "seed: 1\ntrain:\n  lrr: 1\n"),
        new("s.yaml"),
        2,
        ["s.yaml:3: unknown key 'train.lrr'"],
    ),
    "YAML typo": (write("s.yaml", "train:\n  lr: [1\nseed: 1\n"), new("s.yaml"), 2, ["s.yaml:3", "not valid YAML"]),
    "no such settings": (nothing, ["finetune", "nosuch.yaml"], 2, ["nosuch.yaml: no such settings file"]),
    "two budgets": (nothing, new("train.minutes=1"), 2, ["two budgets named (steps and minutes)"]),
    "wrong type": (nothing, new("train.lr=fast"), 2, ["train.lr: ", "valid number", "'fast'"]),
    "no data": (nothing, ["finetune"], 2, ["data.train: no rows to train on", "data.train=train.tsv"]),
    "no text": (nothing, ["pretrain"], 2, ["data.train: no text", "yanmo pretrain text.txt"]),
    "unknown size": (nothing, new("model.base=", "model.size=huge"), 2, ["model.size: 'huge'", "mini"]),
    "unknown family": (nothing, new("model.base=", "model.family=brt"), 2, ["model.family", "'brt'", "bert"]),
    "unknown device": (nothing, new("machine.device=gpu"), 2, ["machine.device: 'gpu'", "device=cpu"]),
    "max_length": (nothing, new("task.max_length=100"), 2, ["100 tokens", "only 64 positions", "at most 64"]),
    "evaluate nothing": (nothing, ["evaluate"], 2, ["expected a run folder", "yanmo evaluate RUN"]),
    "evaluate no folder": (nothing, ["evaluate", "nosuch", "data.test=dev.tsv"], 2, ["nosuch: no such file or folder"]),
    "predict nothing": (nothing, ["predict", "nosuch"], 2, ["nosuch: no such folder"]),
    "predict to what": (nothing, [*PREDICT, "out=x.docx"], 2, ["out: 'x.docx'", ".jsonl"]),
    "tokenizer what": (nothing, ["tokenizer", "trian", "dev.tsv"], 2, ["yanmo tokenizer train FILE"]),
    "small vocabulary": (
        write("t.txt", "".join(map(chr, range(0x4E00, 0x4F00)))),
        ["tokenizer", "train", "t.txt", "tokenizer.kind=unigram", "tokenizer.vocab=100"],
        2,
        ["tokenizer.vocab: 100 can't be made", "tokenizer.kind"],
    ),
}
DATA: dict[str, Mistake] = {
    "no such file": (nothing, new("data.train=nosuch.tsv"), 1, ["nosuch.tsv: no such file"]),
    "no such dev": (nothing, new("data.dev=nosuch.tsv"), 1, ["nosuch.tsv: no such file"]),
    "empty": (write("train.tsv", ""), FINETUNE, 1, ["train.tsv: the file has no rows"]),
    "missing column": (
        nothing,
        new("data.columns.text=body"),
        1,
        ["train.tsv:1:", "no column 'body'", "text, label", "data.columns.text="],
    ),
    "one class": (
        lambda here: table(here / "train.tsv", ROWS[::2]),
        FINETUNE,
        1,
        ["train.tsv: only one label ('positive')", "at least two"],
    ),
    "bad UTF-8": (
        write("train.tsv", b"text\tlabel\nx\t1\n\xff\t0\n"),
        FINETUNE,
        1,
        ["train.tsv:3: byte 1", "not in UTF-8", "iconv"],
    ),
    "bad UTF-8 in dev": (write("dev.tsv", b"text\tlabel\nx\xe9\tpositive\n"), FINETUNE, 1, ["dev.tsv:2: byte 2"]),
    "unseen label in dev": (
        unseen("dev.tsv"),
        FINETUNE,
        1,
        ["dev.tsv:3: label 'neutral' was never seen in training", "negative, positive"],
    ),
    "unseen label in test": (unseen("test.tsv"), new("data.test=test.tsv"), 1, ["test.tsv:3: label 'neutral'"]),
    "unseen label, later": (
        unseen("test.tsv"),
        [*EVALUATE[:2], "data.test=test.tsv"],
        1,
        ["test.tsv:3: label 'neutral'"],
    ),
    "ragged csv": (
        write("train.csv", "text,label\nx,1\ny,z,0\n"),
        new("data.train=train.csv"),
        1,
        ["train.csv:3: 3 columns, expected 2"],
    ),
    "bad JSON": (
        write("train.jsonl", '{"text": "x", "label": 1}\n{"text"\n'),
        new("data.train=train.jsonl"),
        1,
        ["train.jsonl:2: not JSON"],
    ),
    "a folder for a file": (nothing, new("data.train=model"), 1, ["model: this folder has a config.json", "not rows"]),
    "pretrain on nothing": (write("t.txt", "\n"), ["pretrain", "t.txt"], 1, ["t.txt: the file has no text"]),
    "pretrain on one line": (
        write("t.txt", "one\n"),
        ["pretrain", "t.txt"],
        1,
        ["t.txt: too few texts", "data.dev=FILE"],
    ),
    "predict no file": (nothing, [*PREDICT, "nosuch.csv"], 1, ["nosuch.csv: no such file"]),
    "bad UTF-8 on standard input": (stdin(b"good\nb\xffd\n"), PREDICT, 1, ["standard input:2: byte 2", "not in UTF-8"]),
}
MODEL: dict[str, Mistake] = {
    "no such model": (nothing, new("model.base=nosuch"), 1, ["nosuch: no such folder"]),
    "no config": (remove("model/config.json"), EVALUATE, 1, ["model: no config.json"]),
    "broken config": (write("model/config.json", "{"), EVALUATE, 1, ["config.json: not a readable JSON object"]),
    "no weights": (remove("model/model.safetensors"), FINETUNE, 1, ["model: no weights here", "model.safetensors"]),
    "pickles only": (
        pickled,
        FINETUNE,
        1,
        ["pytorch_model.bin", "can run code", "from transformers import", "save_pretrained('model-safe')"],
    ),
    "code in the config": (
        config(auto_map={"AutoModel": "x.Y"}),
        FINETUNE,
        1,
        ["config.json", "'auto_map' names code"],
    ),
    "unknown model_type": (config(model_type="mamba"), FINETUNE, 1, ["model_type 'mamba'", "bert"]),
    "wrong type in the config": (config(hidden_size="big"), FINETUNE, 1, ["'hidden_size' is 'big'", "int"]),
    "another architecture": (config(is_decoder=True), FINETUNE, 1, ["'is_decoder' is True"]),
    "misshapen": (
        misshapen,
        FINETUNE,
        1,
        [
            "do not fit",
            "LayerNorm.weight: shape [17], but the config says [16]",
            "missing: bert.embeddings.LayerNorm.bias",
            "unexpected: stranger",
        ],
    ),
    "weights cut short": (cut_short, FINETUNE, 1, ["model.safetensors: not a readable safetensors file"]),
    "no tokenizer": (remove("model/tokenizer.json"), EVALUATE, 1, ["tokenizer.json: no tokeniser here"]),
    "broken tokenizer": (
        write("model/tokenizer.json", '{"model": '),
        EVALUATE,
        1,
        ["tokenizer.json: not a readable tokeniser"],
    ),
    "broken record": (write("model/yanmo.json", "{"), EVALUATE, 1, ["yanmo.json: not a readable JSON object"]),
    "unknown task": (record({"task": {"name": "sing"}}), EVALUATE, 1, ["the task 'sing'", "classify"]),
    "no task": (config(architectures=["BertModel"]), EVALUATE, 1, ["no head for a task", "task.name=classify"]),
    "doctor, no folder": (nothing, ["doctor", "nosuch"], 1, ["nosuch: no such folder"]),
    "a model in the way": (nothing, new("run=model"), 1, ["model: holds a model that is not a run"]),
}

MISTAKES = USAGE | DATA | MODEL


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """(exit status, standard error) of a command; anything that would be a traceback fails the test by itself."""
    capsys.readouterr()
    status = main(words)
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    if status:
        assert captured.out == ""
    return status, captured.err


@pytest.mark.parametrize(("spoil", "words", "status", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    words: list[str],
    status: int,
    expected: list[str],
) -> None:
    spoil(here)
    found, message = run(words, capsys)
    for part in expected:
        assert part in message
    assert found == status


# What models/, checkpoint.py, tasks/__init__.py and finetune.py do not put into words yet: when they do, these join the tables above.
DAMAGE: dict[str, Mistake] = {
    "wrong key in a size": (nothing, new("model.base=", "model.size={hidden: 3}"), 2, ["hidden"]),
    "labels without numbers": (config(id2label={"a": "x", "b": "y"}), EVALUATE, 1, ["id2label"]),
    "labels as a list": (config(id2label=["x", "y"]), EVALUATE, 1, ["id2label"]),
    "architectures as a number": (config(architectures=5), EVALUATE, 1, ["architectures"]),
    "a list for a record": (record([1]), EVALUATE, 1, ["yanmo.json"]),
    "a word for a task": (record({"task": "classify"}), EVALUATE, 1, ["yanmo.json"]),
    "a task with other keys": (
        record({"task": {"name": "classify", "tempo": 3}}),
        EVALUATE,
        1,
        ["yanmo.json", "tempo"],
    ),
    "quantised somehow": (config(quantization_config=5), EVALUATE, 1, ["quantization_config"]),
    "few rows": (lambda here: table(here / "train.tsv", ROWS[:2]), new("data.dev="), 1, ["data.dev"]),
}


@pytest.mark.parametrize(("spoil", "words", "status", "expected"), DAMAGE.values(), ids=DAMAGE)
def test_damage(
    here: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: Callable[[Path], None],
    words: list[str],
    status: int,
    expected: list[str],
) -> None:
    test_mistakes(here, capsys, spoil, words, status, expected)


# ---- run folders

HOLD = """
import time
from pathlib import Path
from yanmo import files
with files.lock(Path("runs/x")):
    print(flush=True)
    time.sleep(60)
"""


def test_a_run_folder_in_use(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        for words in (new("run=runs/x"), ["doctor", "runs/x", "--fix"]):
            status, message = run(words, capsys)
            assert status == 1
            assert f"runs/x: another process (pid {holder.pid}) is using this folder" in message
    finally:
        holder.kill()
        holder.wait()


def test_other_settings_and_a_finished_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = new("run=runs/x")
    assert run(words, capsys)[0] == 0
    before = (here / "runs/x/metrics.json").read_bytes()
    status, message = run([*words, "train.lr=1e-5", "seed=1"], capsys)
    assert status == 2
    for part in ("a run with other settings", "seed: was 0, now 1", "train.lr: was 0.0003, now 1e-05", "force=true"):
        assert part in message
    status, message = run([*words, "machine.threads=2"], capsys)
    assert status == 0
    assert "finished already" in message
    table(here / "test.tsv", [("fine", "positive")], header="body\tlabel")
    status, message = run(["evaluate", "runs/x", "data.test=test.tsv"], capsys)
    assert (status, "no column for the text" in message) == (1, True)
    assert (here / "runs/x/metrics.json").read_bytes() == before


def test_data_that_has_changed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = new("run=runs/x")
    assert run(words, capsys)[0] == 0
    (here / "runs/x/metrics.json").unlink()  # as if it had not been finished
    table(here / "train.tsv", ROWS[:-1])
    status, message = run(words, capsys)
    assert (status, "the content of train.tsv has changed" in message) == (2, True)


@pytest.mark.parametrize("mistake", ["data.train=nosuch.tsv", "model.base=nosuch", "model.base=runs/x"])
def test_force_deletes_nothing_for_a_command_that_can_not_run(
    here: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    words = new("run=runs/x")
    assert run(words, capsys)[0] == 0
    before = (here / "runs/x/model.safetensors").read_bytes()
    assert run([*words, "force=true", mistake], capsys)[0] in (1, 2)
    assert (here / "runs/x/model.safetensors").read_bytes() == before


def test_a_failed_beginning_leaves_no_tokenizer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unseen("dev.tsv")(here)
    words = [*new("model.base="), *SCRATCH, "run=runs/x"]
    assert run(words, capsys)[0] == 1
    table(here / "dev.tsv", ROWS[:4])
    table(here / "train.tsv", [(f"other words {text}", label) for text, label in ROWS])
    assert run(words, capsys)[0] == 0
    assert "words" in (here / "runs/x/tokenizer.json").read_text("utf-8")


# ---- a full disk


def no_space_after(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    fsync, count = os.fsync, iter(range(10**9))

    def full(descriptor: int) -> None:
        if next(count) >= calls:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)


def test_a_disk_that_fills_up_during_a_run(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [
        *new("model.base=", "train.steps=4", "train.evaluations=2"),
        SCRATCH[0],
        "tokenizer.base=model",
        "run=runs/x",
    ]
    assert run([*words, "run=runs/whole"], capsys)[0] == 0
    whole = json.loads((here / "runs/whole/metrics.json").read_text("utf-8"))
    failed = 0
    for calls in (0, 8, 20, 45, 70, 90):  # the same command again and again, each time with a little more room
        with monkeypatch.context() as patch:
            no_space_after(patch, calls)
            status, message = run(words, capsys)
        if status == 0:
            break
        failed += 1
        assert status == 1
        assert "No space left on device" in message
        assert "Free some space" in message
        kept = [path for path in (here / "runs/x").glob("checkpoints/*") if path.is_dir()]
        assert [fault for path in kept for fault in files.verify(path)] == []
        assert files.partials(here / "runs/x") == []
    assert failed >= 3
    assert run(words, capsys)[0] == 0
    found = json.loads((here / "runs/x/metrics.json").read_text("utf-8"))
    assert found["dev"] == whole["dev"]
    assert found["train"] == whole["train"]


def test_answers_on_a_full_disk(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "out.csv").write_text("old")
    with monkeypatch.context() as patch:
        no_space_after(patch, 0)
        status, message = run([*PREDICT, "dev.tsv", "out=out.csv"], capsys)
    assert (status, "out.csv: could not be written (No space left on device)" in message) == (1, True)
    assert (here / "out.csv").read_text() == "old"


def test_standard_output_that_is_full_or_closed(here: Path) -> None:
    command = [sys.executable, "-m", "yanmo", *PREDICT, "dev.tsv"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "error: the output: No space left on device")


@pytest.mark.parametrize("number, expected", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal(
    number: int, expected: int, here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a library would have an exception for one of its own; a second one ends the process, without a word."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), number)
        except Exception:
            raise AssertionError("swallowed") from None

    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    monkeypatch.setattr("yanmo.text.sources.read", interrupted)
    status, message = run([*PREDICT, "dev.tsv"], capsys)
    assert (status, "stopped; what was finished is kept" in message, ended) == (expected, True, [])
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended == [143]


# ---- what is no mistake


def test_answers_read_back(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from yanmo.text import sources

    odd = ['say "so"', "=1+1", "a,b", "研墨"]
    table(here / "in.tsv", [(text, "positive") for text in odd])
    for name in ("out.csv", "out.tsv", "out.jsonl"):
        assert run([*PREDICT, "in.tsv", f"out={name}"], capsys)[0] == 0
        texts = [example.texts[0] for example in sources.read(here / name)]
        assert texts == [odd[0], "'=1+1" if name != "out.jsonl" else "=1+1", *odd[2:]]


def test_empty_and_odd_input(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stdin(b"")(here)
    assert main(PREDICT) == 0
    assert capsys.readouterr().out == ""
    stdin("\ufeff好\n\n \nbad\r\n".encode())(here)
    assert main([*PREDICT, "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["text"] for row in rows] == ["好", "bad"]
    assert main(["tokenizer", "show", "http://a//b", "a  b ", "tokenizer.base=model", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["rows"]
    assert [row["text"] for row in shown] == ["http://a//b", "a  b "]
