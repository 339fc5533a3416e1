"""A cloze: what is read, which word fills the gap, and what a user is told."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import yanmo
from yanmo.errors import DataError, ModelError, SettingsError, YanmoError
from yanmo.tasks import restore
from yanmo.tasks.cloze import Cloze, Settings
from yanmo.text.sources import Example
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings, train
from yanmo.train.settings import Train

WORDS = {"no": "bad", "yes": "good"}
PATTERN = "{text} It was [MASK]."


@pytest.fixture(scope="module")
def cutter() -> Tokenizer:
    texts = ["it was good, not bad, very very good indeed. a film and another film", "很好。很差，非常好吗？"]
    return train(texts * 3, TokenizerSettings(kind="wordpiece", vocab=120))


def made(cutter: Tokenizer, **keys: Any) -> Cloze:
    asked = Settings(**{"pattern": PATTERN, "words": WORDS, **keys})
    return Cloze(asked, cutter, [*asked.words])


def read_as(task: Cloze, *texts: str) -> list[str]:
    """The rows that a text is read as, one for each length of the words."""
    [example] = task.prepare([Example(texts)])
    assert example.ids is not None and example.places is not None
    assert all(example.ids[begin + 0 : end][gap - begin] == task.tokenizer.mask for begin, end, gap in example.places)
    return [task.tokenizer.inner.decode(example.ids[begin:end], False) for begin, end, _ in example.places]


def test_what_is_read(cutter: Tokenizer) -> None:
    assert read_as(made(cutter), "a film") == ["[CLS] a film it was [MASK]. [SEP]"]
    pair = made(cutter, pattern="{text} [MASK], {pair}")
    assert read_as(pair, "a film", "another film") == ["[CLS] a film [MASK], another film [SEP]"]
    several = made(cutter, pattern="很[MASK]。{text}", words={"yes": "好", "no": "非常差"})
    assert read_as(several, "film") == ["[CLS] 很 [MASK] 。 film [SEP]", "[CLS] 很 [MASK] [MASK] [MASK] 。 film [SEP]"]


def test_long_texts_are_cut_and_the_gap_stays(cutter: Tokenizer) -> None:
    task = made(cutter, max_length=10)
    assert read_as(task, "film " * 50) == ["[CLS] film film film film it was [MASK]. [SEP]"]
    pair = made(cutter, pattern="{text} [MASK] {pair}", max_length=9)
    assert read_as(pair, "film " * 50, "very good") == ["[CLS] film film film film [MASK] very good [SEP]"]
    assert read_as(pair, "good", "film " * 50) == ["[CLS] good [MASK] film film film film film [SEP]"]
    assert read_as(pair, "good " * 50, "film " * 50) == ["[CLS] good good good [MASK] film film film [SEP]"]


@pytest.fixture(scope="module")
def base(cutter: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A masked language model as another tool leaves it."""
    folder = tmp_path_factory.mktemp("masked")
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    transformers.BertForMaskedLM(transformers.BertConfig(vocab_size=cutter.size, **size)).save_pretrained(folder)
    cutter.save(folder)
    return folder


def test_the_answer_is_what_the_masked_model_says(base: Path, cutter: Tokenizer) -> None:
    """By hand, with the other tool's model: the logarithms of probability of a word's tokens, less those without a text."""
    words = {"one": "好", "two": "很差"}
    theirs = transformers.BertForMaskedLM.from_pretrained(base)

    def said(text: str, word: str) -> float:
        ids = cutter.encode(word, special=False)
        row = torch.tensor([cutter.encode(text + "[MASK]" * len(ids))])
        with torch.inference_mode():
            sure = theirs(row).logits[0].log_softmax(-1)
        return float(
            sum(sure[place, id] for place, id in zip((row[0] == cutter.mask).nonzero()[:, 0], ids, strict=True))
        )

    texts = ["a good film", "很差 很差 吗", "film"]
    for prior in (True, False):
        task = {"name": "cloze", "pattern": "{text}[MASK]", "words": words, "prior": prior}
        answers = yanmo.load(base, task=task).predict(texts)
        logits = [[said(text, word) - prior * said("", word) for word in words.values()] for text in texts]
        expected = torch.tensor(logits).softmax(-1)
        found = torch.tensor([[*answer["probabilities"].values()] for answer in answers])
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_words_default_to_the_labels(cutter: Tokenizer) -> None:
    rows = [Example(("film",), (label,)) for label in ("very_good", "bad")]
    settled = Cloze.settle(Settings(words={"bad": "not bad"}), rows)
    assert settled.words == {"very_good": "very good", "bad": "not bad"}
    assert Settings(words=["good", "very_good"]).words == {"good": "good", "very_good": "very good"}
    again = restore(made(cutter).record(), cutter, [*WORDS])
    assert isinstance(again, Cloze) and again.settings == made(cutter).settings


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "unknown characters": ({"words": {"a": "龘", "b": "good"}}, "a: '龘' has characters"),
    "same tokens": ({"words": {"a": "Good", "b": "good"}}, "b: 'good' has the same tokens as the word of a"),
    "no room": ({"max_length": 4}, "max_length: 4 tokens, of which the pattern alone takes"),
    "no gap": ({"pattern": "{text}"}, r"expected \{text\} and \[MASK\] once each"),
}


