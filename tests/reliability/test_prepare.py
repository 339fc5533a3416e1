"""Promise D3: preparing data, killed at any moment and run again, gives the same bytes; nobody ever sees half of it."""

import random
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.test_kill import Figure
from tests.reliability.zygote import Zygote, spied
from yanmo import files

LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ROWS = 300


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    choose = random.Random(0)
    lines = [f"{''.join(choose.choices(LETTERS, k=60))},{number % 2}" for number in range(ROWS)]
    lines[100], lines[200] = lines[7].upper(), '"open,1'
    path = tmp_path_factory.mktemp("rows") / "rows.csv"
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return path


@pytest.mark.timeout(300)
@pytest.mark.parametrize("verb", ["clean", "split"])
def test_d3_kill_and_run_again(verb: str, rows: Path, tmp_path: Path, zygotes: list[Zygote], figure: Figure) -> None:
    """50 kills at random moments, half of them in the midst of an operation on the disk."""
    source = rows
    if verb == "split":  # refuses rows that can't be used
        source = tmp_path / "sound.csv"
        source.write_text("".join(line for line in rows.read_text().splitlines(True) if '"' not in line))

    def words(out: Path) -> list[str]:
        return ["data", verb, str(source), f"out={out}"]

    def run(zygote: Zygote, out: Path, **trial: Any) -> int:
        status: int = zygote.run({}, "data", out.with_suffix(".trial"), words=words(out), **trial)["status"]
        return status

    (tmp_path / "checkpoints").mkdir()
    whole = tmp_path / "whole"
    assert run(zygotes[0], whole) == 0
    expected = {path.name: files.sha256(path) for path in whole.iterdir()}
    notes = spied(whole.with_suffix(".trial"))
    length = notes[-1]["time"] - notes[0]["time"]

    def trial(number: int, zygote: Zygote) -> bool:
        generator, out = random.Random(number), tmp_path / "checkpoints" / f"out{number}"  # where `Killing` counts
        how: dict[str, Any] = {"signals": [[generator.random() * length, signal.SIGKILL]]}
        if number % 4 > 1:  # two at a time, one a zygote
            how = {"operation": generator.randint(1, 3 * len(expected) + 3)}
        killed = run(zygote, out, **how) == -signal.SIGKILL
        assert not out.exists() or files.verify(out) == []
        assert run(zygote, out) == 0, (out.with_suffix(".trial") / "log").read_text()
        assert {path.name: files.sha256(path) for path in out.iterdir()} == expected
        assert files.partials(out) == []
        shutil.rmtree(out)
        return killed

    kills = tried = 0
    with ThreadPoolExecutor(len(zygotes)) as pool:
        while kills < 50:
            assert tried < 150, "the kills come after the end"
            kills += sum(pool.map(trial, range(tried, tried + len(zygotes)), zygotes))
            tried += len(zygotes)
    figure("D3", verb=verb, kills=kills, mismatches=0, half_files_seen=0)
