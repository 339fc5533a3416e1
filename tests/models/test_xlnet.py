"""XLNet beyond the contracts: two streams in any order, memory, padding; equal to transformers."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

import yanmo
from tests.measured import GRADIENTS, PIECES, STATES, TOLERANCE, within
from tests.models.test_contracts import packed, rectangle, tokenizer  # noqa: F401 (a fixture)
from yanmo import models
from yanmo.errors import ModelError
from yanmo.models import hf
from yanmo.text.batches import Run

TINY = {"vocab_size": 67, "d_model": 24, "n_layer": 3, "n_head": 4, "d_inner": 40}
ODD = {"n_head": 3, "clamp_len": 3, "ff_activation": "relu", "tie_word_embeddings": False}
CONFIGS = {
    "plain": {},
    "odd": ODD,
    "short memory": {"mem_len": 4},
    "reused in part": {**ODD, "mem_len": 6, "reuse_len": 5},
    "remembers all": {"mem_len": None, "reuse_len": 3},
}


@pytest.fixture(params=CONFIGS)
def pair(request: pytest.FixtureRequest, tokenizer: Any, tmp_path: Path) -> tuple[Any, Any]:  # noqa: F811
    """A random model of transformers, and ours of the same weights."""
    torch.manual_seed(0)
    theirs = transformers.XLNetLMHeadModel(transformers.XLNetConfig(**{**TINY, **CONFIGS[request.param]})).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    return theirs, yanmo.load(tmp_path).model


def distance(ours: Tensor, expected: Tensor) -> float:
    assert ours.shape == expected.shape
    return float((ours - expected).detach().abs().max())


def close(ours: Tensor, expected: Tensor, what: str = STATES) -> None:
    within("xlnet", "two streams and memory", what, "transformers", distance(ours, expected))


class Orders:
    """Four rows of unequal lengths, of which some tokens are predicted in a random order: as many as told in each row."""

    def __init__(self, counts: tuple[int, ...], seed: int = 0) -> None:
        self.ids, self.mask, self.types = rectangle(67)
        rows, longest = self.ids.shape
        generator = torch.Generator().manual_seed(seed)
        order = torch.zeros(rows, longest, dtype=torch.long)
        for row, count in enumerate(counts):
            chosen = torch.randperm(int(self.mask[row].sum()), generator=generator)[:count]
            order[row, chosen] = torch.arange(1, count + 1)
        self.run = packed(self.ids, self.mask, self.types)
        self.order = self.run.flat(order)
        self.targets = (self.order > 0).nonzero()[:, 0]
        # As transformers wants it: 1 where a token may not see another, and which token each of the queries stands at.
        context = (order[:, None] == 0) & (order[..., None] == 0)
        self.perm = (~((order[:, None] < order[..., None]) | context)).float()
        self.mapping = torch.zeros(rows, max(counts), longest)
        self.known = torch.zeros(rows, max(counts), dtype=torch.bool)
        for row in range(rows):
            for number, place in enumerate((order[row] > 0).nonzero()[:, 0].tolist()):
                self.mapping[row, number, place] = 1
                self.known[row, number] = True

    def theirs(self, model: Any, **more: Any) -> Any:
        return model(
            self.ids,
            attention_mask=self.mask.float(),
            token_type_ids=self.types,
            perm_mask=self.perm,
            target_mapping=self.mapping,
            **more,
        )


@pytest.mark.parametrize("counts", [(1, 1, 0, 1), (3, 7, 0, 2), (6, 11, 0, 6)], ids=str)
def test_any_order_equals_transformers(pair: tuple[Any, Any], counts: tuple[int, ...]) -> None:
    """The query stream, its logits, and the gradient of a loss on them in every parameter."""
    theirs, ours = pair
    asked = Orders(counts)
    expected = asked.theirs(theirs).logits[asked.known]
    found = ours.logits(ours.permuted(asked.run, asked.order, asked.targets))
    close(found, expected)

    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1)) / len(found)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    rules = models.find("xlnet").rules(ours.config, "permutation", "transformer.")
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    own = dict(ours.named_parameters())
    for rule in rules:
        for name, gradient in rule.load(gradients[rule.theirs], {n: p.shape for n, p in own.items()}).items():
            close(own[name].grad, gradient, GRADIENTS)
    assert own["mask"].grad.abs().sum() > 0


def test_a_predicted_token_is_not_seen(pair: tuple[Any, Any]) -> None:
    """No query depends on its own token, nor on those whose turn comes later."""
    asked, ours = Orders((3, 7, 0, 2)), pair[1]
    with torch.no_grad():
        before = ours.permuted(asked.run, asked.order, asked.targets)
        for number, target in enumerate(asked.targets.tolist()):
            ids = asked.run.ids.clone()
            hidden = (asked.order >= asked.order[target]) & (asked.run.row_of == asked.run.row_of[target])
            ids[hidden] = (ids[hidden] + 7) % 67
            after = ours.permuted(Run(ids, asked.run.lengths, asked.run.types), asked.order, asked.targets)
            assert distance(after[number], before[number]) < TOLERANCE
        ids = torch.where(asked.order == 1, (asked.run.ids + 7) % 67, asked.run.ids)
        after = ours.permuted(Run(ids, asked.run.lengths, asked.run.types), asked.order, asked.targets)
        told = (after - before).abs().amax(1) > TOLERANCE
    assert torch.equal(told, asked.order[asked.targets] > 1)  # all whose turn comes later have seen the first


@pytest.mark.parametrize("kinds", [True, False], ids=["segments", "no segments"])
def test_memory_equals_transformers(pair: tuple[Any, Any], kinds: bool) -> None:
    """Four segments, one after the other: states and memories, then two streams with the memory."""
    theirs, ours = pair
    state, memories = ours.state(), None
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for length in (5, 1, 8, 6):
            ids = torch.randint(0, 67, (3, length), generator=generator)
            types = torch.randint(0, 2, (3, length), generator=generator) if kinds else None
            expected = theirs.transformer(ids, token_type_ids=types, mems=memories, use_mems=True)
            run = packed(ids, torch.ones_like(ids), types)
            found = ours.encode(run, state)
            close(found, expected.last_hidden_state.flatten(0, 1))
            memories = expected.mems
            for own, other in zip(state.states, memories, strict=True):
                close(own, other.transpose(0, 1))
        asked = Orders((3, 7, 0, 2))
        rows = torch.tensor([0, 1, 2, 1])
        chosen = state.select(rows)
        expected = asked.theirs(theirs, mems=[memory[:, rows] for memory in memories], use_mems=True)
        found = ours.permuted(asked.run, asked.order, asked.targets, chosen)
        close(ours.logits(found), expected.logits[asked.known])
    assert not any(memory.requires_grad for memory in chosen.states)


def test_memories_of_unequal_lengths(pair: tuple[Any, Any]) -> None:
    """Rows that remember less than others, or nothing, stand in one call with them: as if each were alone."""
    ours = pair[1]
    generator = torch.Generator().manual_seed(4)
    pieces = [
        [torch.randint(0, 67, (n,), generator=generator) for n in row] for row in ((2, 6, 3), (7, 1, 4), (5, 5, 1))
    ]
    with torch.no_grad():
        state, alone = ours.state(), [ours.state() for _ in pieces]
        for step in range(3):
            parts = [row[step] for row in pieces]
            run = Run(torch.cat(parts), tuple(map(len, parts)))
            found = ours.encode(run, state).split(run.lengths)
            for own, part, one in zip(found, parts, alone, strict=True):
                assert distance(own, ours.encode(Run(part, (len(part),)), one)) < TOLERANCE


@pytest.mark.parametrize("key", ["attention_mask", "input_mask"])
def test_padding_on_the_right_changes_nothing(pair: tuple[Any, Any], key: str) -> None:
    theirs, ours = pair
    ids, mask, types = rectangle(67)
    given = mask.float() if key == "attention_mask" else 1 - mask.float()
    with torch.no_grad():
        expected = theirs.transformer(ids, token_type_ids=types, **{key: given}).last_hidden_state
        found = ours.encode(packed(ids, mask, types))
    close(found, expected[mask.bool()])


def test_from_left_to_right(pair: tuple[Any, Any]) -> None:
    """Each next token from those before it: transformers with a dummy at the end and a triangular order; whole, and in pieces."""
    theirs, ours = pair
    ids = torch.randint(0, 67, (2, 9), generator=torch.Generator().manual_seed(5))
    longer = torch.nn.functional.pad(ids, (0, 1))
    perm = torch.ones(10, 10).triu().expand(2, -1, -1)
    mapping = torch.eye(10)[1:].expand(2, -1, -1)
    with torch.no_grad():
        expected = theirs(longer, perm_mask=perm, target_mapping=mapping).logits
        close(ours.logits(ours.decode(Run(ids.flatten(), (9, 9)))), expected.flatten(0, 1))
        if ours.config.mem_len in (4, 6):  # does not cover the row
            return
        state, at = ours.state(), [0, 0]
        for step in ((2, 4), (1, 1), (5, 2), (1, 2)):
            run = Run(torch.cat([ids[row, a : a + n] for row, (a, n) in enumerate(zip(at, step, strict=True))]), step)
            for row, part in enumerate(ours.logits(ours.decode(run, state)).split(step)):
                close(part, expected[row, at[row] : at[row] + step[row]], PIECES)
            at = [a + n for a, n in zip(at, step, strict=True)]
    assert state.lengths == (9, 9)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("attn_type", "uni"),
        ("bi_data", True),
        ("untie_r", False),
        ("summary_type", "mean"),
        ("summary_activation", None),
    ],
)
def test_what_is_not_implemented_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ModelError, match=f"'{key}' is {value!r}"):
        models.find("xlnet").config.read({**TINY, key: value}, "config.json")


def test_a_projection_of_another_shape_is_named(pair: tuple[Any, Any]) -> None:
    rules = models.find("xlnet").rules(pair[1].config, "permutation", "transformer.")
    tensors = hf.save(pair[1], rules)
    tensors["transformer.layer.1.rel_attn.q"] = torch.zeros(24, 2, 5)
    with pytest.raises(ModelError, match=r"layer.1.rel_attn.q: shape \[24, 2, 5\]"):
        hf.load(pair[1], rules, tensors, where="x", ignorable=(), fresh=())
