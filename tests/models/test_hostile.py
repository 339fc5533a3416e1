"""Model folders made by somebody who means harm: refused by name, at once, before memory is taken (M2, M3, M4)."""

import gc
import json
import re
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import transformers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import yanmo
from tests import families
from yanmo import checkpoint, models
from yanmo.checkpoint import Checkpoint
from yanmo.engine.engine import Engine
from yanmo.errors import ModelError
from yanmo.models import FAMILIES, weights
from yanmo.models.base import believed
from yanmo.nn.init import shapes_only

MB = 1 << 20


@contextmanager
def bounded(seconds: float, megabytes: float) -> Iterator[None]:
    """The block is over in that time of the processor and takes no more than that of new memory, at its peak."""
    gc.freeze()  # what the other tests left is not searched for rubbish at this one's expense
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts at what is held now
    before, began = _peak(), time.process_time()
    yield
    took, more = time.process_time() - began, _peak() - before
    gc.unfreeze()
    assert took < seconds and more < megabytes * 1024, f"{took:.3f} s, {more} kB"


def _peak() -> int:
    (kilobytes,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(kilobytes)


def raw(header: Any, body: bytes = b"", *, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape: list[Any], begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


FLOAT = struct.pack("<f", 1.0)

# What is wrong -> the file. All but the last kinds are told from the header.
FILES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "seven bytes": lambda: b"\x08\0\0\0\0\0\0",
    "no header": lambda: struct.pack("<Q", 0),
    "header longer than the file": lambda: raw({}, length=1000),
    "header of 2**64 - 1 bytes": lambda: raw({}, length=2**64 - 1),
    "header of 2**63 bytes": lambda: raw({}, length=2**63),
    "header of 100 MB": lambda: raw(b" " * (100 * MB)),
    "header of 2 MB of lists": lambda: raw(b'{"a":[' + b"[]," * 600_000 + b"[]]}"),
    "header deeper than the stack": lambda: raw(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "not JSON": lambda: raw(b"\x80\x04\x95not a pickle either"),
    "half of a character": lambda: raw({"\ud800": tensor([1], 0, 4)}, FLOAT),
    "not UTF-8": lambda: raw(b'{"\xff\xfe":1}'),
    "UTF-16": lambda: raw("{}".encode("utf-16")),
    "a list": lambda: raw([1, 2]),
    "NaN in the header": lambda: raw(b'{"a":NaN}'),
    "number of 10,000 digits": lambda: raw(b'{"a":' + b"9" * 10_000 + b"}"),
    "overlap": lambda: raw({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, FLOAT * 3),
    "the same bytes twice": lambda: raw({"a": tensor([1], 0, 4), "b": tensor([1], 0, 4)}, FLOAT),
    "hole": lambda: raw({"a": tensor([1], 0, 4), "b": tensor([1], 8, 12)}, FLOAT * 3),
    "hole at the beginning": lambda: raw({"a": tensor([1], 4, 8)}, FLOAT * 2),
    "bytes behind the last tensor": lambda: raw({"a": tensor([1], 0, 4)}, FLOAT + b"#!/bin/sh"),
    "shorter than its tensors": lambda: raw({"a": tensor([1000], 0, 4000)}, FLOAT),
    "offsets backwards": lambda: raw({"a": tensor([1], 4, 0)}, FLOAT),
    "negative offsets": lambda: raw({"a": tensor([1], -4, 0)}, FLOAT),
    "offsets beyond 2**63": lambda: raw({"a": tensor([1], 2**64 - 4, 2**64)}, FLOAT),
    "shape of another size": lambda: raw({"a": tensor([3], 0, 4)}, FLOAT),
    "shape whose product overflows": lambda: raw({"a": tensor([2**32, 2**32], 0, 0)}),
    "shape whose product overflows to the size": lambda: raw({"a": tensor([2**62 + 1, 4], 0, 16)}, FLOAT * 4),
    "no numbers of a huge shape": lambda: raw({"a": tensor([0, 2**62], 0, 0)}),
    "negative shape": lambda: raw({"a": tensor([-1, -1], 0, 4)}, FLOAT),
    "shape of floats": lambda: raw({"a": tensor([1.0], 0, 4)}, FLOAT),
    "shape of booleans": lambda: raw({"a": tensor([True], 0, 4)}, FLOAT),
    "shape of 1,000 dimensions": lambda: raw({"a": tensor([1] * 1000, 0, 4)}, FLOAT),
    "shape is a word": lambda: raw({"a": tensor("1", 0, 4)}, FLOAT),  # type: ignore[arg-type]
    "unknown dtype": lambda: raw({"a": tensor([1], 0, 4, "PICKLE")}, FLOAT),
    "dtype is a list": lambda: raw({"a": tensor([1], 0, 4, ["F32"])}, FLOAT),
    "three offsets": lambda: raw({"a": {**tensor([1], 0, 4), "data_offsets": [0, 4, 4]}}, FLOAT),
    "a key is missing": lambda: raw({"a": {"dtype": "F32", "shape": [1]}}, FLOAT),
    "a key too many": lambda: raw({"a": {**tensor([1], 0, 4), "file": "/etc/passwd"}}, FLOAT),
    "key given twice": lambda: raw(b'{"a":%s,"a":%s}' % ((json.dumps(tensor([1], 0, 4)).encode(),) * 2), FLOAT),
    "dtype given twice": lambda: raw(b'{"a":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', FLOAT),
    "metadata of numbers": lambda: raw({"__metadata__": {"a": 1}, "a": tensor([1], 0, 4)}, FLOAT),
    "metadata is a list": lambda: raw({"__metadata__": [], "a": tensor([1], 0, 4)}, FLOAT),
    "NaN": lambda: safetensors.torch.save({"a": torch.tensor([1.0, float("nan")])}),
    "infinity in float16": lambda: safetensors.torch.save({"a": torch.tensor([1.0, float("inf")]).half()}),
}


@pytest.mark.parametrize("kind", FILES)
def test_m2_files_that_are_refused(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(FILES[kind]())
    with bounded(1.0, 50), pytest.raises(ModelError, match=re.escape(str(file))) as found:
        weights.read_file(file)
    assert len(str(found.value)) < 2000


def test_m2_what_is_fine() -> None:
    assert len(FILES) >= 20


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.bool, torch.float64])
def test_files_of_the_library_are_read_to_the_bit(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "": (torch.randn(3, 4) * 9).to(dtype),
        "研墨.weight": (torch.randn(2, 1, 5) * 9).to(dtype),
        "number": torch.ones((), dtype=dtype),
        "none": torch.ones(0, 7, dtype=dtype),
    }
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors", metadata={"format": "pt"})
    read = weights.read_file(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys()
    assert all(read[name].dtype == dtype and torch.equal(read[name], t) for name, t in tensors.items())


# ---- shards


@pytest.fixture
def shards(small_folder: Path, tmp_path: Path) -> Path:
    """A folder of two shards and their index."""
    folder = tmp_path / "shards"
    shutil.copytree(small_folder, folder)
    tensors = safetensors.torch.load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = list(tensors)
    parts = {f"model-0000{i + 1}-of-00002.safetensors": names[i::2] for i in range(2)}
    for file, held in parts.items():
        safetensors.torch.save_file({name: tensors[name] for name in held}, folder / file)
    index = {
        "metadata": {"total_size": sum(t.nbytes for t in tensors.values())},
        "weight_map": {name: file for file, held in parts.items() for name in held},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def change_index(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    change(index)
    path.write_text(json.dumps(index))


def test_shards_are_one_model(shards: Path, small_folder: Path) -> None:
    ids = torch.tensor([[2, 5, 6, 3]])
    assert torch.equal(yanmo.load(shards).logits(ids), yanmo.load(small_folder).logits(ids))


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda i: i["weight_map"].update({"bert.new": FIRST}), rf"{FIRST}: lacks bert.new"),
        (lambda i: i["weight_map"].popitem(), r"which the index does not name"),
        (lambda i: i["weight_map"].update(dict.fromkeys(list(i["weight_map"])[:1], SECOND)), f"{SECOND}: lacks"),
        (lambda i: i["metadata"].update(total_size=12), r"total_size is 12, but the tensors have [\d,]+ bytes"),
        (lambda i: i["metadata"].update(total_size="all"), r"total_size is 'all'"),
        (lambda i: i["weight_map"].update({"x": "../model.safetensors"}), "files outside its folder"),
        (lambda i: i["weight_map"].update({"x": "/etc/passwd"}), "files outside its folder"),
        (lambda i: i["weight_map"].update({"x": "config.json"}), "files outside its folder"),
        (lambda i: i["weight_map"].update({"x": "none.safetensors"}), "none.safetensors: not a readable"),
        (lambda i: i["weight_map"].update({"x": "}{0.safetensors"}), "}{0.safetensors: not a readable"),
        (lambda i: i["weight_map"].update({"x": 7}), "not an index of shards"),
        (lambda i: i.update(weight_map=[]), "not an index of shards"),
    ],
)
def test_m2_an_index_that_is_wrong(change: Callable[[dict[str, Any]], Any], expected: str, shards: Path) -> None:
    change_index(shards, change)
    with pytest.raises(ModelError, match=expected):
        yanmo.load(shards)


def test_m2_a_tensor_in_two_shards(shards: Path) -> None:
    first, second = (safetensors.torch.load_file(shards / name) for name in (FIRST, SECOND))
    name = next(iter(first))
    safetensors.torch.save_file({**second, name: first[name] + 1}, shards / SECOND)
    with pytest.raises(ModelError, match=f"{SECOND}: holds {re.escape(name)}, which the index has in {FIRST}"):
        yanmo.load(shards)


# ---- half precision


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("sharded", [False, True])
def test_half_precision_becomes_float32(dtype: torch.dtype, sharded: bool, small_folder: Path, tmp_path: Path) -> None:
    """Equal to transformers' own float32 reading; what is written is float32 and says so."""
    model = transformers.BertForSequenceClassification.from_pretrained(small_folder, dtype=dtype)
    folder = tmp_path / "half"
    shutil.copytree(small_folder, folder)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, **({"max_shard_size": "8KB"} if sharded else {}))
    assert (folder / "model.safetensors").is_file() != sharded
    assert json.loads((folder / "config.json").read_text())["dtype"] == str(dtype).removeprefix("torch.")
    reference = transformers.BertForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.tensor([[2, 5, 6, 3]])
    opened = yanmo.load(folder)
    assert {p.dtype for p in opened.model.parameters()} == {torch.float32}
    with torch.no_grad():
        assert (opened.logits(ids) - reference(ids).logits).abs().max() < 1e-5
    checkpoint.write(tmp_path / "again", opened.checkpoint)
    assert json.loads((tmp_path / "again/config.json").read_text())["dtype"] == "float32"
    again = transformers.BertForSequenceClassification.from_pretrained(tmp_path / "again").eval()
    assert again.dtype == torch.float32
    with torch.no_grad():
        assert torch.equal(again(ids).logits, reference(ids).logits)


# ---- memory


def test_weights_are_held_once(small_folder: Path, tmp_path: Path) -> None:
    """The peak of loading a file of 200 MB: its size and three tenths, beside what Python and torch take; from float16 it is the
    float32 weights' size that counts."""
    size = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 8}
    config = {**json.loads((small_folder / "config.json").read_text()), **size}
    read, _ = models.find("bert").config.read(config, "")
    with shapes_only():
        model = models.find("bert").module(read, "classify")
    shapes = {r.theirs: model.state_dict()[r.ours].shape for r in models.find("bert").rules(read, "classify", "bert.")}
    for dtype in (torch.float32, torch.float16):
        folder = tmp_path / str(dtype)
        shutil.copytree(small_folder, folder)
        changed(folder, config)
        tensors = {name: torch.full(shape, 0.01, dtype=dtype) for name, shape in shapes.items()}
        safetensors.torch.save_file(tensors, folder / "model.safetensors")
    code = """
import re, sys
from pathlib import Path
from yanmo import checkpoint

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

for folder in sys.argv[1:]:
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    opened = checkpoint.load(folder)
    print(peak() - before)
    del opened
"""
    words = [sys.executable, "-c", code, small_folder, tmp_path / "torch.float32", tmp_path / "torch.float16"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=True)
    weights = sum(4 * shape.numel() for shape in shapes.values())
    assert weights > 200e6
    for taken in done.stdout.split()[1:]:
        assert 0.9 * weights < int(taken) * 1024 < 1.3 * weights


