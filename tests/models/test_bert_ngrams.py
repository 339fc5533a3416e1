"""BERT with n-grams: a BERT folder opens as one and is that BERT; trained, it is BERT over the sum of its embeddings."""

from pathlib import Path

import pytest
import torch

import yanmo
from tests.families import CASES
from tests.measured import STATES, within
from tests.models.test_contracts import fresh, packed, rectangle
from yanmo import checkpoint, models
from yanmo.errors import ModelError, SettingsError
from yanmo.text.batches import Batch

ODD = next(case for case in CASES if case.family == "yanmo-bert-ngrams" and case.name == "odd")
IDS = torch.tensor([[2, 5, 6, 7, 3]])


def test_it_is_bert_over_its_sum() -> None:
    """Each known n-gram, found by a loop, is added to what BERT would norm."""
    model = fresh(ODD, "base")
    with torch.no_grad():
        for table in model.embeddings.more.tables:
            table.table.weight.normal_()
    ids, mask, _ = rectangle(ODD.values["vocab_size"])
    run = packed(ids, mask)
    added, met = torch.zeros(len(run.ids), ODD.values["hidden_size"]), 0
    matrix = model.embeddings.more.projection.weight.detach()
    for place, position in enumerate(run.positions.tolist()):
        for ngram in model.embeddings.more.tables:
            if position >= ngram.size - 1:
                number = sum(int(run.ids[place - n]) * ODD.values["vocab_size"] ** n for n in range(ngram.size))
                for row in (ngram.keys == number).nonzero()[:, 0].tolist():
                    added[place] += matrix @ ngram.table.weight[row].detach()
                    met += 1
    assert met
    with torch.no_grad():
        found = model.hidden(Batch(run))
        model.embeddings.more = torch.nn.Module()
        model.embeddings.more.forward = lambda run: added
        expected = model.hidden(Batch(run))
    within("yanmo-bert-ngrams", ODD.name, STATES, "loops of what it adds to BERT", found - expected)
    assert (expected - fresh(ODD, "base").hidden(Batch(run))).abs().max() > 0.01


@pytest.mark.parametrize("name", ["next", "masked"])
def test_a_bert_folder_opens_as_one_and_is_that_bert(name: str, small_folder: Path, tmp_path: Path) -> None:
    config = {"ngram_rows": 30}
    opened = checkpoint.load(small_folder, head=name, changes=config, wider="yanmo-bert-ngrams")
    assert {part for part in opened.fresh if "ngram" in part or "more" in part} == {
        "embeddings.more.projection.weight",
        *(f"embeddings.more.tables.{n}.{part}" for n in (0, 1) for part in ("keys", "table.weight")),
    }
    rows = opened.tokenizer.encode_all(["这部电影很好", "这部电影不好"])
    opened.family.learn(opened.model, rows, opened.tokenizer.special)  # type: ignore[misc]
    assert all((table.keys >= 0).any() for table in opened.model.embeddings.more.tables)  # type: ignore[union-attr]
    checkpoint.write(tmp_path / "wide", opened)
    assert torch.equal(yanmo.load(tmp_path / "wide").hidden(IDS), yanmo.load(small_folder).hidden(IDS))


def test_a_run_widens_its_base_and_learns_its_ngrams_once(small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"这部电影第{i}次看还是很好\n" for i in range(80)))
    keys = {"train": {"steps": 2, "evaluations": 1}, "objective": {"max_length": 16}, "machine": {"threads": 1}}
    wide = {"base": str(small_folder), "family": "yanmo-bert-ngrams", "config": {"ngram_rows": 30}}
    yanmo.pretrain(run=tmp_path / "wide", model=wide, data={"train": tmp_path / "text.txt"}, **keys)
    first = checkpoint.load(tmp_path / "wide").model.state_dict()
    assert (first["embeddings.more.tables.0.keys"] >= 0).any()
    assert first["embeddings.more.tables.0.table.weight"].any()
    yanmo.pretrain(
        run=tmp_path / "less",
        model=wide,
        data={"train": tmp_path / "text.txt"},
        **{**keys, "train": {"steps": 1, "evaluations": 1}},
    )
    name = "embeddings.more.projection.weight"
    assert not torch.equal(first[name], checkpoint.load(tmp_path / "less").model.state_dict()[name])
    (tmp_path / "other.txt").write_text("".join(f"房间{i}干净\n" for i in range(80)))
    model = {"base": str(tmp_path / "wide"), "family": "yanmo-bert-ngrams"}
    yanmo.pretrain(run=tmp_path / "more", model=model, data={"train": tmp_path / "other.txt"}, **keys)
    second = checkpoint.load(tmp_path / "more").model.state_dict()
    assert torch.equal(first["embeddings.more.tables.0.keys"], second["embeddings.more.tables.0.keys"])


def test_what_can_not_be_widened(small_folder: Path) -> None:
    assert [name for name in models.FAMILIES if models.find(name).widens] == ["yanmo-bert-ngrams"]
    with pytest.raises(SettingsError, match=r"model\.family: says how a model from scratch is made"):
        yanmo.pretrain(model={"base": str(small_folder), "family": "gpt2"}, data={"train": "x.txt"})
    with pytest.raises(ModelError, match="'bert', which can't become a 'yanmo-ngram-bert'"):
        checkpoint.load(small_folder, wider="yanmo-ngram-bert")
