"""Some hundred damaged inputs of each target of `targets.py`; `make fuzz` looks for longer."""

from pathlib import Path
from random import Random

import pytest

from tests.fuzz.targets import TARGETS, attempt

# What takes longer to read has fewer.
INPUTS = {
    "m2-safetensors": 2000,
    "m2-index": 1000,
    "m3-config": 200,
    "m3-record": 200,
    "m5-tokenizer": 500,
    "m9-gguf": 500,
    "shards": 100,
    "search": 200,
}


@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_refused_or_harmless(name: str, tmp_path: Path) -> None:
    target, random = TARGETS[name], Random(0)
    seeds = target.seeds(tmp_path)
    assert attempt(target, tmp_path, seeds[0]) is None
    said = []
    for number in range(INPUTS[name]):
        data = seeds[number % len(seeds)]
        for _ in range(1 + number % 3):
            data = target.damage(data, random)
        try:
            said.append(attempt(target, tmp_path, data))
        except BaseException as error:
            error.add_note(f"the input: {data[:2000]!r}")
            raise
    refused = [each for each in said if each is not None]
    assert len(refused) > len(said) / 4 and len({each[-30:] for each in refused}) > 5
