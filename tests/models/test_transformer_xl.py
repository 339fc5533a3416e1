"""Transformer-XL against its paper's equations, pair by pair and word by word, for no library ships the model any more."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import functional as F

from tests.measured import LOSS, STATES, TOLERANCE, within
from tests.models.test_contracts import tokenizer  # noqa: F401 (a fixture)
from yanmo import beginning, checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.compression.quantise import quantise
from yanmo.errors import ModelError, SettingsError
from yanmo.models import ModelSettings
from yanmo.text.batches import Run
from yanmo.text.tokenizer import TokenizerSettings, add

ORACLE = "loops over the paper's equations"
TINY = {"vocab_size": 30, "d_model": 8, "n_layer": 2, "n_head": 2, "d_inner": 12, "mem_len": 5}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "clusters": {"cutoffs": [7, 15], "untie_r": False, "clamp_len": 3},
    "divided": {"cutoffs": [7, 15], "div_val": 4, "d_embed": 16, "d_head": 3, "pre_lnorm": True},
    "divided, same length": {"cutoffs": [4, 9, 10], "div_val": 4, "d_embed": 64, "same_length": True, "clamp_len": 4},
    "untied": {"cutoffs": [7, 15], "tie_word_embeddings": False, "proj_share_all_but_first": False, "d_embed": 6},
    "untied, divided": {"cutoffs": [11], "tie_word_embeddings": False, "div_val": 4, "untie_r": False, "n_head": 1},
    "projected": {"cutoffs": [7, 15], "d_embed": 6, "same_length": True, "pre_lnorm": True, "mem_len": 3},
    "no memory": {"mem_len": 0, "clamp_len": 2, "pre_lnorm": True},
}


def made(config: dict[str, Any], head: str = "causal", family: str = "yanmo-transformer-xl") -> Any:
    torch.manual_seed(0)
    found = models.find(family)
    model = checkpoint.create(found, found.config.read({**TINY, **config}, "test")[0], head).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


class Paper:
    """Sections 3.2 and 3.3 and, of Grave et al. 2017, section 4: no rectangle, no shift, a loop for everything."""

    def __init__(self, model: Any) -> None:
        self.model, self.config = model, model.config
        self.edges = (0, *self.config.cutoffs, self.config.vocab_size)
        zeros = [torch.zeros(self.config.d_model)] * self.config.mem_len
        self.memory = [list(zeros) if self.config.zeros else [] for _ in model.layers]

    def segment(self, ids: list[int]) -> list[Tensor]:
        """The next segment's states; the memory goes on."""
        states = [self.embed(word) for word in ids]
        for number, layer in enumerate(self.model.layers):
            memory = self.memory[number]
            self.memory[number] = (memory + states)[max(len(memory) + len(states) - self.config.mem_len, 0) :]
            states = [self.layer(layer, memory + states[: i + 1]) for i in range(len(states))]
        return states

    def cluster(self, word: int) -> int:
        return sum(word >= edge for edge in self.edges[1:])

    def row(self, tables: list[Tensor], word: int) -> Tensor:
        first = self.edges[self.cluster(word)] if self.config.div_val > 1 else 0
        return tables[self.cluster(word) if self.config.div_val > 1 else 0][word - first]

    def projection(self, cluster: int) -> Tensor:
        own = self.model.word.projections
        if not len(own):
            return torch.eye(self.config.d_model)
        return own[cluster if self.config.div_val > 1 else 0].weight

    def embed(self, word: int) -> Tensor:
        vector = self.row([table.weight for table in self.model.word.tables.values()], word)
        return self.projection(self.cluster(word)) @ vector * math.sqrt(self.config.d_model)

    def layer(self, layer: Any, states: list[Tensor]) -> Tensor:
        """The last of the states, which sees those before it and itself."""
        config, part = self.config, layer.attention.part
        query, keys = states[-1], states
        if config.pre_lnorm:
            keys = [layer.attention.norm(state) for state in states]
        if config.same_length:
            keys = keys[-config.mem_len :]
        width, own = config.d_head or config.d_model // config.n_head, layer.biases or self.model.biases
        heads = []
        for head in range(config.n_head):
            rows = slice(head * width, (head + 1) * width)
            q = part.query.weight[rows] @ (layer.attention.norm(query) if config.pre_lnorm else query)
            u, v, scores, values = own.content[head], own.distance[head], [], []
            for j, state in enumerate(keys):
                distance = len(keys) - 1 - j
                if config.clamp_len > 0:
                    distance = min(distance, config.clamp_len)
                angles = [distance / 10000 ** (2 * i / config.d_model) for i in range(config.d_model // 2)]
                wave = torch.tensor([*map(math.sin, angles), *map(math.cos, angles)])
                k, r = part.key.weight[rows] @ state, part.distance.weight[rows] @ wave
                scores.append((q @ k + q @ r + u @ k + v @ r) / math.sqrt(width))  # the terms (a) to (d)
                values.append(part.value.weight[rows] @ state)
            weights = torch.stack(scores).softmax(0)
            heads.append(sum(w * value for w, value in zip(weights, values, strict=True)))
        mixed = query + part.output.weight @ torch.cat(heads)
        mixed = mixed if config.pre_lnorm else layer.attention.norm(mixed)
        up, down, norm = layer.feedforward.part.up, layer.feedforward.part.down, layer.feedforward.norm
        more = down.weight @ (up.weight @ (norm(mixed) if config.pre_lnorm else mixed) + up.bias).relu() + down.bias
        return mixed + more if config.pre_lnorm else norm(mixed + more)

    def log_probability(self, state: Tensor, word: int) -> Tensor:
        softmax, edges = self.model.softmax, self.edges
        tables = [table.weight for table in (softmax.tables or self.model.word.tables).values()]
        biases = list(softmax.biases.values())

        def scores(cluster: int) -> list[Tensor]:
            own = str(cluster) in softmax.projections
            seen = state @ (softmax.projections[str(cluster)].weight if own else self.projection(cluster))
            words = range(edges[cluster], edges[cluster + 1])
            found = [seen @ self.row(tables, w) + self.row(biases, w) for w in words]
            if cluster == 0 and len(edges) > 2:
                found += list(softmax.cluster_weight @ seen + softmax.cluster_bias)
            return found

        cluster = self.cluster(word)
        first = torch.stack(scores(0)).log_softmax(0)
        if cluster == 0:
            return first[word]
        return first[edges[1] + cluster - 1] + torch.stack(scores(cluster)).log_softmax(0)[word - edges[cluster]]


@pytest.mark.parametrize("family", ["yanmo-transformer-xl", "transfo-xl"])
@pytest.mark.parametrize("name", CONFIGS)
def test_equal_to_the_paper(name: str, family: str) -> None:
    """Rows of unequal lengths in segments, of which the memory holds but a part: states, log-probabilities, losses."""
    model = made(CONFIGS[name], family=family)
    rows = [torch.randint(0, 30, (n,), generator=torch.Generator().manual_seed(n)) for n in (7, 12)]
    papers, state, at = [Paper(model) for _ in rows], model.state(), [0, 0]
    with torch.no_grad():
        for sizes in ((3, 6), (1, 2), (3, 4)):
            pieces = [row[a : a + n] for row, a, n in zip(rows, at, sizes, strict=True)]
            at = [a + n for a, n in zip(at, sizes, strict=True)]
            found = model.decode(Run(torch.cat(pieces), sizes), state)
            expected = torch.stack(
                [s for paper, p in zip(papers, pieces, strict=True) for s in paper.segment(p.tolist())]
            )
            within(family, name, STATES, ORACLE, found - expected)
        told = torch.stack([torch.stack([papers[0].log_probability(s, w) for w in range(30)]) for s in expected[-2:]])
        within(family, name, STATES, ORACLE, model.logits(found[-2:]) - told)
        assert (told.exp().sum(1) - 1).abs().max() < TOLERANCE
        words = torch.arange(30).repeat_interleave(2)
        losses = model.language_losses(found[-2:].repeat(30, 1), words)
        within(family, name, LOSS, ORACLE, losses + told.t().flatten())
    assert state.lengths == (7, 12) and all(kept.shape[1] == model.config.mem_len for kept in state.states)


def test_a_row_without_a_memory_equals_the_paper() -> None:
    """One call without a state, which is how a model trains on rows; and with the zeros of a transfo-xl."""
    ids = [4, 9, 2, 21]
    for family in ("yanmo-transformer-xl", "transfo-xl"):
        model = made({"same_length": True, "mem_len": 3}, family=family)
        with torch.no_grad():
            found = model.decode(Run(torch.tensor(ids), (4,)))
            within(family, "one call", STATES, ORACLE, found - torch.stack(Paper(model).segment(ids)))


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_loss_and_gradient_without_the_whole_vocabulary(config: dict[str, Any]) -> None:
    """The loss of the words' own clusters, and its gradient, equal those of all log-probabilities."""
    run, told = Run(torch.arange(30), (18, 12)), torch.arange(30).flip(0)
    gradients = []
    for short in (True, False):
        model = made(config)
        hidden = model.decode(run)
        loss = (
            model.language_losses(hidden, told)
            if short
            else F.cross_entropy(model.logits(hidden), told, reduction="none")
        ).sum()
        loss.backward()
        gradients.append((loss.detach(), *(parameter.grad for parameter in model.parameters())))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=TOLERANCE, rtol=1e-5)


def test_no_gradient_reaches_the_memory() -> None:
    """A segment's loss trains on the segment: the words of the one before it get nothing."""
    model = made({})
    state = model.state()
    model.decode(Run(torch.tensor([1, 2, 3]), (3,)), state)
    model.decode(Run(torch.tensor([4, 5]), (2,)), state).sum().backward()
    assert model.word.tables["last"].weight.grad.any(1).nonzero()[:, 0].tolist() == [4, 5]


def test_the_names_of_older_folders(tokenizer: Any, tmp_path: Path) -> None:  # noqa: F811
    """A folder as `transformers` wrote it: tensors that are there twice, and keys that say nothing new."""
    model = made({**CONFIGS["clusters"], "d_embed": 6}, family="transfo-xl")
    checkpoint.write(tmp_path, Checkpoint(model, models.find("transfo-xl"), "causal", tokenizer))
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {
        "transformer.word_emb.emb_layers.0.weight",
        "transformer.word_emb.emb_projs.0",
        "transformer.r_w_bias",
        "transformer.layers.1.dec_attn.qkv_net.weight",
        "transformer.layers.1.dec_attn.r_net.weight",
        "transformer.layers.1.pos_ff.CoreNet.3.bias",
        "crit.cluster_weight",
        "crit.out_layers.0.bias",
        "crit.out_projs.0",
    } <= names
    assert "crit.out_layers.0.weight" not in names and "crit.out_projs.1" not in names  # tied
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["crit.out_layers.0.weight"] = tensors["transformer.word_emb.emb_layers.0.weight"].clone()
    tensors["transformer.layers.0.dec_attn.r_w_bias"] = tensors["transformer.r_w_bias"].clone()
    tensors["transformer.pos_emb.inv_freq"] = torch.zeros(4)
    save_file(tensors, tmp_path / "model.safetensors")
    content = json.loads((tmp_path / "config.json").read_text())
    more = {"adaptive": True, "attn_type": 0, "sample_softmax": -1, "tie_projs": [False, True, True], "init": "normal"}
    (tmp_path / "config.json").write_text(json.dumps({**content, **more, "init_range": 0.01, "tie_weight": True}))
    again = checkpoint.load(tmp_path)
    assert again.head == "causal" and not again.fresh and not again.unknown
    for name, tensor in model.state_dict().items():
        assert torch.equal(again.model.state_dict()[name], tensor), name


def test_int8_layers_in_a_folder(tokenizer: Any, tmp_path: Path) -> None:  # noqa: F811
    """Three of our layers are one tensor there; their scales are, too."""
    model = made({"d_model": 16, "n_head": 2, "d_inner": 32})
    quantise(model)
    checkpoint.write(tmp_path, Checkpoint(model, models.find("yanmo-transformer-xl"), "causal", tokenizer))
    again = checkpoint.load(tmp_path).model.eval()
    run = Run(torch.arange(9), (4, 5))
    with torch.no_grad():
        assert torch.equal(again.decode(run), model.decode(run))


def test_a_head_on_a_base(tokenizer: Any, tmp_path: Path) -> None:  # noqa: F811
    """What a softmax has of its own begins as that of a fresh model; the rest is the base's."""
    model = made(CONFIGS["divided"], "base")
    checkpoint.write(tmp_path, Checkpoint(model, models.find("yanmo-transformer-xl"), "base", tokenizer))
    opened = checkpoint.load(tmp_path, head="causal")
    own = {"softmax.biases.0", "softmax.biases.1", "softmax.biases.last", "softmax.projections.0.weight"}
    assert set(opened.fresh) == own | {"softmax.cluster_weight", "softmax.cluster_bias"}
    softmax: Any = opened.model.softmax
    assert not any(bias.any() for bias in [*softmax.biases.values(), softmax.cluster_bias])
    assert 0 < softmax.cluster_weight.std() < 0.05 and 0 < softmax.projections["0"].weight.std() < 0.05
    for name, tensor in model.state_dict().items():
        assert torch.equal(opened.model.state_dict()[name], tensor), name


@pytest.mark.parametrize("name", ["clusters", "divided", "untied", "untied, divided"])
def test_the_vocabulary_grows_at_its_end(name: str, tokenizer: Any) -> None:  # noqa: F811
    """The rarest cluster takes the new tokens; what the model says of rows without them changes only by their share."""
    model = made({"d_embed": 32, **CONFIGS[name], "vocab_size": tokenizer.size, "cutoffs": [7, 12]})
    opened = Checkpoint(model, models.find("yanmo-transformer-xl"), "causal", tokenizer)
    larger = beginning.extend(opened, add(tokenizer, ["ab", "天地", "xyz"]), "x").model.eval()
    run = Run(torch.arange(tokenizer.size), (9, tokenizer.size - 9))
    with torch.no_grad():
        before, after = model.decode(run), larger.decode(run)
        assert torch.equal(before, after)
        told, now = model.logits(before), larger.logits(after)
    assert now.shape[1] == tokenizer.size + 3
    assert (now.exp().sum(1) - 1).abs().max() < TOLERANCE
    assert (now[:, :12] - told[:, :12]).abs().max() < TOLERANCE
    kept = now[:, 12 : tokenizer.size].log_softmax(1) - told[:, 12:].log_softmax(1)
    assert kept.abs().max() < TOLERANCE


def test_word_vectors_need_one_table(tmp_path: Path) -> None:
    (tmp_path / "x.vec").write_text("a " + "1 " * 8, "utf-8")
    for config, refused in (({"cutoffs": [7]}, False), ({"cutoffs": [7], "div_val": 2}, True)):
        asked = ModelSettings(family="yanmo-transformer-xl", size={**TINY, **config}, vectors=tmp_path / "x.vec")
        with pytest.raises(SettingsError, match="no embedding of all tokens") if refused else nullcontext():
            beginning.start(
                asked,
                TokenizerSettings(kind="word", vocab=100),
                "causal",
                folder=tmp_path,
                resuming=False,
                texts=["a b c d e f g h i j k"] * 3,
                longest=9,
            )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"cutoffs": [9, 9]}, "cutoffs"),
        ({"cutoffs": [40]}, "cutoffs"),
        ({"d_model": 9, "n_head": 3}, "d_model 9 is odd"),
        ({"n_head": 3}, "no multiple of n_head 3"),
        ({"div_val": 9, "cutoffs": [3]}, "div_val 9"),
        ({"same_length": True, "mem_len": 0}, "same_length"),
        ({"tie_projs": [True]} | {"cutoffs": [3]}, "tie_projs"),
        ({"attn_type": 1}, "attn_type"),
        ({"sample_softmax": 100}, "sample_softmax"),
    ],
)
def test_what_can_not_be_used_is_named(config: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        models.find("transfo-xl").config.read({**TINY, **config}, "config.json")
