"""A `tokenizer.json` that somebody else may have made -> the library's tokeniser, or a ModelError.

The library trusts its files: a pattern may take for ever on a line of text, a long word a second for each ten thousand characters,
and a broken part ends in a panic. What could do that is refused here, by name, before the library reads the file.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tokenizers

from yanmo.errors import ModelError, brief, gather

LARGEST = 64_000_000  # bytes
MOST = 2_000_000  # tokens
_VALUES = 5 * MOST  # commas: an entry of a vocabulary with its merge has fewer
_LONGEST_WORD = 1000  # characters that WordPiece looks at; its time grows with the square
_LONGEST_PATTERN = 10_000  # characters
_MANY = 100  # a bounded repetition of more counts as an unbounded one

# One step through a regular expression: an escape, a class (which may hold one class more, as Oniguruma allows), a group's beginning,
# its end with the quantifier behind it, a quantifier.
_QUANTIFIER = r"(?P<{name}>[*+]|\{{\d*,\d*\}})[?+]?"
_STEP = re.compile(
    r"\\[pP]\{[^}]*\}|\\."
    r"|\[\^?\]?(?:\\.|\[(?:\\.|[^\]\\])*\]|[^\]\\\[])*\]"
    r"|(?P<open>\()|\)(?P<closed>)(?:" + _QUANTIFIER.format(name="around") + ")?"
    r"|" + _QUANTIFIER.format(name="alone"),
    re.DOTALL,
)


def read(file: Path) -> tokenizers.Tokenizer:
    """Raises ModelError for a file that is too large, can't be read, or could hang the library."""
    if (size := file.stat().st_size) > LARGEST:
        raise ModelError(
            f"{file}: {size / 1e6:,.0f} MB; a tokeniser of at most {LARGEST / 1e6:,.0f} MB is read. Is it a tokeniser?"
        )
    raw = file.read_bytes()
    if raw.count(b",") > _VALUES:
        raise ModelError(f"{file}: over {_VALUES:,} values; a tokeniser of at most {MOST:,} tokens is read")
    try:
        content = json.loads(raw)
        if not isinstance(content, dict):
            raise ValueError(f"expected an object, found a {type(content).__name__}")
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: not a readable tokeniser ({error})") from None
    gather(list(_faults(content)), f"{file}: this tokeniser is refused:", ModelError)
    try:
        return tokenizers.Tokenizer.from_str(raw.decode("utf-8"))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises a bare Exception, and its panics are not even that
        raise ModelError(f"{file}: not a readable tokeniser ({error})") from None


def _faults(content: dict[str, Any]) -> Iterator[str]:
    model = content.get("model")
    model = model if isinstance(model, dict) else {}
    vocabulary, added = model.get("vocab") or [], content.get("added_tokens") or []
    if isinstance(vocabulary, (dict, list)) and isinstance(added, list):
        if (count := len(vocabulary) + len(added)) > MOST:
            yield f"{count:,} tokens; at most {MOST:,} are read"
        ids = [*vocabulary.values()] if isinstance(vocabulary, dict) else []
        ids += [token.get("id") for token in added if isinstance(token, dict)]
        highest = max((id for id in ids if isinstance(id, int)), default=0)
        if highest >= MOST:
            yield f"the id {highest:,}; ids below {MOST:,} are read"
    unknown = model.get("unk_token")
    by_words = model.get("type") in ("WordLevel", "WordPiece") and isinstance(vocabulary, dict)
    if by_words and isinstance(unknown, str) and unknown not in vocabulary:
        yield f"its token for unknown words is {brief(unknown)}, which is not in its vocabulary"
    longest = model.get("max_input_chars_per_word")
    if isinstance(longest, int) and longest > _LONGEST_WORD:
        yield f"max_input_chars_per_word is {longest:,}; words of at most {_LONGEST_WORD:,} characters are looked up"
    for pattern in _patterns({key: part for key, part in content.items() if key not in ("model", "added_tokens")}):
        if len(pattern) > _LONGEST_PATTERN:
            yield f"a regular expression of {len(pattern):,} characters; at most {_LONGEST_PATTERN:,} are read"
        elif nested_quantifiers(pattern):
            yield f"the regular expression {pattern[:200]!r} repeats what repeats already (such as '(a+)+'): it could take for ever"


def _patterns(part: Any) -> Iterator[str]:
    """Every regular expression in a part of the file."""
    waiting = [part]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(part.get("Regex"), str):
                yield part["Regex"]
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def nested_quantifiers(pattern: str) -> bool:
    """Whether a group that is repeated without a bound holds something that is."""
    repeats = [False]  # of each group that is open: whether it holds an unbounded repetition
    for step in _STEP.finditer(pattern):
        if step["open"]:
            repeats.append(False)
        elif step["closed"] is not None:
            inner = repeats.pop() if len(repeats) > 1 else False
            outer = _unbounded(step["around"])
            if inner and outer:
                return True
            repeats[-1] |= inner or outer
        elif _unbounded(step["alone"]):
            repeats[-1] = True
    return False


def _unbounded(quantifier: str | None) -> bool:
    if quantifier is None or quantifier in "*+":
        return quantifier is not None
    most = quantifier[1:-1].partition(",")[2]
    return not most or int(most) > _MANY
