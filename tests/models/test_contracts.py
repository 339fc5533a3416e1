"""The contracts that every family keeps, written once and driven by `tests/families.py`."""

import json
import math
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
from tests.measured import GRADIENTS, LOSS, PIECES, STATES, TOLERANCE, counted, within
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.models.base import HEADS, LANGUAGE, Memory
from yanmo.nn.heads import GENERIC
from yanmo.nn.init import shapes_only
from yanmo.text.batches import Batch, Run, shifted
from yanmo.text.tokenizer import TokenizerSettings, train

CLASSES = {
    "base": "AutoModel",
    "masked": "AutoModelForMaskedLM",
    "causal": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "permutation": "AutoModelForCausalLM",
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


def pairs(cases: list[Case]) -> list[Case]:
    return [case for case in cases if "seq2seq" in heads_of(case)]


def rectangle(vocabulary: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, a mask of right padding, and types, for rows of odd lengths (two of them equal, not side by side)."""
    generator = torch.Generator().manual_seed(1)
    lengths = [7, 12, 1, 7]
    mask = torch.tensor([[1] * n + [0] * (12 - n) for n in lengths])
    ids = torch.randint(5, vocabulary, (4, 12), generator=generator) * mask
    types = torch.randint(0, 2, (4, 12), generator=generator)
    return ids, mask, types


def targets(vocabulary: int) -> tuple[Tensor, Tensor]:
    """Ids and a mask for the target rows that stand beside `rectangle`'s, of other lengths."""
    mask = torch.tensor([[1] * n + [0] * (9 - n) for n in (9, 3, 5, 1)])
    return torch.randint(5, vocabulary, (4, 9), generator=torch.Generator().manual_seed(5)) * mask, mask


def ended(ids: Tensor, mask: Tensor, config: Any) -> Tensor:
    """The rows of an encoder-decoder's source as its heads expect them: with the end of a text, and its own padding behind it."""
    ids = ids.clone()
    ids[torch.arange(len(ids)), mask.sum(1) - 1] = config.eos_token_id
    return ids.masked_fill(mask == 0, config.pad_token_id)


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
    output = model.get_output_embeddings()
    if case.values.get("tie_word_embeddings") is False and output is not None:  # T5's it ties whatever the config says
        output.weight = torch.nn.Parameter(output.weight.detach().clone())
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    learned += [buffer for name, buffer in model.named_buffers() if name == "final_logits_bias"]
    with torch.no_grad():
        for tensor in learned:
            tensor.add_(0.1 * torch.randn_like(tensor))
    return model


def answer(model, ids: Tensor, mask: Tensor, types: Tensor | None, head: str) -> Tensor:
    """What transformers says, in the shape of `Engine`."""
    given = {"input_ids": ids, "attention_mask": mask}
    if types is not None:
        given["token_type_ids"] = types
    left = (
        model.config.model_type == "xlnet"
    )  # it takes the last column for the last token, so its padding stands on the left
    given = {key: turned(tensor, mask, 1) for key, tensor in given.items()} if left else given
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
    return (turned(values, mask, -1) if left else values) * mask[..., None]


def turned(rectangle: Tensor, mask: Tensor, way: int) -> Tensor:
    """With each row's padding on its left (1), or back on its right (-1)."""
    return torch.stack([row.roll(way * int((1 - keep).sum()), 0) for row, keep in zip(rectangle, mask, strict=True)])


SPOKEN = with_heads(pairs(REFERENCES), "base", "seq2seq")  # what needs a target


@pytest.mark.parametrize(("case", "head"), [p for p in with_heads(REFERENCES) if p.id not in {s.id for s in SPOKEN}])
def test_equal_both_ways(case: Case, head: str, tokenizer, tmp_path: Path) -> None:
    """Load what transformers saved, give equal numbers; save, and transformers loads equal numbers."""
    theirs = reference(case, head)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs")
    ids, mask, types = rectangle(case.values["vocab_size"])
    types = types_of(case, types)
    if case in pairs(REFERENCES):
        ids = ended(ids, mask, theirs.config)
    expected = answer(theirs, ids, mask, types, head)

    engine = yanmo.load(tmp_path / "theirs")
    assert engine.checkpoint.head == head and not engine.checkpoint.fresh and not engine.checkpoint.unknown
    ours = engine.hidden(ids, mask, types) if head == "base" else engine.logits(ids, mask, types)
    within(case.family, case.name, STATES, "transformers", ours - expected)
    if head == "pretrain":
        run = packed(ids, mask, types)
        follows = theirs(input_ids=ids, attention_mask=mask, token_type_ids=types).seq_relationship_logits
        within(
            case.family,
            case.name,
            STATES,
            "transformers",
            engine.model.head(engine.model.hidden(Batch(run)), run) - follows,
        )

    checkpoint.write(tmp_path / "ours", engine.checkpoint)
    again, report = getattr(transformers, CLASSES[head]).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    within(case.family, case.name, STATES, "transformers", answer(again.eval(), ids, mask, types, head) - expected)


@pytest.mark.parametrize(("case", "head"), SPOKEN)
def test_pairs_equal_both_ways(case: Case, head: str, tokenizer, tmp_path: Path) -> None:
    """The same with a target: the encoder's states, and the decoder's or what they say."""
    theirs = reference(case, head)
    theirs.save_pretrained(tmp_path / "theirs")
    tokenizer.save(tmp_path / "theirs")
    ids, mask, _ = rectangle(case.values["vocab_size"])
    target, target_mask = targets(case.values["vocab_size"])

    def said(model) -> Tensor:
        with torch.no_grad():
            output = model(input_ids=ids, attention_mask=mask, decoder_input_ids=target)
        return output.last_hidden_state if head == "base" else output.logits

    expected = said(theirs)
    engine = yanmo.load(tmp_path / "theirs")
    assert engine.checkpoint.head == head and not engine.checkpoint.fresh and not engine.checkpoint.unknown
    states = theirs.get_encoder()(input_ids=ids, attention_mask=mask).last_hidden_state * mask[..., None]
    within(case.family, case.name, STATES, "transformers", engine.hidden(ids, mask) - states)
    if head == "seq2seq":
        within(case.family, case.name, STATES, "transformers", engine.logits(ids, mask, decoder_ids=target) - expected)
    source, run = packed(ids, mask), packed(target, target_mask)
    with torch.no_grad():
        ours = engine.model.decode(run, memory=Memory(engine.model.encode(source), source.lengths))
        ours = ours if head == "base" else engine.model.logits(ours)
    within(case.family, case.name, STATES, "transformers", ours - expected[target_mask.bool()])

    checkpoint.write(tmp_path / "ours", engine.checkpoint)
    again, report = getattr(transformers, CLASSES[head]).from_pretrained(tmp_path / "ours", output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"] and not report["mismatched_keys"]
    within(case.family, case.name, STATES, "transformers", said(again.eval()) - expected)


@pytest.mark.parametrize("case", pairs(REFERENCES), ids=lambda case: case.id)
def test_equal_loss_and_gradients_of_a_target(case: Case, tokenizer, tmp_path: Path) -> None:
    """The loss of a target, shifted as transformers shifts it, and the gradients of all parameters."""
    theirs = reference(case, "seq2seq")
    theirs.save_pretrained(tmp_path)
    tokenizer.save(tmp_path)
    ids, mask, _ = rectangle(case.values["vocab_size"])
    target, target_mask = targets(case.values["vocab_size"])
    loss = theirs(input_ids=ids, attention_mask=mask, labels=torch.where(target_mask.bool(), target, -100)).loss
    loss.backward()

    opened = checkpoint.load(tmp_path)
    model, source, run = opened.model.eval(), packed(ids, mask), packed(target, target_mask)
    memory = Memory(model.encode(source), source.lengths)
    logits = model.logits(model.decode(shifted(run, opened.config.decoder_start), memory=memory))
    ours = torch.nn.functional.cross_entropy(logits, run.ids)
    ours.backward()
    within(case.family, case.name, LOSS, "transformers", ours.item() - loss.item())
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    expected = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    rules = {
        rule.theirs: rule for rule in opened.family.rules(opened.config, "seq2seq", opened.family.prefix_of("seq2seq"))
    }
    assert expected.keys() <= rules.keys()
    for name, gradient in expected.items():
        within(case.family, case.name, GRADIENTS, "transformers", rules[name].save(found) - gradient)


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
    within(case.family, case.name, LOSS, "transformers", ours.item() - loss.item())
    expected = theirs.get_input_embeddings().weight.grad
    within(case.family, case.name, GRADIENTS, "transformers", model.embeddings.word.weight.grad - expected)


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


@pytest.mark.parametrize("case", pairs(CASES), ids=lambda case: case.id)
def test_packing_pairs_changes_nothing(case: Case) -> None:
    model = fresh(case, "seq2seq")
    (ids, mask, _), (target, target_mask) = rectangle(case.values["vocab_size"]), targets(case.values["vocab_size"])

    def decode(rows: slice) -> Tensor:
        source = packed(ids[rows], mask[rows])
        return model.decode(
            packed(target[rows], target_mask[rows]), memory=Memory(model.encode(source), source.lengths)
        )

    with torch.no_grad():
        together, alone = decode(slice(None)), [decode(slice(i, i + 1)) for i in range(len(ids))]
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
    # A softmax over keys does not change when all keys shift by the same vector, so this gradient is 0 by algebra. What a variational
    # latent is drawn by has none where nothing is drawn, nor has what XLNet's query stream begins as, nor the matrix of n-grams whose
    # vectors begin at 0; their own tests train these.
    elsewhere = ("key.bias", "spread.weight", "spread.bias", "mask", "more.projection.weight")
    assert [name for name in without if not name.endswith(elsewhere)] == []


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
    within(case.family, case.name, LOSS, "transformers", ours.item() - loss.item())
    expected = theirs.get_input_embeddings().weight.grad
    within(case.family, case.name, GRADIENTS, "transformers", model.word.weight.grad - expected)


@pytest.mark.parametrize(("case", "head"), with_heads(CASES, "causal", "seq2seq"))
def test_decoding_with_a_state_equals_the_full_forward(case: Case, head: str) -> None:
    """Rows of unequal lengths, given in pieces of unequal lengths; then one by one; then after a choice of rows, a join, a rewind. An
    encoder-decoder's have sources of unequal lengths, too."""
    model = fresh(case, head)
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(5, case.values["vocab_size"], (n,), generator=generator) for n in (9, 14, 14)]
    sources = [torch.randint(5, case.values["vocab_size"], (n,), generator=generator) for n in (4, 11, 2)]

    def memory(*numbers: int) -> dict[str, Memory]:
        source = Run(torch.cat([sources[i] for i in numbers]), tuple(len(sources[i]) for i in numbers))
        return {"memory": Memory(model.encode(source), source.lengths)} if head == "seq2seq" else {}

    def full(row: Tensor, number: int) -> Tensor:
        return model.decode(Run(row, (len(row),)), **memory(number))

    def give(state: Any, pieces: list[Tensor]) -> list[Tensor]:
        run = Run(torch.cat(pieces), tuple(map(len, pieces)))
        return list(model.decode(run, state).split(run.lengths))

    with torch.no_grad():
        expected = [full(row, number) for number, row in enumerate(rows)]
        state, found, at = model.state(**memory(0, 1, 2)), [[], [], []], [0, 0, 0]
        for sizes in ((2, 5, 5), (1, 4, 4), (3, 1, 1), (1, 1, 1), (2, 3, 3)):
            pieces = [row[a : a + n] for row, a, n in zip(rows, at, sizes, strict=True)]
            for part, new in zip(found, give(state, pieces), strict=True):
                part.append(new)
            at = [a + n for a, n in zip(at, sizes, strict=True)]
        assert state.length == 14 and state.lengths == (9, 14, 14)
        for part, whole in zip(found, expected, strict=True):
            within(case.family, case.name, PIECES, "the same text at once", torch.cat(part) - whole)

        more = [torch.randint(5, case.values["vocab_size"], (4,), generator=generator) for _ in range(4)]
        after = [full(torch.cat([rows[i], new]), i)[-4:] for i, new in zip([2, 0, 2, 1], more, strict=True)]
        chosen = state.select(torch.tensor([2, 0])).join(state.select(torch.tensor([2, 1])))
        kept = chosen.snapshot()
        give(chosen, [row.flip(0) for row in more])
        chosen.rewind(kept)
        for step in range(4):  # one by one
            for part, whole in zip(give(chosen, [row[step : step + 1] for row in more]), after, strict=True):
                within(case.family, case.name, PIECES, "the same text at once", part - whole[step])


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
    loss = math.inf
    for _ in range(120):
        optimiser.zero_grad()
        total = torch.nn.functional.cross_entropy(model.head(model.hidden(Batch(run)), run), labels)
        total.backward()
        optimiser.step()
        if (loss := total.item()) < 0.02:
            break
    assert loss < 0.02


@pytest.mark.parametrize("case", {case.family: case for case in pairs(CASES)}.values(), ids=lambda case: case.id)
def test_one_batch_of_pairs_can_be_overfitted(case: Case) -> None:
    model = fresh(case, "seq2seq")
    ids, mask, _ = rectangle(case.values["vocab_size"])
    source, run = packed(ids, mask), packed(*targets(case.values["vocab_size"]))
    spoken = shifted(run, model.config.decoder_start)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-2)
    loss = math.inf
    for _ in range(1000):
        optimiser.zero_grad()
        said = model.decode(spoken, memory=Memory(model.encode(source), source.lengths))
        total = torch.nn.functional.cross_entropy(model.logits(said), run.ids)
        total.backward()
        optimiser.step()
        if (loss := total.item()) < 0.05:
            break
    assert loss < 0.05


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
    ("xlnet", "base", {"vocab_size": 32000}, "base", 116_718_336),
    ("xlnet", "base", {"vocab_size": 32000}, "permutation", 116_750_336),
    (
        "yanmo-transformer-xl",
        "base",
        {"vocab_size": 267_735, "cutoffs": [20_000, 40_000, 200_000]},
        "causal",
        151_107_538,
    ),
    ("llama", "smollm2-135m", {"vocab_size": 49152}, "causal", 134_515_008),
    ("t5", "small", {"vocab_size": 32128}, "seq2seq", 60_506_624),
    ("mt5", "small", {"vocab_size": 250112}, "seq2seq", 300_176_768),
    ("bart", "base", {"vocab_size": 50265}, "base", 139_420_416),
]


@pytest.mark.parametrize(("name", "size", "keys", "head", "count"), COUNTS, ids=lambda value: str(value)[:12])
def test_parameter_counts(name: str, size: str, keys: dict[str, Any], head: str, count: int) -> None:
    """The published size, computed without allocating a byte."""
    family = models.find(name)
    config, _ = family.config.read({**keys, **family.sizes[size]}, "test")
    with shapes_only():
        model = family.module(config, head)
    assert sum(p.numel() for p in model.parameters()) == count
    counted(family.model_type, size, count)


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