@pytest.mark.parametrize(("keys", "told"), FAULTS.values(), ids=FAULTS)
def test_faults(cutter: Tokenizer, keys: dict[str, Any], told: str) -> None:
    with pytest.raises((SettingsError, ValueError), match=told):
        made(cutter, **keys)


def test_rows_that_do_not_fit(cutter: Tokenizer) -> None:
    with pytest.raises(DataError, match=r"1 rows do not fit task.pattern, which has \{text\} alone"):
        made(cutter).prepare([Example(("a", "b"), (), "r", "f.tsv", 3)])
    with pytest.raises(DataError, match="label 'x' has no words and no training row"):
        made(cutter).prepare([Example(("a",), ("x",), "r", "f.tsv", 3)])
    with pytest.raises(SettingsError, match="no row bears 'yes'"):
        Cloze.settle(Settings(words=WORDS), [Example(("a",), (label,)) for label in ("no", "other")])


@pytest.mark.parametrize(
    ("task", "told"),
    [
        ({"name": "cloze"}, "task.words: 0 labels named"),
        ({"name": "cloze", "words": ["good"]}, "at least two"),
        ({"name": "classify"}, "known: cloze, nearest"),
        ({"name": "cloze", "words": ["good", "bad"]}, "no head for masked words, which task.name=cloze asks"),
    ],
)
def test_what_a_base_can_not_answer(small_folder: Path, task: dict[str, Any], told: str) -> None:
    with pytest.raises(YanmoError, match=told):
        yanmo.load(small_folder, task=task)


def test_a_run_from_few_rows(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the head that it began with, learns, and answers again as it did; a masked language model elsewhere."""
    monkeypatch.chdir(tmp_path)
    for part in ("train", "dev", "test"):
        rows = [
            f"{'good' if i % 2 else 'bad'} {'film ' * (i % 5)}{part}\t{'yes' if i % 2 else 'no'}\n" for i in range(16)
        ]
        Path(f"{part}.tsv").write_text("text\tlabel\n" + "".join(rows))
    keys: dict[str, Any] = {
        "model": {"base": str(base)},
        "data": {part: f"{part}.tsv" for part in ("train", "dev", "test")},
        "task": {"name": "cloze", "pattern": PATTERN, "words": WORDS, "max_length": 32},
        "machine": {"threads": 1},
    }
    metrics = yanmo.finetune(
        run="run", train=Train(steps=40, lr=1e-2, evaluations=2).model_dump(exclude_unset=True), **keys
    )
    assert metrics["test"]["accuracy"] == 1.0 and {*metrics["baseline"]} == {"majority", "naive_bayes", "svm"}
    again = yanmo.evaluate("run", data={"test": "test.tsv"})["test"]
    assert again == metrics["test"]
    assert yanmo.predict("run", ["good film"])[0]["label"] == "yes"
    assert type(transformers.AutoModelForMaskedLM.from_pretrained("run")).__name__ == "BertForMaskedLM"
    untrained = yanmo.evaluate("run", data={"test": "test.tsv"}, task=keys["task"])["test"]
    assert untrained == again  # the same task, its words given anew
    with pytest.raises(ModelError):
        yanmo.load("nowhere", task=keys["task"])
