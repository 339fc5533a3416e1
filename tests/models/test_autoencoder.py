"""The autoencoder: what the contracts of all families do not say."""

from itertools import chain

import pytest
import torch
import transformers
from torch import Tensor, nn

from tests.families import CASES, TINY, Case
from tests.measured import STATES, within
from yanmo import checkpoint, models
from yanmo.decoding import loop
from yanmo.errors import ModelError
from yanmo.models.autoencoder import Autoencoder, Latent, interpolate
from yanmo.models.base import Memory
from yanmo.nn.recurrent import RowDropout
from yanmo.text.batches import Batch, Run

OWN = [case for case in CASES if case.family == "yanmo-autoencoder"]


def made(case: Case, **keys: object) -> Autoencoder:
    torch.manual_seed(0)
    family = models.find(case.family)
    config, unknown = family.config.read({**case.values, **keys}, "test")
    assert not unknown
    model = checkpoint.create(family, config, "seq2seq").eval()
    assert isinstance(model, Autoencoder)
    return model


def rows(*texts: list[int]) -> Run:
    return Run(torch.tensor([*chain.from_iterable(texts)]), tuple(map(len, texts)))


def test_parts_of_transformers_joined_by_hand() -> None:
    """BertModel and GPT2LMHeadModel with our weights, the latent added to the inputs of the second."""
    model = made(OWN[0])
    source, target = rows([5, 6, 7, 8, 9], [10, 11, 12]), rows([2, 5, 6], [2, 10, 11, 12])
    theirs = []
    for name, kind in (("encoder", "BertModel"), ("decoder", "GPT2LMHeadModel")):
        family, config = model.config.part(name)
        known = transformers.AutoConfig.for_model(family.model_type, **config.content())
        part = getattr(transformers, kind)(known, **({"add_pooling_layer": False} if name == "encoder" else {})).eval()
        prefix = family.prefix_of("causal") if name == "decoder" else ""
        inner = getattr(model, name)
        tensors = {
            rule.theirs: rule.save(inner.state_dict())
            for rule in family.rules(config, "causal" if name == "decoder" else "masked", prefix)
            if all(own in inner.state_dict() for own in rule.names)
        }
        report = part.load_state_dict(tensors, strict=False)
        assert not report.unexpected_keys and set(report.missing_keys) <= {"lm_head.weight"}
        part.tie_weights()
        theirs.append(part)
    reader, writer = theirs
    with torch.no_grad():
        ours = model.logits(model.decode(target, memory=Memory(model.encode(source), source.lengths)))
        expected = []
        for ids, given in zip(source.ids.split(source.lengths), target.ids.split(target.lengths), strict=True):
            latent = model.mean(reader(input_ids=ids[None]).last_hidden_state.mean(1))
            inputs = writer.transformer.wte(given[None]) + model.opening(latent)[:, None]
            expected.append(writer(inputs_embeds=inputs).logits[0])
    within("yanmo-autoencoder", "bert-to-gpt2", STATES, "BertModel and GPT2LMHeadModel", ours - torch.cat(expected))


@pytest.mark.parametrize("case", OWN, ids=lambda case: case.id)
def test_every_parameter_is_used_in_training(case: Case) -> None:
    model = made(case).train()
    source = rows([5, 6, 7, 8, 9], [10, 11, 12])
    latent = model.latent(Memory(model.encode(source), source.lengths))
    hidden = model.decode(source, latent=latent.drawn())
    (model.logits(hidden).square().sum() + latent.divergence().sum()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert [name for name in without if not name.endswith("key.bias")] == []
    assert (latent.spread is None) == (not case.values.get("variational", False))


def test_the_latent_is_drawn_round_its_mean() -> None:
    latent = Latent(torch.tensor([[1.0, -2.0]]).expand(40_000, 2), torch.tensor([[0.0, -1.0]]).expand(40_000, 2))
    torch.manual_seed(0)
    drawn = latent.drawn()
    assert (drawn.mean(0) - torch.tensor([1.0, -2.0])).abs().max() < 0.02
    assert (drawn.var(0).log() - torch.tensor([0.0, -1.0])).abs().max() < 0.05
    spread = latent.spread
    assert spread is not None
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(
        normal(latent.mean, (0.5 * spread).exp()), normal(torch.zeros(()), torch.ones(()))
    )
    assert (latent.divergence() - expected).abs().max() < 1e-6


@pytest.mark.parametrize("case", OWN, ids=lambda case: case.id)
def test_it_reconstructs_and_interpolates(case: Case) -> None:
    """Trained on eight texts it writes each of them again from its latent, the ends of a way between two are those two, and texts read
    alone have the vectors that they have among others."""
    begin, end = 1, 2
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(5, 67, (n,), generator=generator).tolist() for n in (4, 6, 5, 6, 4, 5, 6, 3)]
    source, target = rows(*texts), rows(*[[begin, *text] for text in texts])
    truth = torch.tensor([*chain.from_iterable([*text, end] for text in texts)])
    model = made(case, latent_size=32).train()
    for part in model.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, RowDropout):
            part.share = 0.0
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(500):
        latent = model.latent(Memory(model.encode(source), source.lengths))
        logits = model.logits(model.decode(target, latent=latent.drawn()))
        loss = nn.functional.cross_entropy(logits, truth) + 1e-4 * latent.divergence().sum(-1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if loss < 0.02:
            break
    model.eval()

    def written(latents: Tensor) -> list[list[int]]:
        state = model.state(latent=latents)
        return loop.follow(model, [[begin]] * len(latents), state=state, stops=[end], max_new_tokens=10)

    with torch.no_grad():
        vectors = model.embed(source)
        assert [ids[:-1] for ids in written(vectors)] == texts
        way = interpolate(vectors[0], vectors[1], 5)
        assert way.shape == (5, 32) and [ids[:-1] for ids in written(way[[0, -1]])] == texts[:2]
        alone = torch.cat([model.embed(rows(text)) for text in texts])
        assert (alone - vectors).abs().max() < 1e-5
        state = model.state(Memory(model.hidden(Batch(source)), source.lengths))
        found = loop.follow(model, [[begin]] * len(texts), state=state, stops=[end], max_new_tokens=10)
        assert [ids[:-1] for ids in found] == texts


def test_parts_that_make_none() -> None:
    family = models.find("yanmo-autoencoder")
    bert = {"model_type": "bert", **{k: v for k, v in TINY.items() if k != "vocab_size"}}
    with pytest.raises(ModelError, match=r"(?s)encoder: .*'x' is not a family.*decoder: 'bert' writes no text"):
        family.config.read({"vocab_size": 67, "encoder": {"model_type": "x"}, "decoder": bert}, "test")
    with pytest.raises(ModelError, match="no part of an autoencoder"):
        inner = {"model_type": "yanmo-autoencoder"}
        family.config.read({"vocab_size": 67, "encoder": inner, "decoder": inner}, "test")
    with pytest.raises(ModelError, match="'widht' is not a key of 'bert'"):
        family.config.read({"vocab_size": 67, "encoder": {**bert, "widht": 1}, "decoder": bert}, "test")
