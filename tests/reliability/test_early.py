"""What can be known is said before the first step; what is kept, and who may be removed; what `yanmo doctor` sees and mends."""

import json
import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import yanmo
from tests.reliability.rows import ROWS, VERBS, digest, settings
from tests.reliability.test_disk import flip
from tests.reliability.test_resume import stop_after
from tests.reliability.zygote import Zygote, spied
from yanmo import files, runs, saving
from yanmo.errors import Interrupted, RunError, StorageError
from yanmo.runs import Common, Run
from yanmo.train import resume
from yanmo.train.settings import Save

Figure = Callable[..., None]
ROW = ROWS["classify"]


# ---- R5: early


@pytest.fixture(scope="module")
def tiny_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """64 KiB, where this machine lets us mount it."""
    folder = tmp_path_factory.mktemp("disk")
    try:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not let this user mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training file that takes seconds to read and to make a tokeniser of."""
    file = tmp_path_factory.mktemp("long") / "train.tsv"
    file.write_text(
        "label\ttext\n" + "".join(f"{'pos' if i % 2 else 'neg'}\tw{i} x{i * 7} y{i % 99}\n" for i in range(400_000))
    )
    return file


LARGE = {"size": {"hidden_size": 8192, "num_hidden_layers": 96, "num_attention_heads": 64, "intermediate_size": 32768}}
EARLY: dict[str, tuple[dict[str, Any], int, str]] = {
    "a folder that can't be written": ({"run": "/proc/run"}, 1, "/proc/run: could not be written"),
    "a file in the way": ({"run": "{data}/train.tsv/run"}, 1, "could not be written (File exists)"),
    "no room": (
        {"run": "{disk}/run", "model": {"size": {**LARGE["size"], "num_hidden_layers": 1}}},
        1,
        "the disk has only",
    ),
    "a model for another machine": ({"model": LARGE}, 1, "two checkpoints of this model take about"),
    "an unknown key": ({"train": {"step": 5}}, 2, "train.step"),
    "two budgets": ({"train": {"steps": 5, "minutes": 1}}, 2, "two budgets"),
    "a wrong value": ({"train": {"on_fault": "hope"}}, 2, "train.on_fault"),
    "no dev file": ({"data": {"train": "{long}", "dev": "nosuch.tsv"}}, 1, "nosuch.tsv: no such file"),
    "no test file": ({"data": {"train": "{long}", "test": "nosuch.tsv"}}, 1, "nosuch.tsv: no such file"),
    "no device": ({"machine": {"device": "cuda:99"}}, 2, "machine.device"),
    "no tokeniser": ({"tokenizer": {"base": "nosuch"}}, 1, "nosuch: no tokeniser here"),
    "no base": ({"model": {"base": "nosuch/model"}, "tokenizer": {}}, 1, "nosuch/model: no such folder"),
}


def test_r5_early_failure(
    data: Path, long: Path, tiny_disk: Path, tmp_path: Path, zygote: Zygote, figure: Figure
) -> None:
    """Every mistake that can be known is told within 2 seconds, before the first step, though the training file takes longer to read."""
    places = {"{data}": str(data), "{disk}": str(tiny_disk), "{long}": str(long)}
    slowest = 0.0
    for number, (name, (changes, status, expected)) in enumerate(EARLY.items()):
        told = json.dumps(changes)
        for place, path in places.items():
            told = told.replace(place, path)
        wanted = settings(ROW, data, tmp_path / f"run{number}")
        wanted["data"]["train"] = str(long)
        answer = zygote.run({**wanted, **json.loads(told)}, ROW.verb, tmp_path / "trial")
        log, notes = (tmp_path / "trial/log").read_text(), spied(tmp_path / "trial")
        assert (answer["status"], expected in log) == (status, True), f"{name}: {log}"
        assert "Traceback" not in log and [note["what"] for note in notes] == ["ready", "over"]
        slowest = max(slowest, answer["ended"] - notes[0]["time"])
    assert slowest <= 2
    figure("R5", mistakes=len(EARLY), slowest_seconds=round(slowest, 3))


# ---- R10: what stays


def contents(step: int, best: int, anchor: int | None = None) -> dict[str, Any]:
    return {
        "model.safetensors": {"w": torch.full((50,), float(step))},
        "training.json": files.to_json({"step": step, "best_step": best, "anchor": anchor}),
    }


def steps_of(run: Run) -> list[int]:
    return [run.step_of(path) for path in run.checkpoints()]


@pytest.mark.parametrize(
    ("settings_", "bests", "kept"),
    [
        ({"keep": 2}, {}, [10, 9]),
        ({"keep": 1}, {}, [10]),
        ({"keep": 2}, {3: 3}, [10, 9, 3]),
        ({"keep": 2}, {3: 3, 10: 10}, [10, 9, 3]),  # step 9 still refers to 3
        ({"keep": 1}, {3: 3, 10: 10}, [10]),
        ({"keep": 1, "every": 4}, {3: 3}, [10, 8, 4, 3]),
        ({"keep": 1, "every": 4}, {3: 3, 9: 9}, [10, 9, 8, 4, 3]),  # steps 4 and 8 still refer to 3
    ],
)
def test_r10_retention(settings_: dict[str, Any], bests: dict[int, int], kept: list[int], tmp_path: Path) -> None:
    run, best = Run(tmp_path, Common(), resuming=True), 0
    with saving.Saver(run, Save(**settings_)) as saver:
        for step in range(1, 11):
            best = bests.get(step, best)
            saver.save(step, partial(contents, step, best))
    assert steps_of(run) == kept
    assert run.latest() == run.place(10)


def test_r10_never_the_newest_that_is_whole_nor_the_best(tmp_path: Path, figure: Figure) -> None:
    """Random sequences of saves, of new bests, of damage and of removals that fail: after each save the newest checkpoint is whole and
    stands beside its best, and training was never stopped."""
    generator, checked, failures = random.Random(10), 0, 0

    class Stubborn(files.Disk):
        def rename(self, path: Path, target: Path) -> None:
            nonlocal failures
            if ".gone" in target.name and generator.random() < 0.3:
                failures += 1
                raise PermissionError(1, "Operation not permitted")
            super().rename(path, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "disk", Stubborn())
        for trial in range(20):
            run, best = Run(tmp_path / str(trial), Common(), resuming=True), 0
            run.folder.mkdir()
            asked = Save(keep=generator.randint(1, 3), every=generator.choice([None, 3]))
            with saving.Saver(run, asked) as saver:
                for step in range(1, 16):
                    best = step if generator.random() < 0.3 else best
                    saver.save(step, partial(contents, step, best))
                    saver.wait()
                    assert run.latest() == run.place(step)
                    assert not best or files.verify(run.place(best)) == []
                    checked += 1
                    others = [p for p in run.checkpoints() if p not in (run.place(step), run.place(best))]
                    if others and generator.random() < 0.3:
                        flip(generator.choice(others), generator)
    assert failures > 10
    figure("R10", saves=checked, removals_that_failed=failures, newest_or_best_lost=0)


def test_kept_for_good(data: Path, tmp_path: Path) -> None:
    """`train.save.every` checkpoints outlive the run, whole; each is a model folder; the run is finished all the same."""
    metrics = yanmo.finetune(**settings(ROW, data, tmp_path / "run", save={"every": 5}))
    stay = {p.name for p in (tmp_path / "run/checkpoints").iterdir()}
    assert stay >= {f"step-{s:08d}" for s in (5, 10, 15, 20)}
    best = {resume.best(tmp_path / "run/checkpoints" / name) for name in stay}
    assert len(stay) <= 4 + len(best - {None}), "beside them only what they refer to"
    assert yanmo.doctor(tmp_path / "run")[str(tmp_path / "run")]["faults"] == [], (
        "each is whole, with the best that it refers to"
    )
    assert yanmo.finetune(**settings(ROW, data, tmp_path / "run", save={"every": 5})) == metrics
    assert yanmo.load(tmp_path / "run/checkpoints/step-00000010").predict(["w1 good"])


def test_a_disk_that_fails_in_the_background_is_heard(data: Path, tmp_path: Path) -> None:
    run = Run(tmp_path, Common(), resuming=True)
    saver = saving.Saver(run, Save())
    (tmp_path / "checkpoints").write_text("in the way")
    saver.save(1, partial(contents, 1, 0))
    assert saver.thread is not None
    saver.thread.join()
    with pytest.raises(StorageError, match="could not be written"):
        saver.due(2)
    assert not saver.due(3)


def test_large_models_are_saved_less_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Left to itself, saving takes 0.5% of the run at most; an interval that was asked for is kept to."""
    now = [1000.0]
    monkeypatch.setattr(saving.time, "monotonic", lambda: now[0])
    own, told = (
        saving.Saver(Run(tmp_path, Common(), True), Save()),
        saving.Saver(Run(tmp_path, Common(), True), Save(minutes=1)),
    )
    for saver in (own, told):
        saver.cost = 0.1
    for seconds, expected in ((59, (False, False)), (61, (False, True)), (119, (False, True)), (121, (True, True))):
        now[0] = 1000.0 + seconds
        assert (own.due(1), told.due(1)) == expected
    own.cost = told.cost = 3.0
    for seconds, expected in ((599, (False, True)), (601, (True, True))):
        now[0] = 1000.0 + seconds
        assert (own.due(1), told.due(1)) == expected


