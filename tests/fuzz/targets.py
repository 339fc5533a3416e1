"""What reads files that somebody else may have made, each with inputs to begin with and a way to damage them (M2, M3, M5, M9).

A target reads one input and keeps to its contract: it is over within a second of the processor's time and 50 MB of new memory, and
nothing but a YanmoError comes out, of a few lines that can be printed. `test_fuzz.py` tries some hundred inputs of each;
`benchmarks/fuzz.py` lets atheris, which sees which lines are reached, look for minutes.
"""

import json
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import safetensors.torch
import torch

from tests import families
from tests.models import test_gguf, test_hostile
from yanmo import checkpoint, files, index, models
from yanmo.checkpoint import Checkpoint
from yanmo.errors import YanmoError
from yanmo.models import ModelSettings, weights
from yanmo.tasks import OBJECTIVES, classify
from yanmo.text import tokenizer, tokens
from yanmo.text.tokenizer import Tokenizer, TokenizerSettings

SECONDS, MEGABYTES, LETTERS = 1.0, 50, 8100
TEXTS = ["a good film", "a bad film", "这部电影很好", "这部电影不好"] * 3
Damage = Callable[[bytes, Random], bytes]


class Target(NamedTuple):
    """seeds: the inputs to begin with, made in an empty folder that `read` is given too, with whatever it needs there."""

    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path, bytes], Any]
    damage: Damage


def attempt(target: Target, folder: Path, data: bytes) -> str | None:
    """Read one input: the error that refuses it, None where it is fine. AssertionError where the contract is broken; any other
    exception is a defect, too."""
    with test_hostile.bounded(SECONDS, MEGABYTES):
        try:
            target.read(folder, data)
        except YanmoError as error:
            said = str(error)
        else:
            return None
    assert said.encode() and len(said) < LETTERS, f"an error of {len(said):,} letters: {said[:200]}"
    return said


def put(file: Path, data: bytes) -> None:
    """As a new file: to cut an old one short waits for the disk."""
    file.unlink(missing_ok=True)
    file.write_bytes(data)


# ---- damage

NUMBERS = [0, 1, -1, 2, 7, 8, 64, 255, 2**15, 2**31 - 1, 2**31, 2**32, 2**48, 2**62, 2**63, 2**64 - 1]
VALUES = [*NUMBERS, 0.5, 1e300, -0.0, None, True, "", "a", "F32", "研", "\ud800", "\0", [], {}, [[]], {"a": 1}]


def bytewise(raw: bytes, random: Random) -> bytes:
    """Bytes changed, cut out, put in, copied; half the time near the beginning, where headers are."""
    found = bytearray(raw)
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        place = random.randrange(min(len(found), random.choice([300, 10_000, 1 << 30])) + 1)
        length = random.choice([1, 1, 2, 4, 8, 30])
        match random.randrange(5):
            case 0:
                found[place : place + 1] = bytes(byte ^ 1 << random.randrange(8) for byte in found[place : place + 1])
            case 1:
                del found[place : random.choice([place + length, len(found)])]
            case 2:
                found[place:place] = random.randbytes(length)
            case 3:
                form = random.choice(["<I", "<Q", "<d"])
                number = struct.pack(form, random.choice(NUMBERS) & (2**32 - 1 if form == "<I" else 2**64 - 1))
                found[place : place + len(number)] = number
            case _:
                found[place:place] = found[place : place + random.choice([length, 100])]
    return bytes(found)