def test_m3_more_than_the_memory_here(small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("yanmo.machine.free_memory", lambda: 1000)
    with pytest.raises(ModelError, match=r"GB of memory, and 0\.0 GB are free here"):
        yanmo.load(small_folder)


# ---- configs

TYPES = sorted({models.find(name).model_type for name in FAMILIES})  # "transformer" is another name of one


@pytest.fixture(scope="session")
def folders(small_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = families.folders(tmp_path_factory.mktemp("families"), checkpoint.load(small_folder).tokenizer)
    assert found.keys() == set(TYPES)
    return found


def changed(folder: Path, content: dict[str, Any] | bytes) -> None:
    (folder / "config.json").write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())


ABSURD = [2**31, 2**31 - 1, 2**63, 10**12, 10**9, 2**20, 0, -1, -(2**31), 1e12, 1.5, float("nan"), float("inf"), 1e999]
OTHER = ["16", "", True, False, [], [1], {}, {"a": 1}, [[[]]], "a" * 100_000, 10**4000]


@pytest.mark.parametrize("model_type", TYPES)
def test_m3_absurd_values(model_type: str, folders: dict[str, Path], tmp_path: Path) -> None:
    """Each whole number of a config, made absurd: refused at once, or of no consequence."""
    folder = tmp_path / "x"
    shutil.copytree(folders[model_type], folder)
    content = json.loads((folder / "config.json").read_text())
    before = checkpoint.load(folder)
    sizes = [key for key, value in content.items() if type(value) is int and not key.endswith("_id")]
    assert len(sizes) >= 3
    refused = 0
    for key in sizes:
        for value in ABSURD + OTHER:
            changed(folder, {**content, key: value})
            with bounded(0.1, 20):
                try:
                    opened = checkpoint.load(folder)
                except ModelError as error:
                    refused += 1
                    assert len(str(error)) < 5000
                else:
                    assert _parameters(opened) <= _parameters(before), (key, value)
    assert refused > 0.6 * len(sizes) * len(ABSURD + OTHER)


def _parameters(opened: Checkpoint) -> int:
    return sum(t.numel() for t in (*opened.model.parameters(), *opened.model.buffers()))


@pytest.mark.parametrize(
    "content, expected",
    [
        (lambda c: b"[" * 100_000 + b"]" * 100_000, "not a readable JSON object"),
        (lambda c: b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "not a readable JSON object"),
        (lambda c: b'{"a":"' + b"x" * (100 * MB) + b'"}', "100|105 MB; at most 4 MB"),
        (lambda c: json.dumps({**c, "x": 0}).encode().replace(b'"x": 0', b'"x": NaN'), "NaN is no number"),
        (lambda c: json.dumps(c).encode()[:-1] + b',"hidden_size":8}', "'hidden_size' is given twice"),
        (lambda c: json.dumps({**c, "model_type": ["bert"]}).encode(), "expected a JSON object with 'model_type'"),
        (lambda c: json.dumps({**c, "id2label": {"0": "a", "7": "b"}}).encode(), "'id2label'"),
        (lambda c: json.dumps({**c, "architectures": 7}).encode(), "'architectures' is 7"),
        (lambda c: json.dumps({**c, "hidden_dropout_prob": 7}).encode(), "no model can be made of this config"),
        (lambda c: json.dumps({**c, "layer_norm_eps": 1e-5, "x": json.loads("[" * 50 + "]" * 50)}).encode(), "deeper"),
        (lambda c: b"\xff\xfe{}", "not a readable JSON object"),
        (lambda c: json.dumps({**c, "x": "\udfff"}).encode(), "surrogates not allowed"),
        (lambda c: json.dumps({**c, "architectures": {"a": [0] * 10_000}}).encode(), "'architectures' is {'a': "),
        (lambda c: b"", "not a readable JSON object"),
    ],
)
def test_m3_configs_that_are_no_configs(
    content: Callable[[dict[str, Any]], bytes], expected: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "x"
    shutil.copytree(folders["bert"], folder)
    changed(folder, content(json.loads((folder / "config.json").read_text())))
    with bounded(0.1, 20), pytest.raises(ModelError, match=expected):
        checkpoint.load(folder)


def test_m3_every_fault_is_told_at_once(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.copytree(folders["bert"], folder)
    content = json.loads((folder / "config.json").read_text())
    wrong = {"hidden_size": "a", "num_hidden_layers": 10**9, "auto_map": {}, "is_decoder": True, "vocab_size": 0}
    changed(folder, {**content, **wrong})
    with pytest.raises(ModelError) as found:
        checkpoint.load(folder)
    assert all(f"'{key}'" in str(found.value) for key in wrong)


VALUES = st.one_of(
    st.sampled_from([*ABSURD[:10], *OTHER[:9]]),
    st.integers(-(2**33), 2**65),
    st.integers(0, 200),
    st.floats(allow_nan=False),
    st.none(),
    st.text(max_size=5),
    st.lists(st.integers(-5, 2**40), max_size=4),
    st.dictionaries(
        st.sampled_from(["rope_type", "type", "factor", "rope_theta", "0", "1"]), st.integers(-2, 9), max_size=3
    ),
)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_m3_any_config(data: st.DataObject, folders: dict[str, Path]) -> None:
    """Values of a sound config changed at random: a ModelError, or a model no larger than its weights. Nothing else is raised,
    and where there is a model its shapes are those of the file."""
    model_type = data.draw(st.sampled_from(TYPES))
    folder = folders[model_type]
    content = json.loads((folder / "config.json").read_text())
    keys = sorted(
        {*content, *models.find(model_type).config.named(), "id2label", "quantization_config"} - {"model_type"}
    )
    change = data.draw(st.dictionaries(st.sampled_from(keys), VALUES, min_size=1, max_size=3))
    file, stored = folder / "config.json", weights.read_tensors(folder)
    try:
        changed(folder, {**content, **change})
        opened = checkpoint.load(folder)
    except ModelError:
        return
    finally:
        changed(folder, content)
    assert file.is_file()
    held = sum(s.shape.numel() for s in stored.values())
    fresh = set(opened.fresh)
    loaded = sum(p.numel() for name, p in opened.model.named_parameters() if name not in fresh)
    assert loaded <= held
    with suppress(ModelError):  # too few positions for a row
        Engine(opened, torch.device("cpu")).hidden(torch.tensor([[2, 5, 3]]))


# ---- code

CODE = [
    {"auto_map": {"AutoModel": "modeling.Evil"}},
    {"auto_map": None},
    {"custom_code": True},
    {"_attn_implementation_internal": "someone/kernel"},
    {"_attn_implementation": "someone/kernel"},
    {"attn_implementation": "someone/kernel"},
    {"attn_implementation": "https://example.org/kernel"},
    {"attn_implementation": {"": "someone/kernel@v1:attention"}},
    {"_experts_attn_implementation_internal": "x"},
    {"text_config": {"_attn_implementation_internal": "someone/kernel"}},
    {"task_specific_params": [{"a": {"AUTO_MAP": {"AutoModel": "x"}}}]},
    {"use_kernels": True},
    {"kernel_config": {"kernel_mapping": {"RMSNorm": "someone/kernel"}}},
    {"trust_remote_code": True},
    {"hidden_act": "someone/kernel:gelu"},
    {"quantization_config": {"quant_method": "someone/quantiser"}},
]


@pytest.mark.parametrize("change", CODE, ids=lambda change: next(iter(change)))
def test_m4_code_in_a_config(
    change: dict[str, Any], folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused, with nobody asked for anything over the network, and no file of the folder run."""
    folder = tmp_path / "x"
    shutil.copytree(folders["bert"], folder)
    (folder / "modeling.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    changed(folder, {**json.loads((folder / "config.json").read_text()), **change})

    def guard(*_: Any, **__: Any) -> Any:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", guard)
    monkeypatch.setattr(socket, "create_connection", guard)
    monkeypatch.setattr(socket, "getaddrinfo", guard)
    with pytest.raises(ModelError):
        yanmo.load(folder)
    assert not (tmp_path / "canary").exists() and not any(name.startswith("modeling") for name in sys.modules)


def test_m4_what_is_allowed(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "x"
    shutil.copytree(folders["bert"], folder)
    content = json.loads((folder / "config.json").read_text())
    changed(folder, {**content, "attn_implementation": "sdpa", "_attn_implementation_autoset": True})
    assert checkpoint.load(folder).unknown == []


def test_believed_names_the_cause() -> None:
    with (
        pytest.raises(ModelError, match=r"here: no model can be made of this config \(division by zero\)"),
        believed("here"),
    ):
        1 / 0  # noqa: B018
