"""Rows -> what a person should know of them before training: lengths, languages, labels, duplicates, odd rows, doubtful labels, leaks.

Knows Examples; nothing of files or pages. Counts are exact; what is a judgement (odd, doubtful) says why.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from yanmo.tasks.linear import vectorizer
from yanmo.text.clean import language
from yanmo.text.dedup import deduplicate
from yanmo.text.sources import Example
from yanmo.text.split import leaks

FOLDS = 5
SHOWN = 50  # odd rows and doubtful labels that are named
# The scripts that are told apart, by a character of each.
_SCRIPTS = {
    "Han": "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff",
    "Latin": "A-Za-z\u00c0-\u024f",
    "Kana": "\u3040-\u30ff",
    "Hangul": "\uac00-\ud7af",
    "Cyrillic": "\u0400-\u04ff",
    "Arabic": "\u0600-\u06ff",
    "Greek": "\u0370-\u03ff",
    "digits": "0-9０-９",
}
_OF_SCRIPT = {name: re.compile(f"[{characters}]") for name, characters in _SCRIPTS.items()}
_LETTER = re.compile(r"[^\W\d_]")
_REPEATED = re.compile(r"(.{1,10}?)\1{9,}", re.DOTALL)


def inspect(parts: Mapping[str, Sequence[Example]]) -> dict[str, Any]:
    """Facts of each part, the doubtful labels of the first (the training rows), and what each pair of parts shares."""
    first = next(iter(parts.values()))
    return {
        "parts": {name: describe(rows) for name, rows in parts.items()},
        "doubtful_labels": doubtful_labels(first),
        "leakage": leakage(parts),
    }


def describe(rows: Sequence[Example]) -> dict[str, Any]:
    """Facts of one part."""
    texts = [" ".join(row.texts) for row in rows]
    sizes = np.array([len(text) for text in texts], np.int64)
    _, counts = deduplicate(rows)
    whole = "".join(texts)
    return {
        "rows": len(rows),
        "distinct": len({row.texts for row in rows}),
        "labels": dict(Counter(label for row in rows for label in row.labels).most_common()),
        "languages": dict(
            Counter(language([text]) if _LETTER.search(text) else "none" for text in texts).most_common()
        ),
        "scripts": {name: count for name, pattern in _OF_SCRIPT.items() if (count := len(pattern.findall(whole)))},
        "characters": int(sizes.sum()),
        "lengths": lengths(sizes),
        "duplicates": {
            "exact": counts.exact,
            "near": counts.near,
            "fragments": counts.fragments,
            "contradicting": counts.contradicting,
            "empty": counts.empty,
        },
        "odd": odd(rows, texts, sizes),
    }


def lengths(sizes: np.ndarray) -> dict[str, Any]:
    """Of texts, in characters: quantiles, and a histogram of [from, to, rows] over borders that double."""
    if not len(sizes):
        return {"histogram": []}
    borders = [0, *(2**power for power in range(2, max(3, math.ceil(math.log2(sizes.max() + 1)) + 1)))]
    counts, _ = np.histogram(sizes, borders)
    cuts = {"shortest": 0, "median": 50, "95%": 95, "99%": 99, "longest": 100}
    return {
        **{name: int(np.percentile(sizes, share, method="nearest")) for name, share in cuts.items()},
        "mean": round(float(sizes.mean()), 1),
        "histogram": [[a, b, int(n)] for a, b, n in zip(borders, borders[1:], counts, strict=False)],
    }


def odd(rows: Sequence[Example], texts: Sequence[str], sizes: np.ndarray) -> dict[str, Any]:
    """Rows that a person should look at, and why."""
    longest = 4 * float(np.percentile(sizes, 99)) if len(sizes) else 0
    found: list[dict[str, str]] = []
    for row, text in zip(rows, texts, strict=True):
        why = (
            "no letter"
            if not _LETTER.search(text)
            else "a character that stands for a decoding error"
            if "\ufffd" in text
            else "repeats itself"
            if _REPEATED.search(text)
            else "far longer than the others"
            if len(text) > longest
            else ""
        )
        if why:
            found.append({"row": row.id, "why": why, "text": text[:100]})
    return {"count": len(found), "why": dict(Counter(entry["why"] for entry in found)), "rows": found[:SHOWN]}


def doubtful_labels(rows: Sequence[Example]) -> dict[str, Any]:
    """Rows whose label a model that was trained without them (TF-IDF, logistic regression by gradient descent, 5 folds) is most sure to be
    another's.

    Source: confident learning (Northcutt et al. 2021, section 3.1), with the threshold of each class its mean confidence in itself.
    """
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    labels = np.array([row.labels[0] if len(row.labels) == 1 else "" for row in rows])
    usual = {label for label, count in Counter(labels.tolist()).items() if label and count >= FOLDS}
    chosen = [i for i, label in enumerate(labels) if label in usual]
    if len(usual) < 2 or len(usual) > len(chosen) / (2 * FOLDS):
        return {"count": 0, "rows": []}
    texts, given = [" ".join(rows[i].texts) for i in chosen], labels[chosen]
    features = vectorizer(language(texts), len(texts)).fit_transform(texts)  # which knows no labels, so once is enough
    model = SGDClassifier(loss="log_loss", alpha=1e-5, random_state=0)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    sure = cross_val_predict(model, features, given, cv=folds, method="predict_proba")
    names = np.unique(given)  # in the order of the columns
    own = np.searchsorted(names, given)
    threshold = np.array([sure[own == k, k].mean() for k in range(len(names))])
    other = np.where(sure >= threshold, sure, 0.0)
    other[np.arange(len(own)), own] = 0.0
    best = other.argmax(1)
    gap = other.max(1) - sure[np.arange(len(own)), own]
    order = [i for i in np.argsort(-gap, kind="stable") if other[i, best[i]] > 0 and gap[i] > 0]
    return {
        "count": len(order),
        "rows": [
            {
                "row": rows[chosen[i]].id,
                "label": str(given[i]),
                "rather": str(names[best[i]]),
                "confidence": round(float(sure[i, best[i]]), 3),
                "text": texts[i][:100],
            }
            for i in order[:SHOWN]
        ],
    }


def leakage(parts: Mapping[str, Sequence[Example]]) -> dict[str, dict[str, int]]:
    """{"exact", "near", "fragments": {"train/test": how many rows of the second stand in the first}}.

    Exact is character for character; near are the others that are equal but for case, width, spaces and punctuation, or near duplicates.
    """
    found: dict[str, dict[str, int]] = {"exact": {}, "near": {}, "fragments": {}}
    for (one, first), (other, second) in combinations(parts.items(), 2):
        pair, known = f"{one}/{other}", {row.texts for row in first}
        rest = [row for row in second if row.texts not in known]
        like = leaks(first, rest)
        found["exact"][pair] = len(second) - len(rest)
        found["near"][pair] = like["exact"] + like["near"]
        found["fragments"][pair] = like["fragments"]
    return found
