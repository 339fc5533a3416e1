"""The objectives on real rows of tokens: what a batch hides and asks, by a naive re-computation or by what must hold; losses as
`transformers` has them; all randomness from the key; each can be learnt by heart."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch.nn import functional as F
from transformers.loss.loss_utils import ForCausalLMLoss

from yanmo import checkpoint, models, tasks
from yanmo.errors import MissingExtra, ModelError
from yanmo.models import ModelSettings
from yanmo.models.base import Memory
from yanmo.tasks import OBJECTIVES, make, objectives_of
from yanmo.tasks.base import Task, ids_of
from yanmo.tasks.objectives import words
from yanmo.tasks.objectives.objective import token_labels
from yanmo.tasks.objectives.span import SENTINELS
from yanmo.tasks.objectives.spans import inner, placed, sentence_ends
from yanmo.text import tokenizer as tokenizers
from yanmo.text.batches import Batch, Key, pack, shifted
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

VOCABULARY = [f"w{i}" for i in range(150)]
SIZES: dict[str, dict[str, Any]] = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64},
    "t5": {"d_model": 32, "num_layers": 2, "num_heads": 2, "d_kv": 16, "d_ff": 64},
    "bart": {
        "d_model": 32,
        **{
            f"{side}_{key}": n
            for side in ("encoder", "decoder")
            for key, n in (("layers", 2), ("attention_heads", 2), ("ffn_dim", 64))
        },
    },
    "yanmo-rnn": {"hidden_size": 64, "num_hidden_layers": 1, "embedding_dropout": 0.0, "output_dropout": 0.0},
    "yanmo-transformer-xl": {"d_model": 32, "n_layer": 2, "n_head": 2, "d_inner": 64, "cutoffs": [60]},
}
SIZES["yanmo-autoencoder"] = {
    "encoder": {"model_type": "bert", **SIZES["bert"]},
    "decoder": {"model_type": "gpt2", **SIZES["gpt2"]},
    "latent_size": 32,
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return tokenizers.train([" ".join(VOCABULARY) + " . !"] * 3, TokenizerSettings(kind="word", vocab=200), SENTINELS)


def texts(count: int, longest: int, seed: int = 0) -> list[str]:
    generator = np.random.default_rng(seed)
    sentences = [
        [" ".join(generator.choice(VOCABULARY, generator.integers(1, 9))) + " ." for _ in range(longest)]
        for _ in range(count)
    ]
    return [" ".join(each[: generator.integers(1, longest + 1)]) for each in sentences]


@pytest.fixture(scope="module")
def rows(tokenizer: Tokenizer) -> list[Example]:
    return tokenizer.chunks(tokenizer.encode_all(texts(60, 8)), 48, "text")


def objective(name: str, tokenizer: Tokenizer, **keys: Any) -> Any:
    return make(OBJECTIVES[name][0](**keys), tokenizer)


def model_for(family: str, task: Task, tokenizer: Tokenizer, **config: Any) -> Any:
    torch.manual_seed(0)
    values = {"vocab_size": tokenizer.size, "pad_token_id": tokenizer.pad, "eos_token_id": tokenizer.sep}
    found, made = models.configure(ModelSettings(family=family, size={**SIZES[family], **config}), 64, **values)
    return checkpoint.create(found, made, task.head)


def contents(batch: Batch) -> list[bytes]:
    tensors = (batch.source.ids, batch.source.types, batch.labels, batch.select, batch.target and batch.target.ids)
    return [b"" if tensor is None else tensor.numpy().tobytes() for tensor in tensors]


ALL = {
    **{name: (name, {}) for name in OBJECTIVES},
    "masked words": ("masked", {"unit": "word"}),
    "masked spans": ("masked", {"unit": "span"}),
    "masked and order": ("combined", {"parts": {"masked": 1.0, "order": 0.5}}),
    "deleted": ("denoise", {"delete": 0.3, "infill": 0.0}),
}


# ---- what holds for all


@pytest.mark.parametrize("name", [*ALL])
def test_all_randomness_is_of_the_key(name: str, tokenizer: Tokenizer, rows: list[Example]) -> None:
    task = objective(ALL[name][0], tokenizer, **ALL[name][1])
    one, same, later, other, fixed, again = (
        contents(task.batch(rows, key)) for key in (Key(0, 0, 1), Key(0, 0, 1), Key(0, 1, 1), Key(1, 0, 1), None, None)
    )
    assert one == same and fixed == again
    assert (one != later and one != other) or name == "causal"


@pytest.mark.parametrize("name", [*ALL])
def test_a_record_gives_the_task_back(name: str, tokenizer: Tokenizer) -> None:
    task = objective(ALL[name][0], tokenizer, **ALL[name][1])
    assert tasks.restore(task.record(), tokenizer).settings == task.settings  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", [*ALL])
def test_short_rows_are_no_fault(name: str, tokenizer: Tokenizer) -> None:
    """Of one token, also an unknown one: training goes on."""
    texts = ["w1", "strange", "w2 w3", ". .", "w4 . w5"]
    task = objective(ALL[name][0], tokenizer, **ALL[name][1])
    family = next(family for family in SIZES if task.name in objectives_of(models.find(family)))
    model = model_for(family, task, tokenizer)
    few = tokenizer.chunks(tokenizer.encode_all(texts), 16, "text")
    for part in (few, few[:1], few[1:2], few[3:4]):
        for index in range(5):
            batch = task.batch(part, Key(0, 0, index))
            loss = task.loss(model, batch)
            assert torch.isfinite(loss.total) and loss.count >= 0
            loss.total.backward()
            assert len(task.predict(model, batch)) == len(part)
            task.score(task.predict(model, batch), part)


PAIRS = [(family, name) for family in SIZES for name in objectives_of(models.find(family))]


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_predictions_add_up_to_the_loss(family: str, name: str, tokenizer: Tokenizer, rows: list[Example]) -> None:
    task = objective(name, tokenizer)
    model = model_for(family, task, tokenizer).eval()
    batch = task.batch(rows, None)
    with torch.no_grad():
        loss, scores = task.loss(model, batch), task.score(task.predict(model, batch), rows)
    assert scores["loss"] == pytest.approx(float(loss.total) / loss.count, rel=1e-4)
    assert scores["rows"] == len(rows) and 0 <= scores["accuracy"] <= 1
    assert ("perplexity" in scores) == (task.head in ("causal", "seq2seq"))
    assert ("bits_per_character" in scores) == (name in ("causal", "denoise"))


@pytest.mark.parametrize(("family", "name"), PAIRS)
def test_one_batch_can_be_learnt_by_heart(family: str, name: str, tokenizer: Tokenizer, rows: list[Example]) -> None:
    task = objective(name, tokenizer)
    model = model_for(family, task, tokenizer)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    batch = task.batch(rows[:6], Key(0, 0, 0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-2 if family == "yanmo-rnn" else 1e-2)
    first = None
    for _ in range(200):
        optimiser.zero_grad()
        loss = task.loss(model, batch)
        mean = loss.total / loss.count
        first = float(mean.detach()) if first is None else first
        mean.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        if float(mean.detach()) < 0.1 * first:
            break
    assert float(mean.detach()) < 0.1 * first


def test_prepared_texts_are_rows(tokenizer: Tokenizer) -> None:
    """As `yanmo evaluate` gives them."""
    for name in OBJECTIVES:
        task = objective(name, tokenizer, max_length=12)
        made = task.prepare([Example((text,), (), str(n), "f", n) for n, text in enumerate(texts(5, 6))])
        assert max(len(row.ids) for row in made) == task.row_length <= 12
        assert max(task.batch(made, Key(0, 0, 0)).source.lengths) <= 12
        assert task.prepare(made) == made


# ---- causal


def test_causal_is_the_shift_of_transformers(tokenizer: Tokenizer, rows: list[Example]) -> None:
    task = objective("causal", tokenizer)
    model = model_for("gpt2", task, tokenizer).eval()
    batch = task.batch(rows, Key(0, 0, 0))
    expected = [id for row in ids_of(rows) for id in row[1:]]
    assert batch.labels is not None and batch.labels.tolist() == expected
    run = pack(ids_of(rows))
    assert len(batch.source.ids) == len(run.ids) - len(rows)  # nothing is said after a last token
    with torch.no_grad():
        logits = run.padded(model.logits(model.decode(run)))
        labels = run.padded(run.ids, fill=-100)
        theirs = ForCausalLMLoss(logits, labels, tokenizer.size)
        loss = task.loss(model, batch)
    assert float(loss.total / loss.count) == pytest.approx(float(theirs), rel=1e-5)


def test_a_row_of_one_token_says_nothing(tokenizer: Tokenizer, rows: list[Example]) -> None:
    task = objective("causal", tokenizer)
    model = model_for("gpt2", task, tokenizer).eval()
    lone = replace(rows[0], ids=rows[0].ids[:1])
    alone, among = (task.predict(model, task.batch(part, None)) for part in (rows[:2], [rows[0], lone, rows[1]]))
    assert among[1] == {"loss": 0.0, "tokens": 0, "right": 0, "characters": 0}
    assert [answer["tokens"] for answer in alone] == [answer["tokens"] for answer in among[::2]]
    assert among[2]["loss"] == pytest.approx(alone[1]["loss"], rel=1e-5)


def test_bits_per_character(tokenizer: Tokenizer) -> None:
    """By hand: of the characters that can be seen in what is said."""
    task = objective("causal", tokenizer)
    model = model_for("gpt2", task, tokenizer).eval()
    rows = task.prepare([Example(("w1 w2 .",)), Example(("w10",))])
    answers = task.predict(model, task.batch(rows, None))
    assert [answer["characters"] for answer in answers] == [5, 3]
    scores = task.score(answers, rows)
    assert scores["bits_per_character"] == pytest.approx(sum(a["loss"] for a in answers) / np.log(2) / 8)


# ---- masked


def test_a_static_mask_stays(tokenizer: Tokenizer, rows: list[Example]) -> None:
    """Whatever the epoch, the batch and the rows beside it; another seed has another."""
    task = objective("masked", tokenizer, static=True)
    whole, part = task.batch(rows, Key(3, 0, 5)), task.batch(rows[10:20], Key(3, 7, 1))
    starts = whole.source.starts.tolist()
    assert torch.equal(part.source.ids, whole.source.ids[starts[10] : starts[20]])
    assert not torch.equal(whole.source.ids, task.batch(rows, Key(4, 0, 5)).source.ids)
    share = len(whole.labels) / sum(len(row.ids) - 2 for row in rows)
    assert share == pytest.approx(0.15, abs=0.02)


def test_masked_spans_are_of_one_fate_and_geometric(tokenizer: Tokenizer) -> None:
    rows = tokenizer.chunks(tokenizer.encode_all([" ".join(VOCABULARY)] * 30), 150, "text")
    task = objective("masked", tokenizer, unit="span", max_length=150)
    original = np.concatenate([row.ids for row in rows])
    lengths, chosen, fates = [], 0, {"mask": 0, "other": 0, "stays": 0}
    for index in range(20):
        batch = task.batch(rows, Key(0, 0, index))
        select, now = batch.select.numpy(), batch.source.ids.numpy()
        assert (np.delete(now, select) == np.delete(original, select)).all()
        chosen += len(select)
        for span in np.split(select, 1 + np.flatnonzero(np.diff(select) > 1)):
            lengths.append(len(span))
            masked = now[span] == tokenizer.mask
            assert masked.all() or not masked.any()
            stays = (now[span] == original[span]).all()
            fates["mask" if masked.all() else "stays" if stays else "other"] += 1
    total = sum(fates.values())
    assert chosen / (20 * sum(len(row.ids) - 2 for row in rows)) == pytest.approx(0.15, abs=0.003)
    assert np.mean(lengths) == pytest.approx(3.8, abs=0.4) and max(lengths) == 10  # cut by the budget, here and there
    assert [fates[name] / total for name in ("mask", "other", "stays")] == pytest.approx([0.8, 0.1, 0.1], abs=0.02)


@pytest.fixture
def segmenter(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The one word that it knows is 北京大学."""
    fake = ModuleType("rjieba")
    fake.cut = lambda text: [part for half in text.split("北京大学") for part in [*half, "北京大学"]][:-1]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rjieba", fake)
    monkeypatch.setattr(words, "find_spec", lambda name: name == "rjieba")
    words.segmenter.cache_clear()
    yield
    words.segmenter.cache_clear()


