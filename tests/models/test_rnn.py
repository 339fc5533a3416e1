"""LSTM and GRU: what the contracts of all families do not say."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import yanmo
from tests.measured import PIECES, STATES, within
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.errors import ModelError
from yanmo.models.base import Memory
from yanmo.models.rnn import FAMILY
from yanmo.text.batches import Batch, Run
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train

ORACLE = "torch's cells, and loops of the papers' equations"
SMALL = {"vocab_size": 40, "hidden_size": 12, "num_hidden_layers": 2, "embedding_size": 8}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train(["a b c d e f g h i j 天 地 玄 黄"], TokenizerSettings(kind="word", vocab=100))


def made(head: str, **keys: object) -> nn.Module:
    torch.manual_seed(0)
    config, unknown = FAMILY.config.read({**SMALL, "id2label": {"0": "a", "1": "b"}, **keys}, "test")
    assert not unknown
    model = checkpoint.create(FAMILY, config, head).eval()
    with torch.no_grad():  # fresh states are so small that a wrong one would be near the right one
        for parameter in model.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
    return model


def run(*lengths: int, seed: int = 0) -> Run:
    ids = torch.randint(5, 40, (sum(lengths),), generator=torch.Generator().manual_seed(seed))
    return Run(ids, lengths)


def stacked(model: nn.Module, part: str, row: Tensor, begin: list[Tensor] | None = None) -> Tensor:
    """All layers of torch's own cells over one row."""
    for number, layer in enumerate(model.get_submodule(part).layers):
        found = []
        for n, cell in enumerate(layer):
            h = None if begin is None else begin[number][None]
            state = (h, torch.zeros_like(h)) if h is not None and isinstance(cell, nn.LSTM) else h
            found.append((cell(row.flip(0), state)[0].flip(0)) if n else cell(row, state)[0])
        row = torch.cat(found, -1)
    return row


def test_a_language_model() -> None:
    model, given = made("causal"), run(5, 9)
    expected = [stacked(model, "rnn", model.word(ids)) for ids in given.ids.split(given.lengths)]
    hidden = model.decode(given)
    within("yanmo-rnn", "odd", STATES, ORACLE, hidden - torch.cat(expected))
    head = model.language
    logits = torch.cat(expected) @ head.projection.weight.t() @ model.word.weight.t() + head.head.bias
    within("yanmo-rnn", "odd", STATES, ORACLE, model.logits(hidden) - logits)


@pytest.mark.parametrize("bidirectional", [False, True])
def test_classification(bidirectional: bool) -> None:
    """By the last token, which has seen the row; in both directions by the maximum over the row."""
    model, given = made("classify", bidirectional=bidirectional), run(5, 9, 1)
    rows = [stacked(model, "rnn", model.word(ids)) for ids in given.ids.split(given.lengths)]
    pooled = torch.stack([row.max(0).values if bidirectional else row[-1] for row in rows])
    expected = model.task_head.output(pooled)
    within("yanmo-rnn", "odd", STATES, ORACLE, model.head(model.hidden(Batch(given)), given) - expected)


SEQ2SEQ = [{}, {"cell": "gru", "bidirectional": True}, {"bidirectional": True, "num_hidden_layers": 1}]


@pytest.mark.parametrize("keys", SEQ2SEQ, ids=str)
def test_an_encoder_decoder(keys: dict[str, object]) -> None:
    model, source, target = made("seq2seq", **keys), run(4, 7, 1), run(6, 2, 3, seed=1)
    expected = []
    for one, two in zip(source.ids.split(source.lengths), target.ids.split(target.lengths), strict=True):
        memory = stacked(model, "rnn", model.word(one))
        last = torch.cat([memory[-1, :6], memory[0, 6:]]) if "bidirectional" in keys else memory[-1]
        begin = [part[None] for part in model.first(last).tanh().split(12)]
        states = stacked(model, "decoder", model.word(two)[:, None], begin)[:, 0]
        for h in states:
            share = (memory @ model.attention.key.weight.t() @ h).softmax(0)
            expected.append(model.attention.mix(torch.cat([share @ memory, h])).tanh())
    found = model.decode(target, memory=Memory(model.encode(source), source.lengths))
    within("yanmo-rnn", "odd", STATES, ORACLE, found - torch.stack(expected))


