"""The contracts that every family keeps, written once and driven by `tests/families.py`."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

import yanmo
from tests.families import CASES, REFERENCES, Case
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.models.base import HEADS, LANGUAGE, Memory
from yanmo.nn.heads import GENERIC
from yanmo.nn.init import shapes_only
from yanmo.text.batches import Batch, Run
from yanmo.text.tokenizer import TokenizerSettings, train

TOLERANCE = 1e-5
CLASSES = {
    "base": "AutoModel",
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "pretrain": "AutoModelForPreTraining",
    "classify": "AutoModelForSequenceClassification",
    "tag": "AutoModelForTokenClassification",
    "span": "AutoModelForQuestionAnswering",
    "next": "AutoModelForNextSentencePrediction",
    "choose": "AutoModelForMultipleChoice",
}
TASKS = [kind for kind in HEADS if kind not in LANGUAGE and kind != "base"]


@pytest.fixture(scope="module")
def tokenizer():
    return train(["a b c d e f g h i j 天 地 玄 黄"], TokenizerSettings(kind="word", vocab=100))


def heads_of(case: Case) -> list[str]:
    return list(case.heads or models.find(case.family).heads)


def with_heads(cases: list[Case], *kinds: str) -> list[Any]:
    """(case, head) for every head of these kinds that the case has."""
    found = [(case, head) for case in cases for head in heads_of(case) if not kinds or head in kinds]
    return [pytest.param(*pair, id=f"{pair[0].id}-{pair[1]}") for pair in found]


def encoders(cases: list[Case]) -> list[Case]:
    return [case for case in cases if "masked" in heads_of(case)]


def decoders(cases: list[Case]) -> list[Case]:
    return [case for case in cases if "causal" in heads_of(case)]


def rectangle(vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, a mask of right padding, and types, for rows of odd lengths (two of them equal, not side by side)."""
    generator = torch.Generator().manual_seed(1)
    lengths = [7, 12, 1, 7]
    mask = torch.tensor([[1] * n + [0] * (12 - n) for n in lengths])
    ids = torch.randint(5, vocabulary, (4, 12), generator=generator) * mask
    types = torch.randint(0, 2, (4, 12), generator=generator)
    return ids, mask, types


def types_of(case: Case, types: Tensor) -> Tensor | None:
    """None for a family with fewer than two kinds of segments."""
    config = models.find(case.family).config.read(case.values, "test")[0]
    return types if getattr(config, "type_vocab_size", 0) > 1 else None


def packed(ids: Tensor, mask: Tensor, types: Tensor | None = None) -> Run:
    keep = mask.bool()
    return Run(ids[keep], tuple(keep.sum(1).tolist()), None if types is None else types[keep])


