"""Every family that predicts the next token, or hidden ones, on one corpus, by one tokeniser, for 3 wall minutes each.

python benchmarks/architectures.py decoders    about 25 minutes on 2 cores: bits per character of held-out text, beside an interpolated
                                               modified Kneser-Ney 5-gram and what xz and zstd make of the same text
python benchmarks/architectures.py encoders    about 25 minutes: bits per hidden token (pseudo-likelihood), and what a logistic regression
                                               on the frozen states knows of news titles
python benchmarks/architectures.py rates       about 15 minutes: the dev losses that the learning rates were chosen by
python benchmarks/architectures.py page        docs/architectures.md and its plots anew, from the results; the others do it too

YANMO_DATA names the folder of the data sets; default ../shared/data. Written row by row into benchmarks/results/architectures.json: a
row that stands there is not done again, one that was broken off goes on. Without an argument: decoders, then encoders.
"""

import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # for a run from anywhere
import yanmo
from benchmarks import drawing
from benchmarks.kneser_ney import KneserNey
from yanmo import checkpoint, evaluation, files, machine
from yanmo.text import batches, samples, split, tokenizer
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

HERE = Path(__file__).parent
RESULT = HERE / "results" / "architectures.json"
PAGE = HERE.parent / "docs" / "architectures.md"
DATA = Path(os.environ.get("YANMO_DATA", HERE.parents[1] / "shared" / "data"))
RUNS = Path("runs/architectures")
MINUTES, SHORT = 3.0, 1 / 3  # of a row, and of a run that a learning rate is chosen by
LONGEST = 128  # tokens of a row: a text and the sign at each of its ends
TRAIN = {"batch_tokens": 2048, "evaluations": 4}
RATES = (1e-3, 2e-3, 4e-3)
N_GRAM = "Kneser-Ney 5-gram"


@dataclass(frozen=True)
class Row:
    """A network: its size is chosen so that it has the 2.9 million parameters of `gpt2`, within a twentieth. All have vectors of 192 for
    a token, the same for reading and writing, and none drops anything out, since hardly a text is seen twice."""

    family: str
    lr: float  # the one of RATES with the smallest dev loss
    size: Mapping[str, Any]
    objective: Mapping[str, Any] = field(default_factory=lambda: {"name": "causal"})
    apart: str = ""  # parameters that are not counted: the beginning of their names


