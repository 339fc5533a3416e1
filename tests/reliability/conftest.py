"""What the tests of promises share. A figure that a test measured goes to the JSON file that YANMO_FIGURES names, if it does."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.rows import write_data
from tests.reliability.zygote import Zygote


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def zygotes() -> Iterator[list[Zygote]]:
    """One for each of two cores."""
    processes = [Zygote(), Zygote()]
    yield processes
    for process in processes:
        process.close()


@pytest.fixture
def zygote(zygotes: list[Zygote]) -> Zygote:
    return zygotes[0]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[..., None]:
    """figure("R1", kills=500, ...): keeps what a test measured, beside the name of the test."""

    def keep(promise: str, **values: Any) -> None:
        if path := os.environ.get("YANMO_FIGURES"):
            file = Path(path)
            found = json.loads(file.read_text()) if file.exists() else []
            test = request.node.nodeid
            found = [entry for entry in found if entry["test"] != test]
            file.write_text(json.dumps([*found, {"promise": promise, "test": test, **values}], indent=1))

    return keep