MIXED = ["我在北京大学读书。unbelievable things, 12 cats!", "unbelievably 研墨 catlike 😀 naïve"]


@pytest.mark.parametrize("kind", ["wordpiece", "word", "bpe", "unigram", "character"])
@pytest.mark.usefixtures("segmenter")
def test_words_of_any_tokeniser(kind: str) -> None:
    """Tokens put together from one beginning to the next are the words."""
    texts = (
        MIXED if kind.startswith("word") else [" ".join(text) for text in MIXED]
    )  # so that pieces are no longer than words
    cutter = tokenizers.train(texts * 3, TokenizerSettings(kind=kind, vocab=520))
    begins = words.Words(cutter).begins
    first = ["我", "在", "北京大学", "读", "书", "。", "unbelievable", "things", ",", "12", "cats", "!"]
    for text, expected in zip(MIXED, (first, ["unbelievably", "研", "墨", "catlike", "😀", "naive"]), strict=True):
        ids = np.array(cutter.encode(text, special=False))
        starts = np.flatnonzero(begins(ids))
        found = ["".join(cutter.decode(part.tolist()).split()) for part in np.split(ids, starts[1:])]
        if kind == "character":  # a space is a token, and so a word
            found = [word for word in found if word]
        plain = [
            word.replace("naive", "naïve") if kind in ("bpe", "unigram", "character") else word for word in expected
        ]
        if kind == "word":  # it knows all words of its text
            assert len(found) == len(plain)
        assert starts[0] == 0 and found == plain