def reference(case: Case, head: str):
    """A random model of transformers, with every parameter away from its special initial value."""
    torch.manual_seed(0)
    config = getattr(transformers, case.reference)(**case.values, num_labels=2 if head == "span" else 3)
    model = getattr(transformers, CLASSES[head]).from_config(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def answer(model, ids: Tensor, mask: Tensor, types: Tensor | None, head: str) -> Tensor:
    """What transformers says, in the shape of `Engine`."""
    given = {"input_ids": ids, "attention_mask": mask}
    if types is not None:
        given["token_type_ids"] = types
    if head == "choose":  # a row is one choice of one question
        given = {key: tensor[None] for key, tensor in given.items()}
    with torch.no_grad():
        output = model(**given)
    if head in ("classify", "next"):
        return output.logits
    if head == "choose":
        return output.logits.T
    if head == "span":
        values = torch.stack([output.start_logits, output.end_logits], -1)
    elif head == "pretrain":
        values = output.prediction_logits
    else:
        values = output.last_hidden_state if head == "base" else output.logits
    return values * mask[..., None]


@pytest.mark.parametrize(("case", "head"), with_heads(REFERENCES))
def test_equal_both_ways(case: Case, head: str, tokenizer, tmp_path: Path) -> None:
    """Load what transformers saved, give equal numbers; save, and transformers loads equal numbers."""
    theirs = reference(case, head)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs")
    ids, mask, types = rectangle(case.values["vocab_size"])
    types = types_of(case, types)
    expected = answer(theirs, ids, mask, types, head)

    engine = yanmo.load(tmp_path / "theirs")
    assert engine.checkpoint.head == head and not engine.checkpoint.fresh and not engine.checkpoint.unknown
    ours = engine.hidden(ids, mask, types) if head == "base" else engine.logits(ids, mask, types)
    assert (ours - expected).abs().max() < TOLERANCE
    if head == "pretrain":
        run = packed(ids, mask, types)
        follows = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types).seq_relationship_logits
        assert (engine.model.head(engine.model.hidden(Batch(run)), run) - follows).abs().max() < TOLERANCE

    checkpoint.write(tmp_path / "ours", engine.checkpoint)
    again, report = getattr(transformers, CLASSES[head]).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    assert (answer(again.eval(), ids, mask, types, head) - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("case", encoders(REFERENCES), ids=lambda case: case.id)
def test_equal_loss_and_gradients(case: Case, tokenizer, tmp_path: Path) -> None:
    """The training loss at masked positions only, and its gradient, equal those of the full computation."""
    theirs = reference(case, "masked")
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    ids, mask, types = rectangle(case.values["vocab_size"])
    types = types_of(case, types)
    chosen = (torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) < 0.3) & mask.bool()
    labels = torch.where(chosen, ids, -100)
    kinds = {} if types is None else {"token_type_ids": types}
    loss = theirs(input_ids=ids, attention_mask=mask, labels=labels, **kinds).loss
    loss.backward()

    model = yanmo.load(tmp_path).model
    run = packed(ids, mask, types)
    select = chosen[mask.bool()].nonzero().flatten()
    logits = model.logits(model.hidden(Batch(run))[select])
    ours = torch.nn.functional.cross_entropy(logits, run.ids[select])
    ours.backward()
    assert abs(ours.item() - loss.item()) < TOLERANCE
    expected = theirs.get_input_embeddings().weight.grad
    assert (model.embeddings.word.weight.grad - expected).abs().max() < TOLERANCE


def fresh(case: Case, head: str) -> torch.nn.Module:
    torch.manual_seed(0)
    family = models.find(case.family)
    config, unknown = family.config.read({**case.values, "id2label": {"0": "a", "1": "b"}}, "test")
    assert not unknown
    model = checkpoint.create(family, config, head).eval()
    if family.learn:
        rows = [row.numpy() for row in rectangle(case.values["vocab_size"])[0]]
        family.learn(model, rows * 2, special=range(5))
    return model


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_packing_changes_nothing(case: Case) -> None:
    """A row alone, in a packed run of any order, and in a padded rectangle: the same states."""
    model = fresh(case, "base")
    ids, mask, _ = rectangle(case.values["vocab_size"])
    run = packed(ids, mask)
    with torch.no_grad():
        together = model.hidden(Batch(run))
        alone = [model.hidden(Batch(packed(ids[i : i + 1], mask[i : i + 1]))) for i in range(len(ids))]
    assert (together - torch.cat(alone)).abs().max() < TOLERANCE


@pytest.mark.parametrize(("case", "head"), with_heads(CASES, *LANGUAGE, *TASKS))
def test_save_load_equal(case: Case, head: str, tokenizer, tmp_path: Path) -> None:
    model = fresh(case, head)
    opened = Checkpoint(model, models.find(case.family), head, tokenizer)
    checkpoint.write(tmp_path, opened)
    again = checkpoint.load(tmp_path)
    assert again.head == head and again.fresh == []
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.model.state_dict()[name]), name
    assert json.loads((tmp_path / "config.json").read_text())["id2label"] == {"0": "a", "1": "b"}


