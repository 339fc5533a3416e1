"""The tasks: what a batch holds, what the losses are, and that all randomness comes from the key."""

import numpy as np
import pytest
import torch

from yanmo.errors import DataError, ModelError
from yanmo.tasks import make, restore
from yanmo.tasks.classify import Settings as Classify
from yanmo.tasks.objectives.masked import Masked
from yanmo.tasks.objectives.masked import Settings as MaskedSettings
from yanmo.text.batches import Key
from yanmo.text.sources import Example
from yanmo.text.tokenizer import SPECIAL, TokenizerSettings, train

WORDS = [f"w{i}" for i in range(300)]


@pytest.fixture(scope="module")
def tokenizer():
    return train([" ".join(WORDS)] * 3, TokenizerSettings(kind="word", vocab=400))


@pytest.fixture(scope="module")
def rows(tokenizer):
    generator = np.random.default_rng(0)
    texts = [" ".join(generator.choice(WORDS, 60)) for _ in range(100)]
    return tokenizer.chunks(tokenizer.encode_all(texts), 64, "text")


def test_masking_follows_80_10_10(tokenizer, rows) -> None:
    task = Masked(MaskedSettings(), tokenizer)
    original = torch.from_numpy(np.concatenate([row.ids for row in rows])).long()
    kept = masked = other = chosen = 0
    for index in range(20):
        batch = task.batch(rows, Key(0, 0, index))
        now = batch.source.ids[batch.select]
        assert torch.equal(batch.labels, original[batch.select])
        untouched = torch.ones(len(original), dtype=torch.bool)
        untouched[batch.select] = False
        assert torch.equal(batch.source.ids[untouched], original[untouched])
        assert not torch.isin(batch.labels, torch.tensor(tokenizer.special)).any()
        assert not torch.isin(now[now != tokenizer.mask], torch.tensor(tokenizer.special)).any()
        masked += int((now == tokenizer.mask).sum())
        kept += int((now == batch.labels).sum())
        other += int(((now != batch.labels) & (now != tokenizer.mask)).sum())
        chosen += len(now)
    assert chosen / (20 * 60 * 100) == pytest.approx(0.15, abs=0.001)
    assert [masked / chosen, kept / chosen, other / chosen] == pytest.approx([0.8, 0.1, 0.1], abs=0.01)


def test_masks_are_a_function_of_the_key(tokenizer, rows) -> None:
    task = Masked(MaskedSettings(), tokenizer)
    one, same, next_epoch, fixed, fixed_again = (
        task.batch(rows, key) for key in (Key(0, 0, 1), Key(0, 0, 1), Key(0, 1, 1), None, None)
    )
    assert torch.equal(one.source.ids, same.source.ids)
    assert not torch.equal(one.select, next_epoch.select)  # dynamic: masked anew at every visit
    assert torch.equal(fixed.source.ids, fixed_again.source.ids)


def test_masked_scores_add_up(tokenizer, rows) -> None:
    """`predict`'s per-row sums give the loss that `loss` gives."""

    class Fake(torch.nn.Module):
        def hidden(self, batch):
            return torch.nn.functional.one_hot(batch.source.ids, tokenizer.size).float()

        def logits(self, hidden):
            return 3 * hidden

    task = Masked(MaskedSettings(), tokenizer)
    batch = task.batch(rows, None)
    loss = task.loss(Fake(), batch)
    scores = task.score(task.predict(Fake(), batch), rows)
    assert scores["loss"] == pytest.approx(float(loss.total) / loss.count, rel=1e-5)
    assert scores["accuracy"] == pytest.approx(float((batch.source.ids[batch.select] == batch.labels).float().mean()))


def test_tokenizer_without_mask_is_refused(tokenizer) -> None:
    from tokenizers import Tokenizer as Inner
    from tokenizers import models

    from yanmo.text.tokenizer import Tokenizer

    with pytest.raises(ModelError, match="no \\[MASK\\] token"):
        Masked(MaskedSettings(), Tokenizer(Inner(models.WordLevel({"a": 0}, unk_token="a"))))


def test_classify(tokenizer) -> None:
    task = make(Classify(max_length=6, token_dropout=0.5), tokenizer, ["no", "yes"])
    examples = task.prepare([Example(("w1 w2 w3 w4 w5 w6",), ("yes",), "r1"), Example(("w7",), ("no",), "r2")])
    assert [len(e.ids) for e in examples] == [6, 3]  # [CLS] + 4 + [SEP], cut; [CLS] + 1 + [SEP]
    batch = task.batch(examples, None)
    assert batch.labels.tolist() == [1, 0] and batch.source.lengths == (6, 3) and batch.rows == ("r1", "r2")
    hidden = [task.batch(examples * 50, Key(0, 0, i)).source.ids for i in range(2)]
    share = float((hidden[0] == tokenizer.mask).float().sum() / (50 * 5))
    assert share == pytest.approx(0.5, abs=0.1) and not torch.equal(*hidden)
    assert (hidden[0][:1] == tokenizer.cls).all()  # special tokens are never hidden
    again = restore(task.record(), tokenizer, ["no", "yes"])
    assert again.settings == task.settings
    with pytest.raises(DataError, match=r"f\.tsv:3: label 'maybe' was never seen in training \(known: no, yes\)"):
        task.prepare([Example(("w1",), ("maybe",), "r", "f.tsv", 3)])


def test_classify_loss_is_cross_entropy(tokenizer) -> None:
    class Fake:
        def hidden(self, batch):
            return None

        def head(self, hidden, run):
            return torch.tensor([[1.0, 2.0], [0.5, -1.0]])

    for smoothing in (0.0, 0.2):
        task = make(Classify(label_smoothing=smoothing), tokenizer, ["no", "yes"])
        batch = task.batch(task.prepare([Example(("w1",), ("yes",)), Example(("w2",), ("no",))]), None)
        loss = task.loss(Fake(), batch)
        expected = torch.nn.CrossEntropyLoss(reduction="sum", label_smoothing=smoothing)(
            Fake().head(None, None), torch.tensor([1, 0])
        )
        assert float(loss.total) == pytest.approx(float(expected)) and loss.count == 2
    answers = task.predict(Fake(), batch)
    assert [a["label"] for a in answers] == ["yes", "no"]
    assert sum(answers[0]["probabilities"].values()) == pytest.approx(1.0)


def test_special_tokens_stand_first(tokenizer) -> None:
    assert tokenizer.special == list(range(len(SPECIAL)))
