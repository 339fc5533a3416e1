"""Every family that predicts the next token, or hidden ones, on one corpus, by one tokeniser, for 3 wall minutes of one core each.

python benchmarks/architectures.py rates       about 10 minutes: the dev losses that the learning rates are chosen by
python benchmarks/architectures.py decoders    about 23 minutes: bits per character of held-out text, beside an interpolated modified
                                               Kneser-Ney 5-gram and what xz and zstd make of the same text
python benchmarks/architectures.py encoders    about 24 minutes: bits per hidden token (pseudo-likelihood), and what a logistic regression
                                               on the frozen states knows of news titles
python benchmarks/architectures.py prepare     the corpus and its tokeniser as files; the others do it too, where they are missing
python benchmarks/architectures.py page        docs/architectures.md and its plots anew, from the results; the others do it too

YANMO_DATA names the folder of the data sets; default ../shared/data. Written row by row into benchmarks/results/architectures.json: a
row that stands there is not done again, one that was broken off goes on. Without an argument: all of it. A row whose rate is not
chosen yet has it chosen first. On two cores `decoders` and `encoders` can run at the same time, after `prepare`.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere
import yanmo
from benchmarks import drawing, probe
from benchmarks.kneser_ney import KneserNey
from yanmo import checkpoint, evaluation, files, machine
from yanmo.text import samples, split, tokenizer
from yanmo.text.tokenizer import TokenizerSettings

HERE = Path(__file__).parent
RESULT = HERE / "results" / "architectures.json"
PAGE = HERE.parent / "docs" / "architectures.md"
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data"))
RUNS = Path("runs/architectures")
MINUTES, SHORT = 3.0, 0.25  # of a row, and of a run that a learning rate is chosen by
LONGEST = 128  # tokens of a row: a text and the sign at each of its ends
TRAIN = {"batch_tokens": 1024, "evaluations": 1}
RATES = (1.5e-3, 3e-3, 6e-3)
N_GRAM = "Kneser-Ney 5-gram"


@dataclass(frozen=True)
class Row:
    """A network: its size is chosen so that it has the 1.3 million parameters of `gpt2`, within a twentieth. All have vectors of 128 for
    a token, the same for reading and writing, and none drops anything out, since hardly a text is seen twice."""

    family: str
    size: Mapping[str, Any]
    objective: Mapping[str, Any] = field(default_factory=lambda: {"name": "causal"})
    apart: str = ""  # parameters that are not counted: the beginning of their names


_TRANSFORMER = {"num_hidden_layers": 3, "hidden_size": 128, "num_attention_heads": 4}
_BERT = {**_TRANSFORMER, "intermediate_size": 512, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_XL = {"n_layer": 3, "d_model": 128, "n_head": 4, "dropout": 0.0}
_RNN = {
    "num_hidden_layers": 2,
    "embedding_size": 128,
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "output_dropout": 0.0,
}
DECODERS = {
    "gpt2": Row(
        "gpt2",
        {
            "n_layer": 3,
            "n_embd": 128,
            "n_head": 4,
            "n_positions": LONGEST,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
    ),
    "llama": Row("llama", {**_TRANSFORMER, "intermediate_size": 344, "tie_word_embeddings": True}),
    "yanmo-transformer-xl": Row("yanmo-transformer-xl", {**_XL, "d_inner": 448}),
    "yanmo-rnn: LSTM": Row("yanmo-rnn", {**_RNN, "cell": "lstm", "hidden_size": 200}),
    "yanmo-rnn: GRU": Row("yanmo-rnn", {**_RNN, "cell": "gru", "hidden_size": 232}),
    "yanmo-gated-cnn": Row("yanmo-gated-cnn", {"num_hidden_layers": 6, "hidden_size": 128, "hidden_dropout": 0.0}),
}
_MASKED = {"name": "masked", "rate": 0.15}
ENCODERS = {
    "bert": Row("bert", {**_BERT, "max_position_embeddings": LONGEST}, _MASKED),
    "distilbert": Row(
        "distilbert",
        {
            "n_layers": 3,
            "dim": 128,
            "n_heads": 4,
            "hidden_dim": 512,
            "max_position_embeddings": LONGEST,
            "dropout": 0.0,
            "attention_dropout": 0.0,
        },
        _MASKED,
    ),
    "roberta": Row("roberta", {**_BERT, "max_position_embeddings": LONGEST + 2}, _MASKED),
    "yanmo-ngram-bert": Row(
        "yanmo-ngram-bert",
        {**_TRANSFORMER, "intermediate_size": 512, "ngram_rows": 20_000},
        _MASKED,
        apart="embeddings.ngrams",
    ),
    "xlnet": Row("xlnet", {**_XL, "d_inner": 448}, {"name": "permutation", "rate": 0.15}),
}
# Relatives of a row that differ in what 3 minutes can't show, and the BERT with n-grams, which goes on from one that is trained.
LEFT_OUT = {
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "transfo-xl": "yanmo-transformer-xl",
    "xlm-roberta": "roberta",
    "yanmo-bert-ngrams": "yanmo-ngram-bert",
}


# ---- the corpus


@cache
def corpus() -> dict[str, list[str]]:
    """Paragraphs of the People's Daily and of 红楼梦, each once; by the hash of a paragraph a tenth is held out (test), a fiftieth chooses
    rates (dev). Cut into texts of at most 126 characters, which are read, predicted and counted alike by all."""
    novel = (DATA / "lm" / "chinese_novels" / "红楼梦.txt").read_text("utf-8").splitlines()
    lines = dict.fromkeys(" ".join(line.split()) for line in [*samples.peoples_daily("train"), *novel])
    parts: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for line in filter(None, lines):
        place = split.position(line)
        name = "test" if place < 0.1 else "dev" if place < 0.12 else "train"
        parts[name] += [line[start : start + LONGEST - 2] for start in range(0, len(line), LONGEST - 2)]
    return parts


def symbols() -> int:
    """How many characters there are in all parts: all are tokens, so that no text is made easier by what is unknown."""
    return len(set("".join(text for part in corpus().values() for text in part)))


def prepare() -> None:
    """The parts as files, a text a line, and the tokeniser of their characters."""
    if (RUNS / tokenizer.FILE).is_file():
        return
    RUNS.mkdir(parents=True, exist_ok=True)
    for name, texts in corpus().items():
        files.write_file(RUNS / f"{name}.txt", "\n".join(texts) + "\n")
    every = [text for part in corpus().values() for text in part]
    settings = TokenizerSettings(kind="character", vocab=symbols() + len(tokenizer.SPECIAL))
    tokenizer.train(every, settings).save(RUNS)


# ---- training


def train(row: Row, run: Path, minutes: float, lr: float) -> dict[str, Any]:
    return yanmo.pretrain(
        run=run,
        model={"family": row.family, "size": dict(row.size)},
        tokenizer={"base": RUNS},
        data={"train": RUNS / "train.txt", "dev": RUNS / "dev.txt"},
        objective={**row.objective, "max_length": LONGEST},
        train={**TRAIN, "minutes": minutes, "lr": lr},
        samples={"count": 0},
        machine={"threads": 1},
    )


def trained(name: str, row: Row) -> tuple[checkpoint.Checkpoint, dict[str, Any]]:
    """A row's network after its minutes, and what they were."""
    run = RUNS / name.replace(": ", "-").lower()
    rates = measured("rates", name)
    lr = float(min(rates, key=rates.__getitem__))
    metrics = train(row, run, MINUTES, lr)
    opened = checkpoint.load(run)
    cost = metrics["cost"]
    told = {
        "parameters": parameters(opened.model, row),
        "learning_rate": lr,
        "steps": cost["steps"],
        "tokens": cost["tokens"],
        "seconds": cost["seconds"],
    }
    return opened, told


