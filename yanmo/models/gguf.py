"""GGUF's tensor names and metadata -> what a Hugging Face folder of the same model would hold: the only code that knows them.

Weights come back as float32. Llama's rows of q and k, which GGUF keeps in pairs, are put back in halves. What can't be used is a
ModelError.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from yanmo.errors import ModelError, gather
from yanmo.models.gguf_file import SUFFIX, Box, Strings
from yanmo.nn.position import SCALINGS
from yanmo.text import tokenizer_gguf
from yanmo.text.chat import Chat
from yanmo.text.tokenizer import Tokenizer


class Architecture(NamedTuple):
    model_type: str
    name: str  # of the Hugging Face class
    paired: bool  # whether the two numbers that are rotated together stand beside each other


# `general.architecture` -> what it is. Mistral's files call themselves llama.
ARCHITECTURES = {
    "llama": Architecture("llama", "LlamaForCausalLM", True),
    "qwen2": Architecture("qwen2", "Qwen2ForCausalLM", False),
    "qwen3": Architecture("qwen3", "Qwen3ForCausalLM", False),
}
_SLIDING = Architecture("mistral", "MistralForCausalLM", True)  # a llama with a window
_NAMES = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_PARTS = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
# Keys of an architecture that are read below, and those whose other values than these would change the numbers.
_READ = frozenset(
    """
    block_count context_length embedding_length feed_forward_length vocab_size attention.head_count attention.head_count_kv
    attention.key_length attention.value_length attention.layer_norm_rms_epsilon attention.sliding_window rope.dimension_count
    rope.freq_base rope.scaling.type rope.scaling.factor rope.scaling.original_context_length rope.scaling.finetuned
    """.split()  # noqa: SIM905 (a table to read, not a list to type)
)
_ONLY: dict[str, tuple[Any, ...]] = {
    "expert_count": (0,),
    "expert_used_count": (0,),
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "rope.scaling.attn_factor": (0.0, 1.0),
    "logit_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "embedding_scale": (0.0, 1.0),
}
_FREQUENCIES = "rope_freqs.weight"  # the factors by which Llama 3.1 and later slow their waves, instead of four numbers
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}


class File:
    """An open GGUF file. Raises ModelError."""

    def __init__(self, path: Path) -> None:
        self.path, self._box = path, Box(path)
        self.tensors = self._box.tensors
        named = self._get("architecture", str, of="general.")
        if named not in ARCHITECTURES:
            raise ModelError(
                f"{path}: the architecture {named!r} is not one that Yanmo reads from GGUF; known: {', '.join(ARCHITECTURES)}"
            )
        self._own = f"{named}."
        self.architecture = (
            _SLIDING if named == "llama" and self._get("attention.sliding_window", int, 0) else ARCHITECTURES[named]
        )
        if (parts := self._box.values.get("split.count", 0)) not in (0, 1):
            raise ModelError(f"{path}: one of {parts} parts; make them one file first: llama-gguf-split --merge")

    # ---- what it says

    @cached_property
    def content(self) -> dict[str, Any]:
        """What the config.json of the same model would say."""
        embedding, layers = self.tensors.get("token_embd.weight"), self._get("block_count", int)
        if embedding is None or len(embedding.shape) != 2:
            raise ModelError(f"{self.path}: no matrix token_embd.weight, so this is no language model with its weights")
        if layers > len(self.tensors):
            raise ModelError(
                f"{self.path}: {layers:,} layers are promised, but it has only {len(self.tensors):,} tensors"
            )
        faults = [
            f"'{self._own}{key}' is {value!r}; only {values[0]!r} is implemented"
            for key, values in _ONLY.items()
            if (value := self._box.values.get(self._own + key, values[0])) not in values
        ]
        heads, width = self._get("attention.head_count", int), self._get("embedding_length", int)
        if heads < 1 or width < 1:
            faults.append(f"{heads} heads of a width of {width}")
        head = self._get("attention.key_length", int, width // max(1, heads))
        faults += [
            f"'{self._own}{key}' is {other}, but heads have a width of {head}"
            for key in ("attention.value_length", "rope.dimension_count")
            if (other := self._get(key, int, head)) != head
        ]
        window = self._get("attention.sliding_window", int, 0)
        if window and self.architecture is not _SLIDING:
            faults.append(f"'{self._own}attention.sliding_window' is {window}; only llama's is implemented")
        gather(faults, f"{self.path}: this model can't be used:", ModelError)
        found = {
            "model_type": self.architecture.model_type,
            "architectures": [self.architecture.name],
            "vocab_size": embedding.shape[0],
            "hidden_size": width,
            "intermediate_size": self._get("feed_forward_length", int),
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": self._get("attention.head_count_kv", int, heads),
            "head_dim": head,
            "max_position_embeddings": self._get("context_length", int),
            "rms_norm_eps": self._get("attention.layer_norm_rms_epsilon", float),
            "rope_parameters": {"rope_theta": self._get("rope.freq_base", float, 10_000.0), **self._scaling(head)},
            "tie_word_embeddings": "output.weight" not in self.tensors,
            "bos_token_id": self._token("bos"),
            "eos_token_id": self._ends(),
            "pad_token_id": self._token("padding"),
        }
        if window:
            found["sliding_window"] = window
        if self.architecture.model_type != "qwen2":  # which always has them on q, k and v
            found["attention_bias"] = "blk.0.attn_q.bias" in self.tensors
            found["mlp_bias"] = "blk.0.ffn_gate.bias" in self.tensors
        return {key: value for key, value in found.items() if value is not None}

    @property
    def unknown(self) -> list[str]:
        """Keys of the architecture that are not understood."""
        known = {self._own + key for key in _READ | _ONLY.keys()}
        return [key for key in self._box.values if key.startswith(self._own) and key not in known]

    @property
    def parameters(self) -> int:
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    def tokenizer(self) -> Tokenizer:
        """The tokeniser, as the model's own tokenizer.json has it."""
        kind = self._get("model", str, of="tokenizer.ggml.")
        if kind != "gpt2":
            raise ModelError(
                f"{self.path}: a tokeniser of the kind '{kind}' is not read from GGUF; only 'gpt2' (byte-level BPE) is"
            )
        begins, ends = (self._get(f"add_{name}_token", bool, None, of="tokenizer.ggml.") for name in ("bos", "eos"))
        return tokenizer_gguf.build(
            self._strings("tokens"),
            self._strings("merges"),
            self._get("token_type", list, [], of="tokenizer.ggml."),
            self._get("pre", str, "", of="tokenizer.ggml."),
            begin=(begins, self._token("bos")),
            end=(ends, self._token("eos")),
            where=str(self.path),
        )

    def chat(self) -> Chat | None:
        template = self._get("chat_template", str, None, of="tokenizer.")
        if template is None:
            return None
        tokens = self._strings("tokens")
        ids = {f"{short}_token": self._token(name) for short, name in _SPECIAL.items()}
        return Chat(template, {name: tokens[id] for name, id in ids.items() if id is not None})

    def weights(self) -> dict[str, Tensor]:
        """All tensors by their Hugging Face names, float32."""
        self._box.check()
        return {self._foreign(name): self._weight(name) for name in self.tensors if name != _FREQUENCIES}

    # ---- its parts

    def _weight(self, name: str) -> Tensor:
        tensor = torch.from_numpy(self._box.tensor(name))
        part = name.removesuffix(".weight").removesuffix(".bias").rpartition(".")[2]
        if not self.architecture.paired or part not in ("attn_q", "attn_k"):
            return tensor
        heads = self.content["num_attention_heads" if part == "attn_q" else "num_key_value_heads"]
        if len(tensor) != heads * self.content["head_dim"]:
            raise ModelError(f"{self.path}: {name} has {len(tensor):,} rows, but the header says {heads} heads")
        return tensor.view(heads, -1, 2, *tensor.shape[1:]).transpose(1, 2).reshape(tensor.shape)

    @staticmethod
    def _foreign(name: str) -> str:
        """A tensor's Hugging Face name; its own where it has none, which whoever loads it will call unexpected."""
        stem, _, end = name.rpartition(".")
        if stem in _NAMES:
            return f"{_NAMES[stem]}.{end}"
        block, _, rest = stem.partition(".")
        number, _, part = rest.partition(".")
        return f"model.layers.{number}.{_PARTS[part]}.{end}" if block == "blk" and part in _PARTS else name

    def _scaling(self, head: int) -> dict[str, Any]:
        """How waves are slowed for rows longer than those of the training."""
        kind = self._get("rope.scaling.type", str, "none")
        if _FREQUENCIES in self.tensors:
            return self._llama3(head)
        if kind == "none":
            return {"rope_type": "default"}
        if kind not in ("linear", "yarn"):
            raise ModelError(
                f"{self.path}: '{self._own}rope.scaling.type' is '{kind}'; implemented: none, linear, yarn"
            )
        found = {"rope_type": kind, "factor": self._get("rope.scaling.factor", float)}
        if kind == "yarn":
            found["original_max_position_embeddings"] = self._get("rope.scaling.original_context_length", int)
        return found

    def _llama3(self, head: int) -> dict[str, Any]:
        """The four numbers that the factors were made of: all of Llama 3's releases have the same but for the largest factor."""
        self._box.check()
        factors = torch.from_numpy(self._box.tensor(_FREQUENCIES))
        given = {"factor": float(factors.max()), **_LLAMA3}
        speeds = self._get("rope.freq_base", float, 10_000.0) ** (-torch.arange(head // 2) / (head // 2))
        slowed, _ = SCALINGS["llama3"](speeds, 0.0, given)
        if factors.shape != speeds.shape or not torch.allclose(speeds / slowed, factors, rtol=1e-4):
            raise ModelError(
                f"{self.path}: {_FREQUENCIES} slows the waves in a way that is not implemented (Llama 3's is)"
            )
        return {"rope_type": "llama3", **given}

    def _token(self, name: str) -> int | None:
        """The id of a special token."""
        id: int | None = self._get(f"{name}_token_id", int, None, of="tokenizer.ggml.")
        tokens = self._box.values.get("tokenizer.ggml.tokens")
        if id is not None and isinstance(tokens, Strings) and not 0 <= id < tokens.count:
            raise ModelError(f"{self.path}: the {name} token is number {id:,} of {tokens.count:,}")
        return id

    def _ends(self) -> int | list[int] | None:
        """What ends a text, and a turn of a chat where that is another token."""
        ids = list(dict.fromkeys(id for name in ("eos", "eot") if (id := self._token(name)) is not None))
        return ids if len(ids) > 1 else next(iter(ids), None)

    def _strings(self, name: str) -> list[str]:
        self._get(name, Strings, of="tokenizer.ggml.")
        return self._box.strings(f"tokenizer.ggml.{name}")

    def _get(self, key: str, kind: type, *default: Any, of: str | None = None) -> Any:
        """The value of a key of the architecture (or `of` something else); ModelError where it is missing or of another kind."""
        key = (self._own if of is None else of) + key
        if key not in self._box.values and default:
            return default[0]
        value = self._box.values.get(key)
        if type(value) is not kind:
            raise ModelError(f"{self.path}: '{key}' is {str(value)[:80]}, expected {_KINDS.get(kind, kind.__name__)}")
        return value


_SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
_KINDS: Mapping[type, str] = {
    str: "a string",
    int: "a whole number",
    list: "a list of numbers",
    Strings: "a list of strings",
}


def find(path: Path) -> Path | None:
    """The GGUF file that `path` is, or the only one of a folder that is no Hugging Face folder. Raises ModelError for several."""
    if path.is_file():
        return path if path.suffix == SUFFIX else None
    files = [] if (path / "config.json").exists() else sorted(path.glob(f"*{SUFFIX}"))
    if len(files) > 1:
        raise ModelError(
            f"{path}: {len(files)} GGUF files; give one of them: {', '.join(file.name for file in files[:5])}"
        )
    return files[0] if files else None
