"""The measures by which a text is kept or not: small functions of a text, and what a person reads of each.

Shares lie between 0 and 1. The repetition and quality measures are those of Gopher (Rae et al. 2021, arXiv 2112.11446, appendix
A1.1), where words are the pieces that `words` cuts: a Chinese character is a word of its own, so that text without spaces is
measured as any other.
"""

import re
from collections import Counter
from itertools import pairwise

_WORD = re.compile(
    r"[\u3400-\u9fff\U00020000-\U0003ffff\u3040-\u30ff]|[^\W\u3400-\u9fff\U00020000-\U0003ffff\u3040-\u30ff]+"
)
_CHINESE = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
_KANA_HANGUL = re.compile(r"[\u3040-\u30ff\uac00-\ud7af]")
_LATIN_WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
_LETTER = re.compile(r"[^\W\d_]")
_RUN = re.compile(r"([^\s])\1{4,}")
_ENGLISH = frozenset(
    {"a", "about", "after", "all", "also", "an", "and", "are", "as", "at", "be", "because", "been", "but", "by", "can"}
    | {"for", "from", "had", "has", "have", "he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "me"}
    | {"my", "no", "not", "of", "on", "one", "or", "our", "out", "she", "so", "some", "than", "that", "the", "their"}
    | {"them", "then", "there", "they", "this", "to", "up", "was", "we", "were", "what", "when", "which", "who", "will"}
    | {"with", "would", "you", "your", "don't", "it's", "i'm", "do", "did", "just", "more", "very", "good", "bad"}
)


def words(text: str) -> list[str]:
    """Runs of letters and digits; each Chinese character by itself."""
    return _WORD.findall(text.lower())


def lines(text: str) -> list[str]:
    return [line for part in text.split("\n") if (line := part.strip())]


def language(text: str) -> str:
    """'zh' or 'en' by script and stop words, else 'other'. Short Latin text without a stop word is given the benefit of the doubt."""
    letters = len(_LETTER.findall(text))
    if letters == 0 or len(_KANA_HANGUL.findall(text)) > 0.1 * letters:
        return "other"
    if len(_CHINESE.findall(text)) > 0.3 * letters:
        return "zh"
    found = [word.lower() for word in _LATIN_WORD.findall(text)]
    if sum(map(len, found)) < 0.8 * letters:
        return "other"
    return "en" if len(found) < 8 or sum(word in _ENGLISH for word in found) >= 0.1 * len(found) else "other"


def repeated_characters(text: str) -> float:
    """The share of characters in runs of five or more of one sign."""
    if not _RUN.search(text):  # as with most texts
        return 0.0
    return sum(match.end() - match.start() for match in _RUN.finditer(text)) / max(len(text), 1)


def repeated_lines(text: str) -> float:
    """The share of lines that stood before."""
    found = lines(text)
    return 1 - len({*found}) / len(found) if found else 0.0


def repeated_words(text: str) -> float:
    """The share of characters in runs of 10 words that occur more than once (0 below 40 words)."""
    found = words(text)
    if len(found) < 40:
        return 0.0
    size = 10
    runs = [tuple(found[start : start + size]) for start in range(len(found) - size + 1)]
    counts = Counter(runs)
    covered: set[int] = set()
    for start, run in enumerate(runs):
        if counts[run] > 1:
            covered.update(range(start, start + size))
    return sum(len(found[place]) for place in covered) / sum(map(len, found))


def commonest_pair(text: str) -> float:
    """The share of characters in the pair of words that covers most (0 below 40 words)."""
    found = words(text)
    if len(found) < 40:
        return 0.0
    counts = Counter(pairwise(found))
    most = max(count * (len(one) + len(other)) for (one, other), count in counts.items())
    return min(1.0, most / sum(map(len, found)))


def letter_share(text: str) -> float:
    """Letters (of any script) among the characters that are no white space."""
    return len(_LETTER.findall(text)) / max(sum(map(len, text.split())), 1)


def digit_share(text: str) -> float:
    """Digits among the characters that are no white space."""
    return sum(map(str.isdigit, text)) / max(sum(map(len, text.split())), 1)


def symbol_share(text: str) -> float:
    """Hash signs and ellipses for each word."""
    return (text.count("#") + len(re.findall(r"…+|\.{3,}|。{3,}", text))) / max(len(words(text)), 1)


def ellipsis_lines(text: str) -> float:
    """The share of lines that end in an ellipsis (0 below 3 lines)."""
    found = lines(text)
    return sum(line.endswith(("…", "...", "。。。")) for line in found) / len(found) if len(found) >= 3 else 0.0


def bullet_lines(text: str) -> float:
    """The share of lines that begin with a bullet (0 below 3 lines)."""
    found = lines(text)
    return (
        sum(line.startswith(("-", "*", "•", "·", "●", "■", "◆", "–")) for line in found) / len(found)
        if len(found) >= 3
        else 0.0
    )