def parameters(model: torch.nn.Module, row: Row) -> int:
    named = model.named_parameters()
    return sum(p.numel() for name, p in named if not (row.apart and name.startswith(row.apart)))


def held_out(opened: checkpoint.Checkpoint) -> tuple[float, int]:
    """(bits, predictions) of the test part by the run's own objective, in its fixed form."""
    cutter, task = opened.tokenizer, opened.task
    assert task is not None
    rows = cutter.chunks(cutter.encode_all(corpus()["test"]), LONGEST, "test")
    assert len(rows) == len(corpus()["test"])
    answers = evaluation.answers(opened.model, task, rows, device=torch.device("cpu"))
    return sum(a["loss"] for a in answers) / math.log(2), sum(a["tokens"] for a in answers)


# ---- decoders


def decoder(name: str) -> dict[str, Any]:
    opened, told = trained(name, DECODERS[name])
    bits, predictions = held_out(opened)
    texts = corpus()["test"]
    assert predictions == sum(map(len, texts)) + len(texts)  # every character, and the end of each text
    return {**told, **per_character(bits)}


def per_character(bits: float) -> dict[str, Any]:
    return {"bits_per_character": round(bits / sum(map(len, corpus()["test"])), 4)}


def n_gram(_: str) -> dict[str, Any]:
    return per_character(KneserNey(5, symbols()).fit(corpus()["train"]).bits(corpus()["test"]))


