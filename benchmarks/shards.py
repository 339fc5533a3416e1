"""What token shards cost: tokens per second of preparing them and of making training batches from them, beside the in-memory way.

python benchmarks/shards.py             2 GB of generated text, about half an hour on 2 cores, without the in-memory way
python benchmarks/shards.py 64          64 MB, both ways
"""

import json
import resource
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from yanmo.tasks.base import lengths
from yanmo.tasks.objectives.masked import Masked, Settings
from yanmo.text import batches, sources, tokenizer, tokens
from yanmo.text.batches import Cursor

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


def main(megabytes: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        return measure(megabytes, Path(folder))


def measure(megabytes: int, here: Path) -> dict[str, Any]:
    generate(here / "text.txt", megabytes << 20)
    sample = list(islice(sources.texts(here / "text.txt"), 20_000))
    cutter = tokenizer.train(sample, tokenizer.TokenizerSettings())
    began = time.monotonic()
    record = tokens.prepare([here / "text.txt"], cutter, here / "shards")
    prepared = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.monotonic()
    shards = tokens.load(here / "shards")
    rows = tokens.Rows(shards, np.arange(len(shards.sizes)), LONGEST, "train")
    opened = time.monotonic() - began
    result = {
        "megabytes": megabytes,
        "tokens": record["tokens"],
        "prepare_seconds": round(prepared, 1),
        "prepare_tokens_per_second": round(record["tokens"] / prepared),
        "peak_memory_mb": round(peak),
        "open_and_verify_seconds": round(opened, 2),
        "batches_from_shards_tokens_per_second": rate(rows, cutter),
    }
    if megabytes <= IN_MEMORY:
        texts = sources.read_texts(here / "text.txt")
        began = time.monotonic()
        chunks = cutter.chunks(texts, LONGEST, "train")
        result["chunks_tokens_per_second"] = round(record["tokens"] / (time.monotonic() - began))
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


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 2048), indent=1))
