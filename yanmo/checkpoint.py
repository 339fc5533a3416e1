"""Directory <-> (model, tokenizer, task). The directory is the Hugging Face layout, so there is nothing to convert:
`transformers` opens it wherever it has the class.

`config.json` holds the labels (`id2label`), `yanmo.json` what only Yanmo needs (task, columns, data hashes, versions).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from yanmo import files, hub, models
from yanmo import tasks as task_table
from yanmo.errors import ModelError, SettingsError
from yanmo.models import ModelSettings, hf
from yanmo.models.base import LABELLED, Config, Family, answers, heads_fault
from yanmo.nn.embedding import Growth, grow, set_rows
from yanmo.nn.heads import GENERIC
from yanmo.nn.init import shapes_only
from yanmo.nn.kernels import quantised
from yanmo.progress import say
from yanmo.tasks.base import Task
from yanmo.text import tokenizer as tokenizers
from yanmo.text import vectors
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

CONFIG, RECORD, HEADS = "config.json", "yanmo.json", "heads.safetensors"
_GENERIC = "task_head."  # what the names of a generic head begin with


@dataclass
class Checkpoint:
    """A model with everything that makes it usable."""

    model: nn.Module
    family: Family
    head: str  # the head kind that the model carries
    tokenizer: Tokenizer
    task: Task | None = None
    record: dict[str, Any] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)  # parameters that the folder lacked and that begin at random
    unknown: list[str] = field(default_factory=list)  # config keys kept but not understood

    @property
    def config(self) -> Config:
        config: Config = self.model.config  # type: ignore[assignment]  # every family's module has one
        return config


# ---- models from scratch


def build(family: Family, config: Config, head: str) -> nn.Module:
    """The module, with a head that serves any family where this one has none of its kind."""
    if head in family.heads:
        return family.module(config, head)
    if head not in GENERIC:
        raise ModelError(heads_fault(family, head))
    model = family.module(config, "base")
    # A decoder's last token has seen the row; no token of an encoder was trained to stand for it.
    place = {"place": "mean_max" if hasattr(model, "encode") else "last"} if head == "classify" else {}
    model.task_head = GENERIC[head](getattr(config, family.width), answers(config, head), **place)
    return model


def create(family: Family, config: Config, head: str) -> nn.Module:
    """A model with fresh weights, drawn from torch's generator (seed it first)."""
    model = build(family, config, head)
    for module in reversed(list(model.modules())):  # a part before the whole, which may have the last word
        family.initialise(module, config)
    return model


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
) -> Checkpoint:
    """What a training run in `folder` begins with: `model.base` with the head that the task needs (and, beside `tokenizer.base`, with
    the tokens that this one adds to its own), or a fresh model whose tokeniser is the folder's own when the run goes on, else the one
    asked for, else trained on `texts`.

    documents: the token ids of the texts, where they are needed for more than this; what a family learns from the text it learns
    from them.
    longest: of the rows, in tokens; a model with fewer positions is a SettingsError.
    """
    models.check(settings, tokenizer)
    if settings.base is not None:
        if Path(settings.base).resolve() == folder.resolve():
            raise SettingsError(f"model.base: {settings.base} is the run folder itself; give another run=...")
        opened = load(settings.base, head=head, labels=labels, changes=settings.config)
        if quantised.describe(opened.model):
            raise ModelError(
                f"{settings.base}: its layers are int8, which answer but can't be trained; start from the folder it was made of"
            )
        if opened.fresh:
            parts = sorted({name.rsplit(".", 1)[0] for name in opened.fresh})
            say(f"new, not from {settings.base}: {', '.join(parts)}")
        if opened.unknown:
            say(
                f"{settings.base}: config keys that Yanmo does not know are kept as they are: {', '.join(opened.unknown)}"
            )
        positions = opened.config.longest
        if positions is not None and positions < longest:
            raise SettingsError(
                f"max_length: {longest} tokens, but {settings.base} has only {positions} positions; give at most {positions}"
            )
        if tokenizer.base is not None:
            opened = extend(opened, tokenizers.load(tokenizer.base), str(tokenizer.base))
        return opened
    if resuming:
        cutter = tokenizers.load(folder)
    else:
        cutter = tokenizers.load(tokenizer.base) if tokenizer.base else tokenizers.train(texts, tokenizer)
    values: dict[str, Any] = {"vocab_size": cutter.size}
    if labels is not None:
        values["id2label"] = {str(i): label for i, label in enumerate(labels)}
    if cutter.pad is not None:
        values["pad_token_id"] = cutter.pad
    family, config = models.configure(settings, max(512, longest), **values)
    model = create(family, config, head)
    if settings.vectors is not None:
        _take_vectors(model, family, cutter, settings.vectors)
    if family.learn is not None:
        family.learn(model, documents(cutter) if documents else cutter.encode_all(texts), cutter.special)
    return Checkpoint(model, family, head, cutter)


