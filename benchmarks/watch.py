"""How much memory a command and all processes that it starts hold at once, seen from outside. Linux only; for benchmarks and tests."""

import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

EVERY = 0.2  # seconds; a look costs some milliseconds


def run(
    words: Sequence[str], env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> tuple[str, dict[str, int]]:
    """(what it prints, the most that it held at any look, in MB). Memory that several processes share counts once (Pss).

    megabytes: with files that are mapped; anonymous_megabytes: without these pages, which the kernel can take back.
    Raises CalledProcessError for a status other than 0.
    """
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(words, stdout=said, env=env, cwd=cwd)
        most = {"Pss": 0, "Pss_Anon": 0}
        while process.poll() is None:
            seen = [_held(each) for each in _family(process.pid)]
            most = {kind: max(known, sum(held.get(kind, 0) for held in seen)) for kind, known in most.items()}
            time.sleep(EVERY)
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, words)
        said.seek(0)
        return said.read(), {"megabytes": most["Pss"] >> 10, "anonymous_megabytes": most["Pss_Anon"] >> 10}


def high_water() -> int:
    """The most memory that this process has held, in MB. (getrusage would begin with what its parent held.)"""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["VmHWM"].split()[0]) >> 10


def _family(pid: int) -> list[int]:
    """A process and all that it has started."""
    try:
        threads = Path(f"/proc/{pid}/task").glob("*/children")
        children = [child for thread in threads for child in thread.read_text().split()]
    except OSError:  # it has ended
        children = []
    return [pid, *(found for child in children for found in _family(int(child)))]


def _held(pid: int) -> dict[str, int]:
    """KB by kind."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    return {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
