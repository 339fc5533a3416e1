"""A cross-validation is a run of runs: killed in any of its folds or between two, the same command ends as if nobody had killed it."""

import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.rows import FOLDED, digest, settings
from tests.reliability.zygote import Zygote, spied
from yanmo import files

STEPS = 20


@pytest.mark.timeout(600)
@pytest.mark.parametrize("kills", [6, pytest.param(60, marks=pytest.mark.slow)])
def test_r1_folds_killed_and_resumed(
    kills: int, data: Path, tmp_path: Path, zygote: Zygote, figure: Callable[..., None]
) -> None:
    """Three kills a run, a third of them in the midst of an operation on a checkpoint; what is trained again is less than a fold."""
    save = {"minutes": 0.0005}
    assert (
        zygote.run(settings(FOLDED, data, tmp_path / "whole", steps=STEPS, save=save), "finetune", tmp_path / "trial")[
            "status"
        ]
        == 0
    )
    expected, notes = digest(tmp_path / "whole"), spied(tmp_path / "trial")
    length, generator, done = notes[-1]["time"] - notes[0]["time"], random.Random(kills), 0
    for number in range(2 * kills):
        if done >= kills:
            break
        run = tmp_path / f"run{number}"
        wanted = settings(FOLDED, data, run, steps=STEPS, save=save)
        for _ in range(3):
            how: dict[str, Any] = {"signals": [[generator.random() * length, signal.SIGKILL]]}
            if generator.random() < 1 / 3:
                how = {"operation": generator.randint(1, 60)}
            finished = {
                path: path.stat().st_mtime_ns
                for path in run.glob("folds/*/metrics.json")
                if (path.parent / files.MANIFEST).is_file()  # which is written last
            }
            killed = zygote.run(wanted, "finetune", tmp_path / "trial", **how)["status"] == -signal.SIGKILL
            assert (
                finished.items() <= {path: path.stat().st_mtime_ns for path in run.glob("folds/*/metrics.json")}.items()
            )
            done += killed
        assert zygote.run(wanted, "finetune", tmp_path / "trial")["status"] == 0, (tmp_path / "trial/log").read_text()
        assert digest(run) == expected
        assert files.partials(run) == []
    assert done >= kills, "the kills come after the end"
    figure("R1", row="folds", kills=done, mismatches=0)