@pytest.mark.parametrize(("case", "head"), with_heads(CASES, *LANGUAGE, *TASKS))
def test_gradients_reach_every_parameter(case: Case, head: str) -> None:
    model = fresh(case, head)
    ids, mask, types = rectangle(case.values["vocab_size"])
    types = types_of(case, types)
    run = packed(ids, mask, types)
    hidden = model.hidden(Batch(run))
    if head == "seq2seq":
        hidden = model.decode(run, memory=Memory(hidden, run.lengths))
    outputs = [model.logits(hidden)] if head in LANGUAGE else []
    if model.task_head is not None:
        outputs.append(model.head(hidden, run))
    sum((output * torch.randn_like(output)).sum() for output in outputs).backward()
    without = [
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    ]
    # A softmax over keys does not change when all keys shift by the same vector, so this gradient is 0 by algebra.
    # And what a variational latent is drawn by has none where nothing is drawn; its own test trains it.
    assert [name for name in without if not name.endswith("key.bias") and not name.startswith("spread.")] == []


@pytest.mark.parametrize("case", decoders(REFERENCES), ids=lambda case: case.id)
def test_equal_causal_loss_and_gradients(case: Case, tokenizer, tmp_path: Path) -> None:
    """The loss of every next token, and its gradient, equal those of the padded computation."""
    theirs = reference(case, "causal")
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    ids, mask, _ = rectangle(case.values["vocab_size"])
    labels = torch.where(mask.bool(), ids, -100)
    loss = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()

    model = yanmo.load(tmp_path).model
    run = packed(ids, mask)
    told = torch.ones(len(run.ids), dtype=torch.bool)
    told[run.ends] = False  # the last token of a row has no next one
    logits = model.logits(model.hidden(Batch(run))[told])
    ours = torch.nn.functional.cross_entropy(logits, run.ids.roll(-1)[told])
    ours.backward()
    assert abs(ours.item() - loss.item()) < TOLERANCE
    expected = theirs.get_input_embeddings().weight.grad
    assert (model.word.weight.grad - expected).abs().max() < TOLERANCE


@pytest.mark.parametrize("case", decoders(CASES), ids=lambda case: case.id)
def test_decoding_with_a_state_equals_the_full_forward(case: Case) -> None:
    """Rows of unequal lengths, given in pieces of unequal lengths; then one by one; then after a choice of rows, a join, a rewind."""
    model = fresh(case, "causal")
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(5, case.values["vocab_size"], (n,), generator=generator) for n in (9, 14, 14)]

    def full(row: Tensor) -> Tensor:
        return model.hidden(Batch(Run(row, (len(row),))))

    def give(state: Any, pieces: list[Tensor]) -> list[Tensor]:
        run = Run(torch.cat(pieces), tuple(map(len, pieces)))
        return list(model.decode(run, state).split(run.lengths))

    with torch.no_grad():
        expected = [full(row) for row in rows]
        state, found, at = model.state(), [[], [], []], [0, 0, 0]
        for sizes in ((2, 5, 5), (1, 4, 4), (3, 1, 1), (1, 1, 1), (2, 3, 3)):
            pieces = [row[a : a + n] for row, a, n in zip(rows, at, sizes, strict=True)]
            for part, new in zip(found, give(state, pieces), strict=True):
                part.append(new)
            at = [a + n for a, n in zip(at, sizes, strict=True)]
        assert state.length == 14 and state.lengths == (9, 14, 14)
        for part, whole in zip(found, expected, strict=True):
            assert (torch.cat(part) - whole).abs().max() < TOLERANCE

        more = [torch.randint(5, case.values["vocab_size"], (4,), generator=generator) for _ in range(4)]
        after = [
            full(torch.cat([row, new]))[-4:]
            for row, new in zip([rows[2], rows[0], rows[2], rows[1]], more, strict=True)
        ]
        chosen = state.select(torch.tensor([2, 0])).join(state.select(torch.tensor([2, 1])))
        kept = chosen.snapshot()
        give(chosen, [row.flip(0) for row in more])
        chosen.rewind(kept)
        for step in range(4):  # one by one
            for part, whole in zip(give(chosen, [row[step : step + 1] for row in more]), after, strict=True):
                assert (part - whole[step]).abs().max() < TOLERANCE


