import pytest
import torch
from torch.nn import functional as F

from yanmo import checkpoint, models

SMALL = {
    "vocab_size": 100,
    "hidden_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 200,
}


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_fresh_positions_are_alike_where_they_are_near(name: str) -> None:
    family = models.find(name)
    model = checkpoint.create(family, family.config.read(SMALL, "test")[0], "masked")
    table = model.embeddings.position.weight.detach()
    alike = F.cosine_similarity(table[:1], table)
    assert alike[1] > 0.9 > alike[20] > alike[100]
    words = model.embeddings.word.weight.detach()
    torch.testing.assert_close(table.pow(2).mean(), words.pow(2).mean(), rtol=0.1, atol=0.0)