@pytest.mark.usefixtures("segmenter")
def test_whole_words_are_masked_whole() -> None:
    cutter = tokenizers.train([*MIXED, "一二三四五六七八九十", "things cats"], TokenizerSettings(kind="bpe", vocab=300))
    rows = cutter.chunks(cutter.encode_all([" ".join(MIXED)] * 40), 128, "text")
    task = objective("masked", cutter, unit="word")
    original = np.concatenate([row.ids for row in rows])
    numbers = np.cumsum(words.Words(cutter).begins(original))
    total = chosen = 0
    for index in range(20):
        batch = task.batch(rows, Key(0, 0, index))
        select = batch.select.numpy()
        taken = np.isin(numbers, numbers[select]) & ~np.isin(original, cutter.special)
        assert np.array_equal(np.flatnonzero(taken), select)
        total, chosen = total + (~np.isin(original, cutter.special)).sum(), chosen + len(select)
    assert chosen / total == pytest.approx(0.15, abs=0.005)


def test_a_missing_segmenter_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rjieba", None)
    monkeypatch.setattr(words, "find_spec", lambda name: False)
    words.segmenter.cache_clear()
    cutter = tokenizers.train(["一二三四五六七八九十"] * 3, TokenizerSettings(kind="wordpiece", vocab=100))
    with pytest.raises(MissingExtra, match=r"needs 'rjieba': pip install 'yanmo\[zh\]'"):
        objective("masked", cutter, unit="word")
    english = tokenizers.train(["one two three"] * 3, TokenizerSettings(kind="wordpiece", vocab=100))
    assert objective("masked", english, unit="word")


