"""`yanmo tokenizer train FILE...`, `yanmo tokenizer show TEXT...` and `yanmo tokenizer encode FILE...`."""

from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo.errors import SettingsError
from yanmo.progress import bar, say
from yanmo.settings import Block, Words
from yanmo.text import sources, tokenizer, tokens
from yanmo.text.tokenizer import TokenizerSettings


class Settings(Block):
    out: Path = Field(
        Path("runs/tokenizer"), description="train: the folder that gets tokenizer.json; encode: the shards"
    )
    tokenizer: TokenizerSettings = Field(default_factory=TokenizerSettings)


def command(words: Words[Settings]) -> dict[str, Any]:
    settings = words.settings
    verb, given = (str(words.paths[0]), words.paths[1:]) if words.paths else ("", [])
    if verb == "train" and given:
        with bar("reading"):
            texts = [text for path in given for text in sources.read_texts(path)]
        with bar(f"training a {settings.tokenizer.kind} tokeniser on {len(texts):,} texts"):
            made = tokenizer.train(texts, settings.tokenizer)
        made.save(settings.out)
        rate = sum(map(len, texts[:1000])) / max(1, sum(len(ids) for ids in made.encode_all(texts[:1000])))
        say(f"{settings.out / tokenizer.FILE}: {made.size:,} tokens, {rate:.2f} characters per token")
        return {"file": str(settings.out / tokenizer.FILE), "vocabulary": made.size, "characters_per_token": rate}
    if verb == "show" and given:
        opened = tokenizer.load(settings.tokenizer.base or settings.out)
        shown = [{"text": text, "pieces": opened.pieces(text), "ids": opened.encode(text)} for text in words.typed[1:]]
        if not words.json:
            for row in shown:
                say(" ".join(f"{piece}({number})" for piece, number in zip(row["pieces"], row["ids"], strict=True)))
        return {"rows": shown}
    if verb == "encode" and given and settings.tokenizer.base and "out" in settings.model_fields_set:
        made_of = tokens.prepare(given, tokenizer.load(settings.tokenizer.base), settings.out)
        say(f"{settings.out}: {made_of['documents']:,} documents, {made_of['tokens']:,} tokens")
        return {"folder": str(settings.out), "documents": made_of["documents"], "tokens": made_of["tokens"]}
    raise SettingsError(
        "expected `yanmo tokenizer train FILE...`, `yanmo tokenizer show TEXT... tokenizer.base=FOLDER` or "
        "`yanmo tokenizer encode FILE... tokenizer.base=FOLDER out=SHARDS`"
    )
