"""Every promise about runs and checkpoints, tried in full, and what saving costs. About 25 minutes on 2 cores.

python benchmarks/reliability.py            all of it: benchmarks/reliability.json and the table in docs/reliability.md
python benchmarks/reliability.py tests      only the promises
python benchmarks/reliability.py saving     only what saving costs
"""

import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULT, PAGE = HERE / "reliability.json", HERE.parent / "docs" / "reliability.md"
COMMAND = "python benchmarks/reliability.py"
SIZES = {  # what a small team trains on such a machine, up to BERT-base
    "bert, 4 layers of 256": {
        "hidden_size": 256,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
    },
    "bert, 6 layers of 384": {
        "hidden_size": 384,
        "num_hidden_layers": 6,
        "num_attention_heads": 12,
        "intermediate_size": 1536,
    },
    "bert, 12 layers of 768": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
}
INTERVAL, SHARE = 120.0, 0.005  # the defaults: seconds between saves, or as many as make saving this share of the run


def tests() -> list[dict[str, Any]]:
    """The full forms of the tests of promises; each leaves its figures."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        words = [sys.executable, "-m", "pytest", "tests/reliability", "-q", "-p", "no:cacheprovider"]
        began = time.monotonic()
        done = subprocess.run(words, cwd=HERE.parent, env={**os.environ, "YANMO_FIGURES": str(figures)}, check=False)
        if done.returncode:
            sys.exit("a promise is broken; nothing is written")
        found = json.loads(figures.read_text("utf-8"))
    print(f"the tests took {time.monotonic() - began:.0f} s")
    return [
        {**{key: value for key, value in entry.items() if key != "test"}, "command": f"pytest '{entry['test']}'"}
        for entry in found
    ]


def saving() -> list[dict[str, Any]]:
    """What a checkpoint costs a run: the wait for the copy, and the steps that were slower while it was being written."""
    found = []
    for name, size in SIZES.items():
        costs, interval, megabytes = _saves(size)
        cost = statistics.mean(costs)
        entry = {
            "promise": "saving",
            "model": name,
            "checkpoint_megabytes": round(megabytes),
            "saves": len(costs),
            "seconds_per_save": round(cost, 3),
            "longest": round(max(costs), 3),
            "default_interval_seconds": round(interval),
            "share_of_a_run": round(cost / interval, 5),
            "command": f"{COMMAND} saving",
        }
        print(json.dumps(entry))
        found.append(entry)
    return found


def _saves(size: dict[str, int], saves: int = 8) -> tuple[list[float], float, float]:
    """From a pre-training run with 12 steps between its saves: the seconds that each cost, those between saves by default, and the
    megabytes of a checkpoint."""
    import yanmo
    from yanmo import fit
    from yanmo.saving import Saver

    steps, write = fit.loop.steps, Saver._write
    ends: list[tuple[float, int]] = []
    writing: list[tuple[float, float]] = []
    megabytes: list[float] = []
    rules: list[float] = []  # the interval that the cost of a save leads to

    def timing(*arguments: Any, **keys: Any) -> Any:
        for step in steps(*arguments, **keys):
            yield step  # the caller saves in here
            ends.append((time.monotonic(), step.tokens))

    def noting(self: Saver, step: int, contents: Any, waited: float) -> None:
        began = time.monotonic() - waited
        write(self, step, contents, waited)
        rules.append(max(INTERVAL, self.cost / SHARE))
        writing.append((began, time.monotonic()))
        megabytes.append(sum(file.stat().st_size for file in self.run.place(step).iterdir()) / 1e6)

    every = 12
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "text.txt"
        text.write_text("".join(" ".join(f"w{(i * 31 + j * j) % 7000}" for j in range(60)) + "\n" for i in range(4000)))
        fit.loop.steps, Saver._write = timing, noting  # type: ignore[method-assign]
        try:
            yanmo.pretrain(
                run=Path(folder) / "run",
                model={"size": size},
                tokenizer={"kind": "word", "vocab": 8000},
                data={"train": text},
                objective={"max_length": 64},
                train={
                    "steps": every * (saves + 1),
                    "batch_tokens": 1024,
                    "evaluations": 1,
                    "save": {"every": every, "minutes": 1e3, "keep": 1},
                },
            )
        finally:
            fit.loop.steps, Saver._write = steps, write  # type: ignore[method-assign]
    # The yield of step n ends when the caller, saving included, is done; so the wait for a copy lies within the interval of its step.
    pace = [(b[0] - a[0]) / b[1] for a, b in itertools.pairwise(ends)]
    calm = statistics.median(pace)
    costs = []
    for began, ended in writing[:saves]:
        touched = [
            (b[0] - a[0]) - calm * b[1] for a, b in itertools.pairwise(ends) if a[0] < ended and b[0] > began - 1e-3
        ]
        costs.append(max(0.0, sum(touched)))
    return costs, statistics.mean(rules), statistics.mean(megabytes)


def page(result: dict[str, Any]) -> str:
    """The table of docs/reliability.md."""
    rows = ["| promise | tried | found | command |", "| --- | --- | --- | --- |"]
    for entry in result["figures"]:
        values = {k: v for k, v in entry.items() if k not in ("promise", "command")}
        tried = [f"{k.replace('_', ' ')}: {v}" for k, v in list(values.items())[: _split(values)]]
        seen = [f"{k.replace('_', ' ')}: {v}" for k, v in list(values.items())[_split(values) :]]
        rows.append(f"| {entry['promise']} | {'; '.join(tried)} | {'; '.join(seen)} | `{entry['command']}` |")
    return "\n".join(rows)


def _split(values: dict[str, Any]) -> int:
    """Where what was tried ends and what was found begins."""
    tried = (
        "row",
        "kills",
        "inside_a_save",
        "signals",
        "damage",
        "tried",
        "operations",
        "crash_states",
        "errors",
        "policy",
        "faults",
    )
    tried += (
        "resumes",
        "states_compared",
        "runs",
        "batches",
        "workers",
        "steps",
        "mistakes",
        "saves",
        "removals_that_failed",
        "model",
    )
    return sum(name in (*tried, "checkpoint_megabytes") for name in values)


BEGIN, END = "<!-- figures: written by benchmarks/reliability.py -->", "<!-- end of figures -->"


def write_page(result: dict[str, Any]) -> None:
    text = PAGE.read_text("utf-8")
    head, rest = text.split(BEGIN)
    PAGE.write_text(f"{head}{BEGIN}\n\n{page(result)}\n\n{END}{rest.split(END)[1]}", "utf-8")


def main() -> None:
    kept = json.loads(RESULT.read_text("utf-8"))["figures"] if RESULT.exists() else []
    if sys.argv[1:] not in ([], ["tests"], ["saving"]):
        sys.exit(__doc__)
    cost = saving() if sys.argv[1:] != ["tests"] else [entry for entry in kept if entry["promise"] == "saving"]
    tried = tests() if sys.argv[1:] != ["saving"] else [entry for entry in kept if entry["promise"] != "saving"]
    figures = tried + cost
    from yanmo import machine

    result = {
        "command": COMMAND,
        "machine": {**machine.fingerprint(), "system": platform.platform()},
        "figures": figures,
    }
    RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", "utf-8")
    write_page(result)


if __name__ == "__main__":
    main()