def in_json(raw: bytes, random: Random) -> bytes:
    """A JSON text with parts changed, taken out or put elsewhere; bytewise where it is none, and now and then where it is."""
    if random.random() < 0.2:
        return bytewise(raw, random)
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return bytewise(raw, random)
    for _ in range(random.choice([1, 1, 2, 3])):
        held = list(_containers(content))
        if not held:
            return json.dumps(random.choice(VALUES)).encode()
        inside, other = random.choice(held), random.choice(held)
        keys = list(inside) if isinstance(inside, dict) else list(range(len(inside)))
        if not keys:
            continue
        key = random.choice(keys)
        match random.randrange(6):
            case 0:
                del inside[key]
            case 1 if isinstance(inside, dict):
                inside[random.choice(["", "a", "\ud800", "__metadata__", "x" * 300])] = inside[key]
            case 2:
                inside[key] = deepcopy(other)
            case 3:
                inside[key] = deepcopy(random.choice(["x" * 3000, 10**400, [0] * 3000, [[[[[1]]]]]]))
            case _:
                inside[key] = deepcopy(random.choice(VALUES))
    return json.dumps(content).encode()


def _containers(content: Any) -> Iterator[Any]:
    """Every object and list in it that is not empty."""
    waiting = [content]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict | list) and part:
            yield part
            waiting += part.values() if isinstance(part, dict) else part


def in_header(raw: bytes, random: Random) -> bytes:
    """A safetensors file whose header is changed as JSON and whose length is that of the new one."""
    length = int.from_bytes(raw[:8], "little")
    if random.random() < 0.3 or not 2 <= length <= len(raw) - 8:
        return bytewise(raw, random)
    header, body = in_json(raw[8 : 8 + length], random), raw[8 + length :]
    return struct.pack("<Q", len(header)) + header + (bytewise(body, random) if random.random() < 0.2 else body)


# ---- safetensors


def _safetensors(folder: Path) -> list[bytes]:
    sound = {"a": torch.ones(2, 3), "": torch.zeros(4, dtype=torch.int64), "研": torch.ones((), dtype=torch.bfloat16)}
    hostile = [make() for make in test_hostile.FILES.values()]
    return [safetensors.torch.save(sound, {"format": "pt"}), *(file for file in hostile if len(file) < 5000)]


def _read_safetensors(folder: Path, data: bytes) -> None:
    """What is read is what the format's own library reads."""
    file = folder / "x.safetensors"
    put(file, data)
    found = weights.read_file(file)
    theirs = safetensors.torch.load(data)
    assert found.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor), name


def _index(folder: Path) -> list[bytes]:
    parts = {"a.safetensors": ["x", "y"], "b.safetensors": ["z"]}
    for file, names in parts.items():
        safetensors.torch.save_file({name: torch.ones(3) for name in names}, folder / file)
    places = {name: file for file, names in parts.items() for name in names}
    return [
        json.dumps(content).encode()
        for content in ({"metadata": {"total_size": 36}, "weight_map": places}, {"weight_map": places}, {}, [])
    ]


def _read_index(folder: Path, data: bytes) -> None:
    put(folder / "model.safetensors.index.json", data)
    found = {name: stored.read().tolist() for name, stored in weights.read_tensors(folder).items()}
    assert found and found.keys() <= set("xyz") and all(numbers == [1.0] * 3 for numbers in found.values())


# ---- folders


def _cutter() -> Tokenizer:
    return tokenizer.train(TEXTS, TokenizerSettings(vocab=100))


def _configs(folder: Path) -> list[bytes]:
    made = families.folders(folder, _cutter())
    return [(place / "config.json").read_bytes() for place in made.values()]


def _read_config(folder: Path, data: bytes) -> None:
    """In the folder of the family that it names; where it names none, in that of another."""
    name = None
    with suppress(ValueError, RecursionError, AttributeError):
        name = json.loads(data).get("model_type")
    place = next((each for each in folder.iterdir() if each.name == name), folder / "bert")
    held = (place / "config.json").read_bytes()
    try:
        put(place / "config.json", data)
        opened = checkpoint.load(place)
    finally:
        put(place / "config.json", held)
    stored = sum(tensor.shape.numel() for tensor in weights.read_tensors(place).values())
    fresh = set(opened.fresh)
    assert sum(p.numel() for name, p in opened.model.named_parameters() if name not in fresh) <= stored


