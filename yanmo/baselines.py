"""What a learned model must beat, on the same split: for `classify` the majority label, naive Bayes, and a linear SVM over TF-IDF; for
`rate` the mean, the median and ridge regression; for `tag` each word's commonest tag, and a CRF with hand-made features (without its
library a perceptron); for `relate` the majority and an SVM, which knows the entities; for `answer` the sentence with the most words of
the question; for pairs of texts the cosine of TF-IDF, and where one is to be found by the other BM25 (with its library).

A task's baselines are a function here and a line in BASELINES.
"""

import re
import statistics
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from itertools import groupby
from typing import Any

import numpy as np

from yanmo.index.lexical import Lexical, build
from yanmo.index.ranking import best
from yanmo.tasks import embed as sentences
from yanmo.tasks import linear_chain
from yanmo.tasks import tag as tagger
from yanmo.tasks.answer import measure
from yanmo.tasks.base import Scores, Task
from yanmo.tasks.linear import vectorizer
from yanmo.tasks.metrics.answers import answers
from yanmo.tasks.metrics.classification import classification
from yanmo.tasks.metrics.multilabel import multilabel
from yanmo.tasks.metrics.ranking import ranking
from yanmo.tasks.metrics.rating import rating
from yanmo.tasks.relate import none_of
from yanmo.tasks.relate import scores as relation_scores
from yanmo.tasks.rerank import order
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


def multitask(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], settings: Any
) -> dict[str, Scores]:
    """The baselines of each task under its name."""
    return {
        name: BASELINES[each.name](
            [row for row in train if row.task == name], rows, (settings.labels or {}).get(name, ()), each
        )
        for name, each in settings.tasks.items()
        if each.name in BASELINES and (rows := [row for row in test if row.task == name])
    }


def embed(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str] = (), settings: Any = None
) -> dict[str, Scores]:
    """Cosines of TF-IDF, which nothing is learnt by but how rare words are, and BM25 for pairs; none for texts alone."""
    texts = [text for e in train for text in e.texts]
    features = vectorizer(language(texts), len(texts)).fit(texts)
    kind = sentences.kind_of(test)
    if kind == "texts":
        return {}
    if kind == "pairs":
        found = {"tfidf": sentences.retrieval(test, features.transform)}
        return found | ({"bm25": _found_by_words(test)} if find_spec("bm25s") else {})
    return {"tfidf": sentences.closeness(test, _cosines(features, test))}


def rerank(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str] = (), settings: Any = None
) -> dict[str, Scores]:
    """The documents of each query in the order of their cosines of TF-IDF, and by BM25 among those of all queries."""
    texts = [text for e in train for text in e.texts]
    features = vectorizer(language(texts), len(texts)).fit(texts)
    found = {"tfidf": order(test, _cosines(features, test).tolist())}
    if not find_spec("bm25s"):
        return found
    documents = {text: number for number, text in enumerate(dict.fromkeys(e.texts[1] for e in test))}
    index = Lexical(build([*documents]))
    scores = np.zeros(len(test))
    for query, rows in _by_query(test).items():
        scores[rows] = index.scores(query)[[documents[test[row].texts[1]] for row in rows]]
    return found | {"bm25": order(test, scores.tolist())}


def _by_query(rows: Sequence[Example]) -> dict[str, list[int]]:
    """The numbers of the rows of each first text."""
    found: dict[str, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        found[row.texts[0]].append(number)
    return found


def _found_by_words(rows: Sequence[Example]) -> Scores:
    """What BM25 finds for each first text among all second and third ones, as `sentences.retrieval` does by vectors."""
    documents = {text: number for number, text in enumerate(dict.fromkeys(t for e in rows for t in e.texts[1:]))}
    index, texts = Lexical(build([*documents])), [*documents]
    grades = {query: {rows[place].texts[1]: 1 for place in places} for query, places in _by_query(rows).items()}
    run = {}
    for query, right in grades.items():
        scores = index.scores(query)
        if query in documents and query not in right:
            scores[documents[query]] = 0
        run[query] = {texts[place]: float(scores[place]) for place in best(scores, _FOUND) if scores[place] > 0}
    return ranking(run, grades)


_FOUND = 100  # documents for each query


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


def relate(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], settings: Any
) -> dict[str, Scores]:
    """The SVM reads the text, and as features of their own what stands between the entities and which of them comes first."""
    from sklearn.compose import ColumnTransformer
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC

    def columns(rows: Sequence[Example]) -> np.ndarray:
        found = []
        for row in rows:
            (_, end), (start, _) = sorted(row.marks)
            between = row.texts[-1][end:start] + "."  # never empty, so that there is a feature
            found.append((row.texts[-1], *((between, ".") if row.marks[0] <= row.marks[1] else (".", between))))
        return np.array(found, dtype=object)

    kind = language([e.texts[-1] for e in train])
    truths, known = ([e.labels[0] for e in rows] for rows in (test, train))
    features = ColumnTransformer([(str(i), vectorizer(kind, len(train)), i) for i in range(3)])
    guesses = {
        "majority": [max(labels, key=known.count)] * len(test),
        "svm": make_pipeline(features, LinearSVC()).fit(columns(train), known).predict(columns(test)).tolist(),
    }
    none = none_of(labels, settings)
    return {name: relation_scores(truths, guess, labels, none) for name, guess in guesses.items()}


_PIECE = re.compile(r"[\u3400-\u9fff]|[^\W_\u3400-\u9fff]+")  # a Chinese character or another word
_SENTENCE = re.compile(r"[^。！？；.!?;\n]+(?:\.\d[^。！？；.!?;\n]*)*")


def answer(
    train: Sequence[Example], test: Sequence[Example], labels: Sequence[str], settings: Any = None
) -> dict[str, Scores]:
    """A piece of the sentence that has the most words of the question in it: the longest run of its words that are not in the question,
    as many of them as training answers have. Where training questions have no answer, also to give none to any."""
    usual = statistics.median([len(_PIECE.findall(e.labels[0])) for e in train if e.labels] or [1])
    truths, judged = [e.labels for e in test], measure(test)
    guesses = {"overlap": [_overlapping(e.texts[0], e.texts[1], round(usual)) for e in test]}
    if not all(e.labels for e in train):
        guesses["no_answer"] = [""] * len(test)
    return {name: answers(truths, guess, judged) for name, guess in guesses.items()}


def _overlapping(question: str, context: str, most: int) -> str:
    asked = {*_PIECE.findall(question.lower())}
    sentence = max(
        _SENTENCE.findall(context) or [context], key=lambda each: len(asked & {*_PIECE.findall(each.lower())})
    )
    pieces = [*_PIECE.finditer(sentence)]
    runs = [[*run] for new, run in groupby(pieces, lambda piece: piece[0].lower() not in asked) if new]
    run = max(runs, key=len, default=pieces)[:most]
    return sentence[run[0].start() : run[-1].end()] if run else ""


# task -> (training rows, rows to be scored, labels, settings of the task) -> baseline -> scores, that of `Task.best` among them
Baselines = Callable[[Sequence[Example], Sequence[Example], Sequence[str], Any], dict[str, Scores]]
BASELINES: dict[str, Baselines] = {
    "answer": answer,
    "classify": classify,
    "cloze": classify,
    "embed": embed,
    "multitask": multitask,
    "nearest": classify,
    "rate": rate,
    "relate": relate,
    "rerank": rerank,
    "tag": tag,
}
