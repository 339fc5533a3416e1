"""Sentence vectors: what a batch holds, the losses and the folders of sentence-transformers, the scores, what rows are refused."""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import yanmo
from yanmo.__main__ import main
from yanmo.baselines import BASELINES
from yanmo.errors import DataError
from yanmo.tasks import make, restore
from yanmo.tasks.embed import Embed, Settings, retrieval, uniformity
from yanmo.tasks.sentence import FILES
from yanmo.text.batches import Batch, Key
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train

TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
COLOURS = ("red", "green", "blue", "black", "white", "brown", "pink", "grey")
KEY = Key(0, 0, 0)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train([" ".join(f"w{i}" for i in range(50))] * 3, TokenizerSettings(kind="word", vocab=100))


class Table:
    """A model whose states are the vectors of its tokens."""

    def __init__(self) -> None:
        self.table = torch.randn(100, 8, generator=torch.Generator().manual_seed(0))

    def hidden(self, batch: Batch) -> Tensor:
        return self.table[batch.source.ids]


def rows(*texts: tuple[str, ...], labels: tuple[str, ...] = ()) -> list[Example]:
    return [Example(each, labels[i : i + 1], f"r{i}", "f.tsv", i + 1) for i, each in enumerate(texts)]


PAIRS = rows(("w1 w2", "w1 w3 w4"), ("w5", "w6"), ("w7 w8 w9", "w10 w7"))
TRIPLES = rows(("w1 w2", "w1 w3 w4", "w20"), ("w5", "w6", "w5 w21"), ("w7 w8 w9", "w10 w7", "w22"))
SCORED = rows(*(e.texts for e in PAIRS), labels=("4.5", "0", "3"))


def prepared(tokenizer: Tokenizer, examples: list[Example], **keys: Any) -> tuple[Embed, list[Example]]:
    task = make(Settings(**keys), tokenizer)
    assert isinstance(task, Embed)
    return task, task.prepare(examples)


def texts_of(batch: Batch, tokenizer: Tokenizer) -> list[str]:
    return [tokenizer.decode(row.tolist()[1:-1]) for row in batch.source.ids.split(batch.source.lengths)]


def test_batches_hold_first_texts_then_second_ones(tokenizer: Tokenizer) -> None:
    task, found = prepared(tokenizer, TRIPLES, max_length=4)
    assert [len(e.ids) for e in found if e.ids is not None] == [4 + 4 + 3, 3 + 3 + 4, 4 + 4 + 3]  # cut one by one
    for key in (KEY, None):
        batch = task.batch(found, key)
        cut = [[" ".join(e.texts[i].split()[:2]) for e in TRIPLES] for i in range(3)]
        assert texts_of(batch, tokenizer) == [*cut[0], *cut[1], *cut[2]] and batch.rows == ("r0", "r1", "r2")
    task, found = prepared(tokenizer, SCORED)
    batch = task.batch(found, KEY)
    assert batch.evidence is None and batch.labels is not None and batch.labels.tolist() == [4.5, 0, 3]
    for examples, twice in ((rows(("w1",), ("w2 w3",)), ["w1", "w2 w3"]), (SCORED[1:2], ["w5", "w6"])):
        task, found = prepared(tokenizer, examples, learn="texts")  # of pairs every text is one
        batch = task.batch(found, KEY)
        assert texts_of(batch, tokenizer) == [*twice, *twice] and batch.labels is None


