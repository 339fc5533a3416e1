"""What scores and baselines are called, which of them are charted, and what the Hugging Face hub calls them."""

from collections.abc import Sequence

NAMES = {
    "f1": "F1",
    "exact": "Exact match",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
    "weighted_f1": "Weighted F1",
    "segmentation_f1": "F1 of words without their tags",
    "mcc": "MCC",
    "mean_score": "Mean of the tasks",
    "uncalibrated": "Mean of the tasks before calibration",
    "map": "MAP",
    "mrr": "MRR",
    "ndcg@10": "nDCG@10",
    "ndcg@100": "nDCG@100",
    "tfidf": "TF-IDF",
    "bm25": "BM25",
    "svm": "TF-IDF + linear SVM",
    "naive_bayes": "Naive Bayes",
    "majority": "Always the commonest class",
    "network_alone": "Network alone",
    "always_answering": "Always answering",
    "nearest_words": "Nearest words alone",
    "without_thresholds": "With thresholds of 0.5",
    "pearson": "Pearson",
    "spearman": "Spearman",
    "mae": "Mean absolute error",
    "rmse": "Root mean squared error",
    "quadratic_kappa": "Quadratic kappa",
    "mean": "Always the mean",
    "median": "Always the median",
    "ridge": "Ridge regression over TF-IDF",
    "similarity": "Cosine of TF-IDF",
    "ece": "Calibration error",
    "brier": "Brier score",
    "commonest_tag": "Each word's commonest tag",
    "crf": "CRF with hand-made features",
    "perceptron": "Perceptron with hand-made features",
    "overlap": "The sentence with the most words of the question",
    "no_answer": "Never an answer",
    "from_scratch": "Same network, not pre-trained",
    "seconds": "Time",
    "peak_memory_mb": "Peak memory (MB)",
}
# Charted; the first that there is is what a run is judged by that does not say.
SCORES = (
    "mean_score",
    "macro_f1",
    "micro_f1",
    "accuracy",
    "f1",
    "exact",
    "average_precision",
    "spearman",
    "pearson",
    "quadratic_kappa",
    "ndcg@10",
    "uniformity",
)
FOLLOWED = ("loss", "perplexity", "pseudo_perplexity", "bits_per_character", *SCORES)
# What the Hugging Face hub calls scores that it knows.
HUB = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "f1": "f1",
    "exact": "exact_match",
    "spearman": "spearmanr",
    "pearson": "pearsonr",
    "mae": "mae",
}


def name_of(key: str) -> str:
    task, _, score = key.rpartition("/")  # the score of one of several tasks: "task/score"
    return (f"{task}: " if task else "") + NAMES.get(score, score.replace("_", " ").capitalize())


def charted(known: Sequence[str], found: Sequence[str]) -> list[str]:
    """The scores among what was found that are known, in that order, and those of each of several tasks."""
    there = dict.fromkeys(found)
    return [key for key in known if key in there] + [key for key in there if "/" in key]


def in_a_sentence(key: str) -> str:
    task, _, score = key.rpartition("/")
    name = name_of(score)
    return (f"{task}: " if task else "") + (name if not name[1:2].islower() else name[:1].lower() + name[1:])
