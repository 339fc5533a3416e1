"""Scores: pure functions of truths and guesses, a file a kind. Each equals its reference tool to 1e-9 (a test).

| file | scores | reference |
| --- | --- | --- |
| `classification.py` | one label of several | scikit-learn |
| `multilabel.py` | several labels a row; thresholds | scikit-learn |
| `calibration.py` | whether probabilities mean what they say | scikit-learn |
| `rating.py` | numbers and levels | SciPy, scikit-learn |
| `entities.py` | spans of a type; tags | seqeval |
| `relations.py` | relations of two entities | the scorer of SemEval-2010 task 8, scikit-learn |
| `answers.py` | pieces of a text that answer a question | the scripts of SQuAD 1.1, SQuAD 2.0 and CMRC 2018 |
| `ranking.py` | documents in order | trec_eval |

Each takes at least one row and gives a dict ready for JSON with `rows` and `interval`, the 95% bootstrap interval [low, high] of the score
that its docstring names. An undefined ratio is 0. To compare two runs on the same rows, `statistics` gives what each row adds to the counts
and `score` the score of summed counts: `significance.py` takes both.
"""
