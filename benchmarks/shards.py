"""What token shards cost: memory, cores and megabytes per second of preparing them, and the training batches made from them.

python benchmarks/shards.py             64 MB of generated text, with the in-memory way beside it: about a minute on 2 cores
python benchmarks/shards.py 2048        2 GB, as promised within 600 MB of memory: about ten minutes and 6 GB of disk

Writes what it found under the size into benchmarks/results/shards.json. Preparing is a process of its own, watched from outside:
all_processes_mb is the most that it and those that it forked held at once, high_water_mb what it held itself (VmHWM).
"""

import json
import os
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere
from benchmarks import watch
from yanmo import files, machine
from yanmo.tasks.base import lengths
from yanmo.tasks.objectives.masked import Masked, Settings
from yanmo.text import batches, mixture, sources, tokenizer, tokens
from yanmo.text.batches import Cursor

RESULT = Path(__file__).parent / "results" / "shards.json"
IN_MEMORY = 64  # megabytes of text; more is not tried in memory
LONGEST, BUDGET, BATCHES = 128, 16_384, 200


def generate(path: Path, size: int) -> None:
    """About `size` bytes of lines of English and of Chinese make, words and characters by Zipf's law; equal sizes give equal text."""
    generator = np.random.default_rng(0)
    letters = generator.integers(97, 123, (20_000, 9)).astype(np.uint32)
    words = np.array([bytes(row[: 2 + i % 8].astype(np.uint8)).decode() for i, row in enumerate(letters)])
    signs = np.array([chr(code) for code in range(0x4E00, 0x4E00 + 3000)])
    weights = [1 / np.arange(1, len(pool) + 1) for pool in (words, signs)]
    written = 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            english = generator.choice(words, 10_000, p=weights[0] / weights[0].sum())
            chinese = generator.choice(signs, 20_000, p=weights[1] / weights[1].sum())
            lines = [
                " ".join(english[i : i + 25]) + "\n" + "".join(chinese[2 * i : 2 * i + 50]) + "\n"
                for i in range(0, 10_000, 25)
            ]
            block = "".join(lines)
            written += len(block.encode())
            file.write(block)


def prepare(here: Path) -> dict[str, Any]:
    """Of here/text.txt and here/tokenizer.json, in this process."""
    cutter, size = tokenizer.load(here), (here / "text.txt").stat().st_size
    began, before = time.monotonic(), sum(os.times()[:4])  # with that of the processes that are forked
    record = tokens.prepare([here / "text.txt"], cutter, here / "shards")
    seconds, spent = time.monotonic() - began, sum(os.times()[:4]) - before
    return {
        "documents": record["documents"],
        "tokens": record["tokens"],
        "prepare_seconds": round(seconds, 1),
        "prepare_megabytes_per_second": round(size / seconds / 1e6, 2),
        "prepare_tokens_per_second": round(record["tokens"] / seconds),
        "prepare_cores_used": round(spent / seconds, 2),
        "high_water_mb": watch.high_water(),
    }


def measure(megabytes: int, here: Path) -> dict[str, Any]:
    generate(here / "text.txt", megabytes << 20)
    sample = list(islice(sources.texts(here / "text.txt"), 20_000))
    cutter = tokenizer.train(sample, tokenizer.TokenizerSettings())
    cutter.save(here)
    said, held = watch.run([sys.executable, __file__, "prepare", str(here)])
    began = time.monotonic()
    shards = tokens.load(here / "shards")
    rows = mixture.Rows(shards, np.arange(len(shards.sizes)), LONGEST, "train")
    opened = time.monotonic() - began
    result = {
        "command": f"python benchmarks/shards.py {megabytes}",
        "megabytes": megabytes,
        **json.loads(said),
        "all_processes_mb": held["megabytes"],
        "open_and_verify_seconds": round(opened, 2),
        "batches_from_shards_tokens_per_second": rate(rows, cutter),
    }
    if megabytes <= IN_MEMORY:
        texts = sources.read_texts(here / "text.txt")
        began = time.monotonic()
        chunks = cutter.chunks(cutter.encode_each(texts), LONGEST, "train")
        result["chunks_tokens_per_second"] = round(result["tokens"] / (time.monotonic() - began))
        result["batches_in_memory_tokens_per_second"] = rate(chunks, cutter)
    return result


def rate(rows: Any, cutter: tokenizer.Tokenizer) -> int:
    """Tokens per second of masked training batches, their order and their masking included; the first batch, which waits for the
    plan of the epoch, is not counted."""
    task = Masked(Settings(max_length=LONGEST), cutter)
    stream = batches.stream(rows, lengths(rows), task.batch, budget=BUDGET, seed=0, cursor=Cursor())
    next(stream)
    began = time.monotonic()
    made = sum(len(batch.source.ids) for batch, _ in islice(stream, BATCHES))
    return round(made / (time.monotonic() - began))


def main() -> None:
    if sys.argv[1:2] == ["prepare"]:
        print(json.dumps(prepare(Path(sys.argv[2]))))
        return
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else IN_MEMORY
    with tempfile.TemporaryDirectory() as folder:
        found = measure(megabytes, Path(folder))
    known = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    known[f"{megabytes} MB"] = found | {"machine": machine.fingerprint()}
    files.write_json(RESULT, known)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
