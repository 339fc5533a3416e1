"""What a training run begins with: a fresh model, or a base with the head that the task needs, more tokens, or word vectors."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from yanmo import checkpoint, joining, models
from yanmo.checkpoint import Checkpoint
from yanmo.errors import ModelError, SettingsError
from yanmo.models import ModelSettings
from yanmo.models.base import Family
from yanmo.nn.embedding import Growth, grow, set_rows
from yanmo.nn.init import shapes_only
from yanmo.nn.kernels import quantised
from yanmo.progress import say
from yanmo.text import tokenizer as tokenizers
from yanmo.text import vectors
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings


def start(
    settings: ModelSettings,
    tokenizer: TokenizerSettings,
    head: str,
    *,
    folder: Path,
    resuming: bool,
    texts: Sequence[str],
    longest: int,
    labels: Sequence[str] | None = None,
    documents: Callable[[Tokenizer], Sequence[np.ndarray]] | None = None,
    more: Sequence[str] = (),
) -> Checkpoint:
    """What a training run in `folder` begins with: `model.base` (of several, the mean of
    their weights) with the head that the task needs (and, beside `tokenizer.base`, with
    the tokens that this one adds to its own), or a fresh model whose tokeniser is the folder's own when the run goes on, else the one
    asked for, else trained on `texts`.

    documents: the token ids of the texts, where they are needed for more than this; what a family learns from the text it learns
    from them.
    longest: of the rows, in tokens; a model with fewer positions is a SettingsError.
    more: special tokens that a tokeniser trained here has beside the usual ones.
    """
    models.check(settings, tokenizer)
    if bases := models.bases(settings.base):
        if any(Path(base).resolve() == folder.resolve() for base in bases):
            raise SettingsError(f"model.base: {folder} is the run folder itself; give another run=...")
        opened = joining.soup(bases, head=head, labels=labels, changes=settings.config, wider=settings.family)
        named = ", ".join(bases)
        if quantised.describe(opened.model):
            raise ModelError(
                f"{named}: its layers are int8, which answer but can't be trained; start from the folder it was made of"
            )
        if opened.fresh:
            parts = sorted({name.rsplit(".", 1)[0] for name in opened.fresh})
            say(f"new, not from {named}: {', '.join(parts)}")
        if opened.unknown:
            say(f"{named}: config keys that Yanmo does not know are kept as they are: {', '.join(opened.unknown)}")
        positions = opened.config.longest
        if positions is not None and positions < longest:
            raise SettingsError(
                f"max_length: {longest} tokens, but {named} has only {positions} positions; give at most {positions}"
            )
        if tokenizer.base is not None:
            opened = extend(opened, tokenizers.load(tokenizer.base), str(tokenizer.base))
        if settings.family not in (None, checkpoint.source(bases[0]).content["model_type"]):  # widened just now
            _learn(opened, texts, documents)
        return opened
    if resuming:
        cutter = tokenizers.load(folder)
    else:
        cutter = tokenizers.load(tokenizer.base) if tokenizer.base else tokenizers.train(texts, tokenizer, more)
    values: dict[str, Any] = {"vocab_size": cutter.size}
    if labels is not None:
        values["id2label"] = {str(i): label for i, label in enumerate(labels)}
    known = {"pad_token_id": cutter.pad, "bos_token_id": cutter.cls, "eos_token_id": cutter.sep}
    values |= {key: id for key, id in known.items() if id is not None}
    family, config = models.configure(settings, max(512, longest), **values)
    if "decoder_start_token_id" in config.named():  # said aloud: others would take another token where it is not
        config = replace(config, decoder_start_token_id=config.decoder_start)  # type: ignore[call-arg]
    model = checkpoint.create(family, config, head)
    if settings.vectors is not None:
        _take_vectors(model, family, cutter, settings.vectors)
    opened = Checkpoint(model, family, head, cutter)
    _learn(opened, texts, documents)
    return opened


def expected(settings: ModelSettings, tokenizer: TokenizerSettings) -> int:
    """About how many parameters a run will train, told before its data is read. Raises what can be said against the base by then."""
    models.check(settings, tokenizer)
    if found := [checkpoint.source(base) for base in models.bases(settings.base)]:
        for each in found:
            models.find(each.content["model_type"])
        return found[0].parameters
    vocabulary = tokenizers.load(tokenizer.base).size if tokenizer.base else tokenizer.vocab or tokenizers.VOCAB
    family, config = models.configure(settings, vocab_size=vocabulary)
    with shapes_only():
        return sum(parameter.numel() for parameter in checkpoint.build(family, config, "base").parameters())


def extend(opened: Checkpoint, tokenizer: Tokenizer, where: str) -> Checkpoint:
    """The same model with a tokeniser that has more tokens than its own: the row of a new token is the mean of the rows of the
    pieces that it was before; everything else stays as it is, to the bit.

    Raises SettingsError for a tokeniser in which a token of the old one is missing or has another id."""
    old, family, config = opened.tokenizer, opened.family, opened.config
    added = tokenizers.added(old, tokenizer, where)
    if not family.vocabulary:
        raise SettingsError(f"tokenizer.base: the vocabulary of a '{family.model_type}' can't grow")
    rows = config.vocab_size  # type: ignore[attr-defined]  # every family that has a vocabulary has it
    growth = Growth(rows, max(rows, 1 + max(added, default=0)), added)
    with shapes_only():
        model = checkpoint.build(family, replace(config, vocab_size=growth.new), opened.head)  # type: ignore[call-arg]
    model.load_state_dict(grow(opened.model.state_dict(), family.vocabulary, growth), assign=True)
    say(f"{len(added):,} tokens of {where} are new to the model")
    return replace(opened, model=model, tokenizer=tokenizer)


def _learn(
    opened: Checkpoint, texts: Sequence[str], documents: Callable[[Tokenizer], Sequence[np.ndarray]] | None
) -> None:
    """What a family takes from the training text before it is trained."""
    if opened.family.learn is not None:
        rows = documents(opened.tokenizer) if documents else opened.tokenizer.encode_all(texts)
        opened.family.learn(opened.model, rows, opened.tokenizer.special)


def _take_vectors(model: nn.Module, family: Family, cutter: Tokenizer, path: Path) -> None:
    """Begin the embedding's rows of words that stand in a file of word vectors with these."""
    table = model.get_parameter(family.embedding) if family.embedding else None
    if table is None or len(table) < model.config.vocab_size:  # type: ignore[operator,union-attr]  # one of several tables
        raise SettingsError(f"model.vectors: '{family.model_type}' has no embedding of all tokens that could take them")
    words = cutter.words()
    found = vectors.read(path, words, table.shape[1])
    ids = np.array([id for word in found for id in words[word]], np.int64)
    if not len(ids):
        raise SettingsError(f"model.vectors: none of the {len(words):,} words of the tokeniser stands in {path}")
    set_rows(table, ids, np.stack([found[word] for word in found for _ in words[word]]))
    say(f"{path}: {len(ids):,} of {cutter.size:,} tokens begin with its vectors")
