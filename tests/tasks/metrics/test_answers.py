"""Exact match and F1 of questions, against what the official scripts give for the same texts (SQuAD's evaluate-v1.1 and evaluate-v2.0,
CMRC 2018's cmrc2018_evaluate, version 6), and the words of NLTK."""

import json
import random
from pathlib import Path

import pytest
from nltk.tokenize import NLTKWordTokenizer

from yanmo.tasks.metrics import answers

# right answers, guess, (exact, F1) by SQuAD 1.1, by SQuAD 2.0
ENGLISH = [
    (["Denver Broncos"], "Denver Broncos", (1, 1), (1, 1)),
    (["Denver Broncos"], "the Denver Broncos.", (1, 1), (1, 1)),
    (["Denver Broncos"], "denver BRONCOS!", (1, 1), (1, 1)),
    (["Denver Broncos"], "Broncos", (0, 2 / 3), (0, 2 / 3)),
    (["Denver Broncos"], "Carolina Panthers", (0, 0), (0, 0)),
    (["Denver Broncos"], "", (0, 0), (0, 0)),
    (["in 1888", "1888", "the year 1888"], "1888", (1, 1), (1, 1)),
    (["in 1888", "the year 1888"], "1888", (0, 2 / 3), (0, 2 / 3)),
    (["Saint Bernadette Soubirous"], "Bernadette", (0, 0.5), (0, 0.5)),
    (["a cat and a dog"], "the dog and the cat", (0, 1), (0, 1)),  # a bag of words
    (["very very good"], "very good", (0, 0.8), (0, 0.8)),  # as often as in both
    (["very good"], "very very very good", (0, 2 / 3), (0, 2 / 3)),
    (["24–10"], "2410", (0, 0), (0, 0)),  # the dash is no ASCII mark
    (["24-10"], "2410", (1, 1), (1, 1)),
    (["O'Brien's"], "OBriens", (1, 1), (1, 1)),
    (["theatre"], "atre", (0, 0), (0, 0)),  # articles are whole words
    (["the-end"], "the end", (0, 0), (0, 0)),  # marks go first, articles after them
    (["A"], "A", (1, 0), (1, 1)),  # nothing is left: 1.1 finds no word in common, 2.0 no answer
    (["A"], "", (1, 0), (1, 1)),
    (["A", "B"], "", (1, 0), (0, 0)),
    (["A", "B"], "b", (1, 1), (1, 1)),
    (["  two\n words "], "two words", (1, 1), (1, 1)),
    (["“quoted”"], "quoted", (0, 0), (0, 0)),
    ([], "", (1, 1), (1, 1)),
    ([], "anything", (0, 0), (0, 0)),
]

CHINESE = [
    (["北京"], "北京", (1, 1)),
    (["北京"], "北京。", (1, 1)),
    (["《红楼梦》"], "红楼梦", (1, 1)),
    (["北京大学"], "北京", (0, 2 / 3)),
    (["北京大学"], "北方的大学", (0, 4 / 9)),  # 大学 is the longest run; the subsequence 北大学 would give 6 / 9
    (["北京大学"], "南开", (0, 0)),
    (["北京大学"], "", (0, 0)),
    (["1998年", "一九九八年"], "1998", (0, 2 / 3)),  # a number is one piece
    (["1998年"], "1999年", (0, 0.5)),
    (["3.5%"], "3.5", (0, 2 / 3)),
    (["Windows XP系统"], "windows xp 系统", (0, 1)),  # exact keeps the white space, pieces don't
    (["Windows XP系统"], "Windows", (0, 0.4)),
    (["WINDOWS"], "windows", (1, 1)),
    (["don't stop"], "don't", (0, 0.8)),  # do, n't
    (["u.s. navy"], "u.s.", (0, 0)),  # the last full stop is a piece: u.s. navy, u.s .
    (["Henry A. Walsh"], "A. Walsh", (0, 0.8)),
    (["他说：“好”"], "他说好", (1, 1)),
    (["好……"], "好", (0, 2 / 3)),  # the script never takes the ellipsis away
    (["好,坏"], "好坏", (0, 0.4)),  # nor the ASCII comma
    (["(甲)"], "甲", (0, 0.5)),
    (["a+b=c"], "abc", (1, 1)),
    (["。"], "！", (1, 0)),
    (["甲乙丙丁", "丙丁戊"], "丙丁", (0, 0.8)),
    (["一 二"], "一二", (0, 1)),
    (["𠮷野家"], "野家", (0, 0.8)),  # what lies beyond U+9FA5 is a word of its own
    (["ひらがな漢字"], "漢字", (0, 0.8)),
    ([], "", (1, 1)),
    ([], "北京", (0, 0)),
]


