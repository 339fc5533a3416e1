"""The tokeniser that a GGUF file tells of -> the library's own: byte-level BPE, cut before it by the rule that the file names."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from yanmo.errors import ModelError, gather
from yanmo.text.tokenizer import Tokenizer
from yanmo.text.tokenizer_file import MOST

_CONTROL, _OWN, _UNUSED = (
    3,
    4,
    5,
)  # of token_type: what no text makes, what a text may hold as it is, what fills the table up
# GPT-4's way to cut text: words with one sign before them, numbers, signs with the line ends behind them, space.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


class Rule(NamedTuple):
    """How a text is cut before pairs are merged. pattern: None is GPT-2's own; digits: each stands alone; whole: a word that is a token
    is not merged anew; begins: whether a row begins with the token of beginnings where the file does not say."""

    pattern: str | None = None
    digits: bool = False
    composed: bool = False
    whole: bool = False
    begins: bool = False


_LLAMA3 = Rule(_WORDS % "{1,3}", whole=True, begins=True)
# `tokenizer.ggml.pre` -> the rule
RULES = {
    "gpt-2": Rule(),
    "smollm": Rule(digits=True),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": Rule(_WORDS % "", composed=True),
}


def build(
    tokens: Sequence[str],
    merges: Sequence[str],
    types: Sequence[int],
    pre: str,
    *,
    begin: tuple[bool | None, int | None],
    end: tuple[bool | None, int | None],
    where: str,
) -> Tokenizer:
    """tokens, merges: as GGUF spells them, merges as two tokens with a space between. types: one a token, or none. begin, end: whether
    a row has such a token (None: as its rule says), and its id. Raises ModelError."""
    if pre not in RULES:
        raise ModelError(
            f"{where}: the way '{pre}' of cutting text (tokenizer.ggml.pre) is not known; known: {', '.join(RULES)}"
        )
    rule = RULES[pre]
    pairs: list[Any] = [tuple(merge.split(" ")) for merge in merges]
    kinds = types or [1] * len(tokens)
    used = [(id, token) for id, (token, kind) in enumerate(zip(tokens, kinds, strict=False)) if kind != _UNUSED]
    vocabulary = {token: id for id, token in used}
    faults = []
    if not 0 < len(tokens) <= MOST or len(merges) > MOST:
        faults.append(f"{len(tokens):,} tokens and {len(merges):,} merges; from 1 to {MOST:,} are read")
    if len(kinds) != len(tokens):
        faults.append(f"{len(tokens):,} tokens, but {len(kinds):,} kinds of tokens")
    faults += [f"the token {token!r} stands twice" for id, token in used if vocabulary[token] != id]
    faults += [
        f"the merge {merge!r} is not of two tokens" for merge, pair in zip(merges, pairs, strict=True) if len(pair) != 2
    ]
    gather(faults, f"{where}: this tokeniser is refused:", ModelError)
    try:
        inner = tokenizers.Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=rule.whole))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # the library raises a bare Exception, and its panics are not even that
        raise ModelError(f"{where}: not a usable tokeniser ({error})") from None
    inner.normalizer = normalizers.NFC() if rule.composed else None
    inner.pre_tokenizer = _cutter(rule)
    inner.decoder = decoders.ByteLevel()
    first = begin[1] if (rule.begins if begin[0] is None else begin[0]) else None
    last = end[1] if end[0] else None
    if first is not None or last is not None:
        inner.post_processor = _edges(tokens, first, last)
    kept = {id: kinds[id] for id, _ in used if kinds[id] in (_CONTROL, _OWN)}
    inner.add_tokens([AddedToken(tokens[id], normalized=False, special=kind == _CONTROL) for id, kind in kept.items()])
    return Tokenizer(inner)


def _cutter(rule: Rule) -> Any:
    """GPT-2's cutting stands in the library's own byte-level part; another pattern comes before it."""
    before: list[Any] = [pre_tokenizers.Digits(individual_digits=True)] if rule.digits else []
    if rule.pattern is not None:
        before.append(pre_tokenizers.Split(Regex(rule.pattern), "isolated"))
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=rule.pattern is None)
    return pre_tokenizers.Sequence([*before, bytes_]) if before else bytes_


def _edges(tokens: Sequence[str], first: int | None, last: int | None) -> processors.TemplateProcessing:
    """Every text between the token of beginnings and that of ends, as far as there are such."""
    before, after = ([] if id is None else [tokens[id]] for id in (first, last))
    single, second = ([*before, f"${name}", *after] for name in "AB")
    named = [(tokens[id], id) for id in {first, last} if id is not None]
    return processors.TemplateProcessing(single=single, pair=[*single, *second], special_tokens=named)