def test_losses_are_those_of_sentence_transformers(tokenizer: Tokenizer) -> None:
    from sentence_transformers.sentence_transformer.losses import CoSENTLoss, MultipleNegativesRankingLoss

    model: Any = Table()
    stand_in = torch.nn.Identity()

    def vectors(examples: list[Example], column: int) -> Tensor:
        each = [
            model.table[tokenizer.encode(" ".join(e.texts[column].split()))].mean(0, keepdim=True) for e in examples
        ]
        return torch.cat(each)

    contrast = MultipleNegativesRankingLoss(stand_in, scale=20.0)
    for examples in (PAIRS, TRIPLES):
        task, found = prepared(tokenizer, examples)
        loss = task.loss(model, task.batch(found, KEY))
        expected = contrast.compute_loss_from_embeddings(
            [vectors(examples, i) for i in range(len(examples[0].texts))], None
        )
        assert loss.count == 3 and float(loss.total) / 3 == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    singles = rows(("w1 w2",), ("w3",), ("w4 w5",))
    task, found = prepared(tokenizer, singles)  # SimCSE; without dropout both times are alike
    loss = task.loss(model, task.batch(found, KEY))
    expected = contrast.compute_loss_from_embeddings([vectors(singles, 0)] * 2, None)
    assert loss.count == 3 and float(loss.total) / 3 == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    for temperature in (0.05, 0.5):
        task, found = prepared(tokenizer, SCORED, temperature=temperature)
        loss = task.loss(model, task.batch(found, KEY))
        expected = CoSENTLoss(stand_in, scale=1 / temperature).compute_loss_from_embeddings(
            [vectors(SCORED, 0), vectors(SCORED, 1)], torch.tensor([4.5, 0, 3])
        )
        assert float(loss.total) == pytest.approx(float(expected), rel=1e-5, abs=1e-6) and loss.count == 1


def test_one_row_has_nothing_to_be_compared_with(tokenizer: Tokenizer) -> None:
    for examples in (PAIRS[:1], SCORED[:1], rows(("w1",))):
        model: Any = Table()
        model.table.requires_grad_()
        task, found = prepared(tokenizer, examples)
        loss = task.loss(model, task.batch(found, KEY))
        loss.total.backward()
        assert float(loss.total.detach()) == 0 and not model.table.grad.abs().sum()


def test_what_belongs_to_a_text_elsewhere_is_no_wrong_answer(tokenizer: Tokenizer) -> None:
    asked = rows(("w1", "w2"), ("w1", "w3"), ("w4", "w2"), ("w5", "w6"), ("w6", "w7"))
    task, found = prepared(tokenizer, asked)
    mask = task.batch(found, KEY).evidence
    assert mask is not None
    assert {tuple(place) for place in mask.nonzero().tolist()} == {
        (0, 1), (1, 0), (0, 2), (1, 2),  # w1 goes with w2 and w3, wherever these stand
        (2, 0),  # w4 with w2
        (4, 3),  # w6 is itself
    }  # fmt: skip


def test_scores(tokenizer: Tokenizer) -> None:
    vectors = torch.nn.functional.normalize(torch.randn(50, 6, generator=torch.Generator().manual_seed(1)))
    expected = -torch.pdist(vectors).pow(2).mul(-2).exp().mean().log()
    assert uniformity(vectors.numpy()) == pytest.approx(float(expected), rel=1e-5, abs=1e-6)
    assert uniformity(vectors[:1].numpy()) == 0
    places = {"a": 0.0, "b": 0.1, "c": 0.3, "d": 0.6, "x": 0.35, "e": 1.0}  # angles

    def at(texts: list[str]) -> np.ndarray:
        return np.array([[np.cos(places[text]), np.sin(places[text])] for text in texts])

    # a's partner is b, its nearest; d's is a second text that stands between x and e; b itself is passed over, so c finds x first
    found = retrieval(rows(("a", "b"), ("c", "e", "x"), ("b", "d")), at)
    assert found["rows"] == 3 and found["mrr"] == pytest.approx((1 + 1 / 4 + 1 / 2) / 3)
    assert found["recall@10"] == 1


def corpus(folder: Path) -> dict[str, str]:
    """Pairs of sentences that share no word, of which a colour and an animal go together."""
    generator = random.Random(0)
    animals = ("cat", "dog", "cow", "hen", "fox", "owl", "pig", "ant")
    names = {"train": 240, "dev": 40, "test": 40}
    for name, count in names.items():
        with (folder / f"{name}.jsonl").open("w") as file:
            for i in range(count):
                some = generator.sample(range(8), 2)
                anchor = " ".join(COLOURS[k] for k in some) + f" {name}{i}"
                positive = " ".join(animals[k] for k in reversed(some)) + f" {name}{i % 7}x"
                file.write(json.dumps({"anchor": anchor, "positive": positive}) + "\n")
    return {name: str(folder / f"{name}.jsonl") for name in names}


