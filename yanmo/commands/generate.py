"""`yanmo generate RUN "prompt" [key=value ...]`, or prompts from a file or from standard input, one a line; the texts come as they are
written. A masked model fills in the masks of a text. Without a model, with or without a prompt, yanmo-zh-poet writes a poem.
"""

import itertools
import json
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from yanmo import hub, machine
from yanmo.engine import Engine, load
from yanmo.engine.writing import Generation, Piece
from yanmo.errors import SettingsError, gather
from yanmo.machine import Machine
from yanmo.progress import say
from yanmo.settings import Words
from yanmo.text import sources

POET = hub.embedded.WRITER
POEM = {"temperature": 0.8}  # how it draws where the keys don't say


class Settings(Generation):
    run: Path | None = Field(
        None,
        description=f"a run folder, any folder of a known family or its name on a hub, or a .gguf file, that writes; null: {POET}",
    )
    machine: Machine = Field(default_factory=Machine)


def generate(run: str | Path, prompts: Sequence[str], **keys: Any) -> list[list[str]]:
    """The texts of each prompt, by the keys of `yanmo generate`. (For many calls, keep the Engine: `yanmo.load(run).generate(prompts)`.)"""
    return load(run).generate(list(prompts), n=keys.pop("n", 1), **keys)


def command(words: Words[Settings]) -> None:
    asked, given = words.settings, list(words.typed)
    if asked.run is None and given and _is_model(given[0]):
        asked.run = Path(given.pop(0))
    prompts = list(_prompts(given)) if given else _lines() if asked.run or not sys.stdin.isatty() else []
    if asked.run is None:
        asked, prompts = _poem(asked), prompts or [""]
    if not prompts:
        raise SettingsError(
            f'no prompt given. Expected one, or a file of them: yanmo generate {asked.run} "once upon a time"'
        )
    engine = load(asked.run or POET, device=machine.prepare(asked.machine))
    if asked.run is None:
        _readable(engine, prompts)
    keys = {name: getattr(asked, name) for name in Generation.model_fields}
    pieces = in_order(engine.stream(prompts, Generation(**keys)), asked.n)
    if words.json:
        for place, of_prompt in itertools.groupby(pieces, lambda piece: piece.prompt):
            texts = ["".join(p.text for p in parts) for _, parts in itertools.groupby(of_prompt, lambda p: p.sample)]
            _write(json.dumps({"prompt": prompts[place], "texts": texts}, ensure_ascii=False) + "\n")
    else:
        for piece in pieces:
            _write(piece.text + "\n" * piece.last)


def _is_model(word: str) -> bool:
    """Whether the first word is a model rather than a prompt: a folder, a .gguf file, or what may be a name on a hub."""
    if hub.is_model(word) or word.endswith(".gguf"):
        return True
    try:
        hub.parse(word)
    except SettingsError:
        return False
    return not (sources.is_file(word) or sources.is_name(word))


def _poem(asked: Settings) -> Settings:
    """The settings of a poem: room for eight lines, and another one at each call, where the keys say nothing else."""
    sampling, own = asked.sampling, {**POEM, "seed": random.SystemRandom().randrange(1_000_000)}
    own = {key: value for key, value in own.items() if asked.beams == 1 and key not in sampling.model_fields_set}
    if "seed" in own and own.get("temperature", sampling.temperature):
        say(f"{POET}; the same again: sampling.seed={own['seed']}")
    room = asked.max_new_tokens if "max_new_tokens" in asked.model_fields_set else 128
    return asked.model_copy(update={"max_new_tokens": room, "sampling": sampling.model_copy(update=own)})


def _readable(engine: Engine, prompts: Sequence[str]) -> None:
    """Raise SettingsError for what was meant for another model than the poet, such as an English prompt or a folder that is not there."""
    cutter = engine.tokenizer
    strange = {prompt: [c for c in prompt if cutter.unknown in cutter.encode(c)] for prompt in prompts}
    gather(
        [f"{prompt!r}: not {' '.join(unknown)}" for prompt, unknown in strange.items() if unknown],
        f"expected simplified Chinese: no model is named, so {POET} writes, which does not know all characters of these prompts. "
        'For another model: yanmo generate RUN "once upon a time"',
        SettingsError,
    )


def in_order(pieces: Iterable[Piece], n: int) -> Iterator[Piece]:
    """The pieces of one text after the other: those of the first that is not finished as they come, the others when it is their turn."""
    held: dict[int, list[Piece]] = {}
    turn = 0
    for piece in pieces:
        held.setdefault(piece.prompt * n + piece.sample, []).append(piece)
        while turn in held:
            ready = held.pop(turn)
            yield from ready
            if not ready[-1].last:
                break
            turn += 1
    for number in sorted(held):  # where a prompt has fewer than n texts
        yield from held[number]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _prompts(given: Sequence[str]) -> Iterator[str]:
    """Each word is a prompt, or a file of prompts where it names one."""
    absent = [f"{word}: no such file" for word in given if sources.is_name(word) and not sources.is_file(word)]
    gather(absent, "expected a prompt, or a file of prompts:", SettingsError)
    for word in given:
        yield from sources.texts(Path(word)) if sources.is_file(word) else [word]


def _lines() -> list[str]:
    return [text for _, text in sources.decode(sys.stdin.buffer, "standard input") if text.strip()]
