"""`yanmo tokenizer train FILE...`, `add tokens=[WORD, ...]`, `show TEXT...` and `encode FILE... out=SHARDS`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo.errors import SettingsError
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.text import sources, tokenizer, tokens
from yanmo.text.tokenizer import TokenizerSettings

_UNKNOWN = 0.01  # of the tokens of a text; more of them is told


class Settings(Block):
    out: Path = Field(
        Path("runs/tokenizer"), description="train, add: the folder that gets tokenizer.json; encode: the shards"
    )
    tokens: list[str] | Path = Field([], description="add: the words that become tokens, or a file of them, one a line")
    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings)


def command(words: Words[Settings]) -> dict[str, Any]:
    settings = words.settings
    verb, given = (str(words.paths[0]), words.paths[1:]) if words.paths else ("", [])
    if verb == "train" and given:
        return _train(settings, given)
    if verb == "add" and not given:
        return _add(settings)
    if verb == "show" and given:
        rows, found = _show(settings, words.typed[1:])
        if not words.json:
            say("\n".join([*map(_readable, rows), *_told(found)]))
        return {"rows": rows, "languages": found}
    if verb == "encode" and given and settings.tokenizer.base and "out" in settings.model_fields_set:
        made_of = tokens.prepare(given, tokenizer.load(settings.tokenizer.base), settings.out)
        say(f"{settings.out}: {made_of['documents']:,} documents, {made_of['tokens']:,} tokens")
        return {"folder": str(settings.out), "documents": made_of["documents"], "tokens": made_of["tokens"]}
    raise SettingsError(
        "expected `yanmo tokenizer train FILE...`, `yanmo tokenizer add tokens=[WORD, ...] tokenizer.base=FOLDER out=FOLDER`, "
        "`yanmo tokenizer show TEXT... tokenizer.base=FOLDER` or `yanmo tokenizer encode FILE... tokenizer.base=FOLDER out=SHARDS`"
    )


def _train(settings: Settings, paths: Sequence[Path]) -> dict[str, Any]:
    if settings.tokenizer.base is not None:
        raise SettingsError("tokenizer.base: a new tokeniser is trained here; `yanmo tokenizer add` extends an old one")
    with bar("reading"):
        texts = [text for path in paths for text in sources.read_texts(path)]
    kind = settings.tokenizer.kind or tokenizer.KIND
    with bar(f"training a {kind} tokeniser on {len(texts):,} texts"):
        made = tokenizer.train(texts, settings.tokenizer)
        found = tokenizer.statistics(made, texts)
    made.save(settings.out)
    file = str(settings.out / tokenizer.FILE)
    say("; ".join([f"{file}: {made.size:,} tokens", *_told(found)]))
    if any(part["unknown"] > _UNKNOWN for part in found.values()):
        say(
            f"warning: {made.size:,} tokens are too few for the characters of this text, so parts of it are lost to a model. "
            "Raise tokenizer.vocab, or take a kind that knows every byte: tokenizer.kind=bpe or unigram"
        )
    return {"file": file, "vocabulary": made.size, "languages": found}


def _add(settings: Settings) -> dict[str, Any]:
    if settings.tokenizer.base is None or not settings.tokens:
        raise SettingsError(
            "give the words and the tokeniser: yanmo tokenizer add tokens=WORDS.txt tokenizer.base=FOLDER out=FOLDER"
        )
    if settings.out.resolve() == settings.tokenizer.base.resolve():
        raise SettingsError(f"out: {settings.out} holds the tokeniser that is extended; give another folder")
    old = tokenizer.load(settings.tokenizer.base)
    made = tokenizer.add(
        old, settings.tokens if isinstance(settings.tokens, list) else sources.read_texts(settings.tokens)
    )
    made.save(settings.out)
    file = str(settings.out / tokenizer.FILE)
    say(f"{file}: {old.size:,} tokens and {made.size - old.size:,} new ones")
    return {"file": file, "vocabulary": made.size, "added": made.size - old.size}


def _told(languages: dict[str, dict[str, float]]) -> list[str]:
    """How a tokeniser cuts each language (`tokenizer.statistics`)."""
    return [
        f"{name}: {part['characters_per_token']:.2f} characters per token, {part['unknown']:.2%} unknown"
        for name, part in languages.items()
    ]


def _show(settings: Settings, texts: Sequence[str]) -> tuple[list[dict[str, Any]], dict[str, dict[str, float]]]:
    opened = tokenizer.load(settings.tokenizer.base or settings.out)
    found = [(text, opened.pieces(text)) for text in texts]
    rows = [
        {
            "text": text,
            "pieces": [piece.token for piece in pieces],
            "ids": [piece.id for piece in pieces],
            "offsets": [piece.offsets for piece in pieces],
        }
        for text, pieces in found
    ]
    return rows, tokenizer.statistics(opened, texts)


def _readable(row: dict[str, Any]) -> str:
    """A line a token: its id, where it stands in the text, its name, and the text there where that reads differently."""
    lines = [f"{row['text']}\n{'id':>8}  {'from':>5} {'to':>5}  token"]
    for token, id, (start, end) in zip(row["pieces"], row["ids"], row["offsets"], strict=True):
        there = row["text"][start:end]
        lines.append(f"{id:>8}  {start:>5} {end:>5}  {token}{f'  {there!r}' if there not in ('', token) else ''}")
    return "\n".join(lines)
