"""Text autoencoder: any encoding part and any decoding part, and between them one vector a text.

The encoder's states are averaged and turned into a latent of a given width, from which the decoder writes the text again: as what it
attends to where it has cross-attention, else added to its word embeddings (the two ways of Li et al. 2020,
https://arxiv.org/abs/2004.04092). Variational (Bowman et al. 2016, https://arxiv.org/abs/1511.06349): the latent is drawn round its
mean in training, and a loss keeps it near the standard normal. What corrupts the text that is read (denoising) is the objective's business.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from yanmo import models
from yanmo.errors import ModelError, gather
from yanmo.models.base import Config, Family, Memory, task_logits
from yanmo.models.hf import Rule, Same
from yanmo.nn import init
from yanmo.nn.embedding import Growth
from yanmo.nn.linear import Linear
from yanmo.text.batches import Batch, Run


@dataclass(frozen=True, kw_only=True)
class AutoencoderConfig(Config):
    vocab_size: int
    encoder: dict[
        str, Any
    ]  # a config of a family that reads, with its model_type; vocabulary and positions are those here
    decoder: dict[str, Any]  # of one that writes
    latent_size: int = 64
    variational: bool = False
    max_position_embeddings: int = 512
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        faults = []
        for name, fits in (("encoder", _reads), ("decoder", _writes)):
            try:
                family, _ = self.part(name)
                if fits(family) is None:
                    raise ModelError(
                        f"'{family.model_type}' {'reads' if name == 'encoder' else 'writes'} no text by itself"
                    )
            except ModelError as error:
                faults.append(f"{name}: {error}")
        gather(faults, "these parts make no autoencoder:", ModelError)

    def part(self, name: str) -> tuple[Family, Config]:
        """The family and config of "encoder" or "decoder"."""
        content = dict(getattr(self, name))
        family = models.find(str(content.pop("model_type", None)))
        if family.model_type == MODEL_TYPE:
            raise ModelError("an autoencoder is no part of an autoencoder")
        room = {family.positions: self.max_position_embeddings} if family.positions else {}
        config, unknown = family.config.read({**content, **room, "vocab_size": self.vocab_size}, family.model_type)
        gather([f"'{key}' is not a key of '{family.model_type}'" for key in unknown], "unknown keys:", ModelError)
        return family, config

    @property
    def hidden_size(self) -> int:
        family, config = self.part("encoder")
        width: int = getattr(config, family.width)
        return width

    @property
    def longest(self) -> int | None:
        ends = [config.longest for _, config in (self.part("encoder"), self.part("decoder"))]
        return min((end for end in ends if end is not None), default=None)


MODEL_TYPE = "yanmo-autoencoder"


def _reads(family: Family) -> str | None:
    """The head kind of a module that has all that its states need and no more; None for a family that has no such."""
    return "tag" if "tag" in family.heads else None if "seq2seq" in family.heads else "base"


def _writes(family: Family) -> str | None:
    return next((kind for kind in ("causal", "seq2seq") if kind in family.heads), None)


class Latent(NamedTuple):
    """What a text becomes: (rows, latent). `spread` is the logarithm of the variance; None where nothing is drawn."""

    mean: Tensor
    spread: Tensor | None

    def drawn(self) -> Tensor:
        """A vector a row, from torch's generator (Kingma and Welling 2014, section 2.4)."""
        if self.spread is None:
            return self.mean
        return self.mean + torch.randn_like(self.mean) * (0.5 * self.spread).exp()

    def divergence(self) -> Tensor:
        """(rows, latent) nats by which each dimension is away from the standard normal; 0 where nothing is drawn."""
        if self.spread is None:
            return torch.zeros_like(self.mean)
        return 0.5 * (self.mean.square() + self.spread.exp() - 1 - self.spread)


@dataclass
class AutoencoderState:
    """The decoding part's state, and the latent of each row."""

    latent: Tensor  # (rows, latent)
    inner: Any

    @property
    def length(self) -> int:
        return int(self.inner.length)

    @property
    def lengths(self) -> tuple[int, ...]:
        found: tuple[int, ...] = self.inner.lengths
        return found

    def select(self, rows: Tensor) -> Self:
        return type(self)(self.latent[rows], self.inner.select(rows))

    def join(self, other: Self) -> Self:
        return type(self)(torch.cat([self.latent, other.latent]), self.inner.join(other.inner))

    def snapshot(self) -> Any:
        return self.inner.snapshot()

    def rewind(self, snapshot: Any) -> None:
        self.inner.rewind(snapshot)