def expected(settings: ModelSettings, tokenizer: TokenizerSettings) -> int:
    """About how many parameters a run will train, told before its data is read. Raises what can be said against the base by then."""
    models.check(settings, tokenizer)
    if settings.base is not None:
        folder = hub.resolve(settings.base)
        models.find(read_config(folder)["model_type"])
        return sum(file.stat().st_size for file in folder.glob("*.safetensors")) // 4
    vocabulary = tokenizers.load(tokenizer.base).size if tokenizer.base else tokenizer.vocab or tokenizers.VOCAB
    family, config = models.configure(settings, vocab_size=vocabulary)
    with shapes_only():
        return sum(parameter.numel() for parameter in build(family, config, "base").parameters())


def extend(checkpoint: Checkpoint, tokenizer: Tokenizer, where: str) -> Checkpoint:
    """The same model with a tokeniser that has more tokens than its own: the row of a new token is the mean of the rows of the
    pieces that it was before; everything else stays as it is, to the bit.

    Raises SettingsError for a tokeniser in which a token of the old one is missing or has another id."""
    old, family, config = checkpoint.tokenizer, checkpoint.family, checkpoint.config
    added = tokenizers.added(old, tokenizer, where)
    if not family.vocabulary:
        raise SettingsError(f"tokenizer.base: the vocabulary of a '{family.model_type}' can't grow")
    rows = config.vocab_size  # type: ignore[attr-defined]  # every family that has a vocabulary has it
    growth = Growth(rows, max(rows, 1 + max(added, default=0)), added)
    with shapes_only():
        model = build(family, replace(config, vocab_size=growth.new), checkpoint.head)  # type: ignore[call-arg]
    model.load_state_dict(grow(checkpoint.model.state_dict(), family.vocabulary, growth), assign=True)
    say(f"{len(added):,} tokens of {where} are new to the model")
    return replace(checkpoint, model=model, tokenizer=tokenizer)


def _take_vectors(model: nn.Module, family: Family, cutter: Tokenizer, path: Path) -> None:
    """Begin the embedding's rows of words that stand in a file of word vectors with these."""
    if not family.embedding:
        raise SettingsError(f"model.vectors: '{family.model_type}' has no embedding of tokens that could take them")
    table = model.get_parameter(family.embedding)
    words = cutter.words()
    found = vectors.read(path, words, table.shape[1])
    ids = np.array([id for word in found for id in words[word]], np.int64)
    if not len(ids):
        raise SettingsError(f"model.vectors: none of the {len(words):,} words of the tokeniser stands in {path}")
    set_rows(table, ids, np.stack([found[word] for word in found for _ in words[word]]))
    say(f"{path}: {len(ids):,} of {cutter.size:,} tokens begin with its vectors")


# ---- reading


def read_config(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / CONFIG).read_text("utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{folder}: no {CONFIG} here, so this is not a model folder") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{folder / CONFIG}: not readable JSON ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("model_type"), str):
        raise ModelError(f"{folder / CONFIG}: expected a JSON object with 'model_type'")
    return content


def read_record(folder: Path) -> dict[str, Any]:
    """The content of yanmo.json; empty for a folder that Yanmo did not make."""
    try:
        record = json.loads((folder / RECORD).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / RECORD}: not readable JSON ({error})") from None
    if not isinstance(record, dict) or not isinstance(record.get("task", {}), dict):
        raise ModelError(f"{folder / RECORD}: expected a JSON object, and one under 'task'")
    return record