@pytest.mark.parametrize(("truths", "guess", "first", "second"), ENGLISH, ids=repr)
def test_squad(truths: list[str], guess: str, first: tuple[float, float], second: tuple[float, float]) -> None:
    assert answers.squad1(truths, guess) == pytest.approx(first, abs=1e-12)
    assert answers.squad2(truths, guess) == pytest.approx(second, abs=1e-12)


@pytest.mark.parametrize(("truths", "guess", "expected"), CHINESE, ids=repr)
def test_cmrc(truths: list[str], guess: str, expected: tuple[float, float]) -> None:
    assert answers.cmrc(truths, guess) == pytest.approx(expected, abs=1e-12)


def test_pieces() -> None:
    assert answers.mixed("《Rogue》中的X战警, 2018-19年") == [
        *("rogue", "中", "的", "x", "战", "警", ",", "201819", "年")
    ]
    assert answers.longest_run("abcde", "xbcdy") == 3
    assert answers.longest_run("abc", "") == answers.longest_run("ab", "cd") == 0
    assert answers.longest_run("aaaa", "aaa") == 3


def test_words_are_those_of_nltk() -> None:
    generator = random.Random(0)
    parts = [
        *"ab st'\".,;@#$%&?!()[]{}<>«»‘„–—12 \n é…",
        *("n't", "'s", "'ll", " 'tis ", "cannot", "gonna ", "wanna", "u.s."),
    ]
    parts += ["don't", "...", "''", ' "', "more'n", "d'ye", "gimme", "lemme "]
    reference = NLTKWordTokenizer()
    for _ in range(5000):
        text = "".join(generator.choices(parts, k=generator.randint(1, 9)))
        assert answers.words(text) == reference.tokenize(text), repr(text)


def test_scores_are_means() -> None:
    truths = [["a b"], ["c"], [], []]
    scores = answers.answers(truths, ["b", "c", "", "x"], answers.squad2)
    assert scores["rows"] == 4 and scores["exact"] == 0.75 and scores["f1"] == pytest.approx((1 + 1 + 1 + 0) / 4)
    assert scores["answerable"] == {"rows": 2, "exact": 1.0, "f1": 1.0}
    assert scores["unanswerable"] == {"rows": 2, "exact": 0.5, "f1": 0.5}
    assert scores["interval"][0] < scores["f1"] <= scores["interval"][1]
    assert answers.statistics(truths, ["b", "c", "", "x"], answers.squad2).tolist() == [[1, 1], [1, 1], [1, 1], [0, 1]]
    assert "answerable" not in answers.answers([["a"]], ["a"], answers.cmrc)


def test_cmrc_on_real_answers(shared_data: Path) -> None:
    """Guesses that begin two characters early and end one too soon; the sums are the official script's."""
    content = json.loads((shared_data / "qa/cmrc2018_zh/cmrc2018_dev.json").read_text("utf-8"))
    truths, guesses = [], []
    for article in content["data"]:
        for paragraph in article["paragraphs"]:
            for question in paragraph["qas"]:
                truths.append([answer["text"] for answer in question["answers"]])
                start = question["answers"][0]["answer_start"]
                guesses.append(paragraph["context"][max(0, start - 2) : start + len(truths[-1][0]) - 1])
    scores = answers.answers(truths, guesses, answers.cmrc)
    assert scores["rows"] == 3219
    assert (scores["exact"], scores["f1"]) == pytest.approx((23 / 3219, 0.7398718093543255), abs=1e-9)