class Autoencoder(nn.Module):
    """An encoding part, a latent, a decoding part; "seq2seq" writes, "base" only reads."""

    def __init__(self, config: AutoencoderConfig, head: str) -> None:
        super().__init__()
        self.config = config
        family, own = config.part("encoder")
        reader: Any = family.module(own, str(_reads(family)))
        reader.task_head = None
        self.encoder: Any = reader
        self.mean = Linear(config.hidden_size, config.latent_size)
        self.spread = Linear(config.hidden_size, config.latent_size) if config.variational else None
        self.decoder: Any = None
        self.task_head: nn.Module | None = None
        if head == "seq2seq":
            family, own = config.part("decoder")
            kind = _writes(family)
            self.attends = kind == "seq2seq"
            self.decoder = family.module(own, str(kind))
            self.embedding = family.embedding.removesuffix(".weight")
            self.opening = Linear(config.latent_size, getattr(own, family.width))

    def encode(self, run: Run) -> Tensor:
        result: Tensor = self.encoder.hidden(Batch(run))
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def latent(self, memory: Memory) -> Latent:
        """What the encoder's states come to."""
        sizes = torch.tensor(memory.lengths, device=memory.states.device)
        average = torch.segment_reduce(memory.states, "mean", lengths=sizes)
        spread = None if self.spread is None else self.spread(average)
        return Latent(self.mean(average), spread)

    def embed(self, run: Run) -> Tensor:
        """One vector a text: (rows, latent)."""
        return self.latent(Memory(self.encode(run), run.lengths)).mean

    def state(self, memory: Memory | None = None, *, latent: Tensor | None = None) -> AutoencoderState:
        """To write from what was read, or from any vectors (rows, latent)."""
        if latent is None:
            assert memory is not None, "a memory or a latent"  # noqa: S101
            latent = self.latent(memory).mean
        inner = self.decoder.state(self._memory(latent)) if self.attends else self.decoder.state()
        return AutoencoderState(latent, inner)

    def decode(
        self,
        run: Run,
        state: AutoencoderState | None = None,
        memory: Memory | None = None,
        latent: Tensor | None = None,
    ) -> Tensor:
        """latent: (rows, latent) to write from instead of a memory, such as one that was drawn."""
        if state is not None:
            latent = state.latent
        elif latent is None:
            assert memory is not None, "a state, a memory or a latent"  # noqa: S101
            read = self.latent(memory)
            latent = read.drawn() if self.training else read.mean
        inner = None if state is None else state.inner
        if self.attends:
            given = {} if inner is not None else {"memory": self._memory(latent)}
            result: Tensor = self.decoder.decode(run, inner, **given)
        else:
            with _added(self.decoder.get_submodule(self.embedding), self.opening(latent)[run.row_of]):
                result = self.decoder.decode(run, inner)
        return result

    def logits(self, hidden: Tensor) -> Tensor:
        if self.decoder is None:
            raise ModelError("this model only reads; pre-train it, or load a folder that has its decoder")
        result: Tensor = self.decoder.logits(hidden)
        return result

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        return task_logits(self.task_head, hidden, run)

    def _memory(self, latent: Tensor) -> Memory:
        return Memory(self.opening(latent), (1,) * len(latent))


@contextmanager
def _added(embedding: nn.Module, vectors: Tensor) -> Iterator[None]:
    """What an embedding gives within has these (t, width) added."""
    hook = embedding.register_forward_hook(lambda module, given, found: found + vectors)
    try:
        yield
    finally:
        hook.remove()


def interpolate(first: Tensor, last: Tensor, steps: int) -> Tensor:
    """The latents on the way from one text's (latent,) to another's: (steps, latent), both ends among them."""
    shares = torch.linspace(0, 1, steps, device=first.device)[:, None]
    return first + shares * (last - first)


def rules(config: AutoencoderConfig, head: str, prefix: str) -> list[Rule]:
    """The names on disk are our own."""
    with init.shapes_only():
        return [Same(name, name) for name in Autoencoder(config, head).state_dict()]


def initialise(module: nn.Module, config: AutoencoderConfig) -> None:
    """Each part as its family says; the layers round the latent as BERT's."""
    if not isinstance(module, Autoencoder):
        init.normal(module, config.initializer_range)
        return
    for name, part in (("encoder", module.encoder), ("decoder", module.decoder)):
        if part is not None:
            family, own = config.part(name)
            for inner in reversed(list(part.modules())):
                family.initialise(inner, own)


def _size(reader: str, writer: str, size: str, latent: int) -> dict[str, Any]:
    parts = {
        name: {"model_type": kind, **models.find(kind).sizes[size]}
        for name, kind in (("encoder", reader), ("decoder", writer))
    }
    return {**parts, "latent_size": latent}


FAMILY = Family(
    model_type=MODEL_TYPE,
    about="any encoder and any decoder with one vector a text between them: reconstructs, interpolates, embeds",
    paper="Bowman et al. 2016, https://arxiv.org/abs/1511.06349; Li et al. 2020, https://arxiv.org/abs/2004.04092",
    config=AutoencoderConfig,
    module=Autoencoder,
    heads={"base": "YanmoAutoencoderModel", "seq2seq": "YanmoAutoencoderForConditionalGeneration"},
    rules=rules,
    prefix="",
    initialise=initialise,
    sizes={
        "tiny": _size("bert", "gpt2", "tiny", 32),
        "mini": _size("bert", "gpt2", "mini", 64),
        "small": _size("bert", "llama", "small", 128),
    },
    vocabulary={
        r"(encoder|decoder)\.(embeddings\.)?word\.weight|decoder\.language\.(.*\.)?(bias|output\.weight)": Growth.rows
    },
    embedding="encoder.embeddings.word.weight",
    ignorable=(r"(decoder|opening|spread)\..*",),
)
