"""Stopped and resumed at every step, run three times, fed by more or fewer threads: nothing changes."""

import hashlib
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.reliability.rows import ROWS, VERBS, digest, settings, states
from yanmo import machine, text
from yanmo.errors import Interrupted
from yanmo.tasks.base import lengths
from yanmo.text import batches, sources, tokenizer
from yanmo.text.batches import Batch, Cursor

Figure = Callable[..., None]
EVERY = {"save": {"every": 1}}


def stop_after(monkeypatch: pytest.MonkeyPatch, step: int, number: int = signal.SIGTERM) -> None:
    """Send this process a signal when the given step has been done."""
    from yanmo import fit

    steps = fit.loop.steps

    def stopping(*args: Any, **keys: Any) -> Any:
        for done in steps(*args, **keys):
            if done.number == step:
                os.kill(os.getpid(), number)
            yield done

    monkeypatch.setattr(fit.loop, "steps", stopping)


def stopped(name: str, data: Path, run: Path, step: int) -> None:
    """The run of a row, stopped after a step by a signal."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, step)
        said = f"stopped at step {step} of 20; saved in .*The same command goes on from here"
        with pytest.raises(Interrupted, match=said) as told:
            VERBS[ROWS[name].verb](**settings(ROWS[name], data, run, **EVERY))
    assert told.value.exit_status == 143


def ends_alike(name: str, data: Path, run: Path, whole: Path) -> int:
    """Let the run end; every state on its way, and what it leaves, must be those of the whole one. Answers with the states compared."""
    metrics = VERBS[ROWS[name].verb](**settings(ROWS[name], data, run, **EVERY))
    assert metrics["cost"]["steps"] == 20
    expected, found = states(whole), states(run)
    assert len([place for place in expected if place != "step-00000000"]) == 20
    for place, state in expected.items():
        assert found[place] == state, f"{run.name}, {place}"
    assert digest(run) == digest(whole)
    return len(expected)


@pytest.mark.parametrize("name", ROWS)
def test_r2_resume_at_every_step_is_bit_exact(name: str, data: Path, tmp_path: Path, figure: Figure) -> None:
    """Stopped after each of 20 steps and resumed each time: the whole state after every step, and what the run leaves, are those of the run
    that was never stopped."""
    VERBS[ROWS[name].verb](**settings(ROWS[name], data, tmp_path / "whole", **EVERY))
    for step in range(1, 21):
        stopped(name, data, tmp_path / "run", step)
    compared = ends_alike(name, data, tmp_path / "run", tmp_path / "whole")
    figure("R2", row=name, resumes=20, states_compared=compared, mismatches=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ROWS)
def test_r2_one_resume_at_any_step_is_bit_exact(name: str, data: Path, tmp_path: Path, figure: Figure) -> None:
    """The same for 20 runs, each stopped once, at another step."""
    VERBS[ROWS[name].verb](**settings(ROWS[name], data, tmp_path / "whole", **EVERY))
    compared = 0
    for step in range(1, 21):
        stopped(name, data, tmp_path / f"run{step}", step)
        compared += ends_alike(name, data, tmp_path / f"run{step}", tmp_path / "whole")
    figure("R2", row=name, resumes=20, states_compared=compared, mismatches=0)


@pytest.mark.parametrize("name", ROWS)
def test_r11_three_runs_are_identical(name: str, data: Path, tmp_path: Path, figure: Figure) -> None:
    row = ROWS[name]
    found = set()
    for run in "abc":
        VERBS[row.verb](**settings(row, data, tmp_path / run, **EVERY))
        found.add(digest(tmp_path / run))
    assert len(found) == 1
    VERBS[row.verb](**{**settings(row, data, tmp_path / "d", **EVERY), "seed": 1})
    assert digest(tmp_path / "d") not in found
    figure("R11", row=name, runs=3, different=0)


def test_r11_workers_change_nothing(data: Path, tmp_path: Path, figure: Figure) -> None:
    """1,000 training batches, made by 0, 1, 2 or 4 threads ahead of the step, are the same to the byte; so are whole runs."""
    from yanmo.tasks import make
    from yanmo.tasks.objectives.masked import Settings

    texts = sources.read_texts(data / "text.txt")
    cutter = tokenizer.train(texts, tokenizer.TokenizerSettings(kind="word", vocab=400))
    task, rows = make(Settings(max_length=16), cutter), cutter.chunks(cutter.encode_all(texts), 16, "train")
    hashes = set()
    for workers in (0, 1, 2, 4):
        total = hashlib.sha256()
        stream = batches.stream(
            rows, lengths(rows), task.batch, budget=128, seed=7, cursor=Cursor(1, 3), workers=workers
        )
        for _, (batch, cursor) in zip(range(1000), stream, strict=False):
            total.update(bytes_of(batch) + repr(cursor).encode())
        hashes.add(total.hexdigest())
        stream.close()  # type: ignore[attr-defined]
    assert len(hashes) == 1
    runs = set()
    for workers in (0, 1, 4):
        asked = settings(ROWS["classify"], data, tmp_path / f"run{workers}", **EVERY)
        VERBS["finetune"](**{**asked, "machine": {"threads": 1, "workers": workers}})
        runs.add(digest(tmp_path / f"run{workers}"))
    assert len(runs) == 1
    figure("R11", batches=1000, workers=[0, 1, 2, 4], different=0)


def bytes_of(batch: Batch) -> bytes:
    tensors = [batch.source.ids, batch.source.types, batch.labels, batch.select]
    parts = [b"none" if t is None else t.numpy().tobytes() for t in tensors]
    return b"|".join([*parts, repr(batch.source.lengths).encode(), repr(batch.rows).encode()])


def test_an_order_is_a_function_of_its_key(data: Path) -> None:
    """Batch n of epoch e is the same whether a stream begins there or comes to it; another seed or epoch has another order."""
    rows = [text.sources.Example(("x",), id=str(i)) for i in range(50)]
    sizes = torch.randint(1, 9, (50,), generator=torch.Generator().manual_seed(0)).numpy()

    def order(seed: int, cursor: Cursor, count: int) -> list[tuple[str, ...]]:
        stream = batches.stream(
            rows,
            sizes,
            lambda part, key: Batch(batches.Run(torch.zeros(1), (1,)), rows=tuple(e.id for e in part)),
            budget=20,
            seed=seed,
            cursor=cursor,
        )
        return [next(stream)[0].rows for _ in range(count)]

    whole = order(0, Cursor(), 40)
    assert order(0, Cursor(0, 5), 35) == whole[5:]
    assert order(1, Cursor(), 40) != whole
    assert order(0, Cursor(1, 0), 5) != whole[:5]


def test_a_changed_machine_is_told(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The fingerprint holds the torch build, the kernels, what steers them and the threads; a run that goes on elsewhere says so."""
    row, run = ROWS["classify"], tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_after(patch, 3)
        with pytest.raises(Interrupted):
            VERBS[row.verb](**settings(row, data, run))
    record = json.loads((run / "yanmo.json").read_text())
    assert {"torch", "build", "kernels", "flags", "threads", "processor", "python"} == record["machine"].keys()
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr(machine.platform, "machine", lambda: "abacus")
    VERBS[row.verb](**{**settings(row, data, run), "machine": {"threads": 2}})
    said = capsys.readouterr().err
    assert "warning: the machine has changed" in said and "not bit for bit" in said
    for part in ("threads: 1 -> 2", "ONEDNN_MAX_CPU_ISA", "processor: x86_64", "-> abacus"):
        assert part in said
    torch.set_num_threads(2)
