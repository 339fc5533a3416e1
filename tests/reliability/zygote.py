"""A process that has imported everything, with one thread, and forks a child for each command that it is given: a trial then costs
its own work and not the seconds of an import. `Zygote` talks to one; running this file is one.

A trial: {"words": the command, "log": where its standard error goes, "spy": where it notes what it does, "signals": [[seconds after the
spy's first line, number], ...], "operation": kill -9 in the middle of this operation on checkpoints}. The answer: {"status", "sent": the
times of the signals, "ended": the time of the end}; times are those of the monotonic clock.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class Zygote:
    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.zygote"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
        )

    def start(self, settings: dict[str, Any], verb: str, place: Path, **trial: Any) -> None:
        """Begin a command; `place` is where its settings, log and spy are put. The log and spy of an earlier one are overwritten.
        `trial`: as above; `words` stands for a command that is more than a verb and its settings."""
        place.mkdir(exist_ok=True)
        (place / "settings.yaml").write_text(json.dumps(settings))  # JSON is YAML
        words = [verb, str(place / "settings.yaml")]
        told = {"words": words, "log": str(place / "log"), "spy": str(place / "spy"), **trial}
        assert self.process.stdin
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def run(self, settings: dict[str, Any], verb: str, place: Path, **trial: Any) -> dict[str, Any]:
        self.start(settings, verb, place, **trial)
        return self.answer()

    def close(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)  # its children, too
        self.process.wait()


def spied(place: Path) -> list[dict[str, Any]]:
    """What a trial noted: {"what": ready, step, saving, saved or over, "step", "time", "resident" (MB)}; a cut line is left out."""
    lines = []
    spy = place / "spy"
    for text in spy.read_text().splitlines() if spy.exists() else []:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def _serve() -> None:
    import sklearn.naive_bayes
    import sklearn.svm  # noqa: F401
    import torch
    import torch._dynamo  # which the first optimiser imports
    import torch.utils.tensorboard

    import yanmo.commands.data
    import yanmo.commands.finetune
    import yanmo.commands.pretrain  # noqa: F401

    torch.set_num_threads(1)
    for line in sys.stdin:
        trial = json.loads(line)
        Path(trial["spy"]).write_text("")
        child = os.fork()
        if child == 0:
            _child(trial)
        ended = os.pidfd_open(child)
        sent = []
        if trial.get("signals"):
            while not Path(trial["spy"]).stat().st_size and not select.select([ended], [], [], 0.001)[0]:
                pass
        began = time.monotonic()
        for seconds, number in trial.get("signals", []):
            if select.select([ended], [], [], max(0.0, began + seconds - time.monotonic()))[0]:
                break
            sent.append(time.monotonic())
            os.kill(child, number)
        _, status = os.waitpid(child, 0)
        os.close(ended)
        answer = {"status": os.waitstatus_to_exitcode(status), "sent": sent, "ended": time.monotonic()}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _child(trial: dict[str, Any]) -> None:
    from tests.reliability.disk import Killing
    from yanmo import __main__, files, fit, saving

    log = os.open(trial["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    spy = os.open(trial["spy"], os.O_WRONLY | os.O_APPEND)

    def note(what: str, step: int = 0) -> None:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
        line = {"what": what, "step": step, "time": time.monotonic(), "resident": resident}
        os.write(spy, (json.dumps(line) + "\n").encode())

    steps, write = fit.loop.steps, saving.Saver._write

    def noting(*arguments: Any, **keys: Any) -> Any:
        for step in steps(*arguments, **keys):
            note("step", step.number)
            yield step

    def saving_(self: Any, step: int, *arguments: Any) -> None:
        note("saving", step)
        write(self, step, *arguments)
        note("saved" if self.error is None else "failed", step)

    fit.loop.steps, saving.Saver._write = noting, saving_  # type: ignore[assignment, method-assign]
    if "operation" in trial:
        files.disk = Killing(trial["operation"])
    __main__.listen()
    note("ready")
    status = 70
    try:
        status = __main__.main(trial["words"])
        note("over")  # the system may take its time to put the process away
    except SystemExit as stopped:  # before the command has begun or after it has ended
        status = int(stopped.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
