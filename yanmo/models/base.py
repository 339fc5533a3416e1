"""What every family shares: the protocol, the State, the reading of configs. No forward lives here.

A family is one file that yields a `Family`: its config, its module, its head kinds, its Hugging Face names, its sizes.
Shapes in this folder: t tokens of all rows packed end to end, width of the model, n chosen positions, rows of a batch.
"""

import json
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from torch import Tensor, nn

from yanmo.errors import ModelError, brief, gather
from yanmo.nn.embedding import Growth
from yanmo.nn.heads import GENERIC, RowHead, TokenHead
from yanmo.text.batches import Batch, Run

if TYPE_CHECKING:
    from yanmo.models.hf import Rule


# What a module can be asked for beside its states: kind -> what it is. "base" has none. LANGUAGE answers `logits`, the others `head`.
HEADS = {
    "base": "the states alone",
    "masked": "masked words",
    "causal": "the next token",
    "seq2seq": "the next token of a target, given a source",
    "permutation": "a token, given others in any order",
    "pretrain": "masked words, and whether one text follows another",
    "classify": "one of several labels for a row",
    "tag": "one of several labels for each token",
    "span": "where an answer begins and ends",
    "next": "whether one text follows another",
    "choose": "how good a choice is",
}
LANGUAGE = ("masked", "causal", "seq2seq", "permutation", "pretrain")
LABELLED = ("classify", "tag")  # their answers are the config's labels
BY_TOKEN = ("tag", "span")  # heads that answer for every token, not for a row
_ANSWERS = {"span": 2, "next": 2, "pretrain": 2, "choose": 1}


class Memory(NamedTuple):
    """What a decoder attends to: an encoder's states."""

    states: Tensor  # (s, width)
    lengths: tuple[int, ...]  # of each row


class State(Protocol):
    """What a family carries between decoding calls: keys and values, previous segments, (h, c), encoder memory."""

    @property
    def length(self) -> int: ...
    def select(self, rows: Tensor) -> Self: ...
    def join(self, other: Self) -> Self: ...
    def snapshot(self) -> Any: ...
    def rewind(self, snapshot: Any) -> None: ...


class Model(Protocol):
    """A family's module, as tasks see it. Encoders have `encode`; decoders `state` and `decode`, which take a memory where there is an
    encoder, too; `logits` answers where the folder carries a language-model head, `head` where it carries a task's."""

    config: "Config"
    task_head: nn.Module | None  # (hidden, starts, ends) -> logits; see `nn/heads.py`

    def encode(self, run: Run) -> Tensor:
        """A run of t tokens -> hidden states (t, width)."""

    def state(self, memory: Memory | None = None) -> Any:
        """An empty State, to be given to each call of `decode`; it keeps the memory."""

    def decode(self, run: Run, state: Any = None, memory: Memory | None = None) -> Tensor:
        """A run of t new tokens -> hidden states (t, width), each seeing those before it in its row, also those of earlier calls with
        this state. Without a state the run is all there is, and gradients flow, to the memory too."""

    def hidden(self, batch: Batch) -> Tensor:
        """The states a task's head reads: (t, width) of the batch's source; the encoder's, where there is one."""

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states (n, width), of the positions that are wanted only, -> (n, vocabulary)."""

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        """All hidden states (t, width) of a run -> (rows, answers), or (t, answers) for the kinds BY_TOKEN."""


def task_logits(part: nn.Module | None, hidden: Tensor, run: Run, ends: Tensor | None = None) -> Tensor:
    """What a model's task head says of a run. ends: the last token of each row, where it is another. Raises ModelError where it has
    none."""
    if part is None:
        raise ModelError("this model has no head for a task; fine-tune it, such as with task.name=classify")
    result: Tensor = part(hidden, run.starts, run.ends if ends is None else ends)
    return result


def language_logits(part: nn.Module | None, hidden: Tensor, embedding: Tensor | nn.Module) -> Tensor:
    """What a model's language-model head says of states (n, width). Raises ModelError where it has none."""
    if part is None:
        raise ModelError(
            "this model has no language-model head; pre-train it, or load a folder of a ...ForMaskedLM, ...ForCausalLM or "
            "...ForConditionalGeneration class"
        )
    result: Tensor = part(hidden, embedding)
    return result


def answers(config: "Config", kind: str) -> int:
    """How many numbers a head of this kind says."""
    return _ANSWERS.get(kind, len(config.id2label))


def decoder_head(config: "Config", kind: str, width: int, dropout: float | None) -> nn.Module | None:
    """The task heads that Hugging Face's causal decoders have. dropout: None is their 0.1."""
    number = answers(config, kind)
    if kind == "classify":
        return RowHead(width, number, place="last", bias=False)
    if kind == "tag":
        return TokenHead(width, number, dropout=0.1 if dropout is None else dropout)
    return TokenHead(width, number) if kind == "span" else None