_TRANSFORMER = {"num_hidden_layers": 4, "hidden_size": 192, "num_attention_heads": 6}
_BERT = {**_TRANSFORMER, "intermediate_size": 768, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
_XL = {"n_layer": 4, "d_model": 192, "n_head": 6, "dropout": 0.0}
_RNN = {
    "num_hidden_layers": 2,
    "embedding_size": 192,
    "embedding_dropout": 0.0,
    "hidden_dropout": 0.0,
    "output_dropout": 0.0,
}
DECODERS = {
    "gpt2": Row(
        "gpt2",
        2e-3,
        {
            "n_layer": 4,
            "n_embd": 192,
            "n_head": 6,
            "n_positions": LONGEST,
            "resid_pdrop": 0.0,
            "embd_pdrop": 0.0,
            "attn_pdrop": 0.0,
        },
    ),
    "llama": Row("llama", 2e-3, {**_TRANSFORMER, "intermediate_size": 512, "tie_word_embeddings": True}),
    "yanmo-transformer-xl": Row("yanmo-transformer-xl", 2e-3, {**_XL, "d_inner": 704}),
    "yanmo-rnn: LSTM": Row("yanmo-rnn", 2e-3, {**_RNN, "cell": "lstm", "hidden_size": 352}),
    "yanmo-rnn: GRU": Row("yanmo-rnn", 2e-3, {**_RNN, "cell": "gru", "hidden_size": 416}),
    "yanmo-gated-cnn": Row(
        "yanmo-gated-cnn", 2e-3, {"num_hidden_layers": 8, "hidden_size": 192, "hidden_dropout": 0.0}
    ),
}
_MASKED = {"name": "masked", "rate": 0.15}
ENCODERS = {
    "bert": Row("bert", 2e-3, {**_BERT, "max_position_embeddings": LONGEST}, _MASKED),
    "distilbert": Row(
        "distilbert",
        2e-3,
        {
            "n_layers": 4,
            "dim": 192,
            "n_heads": 6,
            "hidden_dim": 768,
            "max_position_embeddings": LONGEST,
            "dropout": 0.0,
            "attention_dropout": 0.0,
        },
        _MASKED,
    ),
    "roberta": Row("roberta", 2e-3, {**_BERT, "max_position_embeddings": LONGEST + 2}, _MASKED),
    "yanmo-ngram-bert": Row(
        "yanmo-ngram-bert",
        2e-3,
        {**_TRANSFORMER, "intermediate_size": 768, "ngram_rows": 20_000},
        _MASKED,
        apart="embeddings.ngrams",
    ),
    "xlnet": Row("xlnet", 2e-3, {**_XL, "d_inner": 704}, {"name": "permutation", "rate": 0.15}),
}
# Relatives of a row that differ in what 3 minutes can't show.
LEFT_OUT = {
    "mistral": "llama",
    "qwen2": "llama",
    "qwen3": "llama",
    "transfo-xl": "yanmo-transformer-xl",
    "xlm-roberta": "roberta",
}


# ---- the corpus


@cache
def corpus() -> dict[str, list[str]]:
    """Paragraphs of the People's Daily and of 红楼梦, each once; by the hash of a paragraph a tenth is held out (test), a fiftieth chooses
    rates and checkpoints (dev). Cut into texts of at most 126 characters, which are read, predicted and counted alike by all."""
    novel = (DATA / "lm" / "chinese_novels" / "红楼梦.txt").read_text("utf-8").splitlines()
    lines = dict.fromkeys(" ".join(line.split()) for line in [*samples.peoples_daily(), *novel])
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
    )


def trained(name: str, row: Row) -> tuple[checkpoint.Checkpoint, dict[str, Any]]:
    """A row's network after its minutes, and what they were."""
    run = RUNS / name.replace(": ", "-").lower()
    metrics = train(row, run, MINUTES, row.lr)
    opened = checkpoint.load(run)
    cost = metrics["cost"]
    told = {
        "parameters": parameters(opened.model, row),
        "learning_rate": row.lr,
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
        "probe": probe(opened.model, opened.tokenizer),
        "probe_untrained": probe(fresh, opened.tokenizer),
    }


@cache
def titles() -> dict[str, tuple[list[str], np.ndarray]]:
    """News titles and their topics: 8,000 to fit, 2,000 to choose by (the rows of dev.txt), the 10,000 of test.txt to score."""

    def read(name: str) -> tuple[list[str], np.ndarray]:
        lines = (DATA / "classification_zh" / "thucnews_titles" / name).read_text("utf-8").splitlines()
        texts, labels = zip(*(line.rsplit("\t", 1) for line in lines), strict=True)
        return list(texts), np.array(labels, int)

    (texts, labels), test = read("dev.txt"), read("test.txt")
    order = np.random.default_rng(0).permutation(len(texts))
    parts = {"fit": order[:8000], "choose": order[8000:]}
    return {name: ([texts[place] for place in part], labels[part]) for name, part in parts.items()} | {"test": test}


def probe(model: Any, cutter: Tokenizer) -> float:
    """The accuracy of a logistic regression on the mean of the states that the frozen network has of a title."""
    return logistic({name: states(model, cutter, texts) for name, (texts, _) in titles().items()})


