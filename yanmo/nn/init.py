"""How fresh weights begin."""

from torch import nn


def normal(module: nn.Module, deviation: float) -> None:
    """BERT's and GPT-2's rule for one module's own parameters: linear and embedding weights normal(0, deviation), biases 0, norms 1."""
    if isinstance(module, (nn.Linear, nn.Embedding, nn.EmbeddingBag)):
        nn.init.normal_(module.weight, 0.0, deviation)
    if isinstance(module, nn.LayerNorm):
        nn.init.ones_(module.weight)
    bias = getattr(module, "bias", None)
    if isinstance(bias, nn.Parameter):
        nn.init.zeros_(bias)
