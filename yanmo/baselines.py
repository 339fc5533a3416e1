"""What a learned model must beat, on the same split: for `classify` the majority label, naive Bayes, and a linear SVM over TF-IDF; for
`tag` each word's commonest tag, and a CRF with hand-made features (without its library a perceptron).

A task's baselines are a function here and a line in BASELINES.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from yanmo.tasks import linear_chain
from yanmo.tasks import tag as tagger
from yanmo.tasks.base import Scores, Task
from yanmo.tasks.linear import vectorizer
from yanmo.tasks.metrics.classification import classification
from yanmo.tasks.metrics.multilabel import multilabel
from yanmo.tasks.units import words_of
from yanmo.text import tagging
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


def tag(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], settings: Any = None
) -> dict[str, Scores]:
    """Scores of each baseline on `test`, learnt in BIOES where tags say spans. Takes half a minute for CoNLL-2003, two minutes at most."""
    spans = tagging.scheme_of(labels) != tagging.PLAIN
    words = [words_of(example) for example in train]
    tags = [tagging.converted(example.labels, "BIOES") if spans else example.labels for example in train]
    chain = linear_chain.available()
    learnt = {
        "commonest_tag": linear_chain.commonest(words, tags),
        chain: linear_chain.TAGGERS[chain](words, tags),
    }
    truths = [example.labels for example in test]
    guesses = {name: [answer(words_of(example)) for example in test] for name, answer in learnt.items()}
    return {name: tagger.scores(truths, guess, labels) for name, guess in guesses.items()}


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
        guesses[name] = OneVsRestClassifier(model).fit(x, truths["train"].astype(int)).predict(z).astype(bool)
    return {name: multilabel(truths["test"], guess, labels) for name, guess in guesses.items()}


# task -> (training rows, rows to be scored, labels, settings of the task) -> baseline -> scores, that of `Task.best` among them
Baselines = Callable[[Sequence[Example], Sequence[Example], Sequence[str], Any], dict[str, Scores]]
BASELINES: dict[str, Baselines] = {"classify": classify, "tag": tag}