def packed(name: str) -> dict[str, Any]:
    """What the test part adds to the packed size of the train part, line ends with it."""
    import lzma

    import zstandard

    window = zstandard.ZstdCompressionParameters.from_level(22, window_log=27)
    pack: Callable[[bytes], bytes] = {
        "xz -9e": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
        "zstd -22 --ultra": zstandard.ZstdCompressor(compression_params=window).compress,
    }[name]
    train, test = ("".join(f"{text}\n" for text in corpus()[part]).encode() for part in ("train", "test"))
    return per_character(8 * (len(pack(train + test)) - len(pack(train))))


# ---- encoders


def encoder(name: str) -> dict[str, Any]:
    row = ENCODERS[name]
    opened, told = trained(name, row)
    bits, predictions = held_out(opened)
    fresh = checkpoint.create(opened.family, opened.config, opened.head)
    return {
        **told,
        "bits_per_token": round(bits / predictions, 4),
        "predicted": "permutation" if row.objective["name"] == "permutation" else "masked",
        "probe": probe.of_network(opened.model, opened.tokenizer, LONGEST),
        "probe_untrained": probe.of_network(fresh, opened.tokenizer, LONGEST),
    }


# ---- learning rates


def rate(name: str) -> dict[str, Any]:
    """Held-out (dev) losses after a quarter of a minute at each rate."""
    row = {**DECODERS, **ENCODERS}[name]
    losses = {}
    for lr in RATES:
        run = RUNS / "rates" / f"{name.replace(': ', '-').lower()}-{lr:g}"
        losses[f"{lr:g}"] = round(train(row, run, SHORT, lr)["dev"]["loss"], 4)
    return losses


# ---- results

TABLES: dict[str, dict[str, Callable[[str], dict[str, Any]]]] = {
    "rates": dict.fromkeys([*DECODERS, *ENCODERS], rate),
    "decoders": {
        N_GRAM: n_gram,
        "xz -9e": packed,
        "zstd -22 --ultra": packed,
        **dict.fromkeys(DECODERS, decoder),
    },
    "encoders": {
        "characters and pairs": lambda _: {"probe": probe.of_characters()},
        **dict.fromkeys(ENCODERS, encoder),
    },
}


def known() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    return found


