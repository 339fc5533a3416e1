"""What a learned model must beat, on the same split: for `classify` the majority label, naive Bayes, and a linear SVM over TF-IDF.

A task's baselines are a function here and a line in BASELINES.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yanmo.tasks.base import Scores, Task
from yanmo.tasks.linear import vectorizer
from yanmo.tasks.metrics.classification import classification
from yanmo.tasks.metrics.multilabel import multilabel
from yanmo.tasks.metrics.rating import rating
from yanmo.text.clean import language
from yanmo.text.sources import Example


def beside(
    task: Task, train: Sequence[Example], test: Sequence[Example], labels: Sequence[str] | None
) -> dict[str, Scores]:
    """name -> scores on `test` of each baseline of a task; none where it has none yet."""
    made = BASELINES.get(task.name)
    return made(train, test, labels or (), task.settings) if made else {}


def classify(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], settings: Any = None
) -> dict[str, Scores]:
    """Scores of each baseline on `test`. Takes 1 to 20 seconds for tens of thousands of short rows."""
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.svm import LinearSVC

    if getattr(settings, "several", False):
        return _several(train, test, labels)
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


def _several(train: Sequence[Example], test: Sequence[Example], labels: Sequence[str]) -> dict[str, Scores]:
    """The same where a row may bear several labels: the commonest set of labels; naive Bayes and SVM of each label against the rest."""
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.svm import LinearSVC

    numbers = {label: number for number, label in enumerate(labels)}
    truths = {}
    for name, rows in (("train", train), ("test", test)):
        truths[name] = np.zeros((len(rows), len(labels)), bool)
        for row, example in enumerate(rows):
            truths[name][row, [numbers[label] for label in example.labels]] = True
    texts = [[" ".join(e.texts) for e in rows] for rows in (train, test)]
    features = vectorizer(language(texts[0]), len(train))
    x, z = features.fit_transform(texts[0]), features.transform(texts[1])
    sets, counts = np.unique(truths["train"], axis=0, return_counts=True)
    guesses = {"majority": np.tile(sets[counts.argmax()], (len(test), 1))}
    for name, model in (("naive_bayes", MultinomialNB()), ("svm", LinearSVC())):
        with warnings.catch_warnings():  # which a label that every row bears, or none, would raise
            warnings.simplefilter("ignore")
            guesses[name] = OneVsRestClassifier(model).fit(x, truths["train"].astype(int)).predict(z).astype(bool)
    return {name: multilabel(truths["test"], guess, labels) for name, guess in guesses.items()}


def rate(train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], settings: Any) -> dict[str, Scores]:
    """The mean and the median of the training rows, ridge regression over TF-IDF; of pairs the cosine of their TF-IDF; of levels the
    commonest one and a linear SVM."""
    from sklearn.linear_model import LinearRegression, Ridge
    from sklearn.svm import LinearSVC

    y, truths = (np.array([float(example.labels[0]) for example in rows]) for rows in (train, test))
    texts = [[" ".join(example.texts) for example in rows] for rows in (train, test)]
    features = vectorizer(language(texts[0]), len(train))
    x, z = features.fit_transform(texts[0]), features.transform(texts[1])
    guesses = {name: np.full(len(test), value) for name, value in (("mean", y.mean()), ("median", np.median(y)))}
    guesses["ridge"] = Ridge().fit(x, y).predict(z)
    if all(len(example.texts) == 2 for example in (*train, *test)):
        alike = []
        for rows in (train, test):
            one, other = (features.transform([example.texts[side] for example in rows]) for side in (0, 1))
            alike.append(np.asarray(one.multiply(other).sum(1)))  # rows are of length 1
        guesses["similarity"] = LinearRegression().fit(alike[0], y).predict(alike[1])
    if settings.levels:
        values, counts = np.unique(y, return_counts=True)
        guesses["majority"] = np.full(len(test), values[counts.argmax()])
        guesses["svm"] = values[LinearSVC().fit(x, np.searchsorted(values, y)).predict(z)]
    return {name: rating(truths, guess, settings.levels or None) for name, guess in guesses.items()}


# task -> (training rows, rows to be scored, labels, settings of the task) -> baseline -> scores, that of `Task.best` among them
Baselines = Callable[[Sequence[Example], Sequence[Example], Sequence[str], Any], dict[str, Scores]]
BASELINES: dict[str, Baselines] = {"classify": classify, "rate": rate}
