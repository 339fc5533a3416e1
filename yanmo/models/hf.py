"""Tensors <-> modules by rules: with the families' tables, the only code that knows foreign tensor names.

A family yields one list of rules, already expanded over its depth, so that the same table loads and saves. Whatever is missing,
unexpected or of another shape is ONE ModelError that lists all of it. safetensors only: a pickle can run code when it is opened.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from yanmo.errors import ModelError, gather
from yanmo.files import Content

WEIGHTS = "model.safetensors"
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.joblib", "*.npy", "*.h5", "*.msgpack")


@dataclass(frozen=True)
class Same:
    """One tensor, equal on both sides."""

    ours: str
    theirs: str

    @property
    def names(self) -> tuple[str, ...]:
        return (self.ours,)

    def load(self, tensor: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        return {self.ours: tensor}

    def save(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors[self.ours]


@dataclass(frozen=True)
class Transposed(Same):
    """One matrix, stored the other way round there (GPT-2's Conv1D)."""

    def load(self, tensor: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        return {self.ours: tensor.t()}

    def save(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors[self.ours].t()


@dataclass(frozen=True)
class Reshaped(Same):
    """One tensor, of another shape but the same numbers in the same order there."""

    shape: tuple[int, ...] = ()

    def load(self, tensor: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        return {self.ours: tensor.reshape(shapes[self.ours]) if tensor.shape == self.shape else tensor}

    def save(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors[self.ours].reshape(self.shape)


@dataclass(frozen=True)
class Fused:
    """Several of our tensors, joined along an axis there."""

    ours: tuple[str, ...]
    theirs: str
    axis: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        return self.ours

    def load(self, tensor: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        sizes = [shapes[name][self.axis] for name in self.ours]
        if sum(sizes) != tensor.shape[self.axis]:
            return dict.fromkeys(self.ours, tensor)  # the comparison of shapes then reports it
        return dict(zip(self.ours, torch.split(tensor, sizes, self.axis), strict=True))

    def save(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([tensors[name] for name in self.ours], self.axis)


@dataclass(frozen=True)
class Constant:
    """A tensor that stands there and that a formula gives (Marian's sinusoids): it is written, and not read."""

    theirs: str
    make: Callable[[], Tensor]
    names: tuple[str, ...] = ()

    def load(self, tensor: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        return {}

    def save(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return self.make()


Rule = Same | Fused | Constant


def load(
    model: nn.Module,
    rules: Sequence[Rule],
    tensors: Mapping[str, Tensor],
    *,
    where: str,
    ignorable: Sequence[str],
    fresh: Sequence[str],
) -> list[str]:
    """Put foreign tensors into `model` (which may be on the meta device) and return the names of ours that the folder lacks.

    fresh: the beginnings of our names that a folder may lack, such as a new task head. ignorable: patterns of foreign names that
    may be left unread. Raises ModelError with every missing, unexpected or misshapen tensor.
    """
    shapes = {name: parameter.shape for name, parameter in model.state_dict().items()}
    ours: dict[str, Tensor] = {}
    faults, known = [], set()
    for rule in rules:
        known.add(rule.theirs)
        if rule.theirs not in tensors:
            if not all(name.startswith(tuple(fresh)) for name in rule.names):
                faults.append(f"missing: {rule.theirs}")
            continue
        for name, tensor in rule.load(tensors[rule.theirs], shapes).items():
            if tensor.shape != shapes[name]:
                faults.append(f"{rule.theirs}: shape {list(tensor.shape)}, but the config says {list(shapes[name])}")
            ours[name] = tensor
    patterns = [re.compile(pattern) for pattern in ignorable]
    faults += [
        f"unexpected: {name}"
        for name in tensors
        if name not in known and not any(pattern.fullmatch(name) for pattern in patterns)
    ]
    gather(
        faults,
        f"{where}: the weights do not fit the config (wrong folder, or a file of another model?):",
        ModelError,
        shown=12,
    )
    cast = {
        name: tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype).clone()
        for name, tensor in ours.items()
    }
    model.load_state_dict(cast, strict=False, assign=True)
    return [name for name in shapes if name not in ours]


def save(model: nn.Module, rules: Sequence[Rule]) -> dict[str, Tensor]:
    """The foreign tensors of `model`, contiguous, ready to be written."""
    tensors = model.state_dict()
    found: dict[str, Tensor] = {}
    for rule in rules:
        if all(name in tensors for name in rule.names):
            tensor = rule.save(tensors).contiguous()
            # Two foreign names of one tensor: the file holds each name's own bytes.
            shared = any(tensor.data_ptr() == other.data_ptr() for other in found.values())
            found[rule.theirs] = tensor.clone() if shared else tensor
    return found


def content(tensors: dict[str, Tensor]) -> Content:
    """Tensors as what `files` writes: a safetensors file."""
    return lambda path: safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def rename(tensors: Mapping[str, Tensor], aliases: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors under today's names; aliases: ending of an older name -> today's."""
    old = {name: end for name in tensors for end in aliases if name.endswith(end)}
    return {
        name.removesuffix(old[name]) + aliases[old[name]] if name in old else name: t for name, t in tensors.items()
    }


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of a Hugging Face folder: model.safetensors, or the shards that model.safetensors.index.json names."""
    index = folder / f"{WEIGHTS}.index.json"
    if (folder / WEIGHTS).is_file():
        files = [folder / WEIGHTS]
    elif index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text("utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelError(
                f"{index}: not an index of shards ({error}); expected a JSON object with 'weight_map'"
            ) from None
        strangers = [name for name in names if Path(name).name != name]
        gather([f"{name!r}" for name in strangers], f"{index}: names files outside its folder:", ModelError)
        files = [folder / name for name in names]
    else:
        raise ModelError(_no_weights(folder))
    tensors: dict[str, Tensor] = {}
    for file in files:
        tensors |= read_file(file)
    return tensors


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file."""
    try:
        with safe_open(file, framework="pt") as opened:
            return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: not a readable safetensors file ({error}). Fetch or save the folder anew.") from None


def _no_weights(folder: Path) -> str:
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern))
    if not pickles:
        return f"{folder}: no weights here. A model folder holds {WEIGHTS} beside config.json; was the run finished?"
    return (
        f"{folder}: only {', '.join(pickles)}: a format that can run code when it is opened, so Yanmo does not. Where you trust the file, "
        f'rewrite it elsewhere: python -c "from transformers import AutoModel; '
        f"AutoModel.from_pretrained('{folder}').save_pretrained('{folder}-safe')\""
    )