# Keys that Hugging Face writes and that change no number of a forward pass: kept, written back, never asked about.
_HARMLESS = frozenset(
    """
    _attn_implementation_autoset _name_or_path architectures attn_implementation bad_words_ids bos_token
    bos_token_id chunk_size_feed_forward cls_token_id decoder_start_token_id directionality dtype early_stopping
    eos_token_id finetuning_task forced_bos_token_id forced_eos_token_id gradient_checkpointing id2label
    keys_to_ignore_at_inference label2id language length_penalty max_length min_length model_type name_or_path
    no_repeat_ngram_size num_beams num_labels output_attentions output_hidden_states output_past pad_token_id
    pooler_fc_size pooler_num_attention_heads pooler_num_fc_layers pooler_size_per_head pooler_type prefix
    problem_type quantization_config return_dict sep_token_id task_specific_params tokenizer_class torch_dtype
    transformers_version use_cache
    """.split()  # noqa: SIM905 (a table to read, not a list to type)
)
# Keys that name code to run, or a kernel of somebody else's choice: refused at any depth, but for these values of these keys.
_CODE = re.compile(
    r"auto_map|custom_(code|generate|pipelines)|trust_remote_code|.*attn_implementation.*|(use_)?(hub_)?kernels?|kernel_(config|mapping)",
    re.IGNORECASE,
)
_PLAIN = {
    "attn_implementation": (None, "eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention"),
    "_attn_implementation_autoset": (True, False),
}
_DEEP = 32  # levels of objects and lists in a config


