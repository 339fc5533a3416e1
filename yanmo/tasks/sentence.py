"""One vector a text, as sentence-transformers lays it down beside a model (`modules.json`, `1_Pooling/config.json`): its states,
pooled, and normed where the folder says so. Modules that this file does not know are refused by name; `files` writes what `read` reads."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BeforeValidator, Field
from torch import Tensor

from yanmo.errors import ModelError, gather
from yanmo.files import to_json
from yanmo.nn.heads import PLACES
from yanmo.text.batches import Run

FILE = "modules.json"  # a folder that has it says how its vectors are made
FILES = (FILE, "1_Pooling", "sentence_bert_config.json")  # what `files` leaves in a folder
Mode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def _sums(hidden: Tensor, run: Run) -> Tensor:
    return hidden.new_zeros(len(run.lengths), hidden.shape[1]).index_add(0, run.row_of, hidden)


def _sizes(run: Run) -> Tensor:
    return (run.ends - run.starts + 1)[:, None]


def _weighted(hidden: Tensor, run: Run) -> Tensor:
    """A token counts by its place: later ones have seen more (Muennighoff 2022, https://arxiv.org/abs/2202.08904)."""
    sizes = _sizes(run)
    return _sums(hidden * (run.positions + 1)[:, None], run) / (sizes * (sizes + 1) / 2)


# Name in the file -> (hidden (t, width), run) -> (rows, width).
MODES: dict[Mode, Callable[[Tensor, Run], Tensor]] = {
    "cls": lambda hidden, run: hidden[run.starts],
    "max": lambda hidden, run: PLACES["max"](hidden, run.starts, run.ends),
    "mean": lambda hidden, run: _sums(hidden, run) / _sizes(run),
    "mean_sqrt_len_tokens": lambda hidden, run: _sums(hidden, run) / _sizes(run).sqrt(),
    "weightedmean": _weighted,
    "lasttoken": lambda hidden, run: hidden[run.ends],
}
Choice = Annotated[  # of a task's settings
    tuple[Mode, ...] | None,
    BeforeValidator(lambda said: (said,) if isinstance(said, str) else said),
    Field(description=f"{', '.join(MODES)}; null: as model.base says it, else mean"),
]
_FLAGS: dict[str, Mode] = {  # as every version reads it
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class Pooling:
    """How states become vectors. modes: of MODES, joined in this order. longest: of the rows, in tokens; None: as the model."""

    modes: tuple[Mode, ...] = ("mean",)
    normed: bool = True
    longest: int | None = None

    def __call__(self, hidden: Tensor, run: Run) -> Tensor:
        """(t, width) -> (rows, width times modes)"""
        pooled = torch.cat([MODES[mode](hidden, run) for mode in self.modes], -1)
        return torch.nn.functional.normalize(pooled, dim=-1) if self.normed else pooled


def read(folder: Path) -> Pooling:
    """What the folder says; the normed mean where it says nothing. Raises ModelError for what would change the vectors unseen."""
    if not (folder / FILE).is_file():
        return Pooling()
    modules = _json(folder / FILE, list)
    modes: tuple[Mode, ...] = ("mean",)
    faults, normed, longest = [], False, None
    for module in modules:
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            faults.append(f"{module!r}: expected an object with 'type' and 'path'")
            continue
        kind, place = module["type"].rsplit(".", 1)[-1], folder / Path(str(module.get("path", ""))).name
        if kind == "Transformer":
            given = _json(place / "sentence_bert_config.json", dict)
            longest = given.get("max_seq_length")
            if given.get("do_lower_case"):
                faults.append("sentence_bert_config.json: 'do_lower_case' is true, which is not implemented")
        elif kind == "Pooling":
            modes = _modes(_json(place / "config.json", dict))
            if strange := [mode for mode in modes if mode not in MODES] or not modes:
                faults.append(f"{place.name}/config.json: pooling {strange}; known: {', '.join(MODES)}")
        elif kind == "Normalize":
            normed = True
        else:
            faults.append(f"'{module['type']}' is not implemented; known: Transformer, Pooling, Normalize")
    if _json(folder / "config_sentence_transformers.json", dict).get("default_prompt_name"):
        faults.append("config_sentence_transformers.json: a default prompt is not implemented")
    gather(faults, f"{folder / FILE}: these sentence vectors can't be made:", ModelError)
    return Pooling(modes, normed, longest if isinstance(longest, int) and longest > 0 else None)


def files(modes: Sequence[Mode], width: int, longest: int) -> dict[str, str]:
    """Name -> content of what makes sentence-transformers give the normed vectors of a model whose states have this width, of rows of at
    most `longest` tokens."""
    parts = ("Transformer", ""), ("Pooling", "1_Pooling"), ("Normalize", "2_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (name, path) in enumerate(parts)
    ]
    pooling = {"word_embedding_dimension": width, **{flag: mode in modes for flag, mode in _FLAGS.items()}}
    return {
        FILE: to_json(modules),
        "1_Pooling/config.json": to_json(pooling),
        "sentence_bert_config.json": to_json({"max_seq_length": longest, "do_lower_case": False}),
    }


def _modes(given: dict[str, Any]) -> tuple[Mode, ...]:
    mode: Any = given.get("pooling_mode")
    if mode is None:
        mode = [name for flag, name in _FLAGS.items() if given.get(flag)]
    return tuple([mode] if isinstance(mode, str) else mode)


def _json(file: Path, kind: type) -> Any:
    """The content of a JSON file; empty where there is none."""
    try:
        content = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return kind()
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not readable JSON ({error})") from None
    if not isinstance(content, kind):
        raise ModelError(f"{file}: expected a JSON {'list' if kind is list else 'object'}")
    return content