def load(
    name: str | Path,
    *,
    head: str | None = None,
    labels: Sequence[str] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Open a run folder or any Hugging Face folder of a known family.

    head: the kind wanted (default: the folder's own). labels: those of a new task. changes: config keys to set.
    Parts of a new head that the folder lacks begin
    at random and are listed in `fresh`; whatever else is missing, unexpected or misshapen is one ModelError.
    """
    folder = hub.resolve(name)
    content = read_config(folder)
    family = models.find(content["model_type"])
    config, unknown = family.config.read(content, str(folder / CONFIG))
    if changes:
        config = replace(
            models.known(family, {**config.content(), **changes}), extra=config.extra, id2label=config.id2label
        )
    record = read_record(folder)
    own = _own_head(family, content, record)
    kind = head or own
    tensors = hf.rename({**hf.read_tensors(folder), **_read_heads(folder, family, own)}, family.aliases)
    prefix = next(
        (p for p in (family.prefix, *family.prefixes.values()) if p and any(t.startswith(p) for t in tensors)), ""
    )
    rules = _rules(family, config, kind, prefix)
    problem = content.get("problem_type")
    if kind == "classify" and labels is None and problem not in (None, "single_label_classification"):
        raise ModelError(
            f"{folder / CONFIG}: problem_type '{problem}' is not implemented yet; only one label of several"
        )
    if kind in LABELLED:
        named = dict(enumerate(labels)) if labels is not None else config.id2label or _numbered(rules, tensors)
        config = replace(config, id2label=named)
    base = {rule.theirs for rule in family.rules(config, "base", prefix)}
    if labels is not None and list(labels) != _labels(content):  # another task's head has nothing to say about this one
        tensors = {
            name: t for name, t in tensors.items() if name in base or name not in {rule.theirs for rule in rules}
        }
    with shapes_only():  # shapes are compared before a byte is allocated
        model = build(family, config, kind)
    if quantisation := content.get("quantization_config"):
        quantised.prepare(model, quantisation)
        rules = rules + _scales(model, rules)
    # Strict for the folder's own head; a part may be new only where another head was asked for.
    fresh = ["pooler."] if kind == own == "base" else []
    if kind != own or labels is not None:
        fresh = [name for rule in rules if rule.theirs not in base or "pooler" in rule.theirs for name in rule.names]
    missing = hf.load(model, rules, tensors, where=str(folder), ignorable=family.ignorable, fresh=fresh)
    _materialise(model, family, config, missing)
    tokenizer = tokenizers.load(folder)
    _fits(tokenizer, config, folder)
    task = None
    if head is None and record.get("task"):
        task = task_table.restore(record["task"], tokenizer, [config.id2label[i] for i in sorted(config.id2label)])
    elif head is None and kind == "classify":  # a folder that another tool fine-tuned
        task = task_table.restore(
            {"name": "classify"}, tokenizer, [config.id2label[i] for i in sorted(config.id2label)]
        )
    if task is not None:
        _read_own(task, folder)
    return Checkpoint(model, family, kind, tokenizer, task, record, missing, unknown)


def reload(checkpoint: Checkpoint, folder: Path) -> None:
    """Put the weights of another folder of the same model into `checkpoint`'s model. Optimisers must be made after it."""
    rules = _written_rules(checkpoint)
    tensors = {**hf.read_tensors(folder), **_read_heads(folder, checkpoint.family, checkpoint.head)}
    hf.load(checkpoint.model, rules, tensors, where=str(folder), ignorable=(), fresh=())
    if checkpoint.task is not None:
        _read_own(checkpoint.task, folder)


def _written_rules(checkpoint: Checkpoint) -> list[hf.Rule]:
    """The rules of a folder that `write` makes: foreign names as the Hugging Face class of this head has them."""
    family = checkpoint.family
    rules = _rules(family, checkpoint.config, checkpoint.head, family.prefix_of(_class_kind(family, checkpoint.head)))
    return rules + _scales(checkpoint.model, rules)


def _class_kind(family: Family, kind: str) -> str:
    """The kind of the Hugging Face class that a folder of this kind is of."""
    return kind if kind in family.heads else "base"


def _rules(family: Family, config: Config, kind: str, prefix: str) -> list[hf.Rule]:
    """The family's, and those of a generic head, whose tensors bear our names and stand in a file of their own."""
    rules = family.rules(config, _class_kind(family, kind), prefix)
    if kind in family.heads:
        return rules
    return rules + [hf.Same(name, name) for name in (f"{_GENERIC}output.{part}" for part in ("weight", "bias"))]


def _read_heads(folder: Path, family: Family, kind: str) -> dict[str, Tensor]:
    """The tensors of a generic head; none where the family has one of its own."""
    if kind in family.heads or not (folder / HEADS).is_file():
        return {}
    return {name: tensor for name, tensor in hf.read_file(folder / HEADS).items() if name.startswith(_GENERIC)}


def _read_own(task: Task, folder: Path) -> None:
    if (folder / HEADS).is_file():
        held = hf.read_file(folder / HEADS)
        if own := {name: tensor for name, tensor in held.items() if not name.startswith(_GENERIC)}:
            task.take(own)


def _own_head(family: Family, content: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    if record.get("head") in GENERIC:
        return str(record["head"])
    named = content.get("architectures") or [family.heads["base"]]
    if not isinstance(named, list):
        raise ModelError(f"config.json: 'architectures' is {named!r}, expected a list of class names")
    for kind, architecture in family.heads.items():
        if architecture == named[0]:
            return kind
    return "masked" if str(named[0]).endswith("ForPreTraining") and "masked" in family.heads else "base"


def _labels(content: Mapping[str, Any]) -> list[str]:
    found = content.get("id2label") or {}
    return [str(found[key]) for key in sorted(found, key=int)]


def _numbered(rules: Sequence[hf.Rule], tensors: Mapping[str, Tensor]) -> dict[int, str]:
    """Labels for a classifier whose config names none, as Hugging Face numbers them."""
    held = (tensors.get(rule.theirs) for rule in rules if f"{_GENERIC}output.weight" in rule.names)
    return {i: f"LABEL_{i}" for i in range(next((len(tensor) for tensor in held if tensor is not None), 2))}


def _scales(model: nn.Module, rules: Sequence[hf.Rule]) -> list[hf.Rule]:
    """Rules for the scales that stand beside the int8 weights."""
    names = {
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, quantised.QuantisedLinear)
    }
    return [
        hf.Same(rule.ours.removesuffix("weight") + "scale", rule.theirs.removesuffix("weight") + "scale")
        for rule in rules
        if isinstance(rule, hf.Same) and rule.ours in names
    ]


def _materialise(model: nn.Module, family: Family, config: Config, missing: Sequence[str]) -> None:
    """Give the parameters that the folder lacked memory and a beginning."""
    for name, module in model.named_modules():
        own = [key for key, _ in module.named_parameters(recurse=False) if f"{name}.{key}".removeprefix(".") in missing]
        if own:
            module.to_empty(device="cpu", recurse=False)
            family.initialise(module, config)


def _fits(tokenizer: Tokenizer, config: Config, folder: Path) -> None:
    vocabulary = getattr(config, "vocab_size", None)
    if vocabulary is not None and tokenizer.size > vocabulary:
        raise ModelError(
            f"{folder}: the tokeniser has {tokenizer.size} tokens but the model only {vocabulary}; they are not of one model"
        )


# ---- writing


def contents(checkpoint: Checkpoint) -> dict[str, str | dict[str, Tensor]]:
    """The files of the model's folder, name -> text or tensors (which may be the model's own): config, tokeniser, weights, the record
    (which says what the folder is) last."""
    model, family = checkpoint.model, checkpoint.family
    rules = _written_rules(checkpoint)
    quantisation = quantised.describe(model)
    extra = {
        key: value
        for key, value in checkpoint.config.extra.items()
        if key not in ("quantization_config", "transformers_version")
    }
    if quantisation:
        extra["quantization_config"] = quantisation
    if checkpoint.head == "classify":
        extra["problem_type"] = "single_label_classification"
    config = replace(checkpoint.config, extra=extra)
    special = {
        f"{name}_token": checkpoint.tokenizer.inner.id_to_token(id)
        for name, id in _special(checkpoint.tokenizer)
        if id is not None
    }
    tensors = hf.save(model, rules)
    generic = checkpoint.head not in family.heads
    heads = {name: tensors.pop(name) for name in list(tensors) if generic and name.startswith(_GENERIC)}
    found: dict[str, str | dict[str, Tensor]] = {
        CONFIG: config.write(family.model_type, family.heads[_class_kind(family, checkpoint.head)]),
        tokenizers.FILE: checkpoint.tokenizer.content(),
        "tokenizer_config.json": files.to_json({"tokenizer_class": "PreTrainedTokenizerFast", **special}),
        hf.WEIGHTS: tensors,
    }
    record = {**checkpoint.record, "yanmo": version("yanmo")}
    if generic:
        record["head"] = checkpoint.head
    if checkpoint.task is not None:
        heads |= checkpoint.task.tensors()
        record["task"] = dict(checkpoint.task.record())
    if heads:
        found[HEADS] = heads
    return {**found, RECORD: files.to_json(record)}


def writable(contents: Mapping[str, str | dict[str, Tensor]]) -> dict[str, files.Content]:
    """`contents` as `files.write_folder` takes them."""
    return {name: part if isinstance(part, str) else hf.content(part) for name, part in contents.items()}


def write(folder: Path, checkpoint: Checkpoint) -> list[str]:
    """Put the model's files into `folder`, each whole or not at all; answers with their names."""
    parts = writable(contents(checkpoint))
    for name, content in parts.items():
        files.write_file(folder / name, content)
    return list(parts)


def _special(tokenizer: Tokenizer) -> list[tuple[str, int | None]]:
    return [
        ("pad", tokenizer.pad),
        ("unk", tokenizer.unknown),
        ("cls", tokenizer.cls),
        ("sep", tokenizer.sep),
        ("mask", tokenizer.mask),
    ]
