"""`yanmo graph`, as it is typed: two tiny runs that know a few sentences by heart find the graph of them."""

import csv
import io
import itertools
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx
import pytest

import yanmo
from yanmo.__main__ import main

PEOPLE, PLACES = ["Ann", "Bob", "Eve"], ["Rome", "Oslo"]
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
NODES = {"PER:Ann", "PER:Bob", "PER:Eve", "LOC:Rome", "LOC:Oslo"}
TEXT = "Ann lives in Rome . Bob hates Oslo .\n\nBob lives in Rome . Ann lives in Rome . Eve hates Rome . Eve lives in Rome .\n"
EDGES = {
    ("PER:Ann", "Lives", "LOC:Rome"): (2, 1),
    ("PER:Bob", "Hates", "LOC:Oslo"): (1, 1),
    ("PER:Bob", "Lives", "LOC:Rome"): (1, 1),
}


def _train(folder: Path, name: str, task: str, rows: list[dict[str, Any]]) -> str:
    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows * 4))
    yanmo.finetune(
        run=str(folder / name),
        model={"size": TINY},
        tokenizer={"kind": "word", "vocab": 100},
        task={"name": task, "max_length": 32},
        data={"train": str(file), "dev": str(file)},
        train={"steps": 50, "batch_tokens": 512, "lr": 5e-3, "evaluations": 1},
        machine={"threads": 1},
    )
    return str(folder / name)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Folders of a run that finds people and places, and of one that says how they are related."""
    folder = tmp_path_factory.mktemp("graph")
    said = {"lives in": "Lives", "hates": "Hates", "saw": "unknown"}
    names: list[dict[str, Any]] = []
    related: list[dict[str, str]] = []
    for person, (verb, relation), place in itertools.product(PEOPLE, said.items(), PLACES):
        tokens = [person, *verb.split(), place, "."]
        names.append({"tokens": tokens, "tags": ["B-PER", *["O"] * len(verb.split()), "B-LOC", "O"]})
        text = " ".join(tokens)
        related.append({"text": text, "head": person, "tail": place, "relation": relation})
        related.append({"text": text, "head": place, "tail": person, "relation": "unknown"})
    return {
        "tag": _train(folder, "tag", "tag", names),
        "relate": _train(folder, "relate", "relate", related),
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text(TEXT)
    return tmp_path


def edges(graph: dict[str, Any]) -> dict[tuple[str, str, str], tuple[int, int]]:
    return {(e["source"], e["relation"], e["target"]): (e["count"], e["rank"]) for e in graph["edges"]}


def test_the_graph_of_a_file(here: Path, runs: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", runs["relate"], runs["tag"], "in.txt", "out=graph.json"]) == 0  # the runs in any order
    assert "graph.json: 5 nodes, 5 edges" in capsys.readouterr().err
    graph = json.loads(Path("graph.json").read_text())
    assert {node["id"] for node in graph["nodes"]} == NODES
    found = edges(graph)
    assert found.items() >= EDGES.items()
    contradicting = {edge[1]: found[edge] for edge in found if edge[0] == "PER:Eve"}
    assert contradicting.keys() == {"Lives", "Hates"} and {rank for _, rank in contradicting.values()} == {1, 2}
    assert {*networkx.node_link_graph(graph, edges="edges").edges(keys=True)} == {(a, b, name) for a, name, b in found}
    lines = TEXT.split("\n")
    for node in graph["nodes"]:
        for each in node["mentions"]:
            assert lines[each["line"] - 1][each["from"] : each["to"]] == each["text"] == node["name"]
    ann = next(edge for edge in graph["edges"] if edge["source"] == "PER:Ann")
    assert [(each["line"], each["head"], each["tail"]) for each in ann["mentions"]] == [
        (1, [0, 3], [13, 17]),
        (3, [20, 23], [33, 37]),
    ]
    assert graph["graph"] == {"documents": 3, "sentences": 6, "pairs": 12, "threshold": 0.5, "reach": 200}
    assert yanmo.graph(runs["tag"], runs["relate"], TEXT.split("\n")[:2])["edges"][0]["mentions"][0]["file"] == "given"
    assert yanmo.graph(runs["tag"], runs["relate"], [TEXT.split("\n")[0]], reach=5)["graph"]["pairs"] == 0


def test_other_forms(
    here: Path, runs: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("graph.csv", "graph.graphml"):
        assert main(["graph", runs["tag"], runs["relate"], "in.txt", f"out={name}"]) == 0
    rows = [*csv.DictReader(io.StringIO(Path("graph.csv").read_text()))]
    found = {
        (f"{r['head_type']}:{r['head']}", r["relation"], f"{r['tail_type']}:{r['tail']}"): (
            int(r["count"]),
            int(r["rank"]),
        )
        for r in rows
    }
    assert found.items() >= EDGES.items() and len(rows) == 5
    read = networkx.read_graphml("graph.graphml")
    assert {*read.nodes} == NODES
    assert {
        (head, data["relation"], tail): (data["count"], data["rank"]) for head, tail, data in read.edges(data=True)
    } == found
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"Bob hates Oslo .\n"), isatty=lambda: False))
    assert main(["graph", runs["tag"], runs["relate"]]) == 0
    assert capsys.readouterr().out.split("\t")[:6] == ["Bob", "PER", "Hates", "Oslo", "LOC", "1"]


def test_directed_relations_are_turned_round(here: Path, runs: dict[str, str]) -> None:
    """The same model with the labels of SemEval is asked once about two entities, and says which of them is the head."""
    shutil.copytree(runs["relate"], "directed")
    config = json.loads(Path("directed/config.json").read_text())
    renamed = {"Lives": "Lives(e1,e2)", "Hates": "Hated-By(e2,e1)", "unknown": "Other"}
    config["id2label"] = {number: renamed[label] for number, label in config["id2label"].items()}
    Path("directed/config.json").write_text(json.dumps(config))
    found = yanmo.graph(runs["tag"], "directed", ["Ann lives in Rome . Bob hates Oslo . Bob saw Rome ."])
    assert edges(found) == {("PER:Ann", "Lives", "LOC:Rome"): (1, 1), ("LOC:Oslo", "Hated-By", "PER:Bob"): (1, 1)}
    assert found["graph"]["pairs"] == 3


MISTAKES = {
    "{tag} in.txt": "no run of the task relate; expected both: yanmo graph TAG_RUN RELATE_RUN",
    "in.txt": "no run of the task tag and none of relate",
    "{tag} {relate} on.txt": "on.txt: no such file",
    "{tag} {tag} in.txt": "the second run of the task tag",
    "{tag} {small} in.txt": "its task is classify; expected a run of the task tag, and one of relate",
    "{tag} {relate} in.txt out=graph.xml": "ends in none of .json, .graphml, .csv",
    "{tag} {relate} empty.txt": "no text given",
}


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes(
    words: str, here: Path, runs: dict[str, str], small_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.txt").write_text("\n \n")
    assert main(["graph", *words.format(**runs, small=small_folder).split()]) in (1, 2)
    said = capsys.readouterr()
    assert MISTAKES[words] in " ".join(said.err.split()) and said.out == ""