# ---- sentences


def test_pairs_of_segments(tokenizer: Tokenizer, rows: list[Example]) -> None:
    """Both segments are of the rows, end where a sentence ends where they can, and the label says where the second is from."""
    yes, no = 0, 0
    ends = sentence_ends(tokenizer)
    assert ends[tokenizer.encode(".", special=False)].all() and ends.sum() == 2
    documents = {row.line: inner(row.ids, tokenizer).tolist() for row in rows if row.id.endswith("+0")}
    assert len(documents) == 60
    whole = [row for row in rows if row.id.endswith("+0")]
    for name in ("next", "order"):
        task = objective(name, tokenizer, max_length=49)
        for index in range(10):
            batch = task.batch(whole, Key(0, 0, index))
            run = batch.source
            assert run.types is not None and max(run.lengths) <= 49
            for row, ids, types, label in zip(
                whole, run.ids.split(run.lengths), run.types.split(run.lengths), batch.labels.tolist(), strict=True
            ):
                sides = [ids[types == side].tolist() for side in (0, 1)]
                assert sides[0][0] == tokenizer.cls and sides[0][-1] == sides[1][-1] == tokenizer.sep
                first, second = sides[0][1:-1], sides[1][:-1]
                own = documents[row.line]
                if label == 0:
                    assert first + second == own
                    several = ends[own[:-1]].any()
                    assert ends[first[-1]] or not several
                    yes += 1
                elif name == "order":
                    assert second + first == own
                    no += 1
                elif label == 1:
                    assert own[: len(first)] == first
                    assert any(
                        "".join(f" {i}" for i in second) in "".join(f" {i}" for i in other)
                        for other in documents.values()
                    )
                    no += 1
    assert yes / (yes + no) == pytest.approx(0.5, abs=0.05)