@pytest.mark.parametrize("keys", SEQ2SEQ, ids=str)
@torch.no_grad()
def test_decoding_beside_a_memory(keys: dict[str, object]) -> None:
    """Pieces of unequal lengths; a choice of rows; a join with memories of other lengths; a rewind."""
    model, source, target = made("seq2seq", **keys), run(4, 7, 2), run(6, 4, 5, seed=1)
    rows = list(target.ids.split(target.lengths))
    memory = Memory(model.encode(source), source.lengths)
    expected = list(model.decode(target, memory=memory).split(target.lengths))

    def give(state: object, pieces: list[Tensor]) -> list[Tensor]:
        given = Run(torch.cat(pieces), tuple(map(len, pieces)))
        return list(model.decode(given, state).split(given.lengths))

    state = model.state(memory)
    assert state.lengths == (0, 0, 0)
    first = give(state, [row[:n] for row, n in zip(rows, (3, 1, 2), strict=True)])
    kept = state.snapshot()
    give(state, [row.flip(0) for row in rows])
    state.rewind(kept)
    second = give(state, [row[n:] for row, n in zip(rows, (3, 1, 2), strict=True)])
    for one, two, whole in zip(first, second, expected, strict=True):
        within("yanmo-rnn", "beside a memory", PIECES, ORACLE, torch.cat([one, two]) - whole)
    assert state.lengths == (6, 4, 5)

    other = run(9, seed=2)
    longer = model.state(Memory(model.encode(other), other.lengths))
    whole = model.decode(Run(rows[1], (4,)), memory=Memory(model.encode(other), other.lengths))
    begun = model.state(memory).select(torch.tensor([2, 0, 2]))
    for both, order in ((begun.join(longer), (0, 1, 2, 3)), (longer.join(begun), (1, 2, 3, 0))):
        answers = [expected[2], expected[0], expected[2], whole]
        given = [rows[2], rows[0], rows[2], rows[1]]
        at = sorted(range(4), key=lambda n: order[n])
        found = give(both, [given[n][:2] for n in at])
        more = give(both, [given[n][2:] for n in at])
        for n, one, two in zip(at, found, more, strict=True):
            within("yanmo-rnn", "beside a memory", PIECES, ORACLE, torch.cat([one, two]) - answers[n])


def test_an_encoder_decoder_learns_to_reverse() -> None:
    """What only attention and a good first state can do; gradients reach every parameter on the way."""
    keys = {"hidden_size": 64, "embedding_size": 32, "num_hidden_layers": 1, "bidirectional": True}
    torch.manual_seed(0)
    model = checkpoint.create(FAMILY, FAMILY.config.read({**SMALL, **keys}, "test")[0], "seq2seq").eval()
    source = run(5, 3, 6, 5, 4, 6)
    reverse = torch.cat([ids.flip(0) for ids in source.ids.split(source.lengths)])
    given = torch.cat([torch.cat([torch.tensor([2]), ids.flip(0)[:-1]]) for ids in source.ids.split(source.lengths)])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(80):
        optimiser.zero_grad()
        hidden = model.decode(Run(given, source.lengths), memory=Memory(model.encode(source), source.lengths))
        loss = nn.functional.cross_entropy(model.logits(hidden), reverse)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.05
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("head", "keys"), [("causal", {}), ("classify", {"bidirectional": True}), ("seq2seq", {"cell": "gru"})]
)
def test_a_loaded_model_answers_as_it_did(
    head: str, keys: dict[str, object], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Not just equal tensors: torch's cells keep a list of their weights beside them."""
    model = made(head, **keys)
    checkpoint.write(tmp_path, Checkpoint(model, FAMILY, head, tokenizer))
    again = yanmo.load(tmp_path).model
    assert torch.equal(again.hidden(Batch(run(5, 3))), model.hidden(Batch(run(5, 3))))


@pytest.mark.parametrize("head", ["causal", "seq2seq"])
def test_another_head_keeps_the_encoder(head: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = made(head)
    checkpoint.write(tmp_path, Checkpoint(model, FAMILY, head, tokenizer))
    opened = checkpoint.load(tmp_path, head="classify", labels=["x", "y", "z"])
    assert opened.fresh == ["task_head.output.weight", "task_head.output.bias"]
    found = opened.model.eval().hidden(Batch(run(5, 3)))
    assert torch.equal(found, model.hidden(Batch(run(5, 3))))


def test_dropout_is_the_same_at_all_steps() -> None:
    model = made("base", output_dropout=0.5, embedding_dropout=0.0, hidden_dropout=0.0).train()
    for row in model.hidden(Batch(run(6, 6, 4))).split((6, 6, 4)):
        assert torch.equal(row == 0, (row[:1] == 0).expand_as(row)) and (row == 0).any()


@pytest.mark.parametrize(
    ("head", "keys", "message"),
    [
        ("causal", {"bidirectional": True}, "set bidirectional to false"),
        ("base", {"cell": "rnn"}, "cell 'rnn' is not known; known: lstm, gru"),
        ("base", {"bidirectional": True, "hidden_size": 13}, "hidden_size 13 is odd"),
    ],
)
def test_faults(head: str, keys: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        made(head, **keys)


def test_a_decoder_without_a_memory() -> None:
    with pytest.raises(ValueError, match="looks at a memory"):
        made("seq2seq").decode(run(3))


def test_sizes() -> None:
    for size in FAMILY.sizes:
        settings = models.ModelSettings(family="yanmo-rnn", size=size)
        models.configure(settings, 600, vocab_size=100)
