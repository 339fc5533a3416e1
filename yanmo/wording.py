"""What scores and baselines are called, and which of them are told where. A new score adds its lines here."""

NAMES = {
    "f1": "F1",
    "macro_f1": "Macro F1",
    "weighted_f1": "Weighted F1",
    "mcc": "MCC",
    "svm": "TF-IDF + linear SVM",
    "naive_bayes": "Naive Bayes",
    "majority": "Always the commonest class",
    "network_alone": "Network alone",
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
    "from_scratch": "Same network, not pre-trained",
    "seconds": "Time",
    "peak_memory_mb": "Peak memory (MB)",
}
# Charted; the first that there is is what a run is judged by that does not say.
SCORES = ("macro_f1", "accuracy", "average_precision", "spearman", "pearson", "quadratic_kappa")
FOLLOWED = ("loss", "perplexity", "pseudo_perplexity", "bits_per_character", *SCORES)
# What the Hugging Face hub calls scores that it knows.
HUB = {
    "accuracy": "accuracy",
    "macro_f1": "f1",
    "spearman": "spearmanr",
    "pearson": "pearsonr",
    "mae": "mae",
}


def name_of(key: str) -> str:
    return NAMES.get(key, key.replace("_", " ").capitalize())


def in_a_sentence(key: str) -> str:
    name = name_of(key)
    return name if name[1:2].isupper() else name[:1].lower() + name[1:]