def _gguf(folder: Path) -> list[bytes]:
    file, small = folder / "sound.gguf", {"num_hidden_layers": 1, "hidden_size": 32, "intermediate_size": 32}
    sound = []
    for architecture in ("llama", "qwen3"):
        test_gguf.written(file, architecture, test_gguf.KIND.Q4_0, **small, num_attention_heads=2)
        sound.append(file.read_bytes())
    return sound + list(test_gguf.HOSTILE.values())


def _read_gguf(folder: Path, data: bytes) -> None:
    put(folder / "m.gguf", data)
    checkpoint.load(folder / "m.gguf")


def _records(folder: Path) -> list[bytes]:
    """yanmo.json of a classifier, beside tokenizer_config.json."""
    cutter = _cutter()
    family, config = models.configure(
        ModelSettings(
            size={"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
        ),
        vocab_size=cutter.size,
        id2label={"0": "bad", "1": "good"},
    )
    task = classify.Classify(classify.Settings(max_length=64), cutter, ["bad", "good"])
    model = checkpoint.create(family, config, "classify")
    checkpoint.write(folder, Checkpoint(model, family, "classify", cutter, task))
    record = json.loads((folder / checkpoint.RECORD).read_text("utf-8"))
    objectives = [{**record, "head": "masked", "task": {"name": name}} for name in OBJECTIVES]
    return [json.dumps(each).encode() for each in (record, *objectives)]


def _read_record(folder: Path, data: bytes) -> None:
    put(folder / checkpoint.RECORD, data)
    checkpoint.load(folder)


# ---- text


def _tokenizers(folder: Path) -> list[bytes]:
    kinds = ("wordpiece", "word", "bpe", "unigram")
    cutters = [tokenizer.train(TEXTS, TokenizerSettings(kind=kind, vocab=500)) for kind in kinds]
    return [cutter.content().encode() for cutter in cutters]


def _read_tokenizer(folder: Path, data: bytes) -> None:
    put(folder / tokenizer.FILE, data)
    tokenizer.load(folder).encode_all(["a good film, 这部电影", ""])


def _shards(folder: Path) -> list[bytes]:
    (folder / "text.txt").write_text("\n".join(TEXTS), "utf-8")
    tokens.prepare([folder / "text.txt"], _cutter(), folder / "shards")
    return [(folder / "shards/shard-00000.safetensors").read_bytes()]


def _read_shards(folder: Path, data: bytes) -> None:
    """Damage that the sums don't tell of, since they were made after it."""
    place = folder / "shards"
    put(place / "shard-00000.safetensors", data)
    files.seal(place, [tokens.INDEX, tokenizer.FILE, "shard-00000.safetensors"])
    found = tokens.load(place)
    assert all(len(found.ids(document)) == size for document, size in enumerate(found.sizes))


def _lexical(folder: Path) -> list[bytes]:
    index.change(folder / "index", [index.Document(str(place), text) for place, text in enumerate(TEXTS)])
    return [(folder / "index/lexical-1.safetensors").read_bytes()]


def _read_lexical(folder: Path, data: bytes) -> None:
    place = folder / "index"
    put(place / "lexical-1.safetensors", data)
    files.seal(place, [*(files.manifest(place) or ())])
    index.load(place).search(["a good film, 这部电影", ""])


TARGETS = {
    "m2-safetensors": Target(_safetensors, _read_safetensors, in_header),
    "m2-index": Target(_index, _read_index, in_json),
    "m3-config": Target(_configs, _read_config, in_json),
    "m3-record": Target(_records, _read_record, in_json),
    "m5-tokenizer": Target(_tokenizers, _read_tokenizer, in_json),
    "m9-gguf": Target(_gguf, _read_gguf, bytewise),
    "shards": Target(_shards, _read_shards, in_header),
    "search": Target(_lexical, _read_lexical, in_header),
}
