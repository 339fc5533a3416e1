"""Work on all cores: in order, as a stream, with what is raised; no process outlives the one that began the work."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from yanmo.text import workers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the work is done in this process")
ROOT = Path(__file__).parents[2]


def test_answers_come_in_the_order_of_the_items() -> None:
    def slow(number: int) -> tuple[int, int]:
        time.sleep(0.02 * (number % 3 == 0))
        return number, os.getpid()

    for count in range(2, 5):
        found = list(workers.over(slow, range(23), count))
        assert [number for number, _ in found] == list(range(23))
        assert len({process for _, process in found} - {os.getpid()}) == count


@pytest.mark.parametrize(("items", "count"), [(0, 3), (1, 3), (9, 1)])
def test_little_work_stays_here(items: int, count: int) -> None:
    assert list(workers.over(lambda _: os.getpid(), range(items), count)) == [os.getpid()] * items


def test_items_are_taken_when_they_are_needed() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    found = workers.over(lambda number: number, items(), 2)
    for given in range(1, 100):
        assert next(found) == given
        assert taken <= given + 3
    found.close()  # type: ignore[attr-defined]  # it is a generator
    assert not multiprocessing.active_children()


def test_what_is_raised_is_raised_here() -> None:
    found = workers.over(lambda number: 12 // (3 - number), range(9), 2)
    assert [next(found) for _ in range(3)] == [4, 6, 12]
    with pytest.raises(ZeroDivisionError):
        next(found)
    assert not multiprocessing.active_children()


def test_a_process_that_is_killed_is_told_of() -> None:
    found = workers.over(lambda number: os.kill(os.getpid(), signal.SIGKILL) if number == 3 else number, range(9), 2)
    with pytest.raises(RuntimeError, match="ended from outside"):
        list(found)


LONG = """
import os, time
from yanmo.text import workers
for process in workers.over(lambda number: (os.getpid(), time.sleep(60 * (number > 5)))[0], range(10**6), 3):
    print(process, flush=True)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nobody_outlives_the_one_who_began(how: signal.Signals) -> None:
    """Killed, ended or interrupted: the other processes end too, in the midst of their work and without a word."""
    process = subprocess.Popen(
        [sys.executable, "-c", LONG], cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout and process.stderr
    working = {int(process.stdout.readline()) for _ in range(5)}
    assert len(working) == 3
    process.send_signal(how)
    _, said = process.communicate()
    deadline = time.monotonic() + 10
    while (left := [each for each in working if Path(f"/proc/{each}").exists()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left
    assert said.count("Traceback") == (how == signal.SIGINT)  # that of the one who began
