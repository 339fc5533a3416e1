"""The rules that load and save foreign tensors, and what a folder may not be."""

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import nn

import yanmo
from yanmo import checkpoint
from yanmo.errors import ModelError, SettingsError
from yanmo.models import hf
from yanmo.models.hf import Fused, Reshaped, Same, Transposed


class Toy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, shape in (("a", (2, 3)), ("b", (2, 3)), ("q", (2, 4)), ("k", (3, 4)), ("r", (6,))):
            setattr(self, name, nn.Parameter(torch.randn(*shape)))


RULES = [Same("a", "x.a"), Transposed("b", "x.b"), Fused(("q", "k"), "x.qk"), Reshaped("r", "x.r", (2, 3))]


def test_rules_both_ways() -> None:
    first, second = Toy(), Toy()
    tensors = hf.save(first, RULES)
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "x.a": (2, 3),
        "x.b": (3, 2),
        "x.qk": (5, 4),
        "x.r": (2, 3),
    }
    assert torch.equal(tensors["x.b"], first.b.t()) and torch.equal(tensors["x.qk"][2:], first.k)
    assert hf.load(second, RULES, tensors, where="toy", ignorable=(), fresh=()) == []
    for name, parameter in first.named_parameters():
        assert torch.equal(parameter, second.state_dict()[name])


def test_all_faults_in_one_error() -> None:
    tensors = hf.save(Toy(), RULES)
    tensors["x.a"], tensors["strange"], tensors["x.known"] = torch.zeros(4, 4), torch.zeros(1), torch.zeros(1)
    del tensors["x.r"]
    with pytest.raises(ModelError) as found:
        hf.load(Toy(), RULES, tensors, where="toy", ignorable=(r"x\.known",), fresh=())
    message = str(found.value)
    assert "x.a: shape [4, 4], but the config says [2, 3]" in message
    assert "missing: x.r" in message and "unexpected: strange" in message and "x.known" not in message
    assert hf.load(
        Toy(), [*RULES[1:3]], {k: tensors[k] for k in ("x.b", "x.qk")}, where="", ignorable=(), fresh=()
    ) == ["a", "r"]


def test_older_names_of_a_norm(small_folder: Path, tmp_path: Path) -> None:
    """The files that Google published call a norm's parts gamma and beta."""
    old = tmp_path / "old"
    checkpoint.write(old, checkpoint.load(small_folder))
    tensors = safetensors.torch.load_file(old / "model.safetensors")
    renamed = {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): t
        for n, t in tensors.items()
    }
    assert renamed.keys() != tensors.keys()
    safetensors.torch.save_file(renamed, old / "model.safetensors")
    ids = torch.tensor([[2, 5, 6, 3]])
    assert torch.equal(yanmo.load(old).logits(ids), yanmo.load(small_folder).logits(ids))


def test_shards(small_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "shards"
    checkpoint.write(folder, checkpoint.load(small_folder))
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, held in parts.items():
        safetensors.torch.save_file({name: tensors[name] for name in held}, folder / file)
    index = {"weight_map": {name: file for file, held in parts.items() for name in held}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    ids = torch.tensor([[2, 5, 6, 3]])
    assert torch.equal(yanmo.load(folder).logits(ids), yanmo.load(small_folder).logits(ids))
    index["weight_map"][names[0]] = "../outside.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError, match="files outside its folder"):
        yanmo.load(folder)


def test_a_new_task_on_an_old_head(small_folder: Path) -> None:
    """Other labels: the head is new, everything else is kept; the same labels: the head is kept too."""
    same = checkpoint.load(small_folder, head="classify", labels=["negative", "positive"])
    other = checkpoint.load(small_folder, head="classify", labels=["a", "b", "c"])
    assert same.fresh == [] and other.fresh == ["task_head.output.weight", "task_head.output.bias"]
    assert other.config.id2label == {0: "a", 1: "b", 2: "c"}
    kept = checkpoint.load(small_folder).model.state_dict()
    assert all(
        torch.equal(kept[n], t) for n, t in other.model.state_dict().items() if not n.startswith("task_head.output")
    )


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"auto_map": {"AutoModel": "x.py"}}, "names code to run"),
        ({"hidden_size": -4}, "'hidden_size' is -4"),
        ({"hidden_size": 2**31}, "'hidden_size' is 2147483648"),
        ({"hidden_size": "16"}, "'hidden_size' is '16', expected int"),
        ({"num_hidden_layers": True}, "'num_hidden_layers' is True"),
        ({"position_embedding_type": "relative_key"}, "implements only 'absolute'"),
        ({"is_decoder": True}, "'is_decoder' is True"),
        ({"num_attention_heads": 3}, "not a multiple of num_attention_heads"),
        ({"hidden_act": "mish"}, "hidden_act 'mish' is not known"),
        ({"hidden_size": 1_000_000}, "shape"),
        ({"problem_type": "ranking"}, "problem_type 'ranking' is not implemented"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_m3_m4_configs_that_are_refused(change: dict, expected: str, small_folder: Path, tmp_path: Path) -> None:
    checkpoint.write(tmp_path, checkpoint.load(small_folder))
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, **change}))
    (tmp_path / "yanmo.json").unlink()  # which would say what the folder was made for
    with pytest.raises(ModelError, match=expected):
        yanmo.load(tmp_path)


def test_int8_answers_but_is_not_trained(small_folder: Path, tmp_path: Path) -> None:
    from yanmo.compression.quantise import quantise

    opened = checkpoint.load(small_folder)
    quantise(opened.model)
    checkpoint.write(tmp_path / "int8", opened)
    again = yanmo.load(tmp_path / "int8")
    ids = torch.tensor([[2, 5, 6, 3]])
    assert torch.equal(again.logits(ids), yanmo.engine.Engine(opened, torch.device("cpu")).logits(ids))
    (tmp_path / "rows.tsv").write_text("label\ttext\n" + "".join(f"{'ab'[i % 2]}\tx {i}\n" for i in range(60)))
    with pytest.raises(ModelError, match="int8, which answer but can't be trained"):
        yanmo.finetune(
            run=tmp_path / "run", model={"base": str(tmp_path / "int8")}, data={"train": tmp_path / "rows.tsv"}
        )


def test_columns_are_remembered(tmp_path: Path, small_folder: Path) -> None:
    rows = "".join(f"{'good' if i % 2 else 'bad'},first {i},second {i}\n" for i in range(40))
    (tmp_path / "pairs.csv").write_text("stars,one,two\n" + rows)
    columns = {"text": "one", "pair": "two", "label": "stars"}
    run = tmp_path / "run"
    yanmo.finetune(
        run=run,
        model={"base": str(small_folder)},
        data={"train": tmp_path / "pairs.csv", "columns": columns},
        task={"max_length": 16},
        train={"steps": 1},
    )
    assert yanmo.evaluate(run, data={"test": tmp_path / "pairs.csv"})["test"]["rows"] == 40
    (tmp_path / "single.csv").write_text("stars,one\ngood,first\n")
    with pytest.raises(Exception, match="no column for the pair"):
        yanmo.evaluate(run, data={"test": tmp_path / "single.csv"})


def test_two_paths_of_a_kind(tmp_path: Path) -> None:
    from yanmo.runs import paths

    assert paths([tmp_path, tmp_path / "a.tsv"]) == (tmp_path, tmp_path / "a.tsv")
    with pytest.raises(SettingsError, match="one file is enough"):
        paths([tmp_path / "a.tsv", tmp_path / "b.tsv"])
