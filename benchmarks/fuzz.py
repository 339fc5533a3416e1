"""Looks for inputs that break what reads somebody else's files: atheris, guided by the lines that are reached. `make fuzz`.

python benchmarks/fuzz.py                        10 minutes for each target of tests/fuzz/targets.py
python benchmarks/fuzz.py 1 m2-safetensors       one minute, one target

The oracle is that of tests/fuzz: nothing but a YanmoError comes out, within 1 s of the processor's time and 50 MB of new memory. What
was found in 3 minutes or more goes into benchmarks/results/fuzz.json; an input that breaks a target is kept beside it, and ends the run
of that target: make it a case of the tests, then remove it.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere

import atheris

# Before anything imports them: reading files is what these do, and their lines are counted.
READERS = ["yanmo.models", "yanmo.checkpoint", "yanmo.text.tokenizer", "yanmo.text.tokenizer_file", "yanmo.text.tokens"]
READERS += ["yanmo.text.tokenizer_gguf", "yanmo.text.chat", "yanmo.nn.init", "yanmo.files", "yanmo.index"]
with atheris.instrument_imports(include=READERS):
    from tests.fuzz.targets import TARGETS, attempt
    from yanmo import files, machine

RESULTS = Path(__file__).parent / "results"
MINUTES, KEPT = 10.0, 3.0  # of a target; of one whose figures are kept
SLOWEST, LONGEST = 20, 1 << 16  # seconds by the clock that no input takes on the busiest machine; bytes of an input


def child(name: str, seconds: float, folder: Path) -> None:
    """Run one target, in this process, which libFuzzer ends."""
    target, place = TARGETS[name], folder / "place"
    place.mkdir()
    (folder / "seeds").mkdir()
    for number, seed in enumerate(target.seeds(place)):
        (folder / "seeds" / str(number)).write_bytes(seed)

    def damage(data: bytes, most: int, seed: int) -> bytes:
        """libFuzzer's own changes, which know what was compared with what, and those that know the format."""
        random = Random(seed)
        return atheris.Mutate(data, most) if random.random() < 0.3 else target.damage(data, random)[:most]

    def judge(data: bytes) -> None:
        try:
            attempt(target, place, data)
        except BaseException:
            (folder / f"found-{sha256(data).hexdigest()[:12]}").write_bytes(data)
            raise

    options = {
        "max_total_time": round(seconds),
        "timeout": SLOWEST,
        "max_len": LONGEST,
        "rss_limit_mb": 2000,
        "seed": 1,
    }
    words = [f"-{key}={value}" for key, value in options.items()]
    (folder / "corpus").mkdir()
    words += [
        "-print_final_stats=1",
        f"-artifact_prefix={folder}/found-libfuzzer-",
        f"{folder}/corpus",
        f"{folder}/seeds",
    ]
    atheris.Setup([name, *words], judge, custom_mutator=damage)
    atheris.Fuzz()


def run(name: str, minutes: float) -> dict[str, Any]:
    """One target in a process of its own: what libFuzzer says of it at the end."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, __file__, "child", name, str(60 * minutes), folder]
        began = time.monotonic()
        with Path(folder, "log").open("wb") as log:
            done = subprocess.run(words, stdout=log, stderr=subprocess.STDOUT, check=False)
        said = Path(folder, "log").read_text("utf-8", "replace")
        broken = sorted(Path(folder).glob("found-*"))
        for file in broken:
            (RESULTS / f"fuzz-{name}-{file.name.removeprefix('found-')}").write_bytes(file.read_bytes())
    if done.returncode or broken:
        print(f"{said[-8000:]}\n{name}: broken; the input is in {RESULTS}")
    seen = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", said)
    executed = re.findall(r"^#(\d+)|^stat::number_of_executed_units:\s*(\d+)", said, re.MULTILINE)
    return {
        "minutes": minutes,
        "seconds": round(time.monotonic() - began),
        "inputs": int("".join(executed[-1])) if executed else 0,
        **dict(zip(("places_reached", "features", "inputs_kept"), map(int, seen[-1] if seen else ()), strict=False)),
        "status": done.returncode,
        "broken": len(broken),
    }


def main() -> None:
    if sys.argv[1:2] == ["child"]:
        child(sys.argv[2], float(sys.argv[3]), Path(sys.argv[4]))
        return
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    result = RESULTS / "fuzz.json"
    failed = []
    for name in sys.argv[2:] or TARGETS:
        found = run(name, minutes)
        print(name, found, flush=True)
        failed += [name] if found["status"] or found["broken"] else []
        if minutes >= KEPT:
            known = json.loads(result.read_text("utf-8")) if result.exists() else {}
            command = f"python benchmarks/fuzz.py {minutes:g} {name}"
            files.write_json(result, known | {name: {"command": command, **found, "machine": machine.fingerprint()}})
    if failed:
        sys.exit(f"broken: {', '.join(failed)}")


if __name__ == "__main__":
    main()
