"""What frozen states know: a logistic regression on them tells the ten topics of THUCNews titles apart.

YANMO_DATA names the folder of the data sets; default ../shared/data.
"""

import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from yanmo.text import batches
from yanmo.text.tokenizer import Tokenizer

DATA = Path(os.environ.get("YANMO_DATA", Path(__file__).parents[2] / "shared" / "data"))


@cache
def titles() -> dict[str, tuple[list[str], np.ndarray]]:
    """News titles and their topics: 8,000 to fit, 2,000 to choose by (the rows of dev.txt), the 10,000 of test.txt to score."""

    def read(name: str) -> tuple[list[str], np.ndarray]:
        lines = (DATA / "classification_zh" / "thucnews_titles" / name).read_text("utf-8").splitlines()
        texts, labels = zip(*(line.rsplit("\t", 1) for line in lines), strict=True)
        return list(texts), np.array(labels, int)

    (texts, labels), test = read("dev.txt"), read("test.txt")
    order = np.random.default_rng(0).permutation(len(texts))
    parts = {"fit": order[:8000], "choose": order[8000:]}
    return {name: ([texts[place] for place in part], labels[part]) for name, part in parts.items()} | {"test": test}


def of_network(model: Any, cutter: Tokenizer, longest: int) -> float:
    """The accuracy of a logistic regression on the mean of the frozen states of a title, cut to `longest` tokens."""
    return logistic({name: states(model, cutter, texts, longest) for name, (texts, _) in titles().items()})


@torch.inference_mode()
def states(model: Any, cutter: Tokenizer, texts: Sequence[str], longest: int) -> np.ndarray:
    """(texts, width)"""
    model.eval()
    found = []
    for start in range(0, len(texts), 500):
        run = batches.pack([np.array(cutter.encode(text)[:longest]) for text in texts[start : start + 500]])
        hidden = model.encode(run)
        sums = hidden.new_zeros(len(run.lengths), hidden.shape[1]).index_add(0, run.row_of, hidden)
        found.append(sums / torch.tensor(run.lengths)[:, None])
    return torch.cat(found).numpy()


def of_characters() -> float:
    """The same regression on what the titles are made of: characters and pairs of them, weighted by their rarity."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectors = TfidfVectorizer(analyzer="char", ngram_range=(1, 2), sublinear_tf=True).fit(titles()["fit"][0])
    return logistic({name: vectors.transform(texts) for name, (texts, _) in titles().items()}, scaled=False)


def logistic(inputs: Mapping[str, Any], *, scaled: bool = True) -> float:
    """Accuracy on the test titles; the penalty is the one that is best on those to choose by."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fitted(strength: float) -> Any:
        regression = LogisticRegression(C=strength, max_iter=300)
        model = make_pipeline(StandardScaler(), regression) if scaled else regression
        return model.fit(inputs["fit"], titles()["fit"][1])

    models = [fitted(strength) for strength in ((0.001, 0.01, 0.1) if scaled else (1.0, 10.0, 100.0))]
    best = max(models, key=lambda model: model.score(inputs["choose"], titles()["choose"][1]))
    return round(float(best.score(inputs["test"], titles()["test"][1])), 4)