# ---- doctor


@pytest.fixture
def killed(data: Path, tmp_path: Path, zygote: Zygote) -> Path:
    """A run that was killed in the midst of writing a checkpoint."""
    wanted = settings(ROW, data, tmp_path / "run", save={"minutes": 1e-9})
    answer = zygote.run(wanted, ROW.verb, tmp_path / "trial", operation=150)
    assert answer["status"] == -signal.SIGKILL
    return tmp_path / "run"


def test_r6_doctor_lists_and_mends(
    killed: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (killed / "report.html.partial").write_text("half")
    run = Run(killed, Common(), resuming=True)
    newest, older = run.checkpoints()[:2]
    flip(newest, random.Random(1))
    seen = yanmo.doctor(killed)[str(killed)]
    assert seen["state"] == "unfinished" and "has ended" in seen["held_by"]
    assert len(seen["leftovers"]) >= 1 and seen["removed"] == []
    assert f"step {run.step_of(newest)}: damaged" in seen["checkpoints"][0]
    assert "whole" in seen["checkpoints"][1] and "the run goes on from here" in seen["checkpoints"][1]
    assert any(str(newest) in fault for fault in seen["faults"])
    kept = {path.name: path.read_bytes() for path in older.iterdir()}
    mended = yanmo.doctor(killed, fix=True)[str(killed)]
    assert mended["removed"] == seen["leftovers"] and mended["leftovers"] == []
    assert mended["held_by"].startswith("nobody") and yanmo.doctor(killed)[str(killed)]["held_by"] == "nobody"
    assert not (killed / files.LOCK).exists()
    assert {path.name: path.read_bytes() for path in older.iterdir()} == kept
    yanmo.finetune(**settings(ROW, data, killed, save={"minutes": 1e-9}))
    yanmo.finetune(**settings(ROW, data, tmp_path / "whole", save={"minutes": 1e-9}))
    assert digest(killed) == digest(tmp_path / "whole")
    finished = yanmo.doctor(killed)[str(killed)]
    assert (finished["state"], finished["faults"], finished["checkpoints"]) == ("finished", [], [])
    flip_in(killed / "model.safetensors")
    assert any(
        "model.safetensors: its content is not what was written" in f
        for f in yanmo.doctor(killed)[str(killed)]["faults"]
    )


def flip_in(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-9] ^= 4
    file.write_bytes(content)


def test_r6_fix_never_touches_what_is_whole(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also for a run that somebody holds: then nothing at all is touched."""
    with monkeypatch.context() as patch:
        stop_after(patch, 9)
        with pytest.raises(Interrupted):
            VERBS[ROW.verb](**settings(ROW, data, tmp_path / "run"))
    before = {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()}
    yanmo.doctor(tmp_path / "run", fix=True)
    assert {path: path.read_bytes() for path in sorted((tmp_path / "run").rglob("*")) if path.is_file()} == before
    (tmp_path / "run/x.partial").write_text("being written")
    with files.lock(tmp_path / "run"):
        assert yanmo.doctor(tmp_path / "run")[str(tmp_path / "run")]["held_by"] == f"pid {os.getpid()}"
        with pytest.raises(RunError, match=f"pid {os.getpid()}"):
            yanmo.doctor(tmp_path / "run", fix=True)
    assert (tmp_path / "run/x.partial").exists()
    shutil.rmtree(tmp_path / "run")
    assert not runs.is_finished(tmp_path / "run")


def test_stopped_while_the_writer_is_being_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second signal there is told as what it is."""
    saver = saving.Saver(Run(tmp_path, Common(), True), Save())

    def interrupted(thread: threading.Thread) -> None:
        raise Interrupted("stopped at once", 15)

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(Interrupted), saver:
        saver.save(1, dict)