def measured(table: str, name: str) -> dict[str, Any]:
    """A row's result; measured and written where it is not known yet."""
    if name not in known().get(table, {}).get("rows", {}):
        print(f"{table}: {name}", file=sys.stderr)
        row = TABLES[table][name](name)
        result = known()
        entry = result.setdefault(table, {"command": f"python benchmarks/architectures.py {table}", "rows": {}})
        entry["rows"][name] = row
        entry["machine"] = machine.fingerprint()
        result["corpus"] = {
            "characters": {part: sum(map(len, texts)) for part, texts in corpus().items()},
            "texts": {part: len(texts) for part, texts in corpus().items()},
            "distinct_characters": symbols(),
        }
        RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
    row = known()[table]["rows"][name]
    return dict(row)


BEGIN, END = "<!-- {}: written by benchmarks/architectures.py -->", "<!-- {}: end -->"


def write_page() -> None:
    """The tables and plots of what has been measured; nothing where nothing was."""
    text = PAGE.read_text("utf-8")
    for table, lines in (("decoders", decoder_lines), ("encoders", encoder_lines)):
        rows = known().get(table, {}).get("rows", {})
        begin, end = BEGIN.format(table), END.format(table)
        head, rest = text.split(begin)
        figures = "\n".join(lines(rows)) + "\n\n" if rows else ""
        text = f"{head}{begin}\n\n{figures}{end}{rest.split(end)[1]}"
    files.write_file(PAGE, text)


def decoder_lines(rows: Mapping[str, Any]) -> list[str]:
    bits = {
        name: row["bits_per_character"]
        for name, row in sorted(rows.items(), key=lambda item: item[1]["bits_per_character"])
    }
    bar = bits.get(N_GRAM)
    drawing.bars(
        RESULT.with_name("architectures.svg"),
        "Bits per held-out character; 3 minutes of training each",
        bits,
        frozenset(rows) - frozenset(DECODERS),
    )
    lines = ["| | bits per character | beats the 5-gram | parameters | learning rate | steps | tokens read |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for name, value in bits.items():
        row = rows[name]
        beats = "" if bar is None or name not in DECODERS else "yes" if value < bar else "**no**"
        learnt = (
            f"{row['parameters']:,} | {row['learning_rate']:g} | {row['steps']:,} | {row['tokens']:,}"
            if name in DECODERS
            else " | | | "
        )
        lines.append(f"| {name} | {value:.3f} | {beats} | {learnt} |")
    return [*lines, "", "![bits per character](../benchmarks/results/architectures.svg)"]


def encoder_lines(rows: Mapping[str, Any]) -> list[str]:
    ranked = dict(sorted(rows.items(), key=lambda item: -item[1]["probe"]))
    drawing.bars(
        RESULT.with_name("encoders.svg"),
        "Accuracy of a logistic regression on frozen states: topics of news titles",
        {name: row["probe"] for name, row in ranked.items()},
        frozenset(rows) - frozenset(ENCODERS),
    )
    lines = ["| | probe | the same, untrained | bits per hidden token | parameters | learning rate | steps |"]
    lines += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for name, row in ranked.items():
        if name not in ENCODERS:
            lines.append(f"| {name} | {row['probe']:.1%} | | | | | |")
            continue
        bits = f"{row['bits_per_token']:.3f}" + (" (permuted)" if row["predicted"] == "permutation" else "")
        learnt = f"{row['parameters']:,} | {row['learning_rate']:g} | {row['steps']:,}"
        lines.append(f"| {name} | {row['probe']:.1%} | {row['probe_untrained']:.1%} | {bits} | {learnt} |")
    return [*lines, "", "![probe](../benchmarks/results/encoders.svg)"]


def main() -> None:
    asked = sys.argv[1:] or [*TABLES]
    if not {*asked} <= {*TABLES, "prepare", "page"}:
        sys.exit(__doc__)
    if not DATA.is_dir() and asked != ["page"]:
        sys.exit(f"{DATA}: no data sets there; set YANMO_DATA")
    if asked != ["page"]:
        prepare()
    for table in asked:
        for name in TABLES.get(table, ()):
            measured(table, name)
    write_page()


if __name__ == "__main__":
    main()
