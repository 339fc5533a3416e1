"""What a learned model must beat, on the same split: for `classify` the majority label, naive Bayes, and a linear SVM over TF-IDF;
for pairs of texts the cosine of TF-IDF.

A task's baselines are a function here and a line in BASELINES.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yanmo.tasks import embed as sentences
from yanmo.tasks.base import Scores, Task
from yanmo.tasks.linear import vectorizer
from yanmo.tasks.metrics.classification import classification
from yanmo.tasks.rerank import order
from yanmo.text.clean import language
from yanmo.text.sources import Example


def beside(
    task: Task, train: Sequence[Example], test: Sequence[Example], labels: Sequence[str] | None
) -> dict[str, Scores]:
    """name -> scores on `test` of each baseline of a task; none where it has none yet."""
    made = BASELINES.get(task.name)
    return made(train, test, labels or (), task.settings) if made else {}


def embed(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str] = (), settings: Any = None
) -> dict[str, Scores]:
    """Cosines of TF-IDF, which nothing is learnt by but how rare words are; none for texts alone."""
    texts = [text for e in train for text in e.texts]
    features = vectorizer(language(texts), len(texts)).fit(texts)
    kind = sentences.kind_of(test)
    if kind == "texts":
        return {}
    if kind == "pairs":
        return {"tfidf": sentences.retrieval(test, features.transform)}
    return {"tfidf": sentences.closeness(test, _cosines(features, test))}


def rerank(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str] = (), settings: Any = None
) -> dict[str, Scores]:
    """The documents of each query in the order of their cosines of TF-IDF."""
    texts = [text for e in train for text in e.texts]
    features = vectorizer(language(texts), len(texts)).fit(texts)
    return {"tfidf": order(test, _cosines(features, test).tolist())}


def _cosines(features: Any, rows: Sequence[Example]) -> np.ndarray:
    """(rows,) how near the first two texts of each are."""
    first, second = (features.transform([e.texts[i] for e in rows]) for i in range(2))
    return np.asarray(first.multiply(second).sum(1)).ravel()


def classify(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], settings: Any = None
) -> dict[str, Scores]:
    """Scores of each baseline on `test`. Takes 1 to 20 seconds for tens of thousands of short rows."""
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.svm import LinearSVC

    numbers = {label: number for number, label in enumerate(labels)}
    texts = {"train": [" ".join(e.texts) for e in train], "test": [" ".join(e.texts) for e in test]}
    y, truths = (np.array([numbers[e.labels[0]] for e in rows]) for rows in (train, test))
    features = vectorizer(language(texts["train"]), len(train))
    x, z = features.fit_transform(texts["train"]), features.transform(texts["test"])
    guesses = {
        "majority": np.full(len(test), np.bincount(y).argmax()),
        "naive_bayes": MultinomialNB().fit(x, y).predict(z),
        "svm": LinearSVC().fit(x, y).predict(z),
    }
    return {name: classification(truths, guess, labels) for name, guess in guesses.items()}


# task -> (training rows, rows to be scored, labels, settings of the task) -> baseline -> scores, that of `Task.judged_by` among them
Baselines = Callable[[Sequence[Example], Sequence[Example], Sequence[str], Any], dict[str, Scores]]
BASELINES: dict[str, Baselines] = {"classify": classify, "embed": embed, "rerank": rerank}
