"""What families with an encoder and a decoder share: the layer, the verbs, and the heads that read the decoder, to which the source itself
is given, shifted (Lewis et al. 2020, section 3.1). A family makes the parts."""

from functools import partial
from typing import Any

from torch import Tensor, nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Memory, answers, language_logits, task_logits
from yanmo.nn.cache import KeyValues
from yanmo.nn.heads import Pooler, RowHead, TokenHead
from yanmo.nn.residual import Residual
from yanmo.text.batches import Batch, Run, shifted

READ_DECODER = ("classify", "span")
HEADS = {  # ours -> what the Hugging Face classes call it
    "classify": {
        "task_head.pool.dense": "classification_head.dense",
        "task_head.output": "classification_head.out_proj",
    },
    "tag": {"task_head.output": "classifier"},
    "span": {"task_head.output": "qa_outputs"},
}


def task_head(config: Config, kind: str, width: int, dropout: float) -> nn.Module | None:
    number = answers(config, kind)
    if kind == "classify":
        return RowHead(width, number, place="last", pool=Pooler(width, dropout=dropout), dropout=dropout)
    if kind == "tag":
        return TokenHead(width, number, dropout=dropout)
    return TokenHead(width, number) if kind == "span" else None


class Layer(nn.Module):
    """One layer, with `cross` a decoder's, which attends to a memory, too: (t, width) -> (t, width)."""

    def __init__(self, attention: Residual, cross: Residual | None, feedforward: Residual) -> None:
        super().__init__()
        self.attention, self.cross, self.feedforward = attention, cross, feedforward

    def forward(
        self,
        x: Tensor,
        run: Run,
        number: int,
        state: KeyValues | None,
        memory: Memory | None,
        bias: Tensor | None = None,
    ) -> Tensor:
        """number: which of the state's layers this is. bias: on the scores of the row to itself."""
        x = self.attention(x, lengths=run.lengths, bias=bias, past=state and partial(state.attend, number))
        if self.cross is not None:
            x = self.cross(x, lengths=run.lengths, memory=memory, recall=state and partial(state.recall, number))
        result: Tensor = self.feedforward(x)
        return result


class EncoderDecoder(nn.Module):
    """Source and target embeddings (one, where there is no other), an encoder, a decoder (None: it has only a head that reads the
    encoder), and a head. Encoder and decoder are called with (embedded tokens, run, state, memory); decoders have `layers`. output_scale:
    of the states that the language-model head reads."""

    def __init__(
        self,
        config: Any,
        head: str,
        *,
        word: nn.Embedding,
        target_word: nn.Embedding | None = None,
        encoder: nn.Module,
        decoder: nn.Module | None,
        language: nn.Module | None,
        task_head: nn.Module | None,
        output_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.config = config
        self.word, self.target_word = word, target_word
        self.encoder, self.decoder = encoder, decoder
        self.language, self.task_head, self.output_scale = language, task_head, output_scale
        self.reads_decoder = head in READ_DECODER  # a head that any family may be given reads the encoder

    @property
    def target(self) -> nn.Embedding:
        return self.word if self.target_word is None else self.target_word

    def encode(self, run: Run) -> Tensor:
        result: Tensor = self.encoder(self.word(run.ids), run, None, None)
        return result

    def state(self, memory: Memory) -> KeyValues:
        """Keeps the memory's keys and values, computed here once."""
        layers: Any = self._decoder.layers
        return KeyValues(len(layers), [layer.cross.part.keep(memory.states) for layer in layers], memory.lengths)

    def decode(self, run: Run, state: KeyValues | None = None, memory: Memory | None = None) -> Tensor:
        if state is not None:
            state.begin(run.lengths, run.ids.device)
        result: Tensor = self._decoder(self.target(run.ids), run, state, memory)
        if state is not None:
            state.end()
        return result

    def hidden(self, batch: Batch) -> Tensor:
        return self.encode(batch.source)

    def logits(self, hidden: Tensor) -> Tensor:
        return language_logits(self.language, hidden * self.output_scale, self.target.weight)

    def head(self, hidden: Tensor, run: Run) -> Tensor:
        if not self.reads_decoder:
            return task_logits(self.task_head, hidden, run)
        said = self.decode(shifted(run, self.config.decoder_start), memory=Memory(hidden, run.lengths))
        return task_logits(self.task_head, said, run, run.last(self.config.eos_token_id))

    @property
    def _decoder(self) -> nn.Module:
        if self.decoder is None:
            raise ModelError("this model has no decoder: it was made to tag; load it with another head")
        return self.decoder
