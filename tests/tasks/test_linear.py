"""The linear SVM as tensors equals scikit-learn's; its share is fitted on held-out rows; a run folder keeps it."""

import sys
from pathlib import Path

import numpy as np
import pytest
import rjieba
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.svm import LinearSVC

import yanmo
from yanmo.errors import MissingExtra
from yanmo.tasks import linear
from yanmo.tasks.objectives import words

ENGLISH = {"good": "well made and quick", "bad": "it falls apart, slow", "so-so": "neither here nor there"}
CHINESE = {"好": "房间很干净，服务也好", "差": "房间很脏，再也不来", "平": "一般般，没有特别"}


def rows(table: dict[str, str], count: int) -> tuple[list[str], np.ndarray]:
    generator = np.random.default_rng(0)
    truths = generator.integers(0, len(table), count)
    texts = [
        list(table.values())[t] + f" {generator.integers(0, 50)} {'好' if table is CHINESE else 'x'}" for t in truths
    ]
    return texts, truths


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("table", [ENGLISH, CHINESE], ids=["words", "characters"])
def test_equals_scikit_learn_and_survives_its_tensors(table: dict[str, str], classes: int) -> None:
    table = dict(list(table.items())[:classes])
    texts, truths = rows(table, 200)
    characters = {"analyzer": "char", "ngram_range": (1, 3)} if "好" in table else linear._FEATURES["en"]
    of_words = {"tokenizer": lambda text: [w for w in rjieba.cut(text) if w.strip()], "ngram_range": (1, 2)}
    kinds = [characters, of_words] if "好" in table else [characters]
    features = [TfidfVectorizer(sublinear_tf=True, min_df=1, **kind).fit_transform(texts).toarray() for kind in kinds]
    x = np.concatenate(features, 1)
    expected = []
    for number in range(classes):
        inside = truths == number
        p, q = 1 + (x[inside] > 0).sum(0), 1 + (x[~inside] > 0).sum(0)
        scaled = x * np.log((p / p.sum()) / (q / q.sum()))
        expected.append(LinearSVC(C=0.25).fit(scaled, inside).decision_function(scaled))
    evidence = linear.learn(texts, truths, classes)
    for known in (evidence, linear.LinearEvidence(dict(evidence.tensors))):
        margins = known.margins(texts).numpy()
        assert margins.shape == (200, classes)
        if classes == 2:
            assert np.abs(margins[:, 1] - margins[:, 0] - expected[1]).max() < 1e-3
        else:
            assert np.abs(margins - np.stack(expected, 1)).max() < 1e-3


def test_without_a_segmenter(monkeypatch: pytest.MonkeyPatch) -> None:
    """It learns from characters alone; what was learnt from words says what it lacks."""
    texts, truths = rows(CHINESE, 100)
    evidence = linear.learn(texts, truths, 3)
    for name in ("rjieba", "jieba"):
        monkeypatch.setitem(sys.modules, name, None)
    words.segmenter.cache_clear()
    try:
        assert {"words"} == {*evidence.tensors} - {*linear.learn(texts, truths, 3).tensors}
        with pytest.raises(MissingExtra, match="rjieba"):
            linear.LinearEvidence(dict(evidence.tensors))
    finally:
        words.segmenter.cache_clear()


def test_line_ends_within_a_text() -> None:
    """They part n-grams on disk, so none may stand in one."""
    texts = ["房间\n很好", "房间\n很差"] * 20
    evidence = linear.learn(texts, np.array([0, 1] * 20), 2)
    again = linear.LinearEvidence(dict(evidence.tensors)).margins(texts)
    assert torch.equal(again, evidence.margins(texts)) and again[0, 0] > 0 > again[1, 0]


def test_share_is_fitted_where_it_helps() -> None:
    generator = torch.Generator().manual_seed(0)
    truths = torch.randint(0, 2, (500,), generator=generator)
    signal = torch.nn.functional.one_hot(truths, 2).float()
    noise = torch.randn(500, 2, generator=generator)
    evidence = linear.learn(*rows(dict(list(ENGLISH.items())[:2]), 50), 2)
    useful, useless = signal + noise, torch.randn(500, 2, generator=generator)
    linear.fit_mix(evidence, useful, useless, truths)
    scale, share = evidence.tensors["mix"].tolist()
    assert scale > 0.5 and share < 0.2
    linear.fit_mix(evidence, useless, useful, truths)
    scale, share = evidence.tensors["mix"].tolist()
    assert share > 0.5 and scale < 0.2


def test_a_run_keeps_it(tmp_path: Path, small_folder: Path) -> None:
    texts, truths = rows(dict(list(CHINESE.items())[:2]), 160)
    lines = "".join(
        f"{'好' if t == 0 else '差'}\t{text} {i}\n" for i, (text, t) in enumerate(zip(texts, truths, strict=True))
    )
    (tmp_path / "rows.tsv").write_text("label\ttext\n" + lines)
    metrics = yanmo.finetune(
        run=tmp_path / "run",
        model={"base": str(small_folder)},
        data={"train": tmp_path / "rows.tsv", "test": tmp_path / "rows.tsv"},
        task={"max_length": 32, "svm": True},
        train={"steps": 2},
    )
    assert metrics["test"]["macro_f1"] > 0.95 > metrics["test"]["network_alone"]  # two steps teach the network nothing
    again = yanmo.evaluate(tmp_path / "run", data={"test": tmp_path / "rows.tsv"})["test"]
    assert again["macro_f1"] == metrics["test"]["macro_f1"]
    assert (tmp_path / "run" / "heads.safetensors").is_file()
    import transformers

    transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "run")
