"""One vector a text, held against sentence-transformers."""

import json
import shutil
from itertools import islice
from pathlib import Path

import pytest
import torch

import yanmo
from yanmo.errors import ModelError
from yanmo.text.formats import raw


def sentences(shared_data: Path) -> list[str]:
    """1,000 as people wrote them: titles and reviews, some of which are longer than the model's rows."""
    files = {
        "classification_zh/thucnews_titles/dev.txt": ("text", 470),
        "classification_zh/chnsenticorp/dev.tsv": ("text_a", 30),
        "classification_en/sst2_glue/dev.tsv": ("sentence", 500),
    }
    return [
        row.fields[column] for name, (column, count) in files.items() for row in islice(raw(shared_data / name), count)
    ]


def test_vectors_equal_those_of_sentence_transformers(minilm: Path, shared_data: Path) -> None:
    from sentence_transformers import SentenceTransformer

    texts = sentences(shared_data)
    assert len(texts) == 1000
    expected = SentenceTransformer(str(minilm), device="cpu").encode(texts, convert_to_tensor=True)
    ours = yanmo.load(minilm).embed(texts)
    assert torch.cosine_similarity(ours, expected).min() >= 0.99999
    assert (ours.norm(dim=1) - 1).abs().max() < 1e-5


@pytest.mark.parametrize("modes", [("cls",), ("max", "lasttoken"), ("mean_sqrt_len_tokens",), ("weightedmean", "mean")])
def test_every_way_to_pool(modes: tuple[str, ...], minilm: Path, tmp_path: Path) -> None:
    from sentence_transformers import SentenceTransformer

    folder = tmp_path / "model"
    shutil.copytree(minilm, folder)
    (folder / "1_Pooling/config.json").write_text(json.dumps({"embedding_dimension": 384, "pooling_mode": modes}))
    modules = json.loads((folder / "modules.json").read_text())
    (folder / "modules.json").write_text(json.dumps(modules[:2]))  # not normed
    texts = ["a film", "一部很长的电影, which nobody saw", "so"]
    expected = SentenceTransformer(str(folder), device="cpu").encode(texts, convert_to_tensor=True)
    assert (yanmo.load(folder).embed(texts) - expected).abs().max() < 1e-5


def test_what_would_change_the_vectors_is_refused(minilm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm, folder)
    modules = json.loads((folder / "modules.json").read_text())
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps([*modules, dense]))
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "median"}')
    with pytest.raises(ModelError, match=r"median.*; known: cls, max(.|\n)*models\.Dense' is not implemented"):
        yanmo.load(folder).embed(["x"])


def test_a_folder_that_says_nothing(small_folder: Path) -> None:
    engine = yanmo.load(small_folder)
    vectors = engine.embed(["a good film", "好"])
    hidden = engine.hidden(torch.tensor([engine.tokenizer.encode("好")]))[0]
    assert torch.allclose(vectors[1], torch.nn.functional.normalize(hidden.mean(0), dim=0), atol=1e-6)
    assert engine.embed([]).shape == (0, 0)
