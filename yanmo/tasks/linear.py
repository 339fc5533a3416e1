"""TF-IDF, which the baselines of classification read, and a linear SVM over it as evidence that a network's logits can be joined with.

The evidence knows more than the baseline's SVM: beside the n-grams of characters those of words, where a segmenter of Chinese is
installed, and each feature counts by how much oftener it stands in a class than elsewhere (NBSVM: Wang & Manning 2012,
https://aclanthology.org/P12-2018). Learnt with scikit-learn, kept as tensors: the n-grams, their weights of inverse document frequency,
the coefficients.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from yanmo.errors import MissingExtra
from yanmo.text.clean import language

# Runs of 1 to 3 characters for Chinese, of 1 to 2 words for languages that put spaces.
_FEATURES: dict[str, dict[str, Any]] = {
    "zh": {"analyzer": "char", "ngram_range": (1, 3)},
    "en": {"analyzer": "word", "ngram_range": (1, 2), "token_pattern": r"(?u)\b\w+\b|[^\w\s]"},
}
_LANGUAGES = list(_FEATURES)


def one_line(text: str) -> str:
    """Every run of white space a space, so that no n-gram holds the line end that parts them on disk."""
    return " ".join(text.split())


def vectorizer(kind: str, rows: int) -> Any:
    """The TF-IDF of this house, for texts of a language ("zh", "en") and that many training rows."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, min_df=2 if rows >= 1000 else 1, **_FEATURES[kind])


_PENALTY = 0.25  # the SVM's C; the best of four on held-out training rows of the demo


def _words(rows: int) -> Any:
    """The TF-IDF of runs of 1 to 2 Chinese words. Raises MissingExtra where no segmenter is installed."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    from yanmo.tasks.objectives.words import segmenter

    cut = segmenter()
    return TfidfVectorizer(
        sublinear_tf=True,
        min_df=2 if rows >= 1000 else 1,
        ngram_range=(1, 2),
        tokenizer=lambda text: [word for word in cut(text) if word.strip()],
        token_pattern=None,
    )


class LinearEvidence:
    """Margins of a linear SVM, and how they are joined with a network's logits: scale * logits + share * margins."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        """Raises MissingExtra where the evidence is of words and no segmenter is installed."""
        from sklearn.pipeline import FeatureUnion

        self.tensors = tensors
        vectorizers: list[tuple[str, Any]] = []
        known = 0
        makers = {"ngrams": lambda: vectorizer(_LANGUAGES[int(tensors["language"])], 0), "words": lambda: _words(0)}
        for kind, make in makers.items():
            if kind in tensors:
                names = bytes(tensors[kind].numpy()).decode().split("\n")
                made = make().set_params(vocabulary=names)  # type: ignore[no-untyped-call]
                made.idf_ = tensors["idf"].numpy().astype(float)[known : known + len(names)]
                vectorizers.append((kind, made))
                known += len(names)
        self.vectorizer = FeatureUnion(vectorizers)

    def margins(self, texts: Sequence[str]) -> Tensor:
        """(rows, classes): how far each text stands on each class's side."""
        features = self.vectorizer.transform([one_line(text) for text in texts])
        return torch.from_numpy(
            np.asarray(features @ self.tensors["weight"].numpy() + self.tensors["bias"].numpy())
        ).float()

    def join(self, logits: Tensor, margins: Tensor) -> Tensor:
        scale, share = self.tensors["mix"].to(logits.device)
        joined: Tensor = scale * logits + share * margins.to(logits.device)
        return joined


def learn(texts: Sequence[str], truths: np.ndarray, classes: int) -> LinearEvidence:
    """Fit the SVM (Fan et al. 2008, one against the rest) on training texts; `mix` is still to be fitted. truths: (rows,) class numbers,
    or (rows, classes) booleans."""
    from sklearn.pipeline import FeatureUnion

    kind = language(texts)
    texts = [one_line(text) for text in texts]
    vectorizers = {"ngrams": vectorizer(kind, len(texts))}
    if kind == "zh":
        with suppress(MissingExtra):
            vectorizers["words"] = _words(len(texts))
    features = FeatureUnion(list(vectorizers.items())).fit_transform(texts)
    single = truths.ndim == 1
    inside = truths[:, None] == np.arange(classes) if single else truths
    one_margin = single and classes == 2
    fitted = [_against_the_rest(features, inside[:, each]) for each in range(1 if one_margin else 0, classes)]
    weight, bias = np.stack([each for each, _ in fitted], 1), np.array([each for _, each in fitted])
    if one_margin:  # one margin, for the second class
        weight, bias = np.concatenate([-weight, weight], 1) / 2, np.concatenate([-bias, bias]) / 2
    names = {
        name: "\n".join(sorted(each.vocabulary_, key=each.vocabulary_.get)).encode()
        for name, each in vectorizers.items()
    }
    return LinearEvidence(
        {
            "language": torch.tensor(_LANGUAGES.index(kind)),
            **{name: torch.tensor(list(known), dtype=torch.uint8) for name, known in names.items()},
            "idf": torch.from_numpy(np.concatenate([each.idf_ for each in vectorizers.values()])).float(),
            "weight": torch.from_numpy(np.ascontiguousarray(weight)).float(),
            "bias": torch.from_numpy(bias).float(),
            "mix": torch.tensor([1.0, 0.0]),
        }
    )


def _against_the_rest(features: Any, inside: np.ndarray) -> tuple[np.ndarray, float]:
    """(features,) weights and the bias of a class's margin."""
    from sklearn.svm import LinearSVC

    present = features > 0
    counts = [1.0 + np.asarray(present[rows].sum(0), float).ravel() for rows in (inside, ~inside)]
    ratio = np.log(counts[0] / counts[0].sum()) - np.log(counts[1] / counts[1].sum())
    machine = LinearSVC(C=_PENALTY).fit(features.multiply(ratio).tocsr(), inside)
    return machine.coef_[0] * ratio, float(machine.intercept_[0])


def fit_mix(evidence: LinearEvidence, logits: Tensor, margins: Tensor, truths: Tensor) -> None:
    """Set `mix` to what makes the truths (as `learn` takes them) of held-out rows most likely: two numbers, a convex problem."""
    mix = torch.tensor([1.0, 1.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([mix], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        joined = mix[0] * logits + mix[1] * margins
        single = truths.dim() == 1
        loss = F.cross_entropy(joined, truths) if single else F.binary_cross_entropy_with_logits(joined, truths.float())
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    evidence.tensors["mix"] = mix.detach().clamp(min=0)
