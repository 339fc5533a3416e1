"""`yanmo models [NAME|FOLDER] [size=SIZE] [head=KIND]`: the families, or one model with a drawing of its real modules and shapes."""

import importlib
from typing import Any

from pydantic import Field

from yanmo import anatomy, checkpoint, hub, models
from yanmo.errors import ModelError, SettingsError
from yanmo.models import FAMILIES, ModelSettings
from yanmo.models.base import HEADS, LANGUAGE, Config, Family, heads_fault
from yanmo.nn.heads import GENERIC
from yanmo.nn.init import shapes_only
from yanmo.progress import say
from yanmo.settings import Block, Words
from yanmo.tasks import TASKS, objectives_of
from yanmo.text.tokenizer import VOCAB


class Settings(Block):
    size: str = Field(models.SIZE, description="of a family: a named size")
    head: str | None = Field(None, description=f"of a family: {', '.join(HEADS)}; null: its language model")
    vocabulary: int = Field(VOCAB, description="of a family: the tokens that parameters are counted with")


def command(words: Words[Settings]) -> dict[str, Any]:
    if len(words.paths) > 1:
        raise SettingsError("expected `yanmo models` or `yanmo models NAME [size=SIZE] [head=KIND]`")
    if not words.paths:
        table = {name: _row(models.find(name)) for name in FAMILIES}
        if not words.json:
            say("\n".join([line for name, row in table.items() for line in _lines(name, row)] + [_embedded(), _MORE]))
        return table
    found, part = _folder(words) if hub.is_model(words.paths[0]) else _family(words)
    if not words.json:
        say("\n".join([*_lines(found["family"], found), "", found["explained"], "", *_sizes(found), *part.lines()]))
    return {**found, "parts": part.content()}


_MORE = "`yanmo models NAME` draws one of them."


def _embedded() -> str:
    """What comes with the package, trained."""
    known = [f"{model['name']} ({model['family']}, {model['bytes'] / 1e6:.1f} MB)" for model in hub.embedded.HUB.list()]
    return f"with the package come, trained: {', '.join(known)}"


def _row(family: Family) -> dict[str, Any]:
    """What a family is, and what it admits."""
    kinds = {**family.heads, **GENERIC}
    return {
        "about": family.about,
        "paper": family.paper,
        "heads": {kind: HEADS[kind] for kind in kinds},
        "objectives": objectives_of(family),
        "tasks": [name for name, (_, task) in TASKS.items() if task.head in kinds],
        "writes_text": any(kind in kinds for kind in ("causal", "seq2seq")),
        "sizes": list(family.sizes),
    }


def _lines(name: str, row: dict[str, Any]) -> list[str]:
    learns = "; ".join(about for kind, about in row["heads"].items() if kind in LANGUAGE)
    return [
        f"{name}: {row['about']}",
        f"    from {row['paper']}",
        f"    learns from text: {learns}{' (so it writes text, too)' if row['writes_text'] else ''}",
        f"    objectives: {', '.join(row['objectives']) or 'none'}",
        f"    heads: {', '.join(row['heads'])}; tasks: {', '.join(row['tasks'])}; sizes: {', '.join(row['sizes'])}",
    ]


def _family(words: Words[Settings]) -> tuple[dict[str, Any], anatomy.Part]:
    name, asked = str(words.paths[0]), words.settings
    try:
        family = models.find(name)
        head = asked.head or next((kind for kind in family.heads if kind in LANGUAGE), "base")
        if head not in {**family.heads, **GENERIC}:
            raise ModelError(heads_fault(family, head))
    except ModelError as error:
        raise SettingsError(str(error)) from None

    def config(size: str) -> Config:
        chosen, labels = ModelSettings(family=name, size=size), {"0": "a", "1": "b"}
        return models.configure(chosen, vocab_size=asked.vocabulary, id2label=labels)[1]

    with shapes_only():
        built = {size: checkpoint.build(family, config(size), head) for size in family.sizes}
    counts = {size: sum(p.numel() for p in model.parameters()) for size, model in built.items()}
    model = checkpoint.build(family, config(asked.size), head)
    told = {"size": asked.size, "parameters": counts, "vocabulary": asked.vocabulary}
    return {**_told(name, family, head), **told}, anatomy.look(model, head, asked.vocabulary)


def _folder(words: Words[Settings]) -> tuple[dict[str, Any], anatomy.Part]:
    opened = checkpoint.load(words.paths[0])
    part = anatomy.look(opened.model, opened.head, opened.tokenizer.size)
    told = {"size": str(words.paths[0]), "parameters": {str(words.paths[0]): part.parameters}}
    return {**_told(opened.family.model_type, opened.family, opened.head), **told}, part


def _told(name: str, family: Family, head: str) -> dict[str, Any]:
    place = FAMILIES[name].partition(":")[0]
    explained = (importlib.import_module(place).__doc__ or "").strip()
    return {
        "family": name,
        **_row(family),
        "explained": explained,
        "code": f"{place.replace('.', '/')}.py",
        "head": head,
    }


def _sizes(found: dict[str, Any]) -> list[str]:
    counts = ", ".join(f"{size} {count / 1e6:.1f} M" for size, count in found["parameters"].items())
    return [
        f"parameters with head={found['head']}: {counts}",
        f"the code: {found['code']}",
        f"{found['size']}: its modules, the shapes that go in and out (t tokens of all rows, end to end; s: of a source), parameters",
    ]
