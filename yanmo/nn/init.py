"""How fresh weights begin."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


def normal(module: nn.Module, deviation: float) -> None:
    """BERT's and GPT-2's rule for one module's own parameters: linear and embedding weights normal(0, deviation), biases 0, norms 1."""
    if isinstance(module, (nn.Linear, nn.Embedding, nn.EmbeddingBag)):
        nn.init.normal_(module.weight, 0.0, deviation)
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
    bias = getattr(module, "bias", None)
    if isinstance(bias, nn.Parameter):
        nn.init.zeros_(bias)


@contextmanager
def shapes_only() -> Iterator[None]:
    """Modules made within have shapes and no memory. Nothing is drawn for them: that would do nothing, but have PyTorch import its
    compiler first, which takes seconds."""
    with torch.device("meta"), _NothingDrawn():
        yield


class _NothingDrawn(TorchFunctionMode):
    def __torch_function__(
        self, function: Callable[..., Any], types: Any, arguments: Any = (), keys: Any = None
    ) -> Any:
        keys = keys or {}
        if getattr(function, "__module__", "") == "torch.nn.init":
            return keys["tensor"] if "tensor" in keys else arguments[0]
        return function(*arguments, **keys)