def test_a_false_segment_is_of_another_document(tokenizer: Tokenizer) -> None:
    """Rows of one document have no false one."""
    task = objective("next", tokenizer, max_length=16)
    parts = tokenizer.chunks(tokenizer.encode_all([" ".join(VOCABULARY)]), 15, "text")
    assert len(parts) > 8
    for index in range(5):
        assert task.batch(parts, Key(0, 0, index)).labels.tolist() == [0] * len(parts)


def test_combined_is_the_loss_of_transformers(tokenizer: Tokenizer, rows: list[Example]) -> None:
    task = objective("combined", tokenizer)
    model = model_for("bert", task, tokenizer).eval()
    batch = task.batch(rows, Key(0, 0, 0))
    count, run = len(batch.select), batch.source
    with torch.no_grad():
        hidden = model.hidden(batch)
        labels = torch.full((len(run.ids),), -100)
        labels[batch.select] = batch.labels[:count]
        said = F.cross_entropy(model.logits(hidden), labels)
        follows = F.cross_entropy(model.head(hidden, run), batch.labels[count:])
        loss, doubled = (
            objective("combined", tokenizer, parts=parts).loss(model, batch)
            for parts in ({"masked": 1, "next": 1}, {"masked": 2, "next": 0.5})
        )
    assert float(loss.total / loss.count) == pytest.approx(float(said + follows), rel=1e-5)
    assert float(doubled.total / doubled.count) == pytest.approx(float(2 * said + 0.5 * follows), rel=1e-5)
    assert {"masked_loss", "pseudo_perplexity", "accuracy", "next_loss", "next_accuracy"} <= task.score(
        task.predict(model, batch), rows
    ).keys()


def test_what_can_be_combined() -> None:
    for parts in (
        {"masked": 1.0},
        {"masked": 1.0, "causal": 1.0},
        {"masked": 1.0, "next": 1.0, "order": 1.0},
        {"masked": 1.0, "next": 0.0},
    ):
        with pytest.raises(ValueError, match=r"expected weights of masked and of one of next and order|greater than 0"):
            OBJECTIVES["combined"][0](parts=parts)


# ---- spans


