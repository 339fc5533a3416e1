"""A trained model's linear layers rounded to 8 bits, and what that gained.

The layers themselves and their place in a folder are `nn/kernels/quantised.py`; here a model is changed and measured.
"""

import statistics
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import TypeVar, cast

from torch import nn

from yanmo.errors import ModelError, gather
from yanmo.nn.kernels.quantised import QuantisedLinear
from yanmo.nn.linear import is_linear
from yanmo.nn.surgery import swap
from yanmo.tasks.base import OWN

Model = TypeVar("Model")


def quantise(model: nn.Module, keep: Collection[str] = ()) -> list[str]:
    """Replace the model's linear layers, in place, by quantised ones; return their dotted names.

    Kept as they are: the layers named in `keep`, and those whose weight another module shares (an output layer tied to
    the embedding), for a rounded copy would cost memory and break the tie. ModelError for a name in `keep`
    that is no linear layer, for a weight that is not finite, and when nothing is left to replace.
    """
    linear = {
        name: module
        for name, module in model.named_modules()
        if is_linear(module) and not name.startswith(f"{OWN}.")  # a task's own layers are kept apart from the model's
    }
    unknown = [repr(name) for name in keep if name not in linear]
    gather(unknown, "these layers can't be kept, for the model has no linear layer of that name:", ModelError)
    kept = {*keep, *_tied(model, linear)}
    return swap(model, lambda name, module: name in linear and name not in kept, _quantised)


def _quantised(name: str, module: nn.Module) -> nn.Module:
    try:
        return QuantisedLinear.from_linear(cast(nn.Linear, module))
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from error


def _tied(model: nn.Module, linear: dict[str, nn.Linear]) -> list[str]:
    owners = Counter(
        parameter.data_ptr() for module in model.modules() for parameter in module.parameters(recurse=False)
    )
    return [name for name, module in linear.items() if owners[module.weight.data_ptr()] > 1]


def size_of(model: nn.Module) -> int:
    """Bytes of the model's saved tensors; what several names share counts once."""
    tensors = {(tensor.data_ptr(), tensor.shape): tensor for tensor in model.state_dict().values()}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def compare(before: Model, after: Model, run: Callable[[Model], object], rounds: int = 7) -> float:
    """How many times faster `run(after)` is than `run(before)`: the median ratio of `rounds` rounds, the two in turn.

    One untimed round comes first. Ratios of neighbours stay true while other programs come and go; 5 rounds at least.
    """
    _seconds(run, before), _seconds(run, after)
    return statistics.median(_seconds(run, before) / _seconds(run, after) for _ in range(max(rounds, 5)))


def _seconds(run: Callable[[Model], object], model: Model) -> float:
    start = time.perf_counter()
    run(model)
    return time.perf_counter() - start