def settings(run: Path, data: dict[str, str], **more: Any) -> dict[str, Any]:
    return {
        "run": str(run),
        "machine": {"threads": 1, "precision": "float32"},
        "model": {"size": TINY},
        "tokenizer": {"kind": "word", "vocab": 400},
        "data": data,
        "task": {"name": "embed", "max_length": 16},
        "train": {"steps": 60, "batch_tokens": 256, "lr": 5e-3, "evaluations": 2},
        **more,
    }


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], dict[str, str]]:
    folder = tmp_path_factory.mktemp("embed")
    data = corpus(folder)
    return folder / "run", yanmo.finetune(**settings(folder / "run", data)), data


def test_pairs_are_learnt_and_opened_by_sentence_transformers(
    run: tuple[Path, dict[str, Any], dict[str, str]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    folder, metrics, data = run
    assert metrics["headline"] == "ndcg@10" and metrics["test"]["rows"] == 40
    # 28 pairs of colours: what shares no word with the question is found by what was learnt only
    assert metrics["test"]["ndcg@10"] > 0.5 > 0.3 > metrics["baseline"]["tfidf"]["ndcg@10"]
    texts = ["red green train1", "owl pig", "a " * 40]
    opened = SentenceTransformer(str(folder), device="cpu")
    ours = yanmo.load(folder).embed(texts)
    assert opened.max_seq_length == 16
    assert torch.allclose(torch.from_numpy(opened.encode(texts)), ours, atol=1e-6)
    assert torch.allclose(ours.norm(dim=1), torch.ones(3))
    [vector] = yanmo.predict(folder, ["owl pig"])
    assert torch.allclose(torch.tensor(vector["vector"]), ours[1], atol=1e-6)
    [pair] = yanmo.predict(folder, [("red green train1", "owl pig")])
    assert pair == {"similarity": pytest.approx(float(ours[0] @ ours[1]), abs=1e-6)}
    assert json.loads(json.dumps(pair)) == pair
    assert yanmo.evaluate(folder, data={"test": data["test"]})["test"] == metrics["test"]
    card = (folder / "README.md").read_text()
    assert "library_name: sentence-transformers\npipeline_tag: sentence-similarity\n" in card
    texts_file = tmp_path / "new.csv"
    texts_file.write_text("anchor,positive\nowl pig,red\n")
    capsys.readouterr()
    assert main(["predict", str(folder), str(texts_file)]) == 0
    value, text = capsys.readouterr().out.rstrip("\n").split("\t")
    assert text == "owl pig red" and -1 <= float(value) <= 1


def test_a_run_goes_on_with_the_pooling_of_its_base(
    run: tuple[Path, dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer

    folder, *_ = run
    base = tmp_path / "base"
    shutil.copytree(folder, base)
    (base / "yanmo.json").unlink()  # as another tool leaves it
    pooling = json.loads((base / "1_Pooling/config.json").read_text())
    (base / "1_Pooling/config.json").write_text(
        json.dumps(pooling | {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False})
    )
    scored = tmp_path / "scored.csv"
    scored.write_text(
        "text,pair,score\n"
        + "".join(f"{a} {i},{b} {i},{float(a == b)}\n" for i in range(2) for a in COLOURS for b in COLOURS)
    )
    keys = settings(tmp_path / "run", {"train": str(scored)})
    keys |= {"model": {"base": str(base)}, "tokenizer": {}}
    metrics = yanmo.finetune(**keys)
    assert metrics["headline"] == "spearman" and metrics["dev"]["spearman"] > 0.3
    assert metrics["baseline"]["tfidf"]["spearman"] > 0
    engine = yanmo.load(tmp_path / "run")
    assert engine.task is not None and engine.task.record()["pooling"] == ["cls"]
    opened = SentenceTransformer(str(tmp_path / "run"), device="cpu")
    assert torch.allclose(torch.from_numpy(opened.encode(["red cat"])), engine.embed(["red cat"]), atol=1e-6)


def test_a_folder_of_sentence_transformers_compares_texts(minilm: Path) -> None:
    engine = yanmo.load(minilm)
    assert engine.task is not None and engine.task.name == "embed" and engine.task.best == "spearman"
    first, second = engine.predict([("a cat sits", "a cat is sitting"), ("a cat sits", "stocks fell")])
    assert first["similarity"] > 0.9 > 0.3 > second["similarity"]
    again = restore(engine.task.record(), engine.tokenizer)
    assert again.record() == engine.task.record()


def test_a_folder_that_is_begun_anew_says_no_more_of_vectors(
    run: tuple[Path, dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    folder, *_ = run
    shutil.copytree(folder, tmp_path / "run")
    assert {*FILES} < {path.name for path in (tmp_path / "run").iterdir()}
    table = tmp_path / "train.tsv"
    table.write_text("label\ttext\n" + "".join(f"{i % 2}\tw{i % 2} t{i}\n" for i in range(40)))
    keys = settings(tmp_path / "run", {"train": str(table)}, force=True) | {"task": {"max_length": 16}}
    yanmo.finetune(**keys)
    assert not {*FILES} & {path.name for path in (tmp_path / "run").iterdir()}


# name: (settings, texts, labels, what is said)
REFUSED: dict[str, tuple[dict[str, Any], list[tuple[str, ...]], tuple[str, ...], str]] = {
    "several kinds": ({}, [("a", "b"), ("c",)], (), "f.tsv:1 is a pair without a number, f.tsv:2 is a text alone"),
    "scores that are not there": ({"learn": "scores"}, [("a", "b")], (), "task.learn=scores, but each row is a pair"),
    "pairs of single texts": ({"learn": "pairs"}, [("a",)], (), "task.learn=pairs, but each row is a text alone"),
    "one number": ({}, [("a", "b"), ("c", "d")], ("1", "1.0"), "every pair has the number 1, so"),
}


@pytest.mark.parametrize(("keys", "texts", "labels", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(keys: dict[str, Any], texts: list[tuple[str, ...]], labels: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError) as caught:
        Embed.learnt(Settings(**keys), rows(*texts, labels=labels), "train.tsv")
    assert said in str(caught.value)


def test_texts_alone_are_told_apart_more_evenly(
    run: tuple[Path, dict[str, Any], dict[str, str]], tmp_path: Path
) -> None:
    lines = tmp_path / "lines.txt"
    lines.write_text("".join(f"{a} {b}\n" for a in COLOURS for b in COLOURS))
    keys = settings(tmp_path / "run", {"train": str(lines)}) | {"model": {"base": str(run[0])}, "tokenizer": {}}
    metrics = yanmo.finetune(**keys)
    before = yanmo.evaluate(run[0], data={"test": str(lines)})["test"]
    after = yanmo.evaluate(tmp_path / "run", data={"test": str(lines)})["test"]
    assert metrics["headline"] == "uniformity" and metrics["baseline"] == {} and before["rows"] == 64
    assert after["uniformity"] > before["uniformity"]


def test_baselines_of_other_rows() -> None:
    made = BASELINES["embed"]
    assert made(PAIRS, rows(("w1",)), (), None) == {}
    # the third text shares more words with the first than the right one does; the first of the last pair is no answer to itself
    asked = rows(("w1 w2", "w1 w3", "w1 w2 w3"), ("w4", "w4 w5", "w6"), ("w1 w3", "w7 w3", "w8"))
    assert made(asked, asked, (), None)["bm25"]["mrr"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    # w5 and w6 share nothing and have the lowest number; the other two share a word of five
    scored = made(SCORED, SCORED, (), None)["tfidf"]
    assert scored["rows"] == 3 and scored["spearman"] > 0.8
    found = made(TRIPLES, TRIPLES, (), None)["tfidf"]
    assert found["rows"] == 3 and found["mrr"] == pytest.approx((1 + 1 / 6 + 1) / 3, abs=0.1)