@pytest.mark.parametrize(("rate", "mean"), [(0.15, 3.0), (0.5, 5.0), (0.9, 1.0)])
def test_what_is_read_and_written_is_the_text(
    rate: float, mean: float, tokenizer: Tokenizer, rows: list[Example]
) -> None:
    task = objective("span", tokenizer, rate=rate, mean_span=mean)
    sentinels = [tokenizer.inner.token_to_id(name) for name in SENTINELS]
    lost = total = spans = 0
    for index in range(10):
        batch = task.batch(rows, Key(0, 0, index))
        both = zip(
            batch.source.ids.split(batch.source.lengths), batch.target.ids.split(batch.target.lengths), strict=True
        )
        for row, (read, written) in zip(rows, both, strict=True):
            assert written[-1] == tokenizer.sep
            parts = {}
            for id in written[:-1].tolist():
                if id in sentinels:
                    now = parts[id] = []
                else:
                    now.append(id)
            assert [*parts] == sentinels[: len(parts)] and not parts.popitem()[1]
            assert all(parts.values())
            text = [id for read_id in read.tolist() for id in parts.get(read_id, [read_id])]
            assert text == row.ids.tolist()
            lost, spans, total = lost + sum(map(len, parts.values())), spans + len(parts), total + len(row.ids) - 2
    assert lost / total == pytest.approx(rate, abs=0.03)
    if rate == 0.15:
        assert lost / spans == pytest.approx(mean, abs=0.5)


def test_span_needs_sentinels() -> None:
    plain = tokenizers.train(["one two three"] * 3, TokenizerSettings(kind="wordpiece", vocab=100))
    with pytest.raises(ModelError, match="no sentinels"):
        objective("span", plain)
    few = tokenizers.train(["one two three"] * 3, TokenizerSettings(kind="wordpiece", vocab=100), SENTINELS[:3])
    task = objective("span", few, rate=0.5, mean_span=1)
    batch = task.batch(few.chunks([np.arange(5, 15).repeat(3)], 40, "text"), None)
    assert (
        torch.isin(batch.target.ids, torch.tensor(few.special)).sum() == 4
    )  # no more spans than can be named, and the end


def test_spans_are_placed_alike_and_never_touch() -> None:
    generator = np.random.default_rng(0)
    counts = np.zeros(10)
    for _ in range(4000):
        starts, lengths = placed(np.array([2, 0, 3]), 10, generator)
        assert lengths.tolist() == [2, 0, 3]
        assert (starts[1:] > (starts + lengths)[:-1]).all() and starts[-1] + 3 <= 10
        counts[starts[0]] += 1
    ways = np.array([10, 6, 3, 1])  # of putting two more behind the first one: gaps k of 6
    assert counts[:4] / counts.sum() == pytest.approx(ways / 20, abs=0.03)
    starts, lengths = placed(np.array([3, 3, 3]), 7, generator)
    assert starts.tolist() == [0, 4] and lengths.tolist() == [3, 3]  # the third has no room


# ---- denoising


def test_infilling(tokenizer: Tokenizer, rows: list[Example]) -> None:
    """What is kept stands in its order, about the share asked for is gone, and a row never grows."""
    task = objective("denoise", tokenizer, permute=0.0)
    kept_tokens = total = masks = 0
    for index in range(20):
        batch = task.batch(rows, Key(0, 0, index))
        both = zip(
            batch.source.ids.split(batch.source.lengths), batch.target.ids.split(batch.target.lengths), strict=True
        )
        for row, (read, written) in zip(rows, both, strict=True):
            text = row.ids[1:-1].tolist()
            assert written.tolist() == [*text, tokenizer.sep]
            assert len(read) <= len(row.ids) and read[0] == tokenizer.cls and read[-1] == tokenizer.sep
            pairs = list(zip(read.tolist(), read.tolist()[1:], strict=False))
            assert (tokenizer.mask, tokenizer.mask) not in pairs
            kept = [id for id in read.tolist()[1:-1] if id != tokenizer.mask]
            rest = iter(text)
            assert all(id in rest for id in kept)  # a subsequence
            kept_tokens, total, masks = (
                kept_tokens + len(kept),
                total + len(text),
                masks + int((read == tokenizer.mask).sum()),
            )
    assert 1 - kept_tokens / total == pytest.approx(0.3, abs=0.01)
    assert (total - kept_tokens) / masks == pytest.approx(3.0, abs=0.6)  # Poisson(3), the last one cut