@pytest.mark.parametrize("kind", GENERIC)
@pytest.mark.parametrize("case", {case.family: case for case in CASES}.values(), ids=lambda case: case.id)
def test_a_head_for_every_family(case: Case, kind: str, tokenizer, tmp_path: Path) -> None:
    """Where a family has no class for a task, a head of our own stands beside it, and the folder still opens in the stock class."""
    torch.manual_seed(0)
    family = models.find(case.family)
    family = replace(family, heads={k: name for k, name in family.heads.items() if k != kind})
    config, _ = family.config.read({**case.values, "id2label": {"0": "a", "1": "b"}}, "test")
    model = checkpoint.create(family, config, kind).eval()
    checkpoint.write(tmp_path, Checkpoint(model, family, kind, tokenizer))
    ids, mask, _ = rectangle(case.values["vocab_size"])
    run = packed(ids, mask)
    with pytest.MonkeyPatch.context() as patch:
        known = models.find
        patch.setattr(models, "find", lambda name: family if name == case.family else known(name))
        again = checkpoint.load(tmp_path)
    assert again.head == kind and not again.fresh
    again.model.eval()
    with torch.no_grad():
        expected = model.head(model.hidden(Batch(run)), run)
        assert torch.equal(again.model.head(again.model.hidden(Batch(run)), run), expected)
    assert expected.shape == (len(ids) if kind == "classify" else len(run.ids), 2)
    assert set(load_file(tmp_path / "heads.safetensors")) == {
        "task_head.output.weight",
        "task_head.output.bias",
    }
    if case.reference:
        report = transformers.AutoModel.from_pretrained(tmp_path, output_loading_info=True)[1]
        assert not report["missing_keys"] and not report["unexpected_keys"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_one_batch_can_be_overfitted(case: Case) -> None:
    model = fresh(case, "classify")
    ids, mask, types = rectangle(case.values["vocab_size"])
    types = types_of(case, types)
    run, labels = packed(ids, mask, types), torch.tensor([0, 1, 1, 0])
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(model.head(model.hidden(Batch(run)), run), labels)
        loss.backward()
        optimiser.step()
    assert float(loss) < 0.02


COUNTS = [  # family, size, other keys, head, published parameters
    ("bert", "base", {"vocab_size": 30522}, "base", 109_482_240),
    (
        "roberta",
        "base",
        {"vocab_size": 50265, "max_position_embeddings": 514},
        "base",
        124_645_632,
    ),
    ("distilbert", "base", {"vocab_size": 30522}, "base", 66_362_880),
    ("gpt2", "base", {"vocab_size": 50257}, "causal", 124_439_808),
    ("llama", "smollm2-135m", {"vocab_size": 49152}, "causal", 134_515_008),
]


@pytest.mark.parametrize(("name", "size", "keys", "head", "count"), COUNTS, ids=lambda value: str(value)[:12])
def test_parameter_counts(name: str, size: str, keys: dict[str, Any], head: str, count: int) -> None:
    """The published size, computed without allocating a byte."""
    family = models.find(name)
    config, _ = family.config.read({**keys, **family.sizes[size]}, "test")
    with shapes_only():
        model = family.module(config, head)
    assert sum(p.numel() for p in model.parameters()) == count


def test_real_weights(minilm: Path, tmp_path: Path) -> None:
    """all-MiniLM-L6-v2: hidden states equal to transformers' on real sentences, both ways."""
    sentences = ["A short one.", "The quick brown fox jumps over the lazy dog, and then over another one.", "研磨 ink"]
    tokens = transformers.AutoTokenizer.from_pretrained(minilm)(sentences, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = transformers.AutoModel.from_pretrained(minilm).eval()(**tokens).last_hidden_state
    expected = expected * tokens.attention_mask[..., None]
    engine = yanmo.load(minilm)
    ours = engine.hidden(tokens.input_ids, tokens.attention_mask, tokens.token_type_ids)
    assert (ours - expected).abs().max() < TOLERANCE

    checkpoint.write(tmp_path, engine.checkpoint)
    again = transformers.AutoModel.from_pretrained(tmp_path).eval()
    same_tokens = transformers.AutoTokenizer.from_pretrained(tmp_path)(sentences, padding=True, return_tensors="pt")
    assert torch.equal(same_tokens.input_ids, tokens.input_ids)
    with torch.no_grad():
        back = again(**tokens).last_hidden_state * tokens.attention_mask[..., None]
    assert (back - expected).abs().max() < TOLERANCE
