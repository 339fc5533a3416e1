"""What comes out of recipes/poems.yaml: a model of Tang verse, 20 minutes of one core, and 200 poems that it writes from nothing.

python benchmarks/poems.py           trains runs/poems (or takes it, where it is finished) and writes benchmarks/results/poems.json and
                                     poems.md; needs the extras `zh` and `bench`, and npm where runs/poems-corpus is not there yet
python benchmarks/poems.py smoke     half a minute of training and 20 poems in a folder that is deleted; writes no results

Of the poems, beside as many held-out ones of people:

form         the share that has 4 or 8 lines, all of 5 or all of 7 characters, each with its sign, and ends by itself
distinct-2   different pairs of neighbouring characters / all of them (Li et al. 2016, https://arxiv.org/abs/1510.03055)
self-BLEU    the mean BLEU-4 of each poem by its characters against all others (Zhu et al. 2018, https://arxiv.org/abs/1802.01886), by
             sacrebleu; the higher, the more alike they are
novelty      the share of runs of 8 characters, signs included, that stand in no training poem

And the bits per character of test.txt, ends of poems included, beside those of a Kneser-Ney 5-gram over the same characters.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sacrebleu

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere
import yanmo
from benchmarks.kneser_ney import KneserNey
from recipes import poems_corpus
from yanmo import machine

HERE = Path(__file__).parent
RESULT = HERE / "results" / "poems.json"
CORPUS = Path("runs/poems-corpus/tang")
COUNT, SHOWN = 200, 10
SAMPLING = {"temperature": 1.0, "top_p": 0.95, "seed": 0}
LONGEST = 80  # tokens; the longest form has 64 and its end


def grams(poem: str, size: int) -> list[str]:
    return [poem[start : start + size] for start in range(len(poem) - size + 1)]


def self_bleu(poems: Sequence[str]) -> float:
    spaced = [" ".join(poem) for poem in poems]
    scores = [
        sacrebleu.sentence_bleu(poem, spaced[:place] + spaced[place + 1 :], tokenize="none").score
        for place, poem in enumerate(spaced)
    ]
    return statistics.mean(scores) / 100


def measures(poems: Sequence[str], training: set[str]) -> dict[str, float]:
    """training: the 8-grams of its poems."""
    pairs = [pair for poem in poems for line in poems_corpus.lines_of(poem) for pair in grams(line, 2)]
    runs = [run for poem in poems for run in grams(poem, 8)]
    return {
        "form": sum(poems_corpus.regulated(poem) == poem for poem in poems) / len(poems),
        "distinct_2": round(len(set(pairs)) / len(pairs), 4),
        "self_bleu": round(self_bleu(poems), 4),
        "novelty": round(sum(run not in training for run in runs) / len(runs), 4),
    }


def read(part: str) -> list[str]:
    return (CORPUS / f"{part}.txt").read_text("utf-8").split()


def measure(run: Path, count: int) -> dict[str, Any]:
    train, test = read("train"), read("test")
    engine = yanmo.load(run)
    poems = engine.generate("", n=count, max_new_tokens=LONGEST, sampling=SAMPLING)
    training = {gram for poem in train for gram in grams(poem, 8)}
    characters = sum(map(len, test))
    five = KneserNey(order=5, symbols=len({character for poem in train for character in poem})).fit(train)
    record = json.loads((run / "yanmo.json").read_text("utf-8"))
    cost = json.loads((run / "metrics.json").read_text("utf-8"))["cost"]
    return {
        "command": "python benchmarks/poems.py",
        "inputs": {Path(name).name: digest for name, digest in record["inputs"].items()},
        "machine": record["machine"],
        "training": {"poems": len(train), "characters": sum(map(len, train)), **cost},
        "held_out": {"poems": len(test), "characters": characters},
        "bits_per_character": {
            "network": round(yanmo.evaluate(run, data={"test": CORPUS / "test.txt"})["test"]["bits_per_character"], 4),
            "kneser_ney_5": round(five.bits(test) / characters, 4),
        },
        "sampling": SAMPLING,
        "written": {"poems": count, **measures(poems, training)},
        "people": {"poems": min(count, len(test)), **measures(test[:count], training)},
        "samples": poems[:SHOWN],
    }


def table(result: dict[str, Any]) -> str:
    names = ("form", "distinct_2", "self_bleu", "novelty")
    rows = [f"| {name} | {result['written'][name]:.3f} | {result['people'][name]:.3f} |" for name in names]
    bits = result["bits_per_character"]
    sampling = ", ".join(f"{key} {value}" for key, value in result["sampling"].items())
    return "\n".join(
        [
            f"`{result['command']}`: {result['training']['parameters']:,} parameters, {result['training']['seconds'] / 60:.0f} minutes, "
            f"{result['training']['poems']:,} poems.",
            "",
            f"| | {result['written']['poems']} poems written | {result['people']['poems']} held-out poems |",
            "| --- | ---: | ---: |",
            *rows,
            "",
            "| held-out bits per character | |",
            "| --- | ---: |",
            f"| the network | {bits['network']:.3f} |",
            f"| Kneser-Ney 5-gram | {bits['kneser_ney_5']:.3f} |",
            "",
            f"The first {len(result['samples'])} of the poems written ({sampling}), not picked:",
            "",
            *(f"- {poem}" for poem in result["samples"]),
            "",
        ]
    )


def main() -> None:
    if not CORPUS.is_dir():
        poems_corpus.main(CORPUS.parent)
    recipe = HERE.parent / "recipes" / "poems.yaml"
    if sys.argv[1:] == ["smoke"]:
        with tempfile.TemporaryDirectory() as folder:
            yanmo.pretrain(recipe, run=Path(folder) / "run", train={"minutes": 0.5})
            print(table(measure(Path(folder) / "run", 20)))
        return
    run = Path("runs/poems")
    yanmo.pretrain(recipe, run=run, machine={"threads": 1})  # so that what else the machine does is felt less
    result = {**measure(run, COUNT), "machine": machine.fingerprint()}
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    RESULT.with_suffix(".md").write_text(table(result), "utf-8")
    print(table(result))


if __name__ == "__main__":
    main()