def test_sentences_change_places_and_tokens_go(tokenizer: Tokenizer, rows: list[Example]) -> None:
    task = objective("denoise", tokenizer, infill=0.0)
    stop = tokenizer.encode(".", special=False)[0]

    def sentences(ids: list[int]) -> list[tuple[int, ...]]:
        return [tuple(part) for part in np.split(ids, 1 + np.flatnonzero(np.array(ids[:-1]) == stop))]

    batch = task.batch(rows, Key(0, 0, 0))
    moved = 0
    for row, read in zip(rows, batch.source.ids.split(batch.source.lengths), strict=True):
        text, now = row.ids[1:-1].tolist(), read[1:-1].tolist()
        if text[-1] == stop:
            assert sorted(sentences(text)) == sorted(sentences(now))
        moved += text != now
    assert moved > len(rows) / 2
    halved = objective("denoise", tokenizer, infill=0.0, permute=0.0, delete=0.5)
    batch = halved.batch(rows, Key(0, 0, 0))
    assert sum(size - 2 for size in batch.source.lengths) / sum(len(row.ids) - 2 for row in rows) == pytest.approx(
        0.5, abs=0.05
    )
    for row, read in zip(rows, batch.source.ids.split(batch.source.lengths), strict=True):
        rest = iter(row.ids.tolist())
        assert all(id in rest for id in read.tolist())
    untouched = objective("denoise", tokenizer, infill=0.0, permute=0.0).batch(rows, Key(0, 0, 0))
    assert untouched.source.ids.tolist() == np.concatenate([row.ids for row in rows]).tolist()


@pytest.mark.parametrize(("family", "name"), [("t5", "span"), ("t5", "denoise"), ("bart", "denoise")])
def test_rewriting_is_the_loss_of_transformers(
    family: str, name: str, tokenizer: Tokenizer, rows: list[Example], tmp_path: Any
) -> None:
    """Of labels in a rectangle, -100 behind each row, as their classes shift them themselves."""
    task = objective(name, tokenizer)
    model = model_for(family, task, tokenizer).eval()
    checkpoint.write(tmp_path, checkpoint.Checkpoint(model, models.find(family), "seq2seq", tokenizer, task))
    theirs = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    theirs.config.decoder_start_token_id = model.config.decoder_start
    batch = task.batch(rows[:12], Key(0, 0, 0))
    assert batch.target is not None
    run, target = batch.source, batch.target
    with torch.no_grad():
        expected = theirs(
            input_ids=run.padded(run.ids),
            attention_mask=run.padded(torch.ones_like(run.ids)),
            labels=target.padded(target.ids, fill=-100),
        ).loss
        loss = task.loss(model, batch)
    assert float(loss.total / loss.count) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize(
    ("progress", "free", "weight"), [(0.0, 0.0, 0.0), (0.1, 0.0, 0.2), (0.7, 0.0, 1.0), (0.25, 1.0, 0.5)]
)
def test_the_cost_of_a_latent(
    progress: float, free: float, weight: float, tokenizer: Tokenizer, rows: list[Example]
) -> None:
    """Annealed, with free nats; and scored with all of it."""
    task = objective("denoise", tokenizer, free_nats=free)
    model = model_for("yanmo-autoencoder", task, tokenizer, variational=True).eval()
    with torch.no_grad():
        model.mean.weight.mul_(30)  # so that some dimensions tell more than is free
    batch = replace(task.batch(rows, Key(0, 0, 0)), progress=progress)
    with torch.no_grad():
        loss = task.loss(model, batch)
        latent = model.latent(Memory(model.encode(batch.source), batch.source.lengths))
        states = model.decode(shifted(batch.target, None), latent=latent.mean)
        plain = F.cross_entropy(model.logits(states), batch.labels, reduction="sum")
        mean, spread = latent.mean, latent.spread
        normal = torch.distributions.Normal
        costs = torch.distributions.kl_divergence(normal(mean, (0.5 * spread).exp()), normal(0.0, 1.0))
        scores = task.score(task.predict(model, batch), rows)
    dimensions = costs.mean(0)
    if free:
        assert (dimensions < free).any() and (dimensions > free).any()
    expected = plain + weight * len(rows) * dimensions.clamp(min=free).sum()
    assert float(loss.total) == pytest.approx(float(expected), rel=1e-5)
    assert scores["divergence"] == pytest.approx(float(costs.sum(1).mean()), rel=1e-4)
    assert scores["loss"] == pytest.approx(float(plain + costs.sum()) / loss.count, rel=1e-5)


