"""kill -9 at any moment, a second process, a signal: real processes, forked from one that has imported everything."""

import itertools
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.rows import ROWS, Row, digest, settings
from tests.reliability.zygote import Zygote, spied
from yanmo import files, runs

STEPS = 40
SAVE = {
    "minutes": 0.0005,
    "keep": 2,
    "every": STEPS,
}  # every 30 ms; the last is kept, so that its whole state is compared
Figure = Callable[..., None]


def asked(row: Row, data: Path, run: Path, **train: Any) -> dict[str, Any]:
    return settings(row, data, run, steps=STEPS, save=SAVE, **train)


def share(total: int) -> list[Any]:
    """(row, count) for each row of the table, `total` in all."""
    return [
        pytest.param(name, total // len(ROWS) + (i < total % len(ROWS)), id=f"{name}, {total}")
        for i, name in enumerate(ROWS)
    ]


def full(parameters: list[Any]) -> list[Any]:
    return [pytest.param(*p.values, id=p.id, marks=pytest.mark.slow) for p in parameters]


def newest(run: Path) -> int:
    """The step that a killed run goes on from; its leftovers stay."""
    found = runs.Run(run, runs.Common(), resuming=True)
    return next((found.step_of(path) for path in found.checkpoints() if not found.faults(path)), 0)


@pytest.mark.timeout(1500)
@pytest.mark.parametrize(("name", "kills"), share(30) + full(share(500)))
def test_r1_kill_and_resume(
    name: str, kills: int, data: Path, tmp_path: Path, zygotes: list[Zygote], figure: Figure
) -> None:
    """Killed at random moments, a third of them in the midst of an operation on a checkpoint, some twice in a row: the same command ends
    with the very state of a run that nobody killed, and no finished checkpoint was lost."""
    row, first = ROWS[name], zygotes[0]
    assert first.run(asked(row, data, tmp_path / "whole"), row.verb, tmp_path / "trial")["status"] == 0
    expected = digest(tmp_path / "whole")
    notes = spied(tmp_path / "trial")
    length, saves = notes[-1]["time"] - notes[0]["time"], sum(note["what"] == "saved" for note in notes)

    def trial(number: int, zygote: Zygote) -> list[tuple[bool, float]]:
        """(inside a save?, seconds of work lost) of each kill; the run must then come to the same end."""
        generator, run, place = (
            random.Random(f"{kills} {number}"),
            tmp_path / f"run{number}",
            tmp_path / f"trial{number}",
        )
        wanted, found = asked(row, data, run), []
        for _ in range(2 if generator.random() < 0.2 else 1):
            aimed = generator.random() < 1 / 3
            how: dict[str, Any] = {"signals": [[generator.random() * 1.2 * length, signal.SIGKILL]]}
            if aimed:
                how = {"operation": generator.randint(1, max(8, 15 * saves))}
            answer = zygote.run(wanted, row.verb, place, **how)
            if answer["status"] != -signal.SIGKILL:
                break
            found.append((aimed, time_lost(spied(place), newest(run), answer["ended"])))
        answer = zygote.run(wanted, row.verb, place)
        assert answer["status"] == 0, (place / "log").read_text()
        assert digest(run) == expected, f"{run}: {how}"
        assert files.partials(run) == []
        shutil.rmtree(run)
        return found

    done: list[tuple[bool, float]] = []
    with ThreadPoolExecutor(len(zygotes)) as pool:
        for number in itertools.count(step=len(zygotes)):
            if len(done) >= kills:
                break
            assert number < 5 * kills + 20, "the kills come after the end"
            for found in pool.map(trial, range(number, number + len(zygotes)), zygotes):
                done += found
    figure(
        "R1",
        row=name,
        kills=len(done),
        inside_a_save=sum(aimed for aimed, _ in done),
        mismatches=0,
        longest_work_lost_seconds=round(max(lost for _, lost in done), 3),
    )


def time_lost(notes: list[dict[str, Any]], resumed: int, ended: float) -> float:
    """Seconds of work that a kill cost, held against what may be lost: the interval between saves, the save that was being written and
    the step that was being done."""
    assert resumed >= max((note["step"] for note in notes if note["what"] == "saved"), default=0), (
        "a finished save was lost"
    )
    steps = [note for note in notes if note["what"] == "step"]
    if not steps:
        return 0.0
    reached = next(
        (note["time"] for note in steps if note["step"] == resumed), steps[0]["time"] if resumed == 0 else ended
    )
    lost: float = steps[-1]["time"] - reached
    saving: dict[int, float] = {}
    longest = 0.0
    for note in notes:
        if note["what"] == "saving":
            saving[note["step"]] = note["time"]
        elif note["what"] == "saved":
            longest = max(longest, note["time"] - saving.pop(note["step"]))
    longest = max([longest, *(ended - began for began in saving.values())])
    gaps = [b["time"] - a["time"] for a, b in itertools.pairwise(notes)]
    assert lost <= 60 * SAVE["minutes"] + longest + 2 * max(gaps, default=0.0) + 0.005
    return max(0.0, lost)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_r8_signals(count: int, data: Path, tmp_path: Path, zygote: Zygote, figure: Figure) -> None:
    """SIGTERM and SIGINT at random moments, half of them twice: the status, the time, at most the step that it was in; then the same
    command ends with the same state."""
    row, generator = ROWS["classify"], random.Random(count)
    assert zygote.run(asked(row, data, tmp_path / "whole"), row.verb, tmp_path / "trial")["status"] == 0
    expected, notes = digest(tmp_path / "whole"), spied(tmp_path / "trial")
    length = notes[-1]["time"] - notes[0]["time"]
    done, once, twice = 0, [0.0], [0.0]
    for attempt in range(5 * count + 20):
        if done == count:
            break
        run, number = tmp_path / f"run{attempt}", generator.choice([signal.SIGTERM, signal.SIGINT])
        first = 0.005 + generator.random() * length
        times = [first, first + generator.random() * 0.02] if generator.random() < 0.5 else [first]
        wanted = asked(row, data, run)
        answer = zygote.run(wanted, row.verb, tmp_path / "trial", signals=[[t, number] for t in times])
        log = (tmp_path / "trial/log").read_text()
        if answer["status"] == 0:  # it was over before the signal came
            over = spied(tmp_path / "trial")[-1]
            assert over["what"] == "over" and all(over["time"] < sent + 0.02 for sent in answer["sent"]), log
            continue
        assert answer["status"] == 128 + number, log
        assert "Traceback" not in log
        late = [n for n in spied(tmp_path / "trial") if n["what"] == "step" and n["time"] > answer["sent"][0]]
        assert len(late) <= 1
        once.append(answer["ended"] - answer["sent"][0])
        if len(answer["sent"]) == 2:
            twice.append(answer["ended"] - answer["sent"][1])
        if f"of {STEPS}; saved in" in log:
            step = int(log.split("stopped at step ")[1].split()[0])
            assert newest(run) == step
        assert zygote.run(wanted, row.verb, tmp_path / "trial")["status"] == 0
        assert digest(run) == expected
        done += 1
    assert done == count
    assert max(once) <= 30 and max(twice) <= 2
    figure(
        "R8",
        signals=done,
        mismatches=0,
        longest_seconds=round(max(once), 3),
        longest_seconds_after_the_second=round(max(twice), 3),
    )


def test_r9_one_writer(data: Path, tmp_path: Path, zygotes: list[Zygote], figure: Figure) -> None:
    """A second process is refused at once; the lock of a process that was killed is taken over."""
    row, run = ROWS["classify"], tmp_path / "run"
    wanted = {**asked(row, data, run), "train": {**asked(row, data, run)["train"], "steps": 100_000}}
    other = zygotes[1]
    other.start(wanted, row.verb, tmp_path / "first", signals=[[3600, signal.SIGKILL]])
    while not any(note["what"] == "step" for note in spied(tmp_path / "first")):
        time.sleep(0.01)
    pid = int((run / files.LOCK).read_text())
    try:
        began = time.monotonic()
        answer = zygotes[0].run(wanted, row.verb, tmp_path / "second")
        refused = answer["ended"] - began
        assert answer["status"] == 1
        assert f"another process (pid {pid}) is using this folder" in (tmp_path / "second/log").read_text()
        assert files.holder(run) == f"pid {pid}"
    finally:
        os.kill(pid, signal.SIGKILL)
        assert other.answer()["status"] == -signal.SIGKILL
    assert "has ended" in (files.holder(run) or "")
    resumed = zygotes[0].run(wanted, row.verb, tmp_path / "third", signals=[[0.3, signal.SIGTERM]])
    assert resumed["status"] == 143 and files.holder(run) is None
    assert refused <= 1
    figure("R9", seconds_until_refused=round(refused, 3), stale_lock="taken over")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("steps", [1_000, pytest.param(10_000, marks=pytest.mark.slow)])
def test_r13_memory_stays(steps: int, data: Path, tmp_path: Path, zygote: Zygote, figure: Figure) -> None:
    """The resident memory of a long run, saves and evaluations included, does not grow: its slope after a tenth of the steps."""
    import numpy as np

    row = ROWS["classify"]
    wanted = settings(row, data, tmp_path / "run", steps=steps, evaluations=10, save={"minutes": 0.02})
    assert zygote.run(wanted, row.verb, tmp_path / "trial")["status"] == 0
    notes = [
        note for note in spied(tmp_path / "trial") if note["what"] == "step" and note["step"] > max(300, steps / 10)
    ]
    slope = np.polyfit([n["step"] for n in notes], [n["resident"] for n in notes], 1)[0] * 1000
    assert slope <= 1.0
    figure("R13", steps=steps, megabytes_per_1000_steps=round(float(slope), 4))