@torch.inference_mode()
def states(model: Any, cutter: Tokenizer, texts: Sequence[str]) -> np.ndarray:
    """(texts, width)"""
    model.eval()
    found = []
    for start in range(0, len(texts), 500):
        run = batches.pack([np.array(cutter.encode(text)[:LONGEST]) for text in texts[start : start + 500]])
        hidden = model.encode(run)
        sums = hidden.new_zeros(len(run.lengths), hidden.shape[1]).index_add(0, run.row_of, hidden)
        found.append(sums / torch.tensor(run.lengths)[:, None])
    return torch.cat(found).numpy()


def bag(_: str) -> dict[str, Any]:
    """The same regression on what the titles are made of: characters and pairs of them, weighted by their rarity."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True).fit(titles()["fit"][0])
    return {"probe": logistic({name: vectors.transform(texts) for name, (texts, _) in titles().items()}, scaled=False)}


def logistic(inputs: Mapping[str, Any], *, scaled: bool = True) -> float:
    """Accuracy on the test titles; the penalty is the one that is best on those to choose by."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(strength: float) -> Any:
        regression = LogisticRegression(C=strength, max_iter=300)
        model = make_pipeline(StandardScaler(), regression) if scaled else regression
        return model.fit(inputs["fit"], titles()["fit"][1])

    models = [fitted(strength) for strength in ((0.001, 0.01, 0.1) if scaled else (1.0, 10.0, 100.0))]
    best = max(models, key=lambda model: model.score(inputs["choose"], titles()["choose"][1]))
    return round(float(best.score(inputs["test"], titles()["test"][1])), 4)


# ---- learning rates


def rate(name: str) -> dict[str, Any]:
    """Held-out (dev) losses after a third of a minute."""
    row = {**DECODERS, **ENCODERS}[name]
    losses = {}
    for lr in RATES:
        run = RUNS / "rates" / f"{name.replace(': ', '-').lower()}-{lr:g}"
        losses[f"{lr:g}"] = round(train(row, run, SHORT, lr)["dev"]["loss"], 4)
    return losses


# ---- results

TABLES: dict[str, dict[str, Callable[[str], dict[str, Any]]]] = {
    "decoders": {
        N_GRAM: n_gram,
        "xz -9e": packed,
        "zstd -22 --ultra": packed,
        **dict.fromkeys(DECODERS, decoder),
    },
    "encoders": {"characters and pairs": bag, **dict.fromkeys(ENCODERS, encoder)},
    "rates": dict.fromkeys([*DECODERS, *ENCODERS], rate),
}


def fill(table: str) -> None:
    """Do the rows that have no result yet."""
    prepare()
    for name, measure in TABLES[table].items():
        known = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
        entry = known.setdefault(table, {"command": f"python benchmarks/architectures.py {table}", "rows": {}})
        if name in entry["rows"]:
            continue
        print(f"{table}: {name}", file=sys.stderr)
        entry["rows"][name] = measure(name)
        entry["machine"] = machine.fingerprint()
        known["corpus"] = {
            "characters": {part: sum(map(len, texts)) for part, texts in corpus().items()},
            "texts": {part: len(texts) for part, texts in corpus().items()},
            "distinct_characters": symbols(),
        }
        RESULT.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", "utf-8")


BEGIN, END = "<!-- {}: written by benchmarks/architectures.py -->", "<!-- {}: end -->"


def write_page() -> None:
    """The tables and plots of what has been measured; nothing where nothing was."""
    known = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else {}
    text = PAGE.read_text("utf-8")
    for table, lines in (("decoders", decoder_lines), ("encoders", encoder_lines)):
        rows = known.get(table, {}).get("rows", {})
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
    asked = sys.argv[1:] or ["decoders", "encoders"]
    if not {*asked} <= {*TABLES, "page"}:
        sys.exit(__doc__)
    if not DATA.is_dir() and asked != ["page"]:
        sys.exit(f"{DATA}: no data sets there; set YANMO_DATA")
    for table in asked:
        if table != "page":
            fill(table)
    write_page()


if __name__ == "__main__":
    main()