@dataclass(frozen=True, kw_only=True)
class Config:
    """The base of a family's config. Fields bear the Hugging Face names; `extra` holds the harmless keys that came along."""

    id2label: dict[int, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    # Where a family's file calls a field by another name, or (None) has none and it stays at its default: field -> key.
    keys: ClassVar[Mapping[str, str | None]] = {}
    # Keys whose other values would change the numbers, and that the family does not implement: key -> values that mean "off".
    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {}
    harmless: ClassVar[frozenset[str]] = frozenset()  # keys of this family that change no number here

    @classmethod
    def read(cls, content: Mapping[str, Any], where: str, tensors: int | None = None) -> tuple[Self, list[str]]:
        """A config.json's content -> the config, and the unknown keys that were kept but not understood.

        tensors: how many stand beside it; more layers are not believed, so that nothing is made for them. Raises ModelError."""
        own = cls.named()
        hints = typing.get_type_hints(cls)
        unknown, values, extra = [], {}, {}
        faults = [f"{fault}; Yanmo runs no code from a model folder. Remove the key." for fault in _code(content)]
        for key, value in content.items():
            if key in own:
                if _fits(value, hints[own[key].name]):
                    values[key] = tuple(value) if isinstance(value, list) else value
                else:
                    faults.append(f"'{key}' is {brief(value)}, expected {_name(hints[own[key].name])}")
            elif key in cls.refused:
                if value in cls.refused[key]:
                    extra[key] = value
                else:
                    faults.append(f"'{key}' is {brief(value)}; this family implements only {cls.refused[key][0]!r}")
            else:
                extra[key] = value
                if key not in _HARMLESS | cls.harmless:
                    unknown.append(key)
        faults += [
            f"'{name}' is missing"
            for name, f in own.items()
            if name not in content and f.default is MISSING and f.default_factory is MISSING
        ]
        faults += [
            f"'{k}' is {v}, expected more than 0"
            for k, v in values.items()
            if type(v) is int and v <= 0 and not _is_share(hints[own[k].name]) and _counts(own[k].name, own[k].default)
        ]
        faults += [
            f"'{k}' is {v}, expected a token's number"
            for k, v in values.items()
            if k.endswith("_id") and type(v) is int and v < -1  # -1 says in some files that there is none
        ]
        if tensors is not None:
            faults += [
                f"'{k}' is {v}, but {tensors:,} tensors stand in the weights"
                for k, v in values.items()
                if _LAYERS.search(own[k].name) and type(v) is int and v > max(_ALWAYS, tensors)
            ]
        labels = content.get("id2label") or {}
        if not isinstance(labels, dict) or sorted(map(str, labels)) != sorted(map(str, range(len(labels)))):
            faults.append(f'\'id2label\' is {brief(labels)}, expected an object of labels under "0", "1" ...')
        gather(faults, f"{where}: this config can't be used:", ModelError, shown=12)
        with believed(where):
            named = {own[key].name: value for key, value in values.items()}
            return cls(**named, id2label={int(k): str(label) for k, label in labels.items()}, extra=extra), unknown

    @property
    def longest(self) -> int | None:
        """The most tokens that a row may have; None where there is no end."""
        return getattr(self, "max_position_embeddings", None)

    @property
    def decoder_start(self) -> int | None:
        """The token that a decoder's input begins with (`batches.shifted`); None: each row's own last."""
        return getattr(self, "decoder_start_token_id", None)

    @classmethod
    def named(cls) -> dict[str, Any]:
        """The fields by the keys of the file."""
        found = {cls.keys.get(f.name, f.name): f for f in fields(cls) if f.name not in ("extra", "id2label")}
        return {key: f for key, f in found.items() if key is not None}

    def content(self) -> dict[str, Any]:
        """The fields' values by the keys of the file."""
        return {key: getattr(self, f.name) for key, f in self.named().items()}

    def write(self, model_type: str, architecture: str) -> str:
        """The content of a config.json that Hugging Face's own class reads."""
        content = {**self.extra, "model_type": model_type, "architectures": [architecture]}
        # None where None is the default says that there is nothing to say.
        own = self.named()
        content |= {
            key: value for key, value in self.content().items() if value is not None or own[key].default is not None
        }
        if self.id2label:
            content["id2label"] = {str(key): label for key, label in self.id2label.items()}
            content["label2id"] = {label: key for key, label in self.id2label.items()}
        return json.dumps(content, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


_LAYERS = re.compile(r"(^|_)layers?$")
_ALWAYS = 64  # so many layers are believed, for families whose layers share their tensors


def _counts(key: str, default: Any) -> bool:
    """A whole number that has no meaning below 1, as a token's id, the length of a memory, or one whose default is 0 or -1 has."""
    return not key.endswith(("_id", "_len")) and not (type(default) is int and default <= 0)


def _is_share(hint: Any) -> bool:
    """Whether a key is of a number that need not be whole, such as a dropout: 0 is one."""
    return float in (hint, *typing.get_args(hint))


def _code(content: Any, path: str = "", depth: int = 0) -> list[str]:
    """The keys of a config, and of the objects and lists within, that name code to run."""
    if depth > _DEEP:
        return [f"'{path[:100]}' goes deeper than {_DEEP} levels"]
    if isinstance(content, list):
        return [fault for item in content for fault in _code(item, path, depth + 1) if isinstance(item, (dict, list))]
    if not isinstance(content, dict):
        return []
    found = []
    for key, value in content.items():
        if _CODE.fullmatch(key) and not any(value is plain or value == plain for plain in _PLAIN.get(key, ())):
            found.append(f"'{path}{key}' names code to run")
        if isinstance(value, (dict, list)):
            found += _code(value, f"{path}{key}.", depth + 1)
    return found


@contextmanager
def believed(where: str) -> Iterator[None]:
    """What a config says is made within, of shapes alone; where that can't be done, the config is at fault."""
    try:
        yield
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise ModelError(f"{where}: no model can be made of this config ({why})") from error


def _fits(value: Any, annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, UnionType):
        return any(_fits(value, inner) for inner in typing.get_args(annotation))
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(item, typing.get_args(annotation)[0]) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if annotation is NoneType:
        return value is None
    if annotation is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300
    if annotation is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
    return isinstance(value, annotation)


def _name(annotation: Any) -> str:
    return str(getattr(annotation, "__name__", annotation))


@dataclass(frozen=True)
class Family:
    """An architecture, as a table of what it is made of."""

    model_type: str
    about: str  # in a line
    config: type[Config]
    module: Callable[..., nn.Module]  # (config, head kind) -> the module
    heads: Mapping[str, str]  # head kind -> the Hugging Face class that has it; "base" is the model without a head
    rules: "Callable[[Any, str, str], list[Rule]]"  # (config, head kind, prefix) -> one rule per foreign tensor
    prefix: str  # what the foreign names of the base model begin with in the classes that have a head
    initialise: Callable[[nn.Module, Any], None]  # (one module, config): how its own fresh parameters begin
    sizes: Mapping[str, Mapping[str, Any]]  # named sizes, as config keys
    learn: Callable[[nn.Module, Sequence[np.ndarray], Sequence[int]], None] | None = (
        None  # what a fresh model takes from training rows
    )
    paper: str = ""  # who thought of it, and where that stands
    # Our tensors that change when the vocabulary grows: pattern of the whole name -> how; and which of them is the token embedding.
    vocabulary: Mapping[str, Callable[[Growth, Tensor], Tensor]] = field(default_factory=dict)
    embedding: str = ""
    prefixes: Mapping[str, str] = field(default_factory=dict)  # head kind -> prefix, where it is another
    width: str = "hidden_size"  # the config's field of the states' width
    positions: str = "max_position_embeddings"  # the key that makes room for longer rows; "" where none is needed
    aliases: Mapping[str, str] = field(default_factory=dict)  # endings of foreign names in older files -> today's
    ignorable: Sequence[str] = ()  # patterns of foreign names that may stand in a folder and are not read
    widens: str = ""  # the family whose folders this one opens, too, as what they are: parts that those lack add nothing to begin with
    settle: "Callable[[Any, Mapping[str, Tensor]], Any] | None" = (
        None  # (config, a folder's tensors) -> what these say that it is
    )

    def prefix_of(self, kind: str) -> str:
        return "" if kind == "base" else self.prefixes.get(kind, self.prefix)


def heads_fault(family: Family, kind: str) -> str:
    return (
        f"the family '{family.model_type}' has no '{kind}' head; it has: {', '.join(sorted({*family.heads, *GENERIC}))}"
    )