# ---- permutation


def test_a_target_never_sees_itself_or_later_ones(tokenizer: Tokenizer, rows: list[Example]) -> None:
    """Changing a token changes the states of those targets only that have a later turn."""
    task = objective("permutation", tokenizer, rate=0.3)
    model = model_for("xlnet", task, tokenizer).eval()
    batch = task.batch(rows[:3], Key(0, 0, 0))
    row_of, turns = batch.source.row_of[batch.select], batch.labels[:, 1]
    for row in range(3):
        assert sorted(turns[row_of == row].tolist()) == list(range(1, 1 + int((row_of == row).sum())))
    with torch.no_grad():
        before = task.states(model, batch)
        for place, turn, row in zip(batch.select.tolist(), turns.tolist(), row_of.tolist(), strict=True):
            ids = batch.source.ids.clone()
            ids[place] = (ids[place] + 7) % tokenizer.size
            after = task.states(model, replace(batch, source=replace(batch.source, ids=ids)))
            changed = (after - before).abs().amax(1) > 1e-6
            assert torch.equal(changed, (row_of == row) & (turns > turn))
    share = len(task.batch(rows, None).select) / sum(len(each.ids) - 2 for each in rows)
    assert share == pytest.approx(0.3, abs=0.02)
    assert torch.equal(token_labels(batch), batch.source.ids[batch.select])


# ---- which family admits which


def test_every_family_has_an_own_objective_or_none() -> None:
    first = {name: (objectives_of(models.find(name)) or [None])[0] for name in models.FAMILIES}
    expected = {
        "bert": "masked", "distilbert": "masked", "roberta": "masked", "xlm-roberta": "masked", "yanmo-ngram-bert": "masked",
        "yanmo-bert-ngrams": "masked",
        "gpt2": "causal", "llama": "causal", "mistral": "causal", "qwen2": "causal", "qwen3": "causal", "transfo-xl": "causal",
        "yanmo-transformer-xl": "causal", "yanmo-rnn": "causal", "yanmo-gated-cnn": "causal", "xlnet": "permutation",
        "yanmo-autoencoder": "denoise", "yanmo-cnn": None, "marian": "denoise", "bart": "denoise", "mbart": "denoise",
        "transformer": "denoise",
        "t5": "span", "mt5": "span",
    }  # fmt: skip
    assert first == expected
    assert objectives_of(models.find("bert")) == ["masked", "next", "order", "combined"]


def test_the_words_of_rjieba() -> None:
    pytest.importorskip("rjieba")
    words.segmenter.cache_clear()
    text = "我们在北京大学学习自然语言处理"
    cutter = tokenizers.train([text] * 3, TokenizerSettings(kind="wordpiece", vocab=100))
    ids = np.array(cutter.encode(text, special=False))
    parts = np.split(ids, np.flatnonzero(words.Words(cutter).begins(ids))[1:])
    assert ["".join(cutter.decode(part.tolist()).split()) for part in parts] == words.segmenter()(text)
    assert "北京大学" in words.segmenter()(text)
