"""Directory <-> (model, tokenizer, task). The directory is the Hugging Face layout, so there is nothing to convert:
`transformers` opens it wherever it has the class. A GGUF file is read as the directory that it was made of.

`config.json` holds the labels (`id2label`), `yanmo.json` what only Yanmo needs (task, columns, data hashes, versions).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from yanmo import files, hub, models
from yanmo import tasks as task_table
from yanmo.errors import ModelError, brief
from yanmo.models import gguf, hf, weights
from yanmo.models.base import LABELLED, Config, Family, answers, believed, heads_fault
from yanmo.nn.heads import GENERIC
from yanmo.nn.init import shapes_only
from yanmo.nn.kernels import quantised
from yanmo.tasks.base import Task, attach
from yanmo.text import chat as chats
from yanmo.text import tokenizer as tokenizers
from yanmo.text.chat import Chat
from yanmo.text.tokenizer import Tokenizer

CONFIG, RECORD, HEADS = "config.json", "yanmo.json", "heads.safetensors"
_GENERIC = "task_head."  # what the names of a generic head begin with

Origin = (
    dict[str, str] | list[dict[str, str]]
)  # of a model of a hub: its name, revision and hub; of a soup: of each member


@dataclass
class Checkpoint:
    """A model with everything that makes it usable."""

    model: nn.Module
    family: Family
    head: str  # the head kind that the model carries
    tokenizer: Tokenizer
    task: Task | None = None
    chat: Chat | None = None
    record: dict[str, Any] = field(default_factory=dict)
    fresh: list[str] = field(default_factory=list)  # parameters that the folder lacked and that begin at random
    unknown: list[str] = field(default_factory=list)  # config keys kept but not understood
    folder: Path | None = None  # where it was read
    origin: Origin = field(default_factory=dict)

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


# ---- reading


class Folder:
    """What stands in a Hugging Face folder, as `gguf.File` says it of a file."""

    def __init__(self, path: Path) -> None:
        self.path, self.content = path, read_config(path)
        self.unknown: list[str] = []

    @property
    def parameters(self) -> int:
        """About how many numbers it holds."""
        return sum(file.stat().st_size for file in self.path.glob("*.safetensors")) // 4

    @cached_property
    def tensors(self) -> dict[str, weights.Stored]:
        return weights.read_tensors(self.path)

    def weights(self) -> dict[str, weights.Stored]:
        return self.tensors

    def tokenizer(self) -> Tokenizer:
        return tokenizers.load(self.path)

    def chat(self) -> Chat | None:
        return chats.read(self.path)


def source(name: str | Path) -> Folder | gguf.File:
    """What a name stands for, opened: nothing but its config is read yet. Raises ModelError."""
    return _open(hub.resolve(name))


def _open(path: Path) -> Folder | gguf.File:
    return gguf.File(path) if path.is_file() else Folder(path)


def read_config(folder: Path) -> dict[str, Any]:
    try:
        content = weights.read_json(folder / CONFIG)
    except FileNotFoundError:
        begun = sorted(folder.glob(f"checkpoints/step-*[0-9]/{CONFIG}"))
        meant = f". The run is not finished: give its command again, or open {begun[-1].parent}" if begun else ""
        raise ModelError(f"{folder}: no {CONFIG} here, so this is not a model folder{meant}") from None
    if not isinstance(content.get("model_type"), str):
        raise ModelError(f"{folder / CONFIG}: expected a JSON object with 'model_type'")
    return content


def read_record(folder: Path) -> dict[str, Any]:
    """The content of yanmo.json; empty for a folder that Yanmo did not make."""
    try:
        record = weights.read_json(folder / RECORD)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    if not isinstance(record.get("task", {}), dict):
        raise ModelError(f"{folder / RECORD}: expected a JSON object, and one under 'task'")
    return record


def load(
    name: str | Path,
    *,
    head: str | None = None,
    labels: Sequence[str] | None = None,
    changes: Mapping[str, Any] | None = None,
    wider: str | None = None,
) -> Checkpoint:
    """Open a run folder, any Hugging Face folder of a known family, or a GGUF file of one.

    head: the kind wanted (default: the folder's own). labels: those of a new task. changes: config keys to set.
    wider: a family that widens the folder's own, which the model becomes.
    Parts of a new head that the folder lacks begin
    at random and are listed in `fresh`; whatever else is missing, unexpected or misshapen is one ModelError.
    """
    found = hub.find(name)
    held = _open(found.folder)
    folder, content = held.path, held.content
    narrow = family = models.find(content["model_type"])
    if wider is not None and wider != family.model_type:
        family = _widened(narrow, wider, found.folder)
    config, unknown = family.config.read(content, str(folder / CONFIG), len(held.tensors))
    if changes:
        config = replace(
            models.known(family, {**config.content(), **changes}), extra=config.extra, id2label=config.id2label
        )
    record = read_record(folder)
    own = _own_head(narrow, content, record)
    kind = head or own
    tensors = hf.rename({**held.weights(), **_read_heads(folder, family, own)}, family.aliases)
    prefix = next(
        (p for p in (family.prefix, *family.prefixes.values()) if p and any(t.startswith(p) for t in tensors)), ""
    )
    with believed(str(folder / CONFIG)):
        if family.settle is not None:
            config = family.settle(config, weights.Opened(tensors))
        rules = _rules(family, config, kind, prefix)
    problem = content.get("problem_type")
    if kind == "classify" and labels is None and not record.get("task") and (kind, problem) not in task_table.FOREIGN:
        understood = ", ".join(each for head, each in task_table.FOREIGN if head == kind and each)
        raise ModelError(
            f"{folder / CONFIG}: problem_type {brief(problem)} is not implemented yet; known: {understood}"
        )
    if kind in LABELLED or labels is not None:
        named = dict(enumerate(labels)) if labels is not None else config.id2label or _numbered(rules, tensors)
        config = replace(config, id2label=named)
    base = {rule.theirs for rule in family.rules(config, "base", prefix)}
    if labels is not None and list(labels) != _labels(content):  # another task's head has nothing to say about this one
        tensors = {
            name: t for name, t in tensors.items() if name in base or name not in {rule.theirs for rule in rules}
        }
    with believed(str(folder / CONFIG)), shapes_only():  # shapes are compared before a byte is allocated
        model = build(family, config, kind)
    if quantisation := content.get("quantization_config"):
        quantised.prepare(model, quantisation)
        rules = rules + _scales(model, rules)
    # Strict for the folder's own head; a part may be new only where another head was asked for.
    fresh = ["pooler."] if kind == own == "base" else []
    if kind != own or labels is not None:
        fresh = [name for rule in rules if rule.theirs not in base or "pooler" in rule.theirs for name in rule.names]
    if family is not narrow:
        known = {rule.theirs for rule in narrow.rules(config, kind, prefix)}
        fresh += [name for rule in rules if rule.theirs not in known for name in rule.names]
    missing = hf.load(model, rules, tensors, where=str(folder), ignorable=family.ignorable, fresh=fresh)
    _materialise(model, family, config, missing)
    tokenizer = held.tokenizer()
    _fits(tokenizer, config, folder)
    task = None
    made_for = record.get("task") or task_table.foreign(folder, kind, problem, len(config.id2label))
    if head is None and made_for:
        task = task_table.restore(made_for, tokenizer, [config.id2label[i] for i in sorted(config.id2label)])
        attach(model, task, getattr(config, family.width))
        _read_own(task, folder)
    unknown += held.unknown
    return Checkpoint(model, family, kind, tokenizer, task, held.chat(), record, missing, unknown, folder, found.origin)


def _widened(narrow: Family, wider: str, folder: Path) -> Family:
    family = models.find(wider)
    if family.widens != narrow.model_type:
        raise ModelError(f"{folder}: a '{narrow.model_type}', which can't become a '{wider}'; leave model.family out")
    return family


def reload(checkpoint: Checkpoint, folder: Path) -> None:
    """Put the weights of another folder of the same model into `checkpoint`'s model. Optimisers must be made after it."""
    rules = _written_rules(checkpoint)
    tensors = {**weights.read_tensors(folder), **_read_heads(folder, checkpoint.family, checkpoint.head)}
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


def _read_heads(folder: Path, family: Family, kind: str) -> dict[str, weights.Stored]:
    """The tensors of a generic head; none where the family has one of its own."""
    if kind in family.heads or not (folder / HEADS).is_file():
        return {}
    return {name: stored for name, stored in weights.header(folder / HEADS).items() if name.startswith(_GENERIC)}


def _read_own(task: Task, folder: Path) -> None:
    if (folder / HEADS).is_file():
        held = weights.read_file(folder / HEADS)
        if own := {name: tensor for name, tensor in held.items() if not name.startswith(_GENERIC)}:
            task.take(own)


def _own_head(family: Family, content: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    if (head := str(record.get("head"))) in GENERIC:
        return head
    named = content.get("architectures") or [family.heads["base"]]
    if not isinstance(named, list):
        raise ModelError(f"config.json: 'architectures' is {brief(named)}, expected a list of class names")
    for kind, architecture in family.heads.items():
        if architecture == named[0]:
            return kind
    return "masked" if str(named[0]).endswith("ForPreTraining") and "masked" in family.heads else "base"


def _labels(content: Mapping[str, Any]) -> list[str]:
    found = content.get("id2label") or {}
    return [str(found[key]) for key in sorted(found, key=int)]


def _numbered(rules: Sequence[hf.Rule], tensors: Mapping[str, Tensor | weights.Stored]) -> dict[int, str]:
    """Labels for a classifier whose config names none, as Hugging Face numbers them."""
    held = (tensors.get(rule.theirs) for rule in rules if f"{_GENERIC}output.weight" in rule.names)
    return {i: f"LABEL_{i}" for i in range(next((len(tensor) for tensor in held if tensor is not None), 2))}


def _scales(model: nn.Module, rules: Sequence[hf.Rule]) -> list[hf.Rule]:
    """Rules for the scales that stand beside the int8 weights."""
    names = {
        f"{name}.weight" for name, module in model.named_modules() if isinstance(module, quantised.QuantisedLinear)
    }

    def scale(name: str) -> str:
        return name.removesuffix("weight") + "scale"

    return [
        hf.Fused(tuple(map(scale, rule.ours)), scale(rule.theirs))
        if isinstance(rule, hf.Fused)
        else hf.Same(scale(rule.ours), scale(rule.theirs))
        for rule in rules
        if not isinstance(rule, hf.Constant) and names.issuperset(rule.names)
    ]


def _materialise(model: nn.Module, family: Family, config: Config, missing: Sequence[str]) -> None:
    """Give the parameters and buffers that the folder lacked memory and a beginning."""
    for name, module in reversed(list(model.named_modules())):  # a part before the whole, which may have the last word
        held = (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False))
        if any(f"{name}.{key}".removeprefix(".") in missing for key, _ in held):
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
        if key not in ("quantization_config", "transformers_version", "torch_dtype")
    } | {"dtype": "float32"}  # whatever was read: so is everything that is written
    if quantisation:
        extra["quantization_config"] = quantisation
    if checkpoint.head == "classify":
        problem = checkpoint.task.problem if checkpoint.task is not None else None
        extra["problem_type"] = problem or "single_label_classification"
    config = replace(checkpoint.config, extra=extra)
    tensors = hf.save(model, rules)
    generic = checkpoint.head not in family.heads
    heads = {name: tensors.pop(name) for name in list(tensors) if generic and name.startswith(_GENERIC)}
    found: dict[str, str | dict[str, Tensor]] = {
        CONFIG: config.write(family.model_type, family.heads[_class_kind(family, checkpoint.head)]),
        **chats.contents(
            checkpoint.tokenizer,
            config.extra,
            checkpoint.chat,
            segments=config.content().get("type_vocab_size", 0) > 1,
        ),
        weights.FILE: tensors,
    }
    record = {**checkpoint.record, "yanmo": version("yanmo")}
    if generic:
        record["head"] = checkpoint.head
    if checkpoint.task is not None:
        heads |= checkpoint.task.tensors()
        found |= checkpoint.task.files(getattr(config, family.width))
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
