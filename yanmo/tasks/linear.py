"""TF-IDF and a linear SVM: the baseline of classification, and evidence that a network's logits can be joined with.

Learnt with scikit-learn, kept as tensors: the n-grams, their weights of inverse document frequency, the coefficients.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

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


class LinearEvidence:
    """Margins of a linear SVM, and how they are joined with a network's logits: scale * logits + share * margins."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors
        kind = _LANGUAGES[int(tensors["language"])]
        names = bytes(tensors["ngrams"].numpy()).decode().split("\n")
        self.vectorizer = vectorizer(kind, 0).set_params(vocabulary=names)
        self.vectorizer.idf_ = tensors["idf"].numpy().astype(float)

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
    """Fit the SVM (Fan et al. 2008, one against the rest) on training texts; `mix` is still to be fitted."""
    from sklearn.svm import LinearSVC

    kind = language(texts)
    texts = [one_line(text) for text in texts]
    features = vectorizer(kind, len(texts))
    machine = LinearSVC().fit(features.fit_transform(texts), truths)
    weight, bias = machine.coef_.T, machine.intercept_
    if classes == 2:  # one margin, for the second class
        weight, bias = np.concatenate([-weight, weight], 1) / 2, np.concatenate([-bias, bias]) / 2
    names = sorted(features.vocabulary_, key=features.vocabulary_.get)
    return LinearEvidence(
        {
            "language": torch.tensor(_LANGUAGES.index(kind)),
            "ngrams": torch.tensor(list("\n".join(names).encode()), dtype=torch.uint8),
            "idf": torch.from_numpy(features.idf_).float(),
            "weight": torch.from_numpy(np.ascontiguousarray(weight)).float(),
            "bias": torch.from_numpy(bias).float(),
            "mix": torch.tensor([1.0, 0.0]),
        }
    )


def fit_mix(evidence: LinearEvidence, logits: Tensor, margins: Tensor, truths: Tensor) -> None:
    """Set `mix` to what makes the truths of held-out rows most likely: two numbers, a convex problem."""
    mix = torch.tensor([1.0, 1.0], requires_grad=True)
    optimiser = torch.optim.LBFGS([mix], max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(mix[0] * logits + mix[1] * margins, truths)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    evidence.tensors["mix"] = mix.detach().clamp(min=0)
