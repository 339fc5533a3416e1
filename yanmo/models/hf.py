"""Tensors <-> modules by rules: with the families' tables, the only code that knows foreign tensor names.

A family yields one list of rules, already expanded over its depth, so that the same table loads and saves. Whatever is missing,
unexpected or of another shape is ONE ModelError that lists all of it, raised from the headers of the files, before a weight is read.
safetensors only: a pickle can run code when it is opened. What is written is float32, whatever was read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import safetensors.torch
import torch
from torch import Tensor, nn

from yanmo import machine
from yanmo.errors import ModelError, gather
from yanmo.files import Content
from yanmo.models.weights import DAMAGED, Stored, not_numbers


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
class ByHead(Reshaped):
    """The matrix of a linear layer, of `shape` (in, heads, width of a head) there (XLNet's projections)."""

    def load(self, tensor: Tensor, shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
        return {self.ours: tensor.flatten(1).t() if tensor.shape == self.shape else tensor}

    def save(self, tensors: Mapping[str, Tensor]) -> Tensor:
        return tensors[self.ours].t().reshape(self.shape)


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
    tensors: Mapping[str, Tensor | Stored],
    *,
    where: str,
    ignorable: Sequence[str],
    fresh: Sequence[str],
) -> list[str]:
    """Put foreign tensors into `model` (which may be on the meta device) and return the names of ours that the folder lacks.

    Each is read when all fit, one at a time, so that memory holds the weights once; floating ones become float32.
    fresh: the beginnings of our names that a folder may lack, such as a new task head. ignorable: patterns of foreign names that
    may be left unread. Raises ModelError with every missing, unexpected or misshapen tensor, or every one that is not a number.
    """
    expected = model.state_dict()
    shapes = {name: tensor.shape for name, tensor in expected.items()}
    wrong = f"{where}: the weights do not fit the config (wrong folder, or a file of another model?):"
    faults, known = [], set()
    for rule in rules:
        known.add(rule.theirs)
        if rule.theirs in tensors:
            faults += _misfits(rule, tensors[rule.theirs], expected)
        elif not all(name.startswith(tuple(fresh)) for name in rule.names):
            faults.append(f"missing: {rule.theirs}")
    patterns = [re.compile(pattern) for pattern in ignorable]
    faults += [
        f"unexpected: {name}"
        for name in tensors
        if name not in known and not any(pattern.fullmatch(name) for pattern in patterns)
    ]
    gather(faults, wrong, ModelError, shown=12)
    needed, free = sum(tensor.nbytes for tensor in expected.values()), machine.free_memory()
    if needed > free:
        raise ModelError(f"{where}: needs {needed / 1e9:,.1f} GB of memory, and {free / 1e9:,.1f} GB are free here")
    ours: dict[str, Tensor] = {}
    for rule in rules:
        if rule.theirs in tensors:
            stored = tensors[rule.theirs]
            tensor = stored.read() if isinstance(stored, Stored) else stored.clone()
            faults += not_numbers(rule.theirs, tensor)
            for name, part in rule.load(tensor, shapes).items():
                part = part.float() if part.is_floating_point() else part
                # A part of a joined tensor would keep the whole in memory.
                ours[name] = part.clone() if part.untyped_storage().nbytes() > part.nbytes else part
    gather(faults, f"{where}: {DAMAGED}", ModelError, shown=12)
    model.load_state_dict(ours, strict=False, assign=True)
    return [name for name in shapes if name not in ours]


def _misfits(rule: Rule, stored: Tensor | Stored, expected: Mapping[str, Tensor]) -> list[str]:
    """What keeps a foreign tensor from being ours, told by its shape and type alone."""
    shapes = {name: expected[name].shape for name in rule.names}
    there = f"{rule.theirs}: shape {list(stored.shape)}, but the config says"
    try:
        parts = rule.load(torch.empty(stored.shape, dtype=stored.dtype, device="meta"), shapes)
    except (RuntimeError, IndexError):  # of another number of dimensions
        return [f"{there} {[list(shape) for shape in shapes.values()]}"]
    return [f"{there} {list(shapes[name])}" for name, part in parts.items() if part.shape != shapes[name]] + [
        f"{rule.theirs}: holds {stored.dtype}, expected {'floats' if wanted.is_floating_point() else wanted.dtype}"
        for wanted in (expected[name] for name in parts)
        if (stored.dtype != wanted.dtype) and not (stored.dtype.is_floating_point and wanted.is_floating_point())
    ]


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


def rename(tensors: Mapping[str, Tensor | Stored], aliases: Mapping[str, str]) -> dict[str, Tensor | Stored]:
    """The tensors under today's names; aliases: ending of an older name -> today's."""
    old = {name: end for name in tensors for end in aliases if name.endswith(end)}
    return {
        name.removesuffix(old[name]) + aliases[old[name]] if name in old else name: t for name, t in tensors.items()
    }
