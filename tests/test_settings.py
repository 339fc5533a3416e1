"""Settings: what is read, what is refused and how it is said, and that what is written reads back."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as budget
from hypothesis import strategies as st
from pydantic import Field

from yanmo import settings
from yanmo.__main__ import VERBS, main
from yanmo.commands import finetune, pretrain
from yanmo.errors import SettingsError
from yanmo.settings import Block


class Inner(Block):
    word: str = "x"
    rate: float = 0.1
    count: int | None = Field(3, ge=1, description="how many: at least 1")
    flag: bool = False


class Small(Block):
    """Every kind of field that the verbs use."""

    name: str | None = None
    file: Path | list[Path] | None = None
    names: list[str] = Field(default_factory=list)
    size: str | dict[str, Any] = "mini"
    inner: Inner = Field(default_factory=Inner, description="the inner ones")


def read(*words: str) -> Small:
    return settings.read(Small, words).settings


def yaml(folder: Path, text: str) -> str:
    file = folder / "s.yaml"
    file.write_text(text, "utf-8")
    return str(file)


def test_defaults_then_file_then_words(tmp_path: Path) -> None:
    file = yaml(tmp_path, "name: of the file\ninner: {rate: 0.2, count: 5}\n")
    found = read("inner.count=7", file)
    assert (found.name, found.inner.rate, found.inner.count, found.inner.flag) == ("of the file", 0.2, 7, False)


# (YAML of a value, field, what it becomes). The same words after "key=" give the same values.
VALUES = [
    ("3e-4", "inner.rate", 3e-4),
    ("1E3", "inner.rate", 1000.0),
    (".5", "inner.rate", 0.5),
    ("2", "inner.rate", 2.0),
    ("010", "inner.count", 10),  # YAML 1.1 says 8
    ("08", "inner.count", 8),
    ("null", "inner.count", None),
    ("~", "inner.count", None),
    ("", "inner.count", None),
    ("true", "inner.flag", True),
    ("False", "inner.flag", False),
    ("no", "inner.word", "no"),
    ("off", "inner.word", "off"),
    ("1.10", "inner.word", "1.10"),
    ("007", "inner.word", "007"),
    ("3e-4", "inner.word", "3e-4"),
    ("1:30", "inner.word", "1:30"),
    ("2024-01-02", "inner.word", "2024-01-02"),
    ("'true'", "inner.word", "true"),
    ('"a: b"', "inner.word", "a: b"),
    ("研墨", "inner.word", "研墨"),
    ("[1.10, no, '3']", "names", ["1.10", "no", "3"]),
    ("{hidden_size: 16, rate: 1e-5}", "size", {"hidden_size": 16, "rate": 1e-5}),
    ("tiny", "size", "tiny"),
    ("[a.txt, b.txt]", "file", [Path("a.txt"), Path("b.txt")]),
]


@pytest.mark.parametrize(("text", "key", "value"), VALUES)
def test_values_follow_yaml_1_2(tmp_path: Path, text: str, key: str, value: object) -> None:
    *parents, last = key.split(".")
    lines = [*(f"{parent}:" for parent in parents), "  " * len(parents) + f"{last}: {text}"]
    for found in (read(yaml(tmp_path, "\n".join(lines))), read(f"{key}={text}")):
        for part in key.split("."):
            found = getattr(found, part)
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    ["a: b.txt", "@x", "%x", "`x`", "#1", "x # y", "*star", "&x", "- x", "a=b", "{text} is [MASK]", "[MASK] {text}"],
)
def test_a_word_on_the_command_line_is_taken_as_it_is(text: str) -> None:
    assert read(f"name={text}").name == text


def test_mappings_are_merged() -> None:
    assert read("size={a: 1, b: 2}", "size.b=3").size == {"a": 1, "b": "3"}
    assert read("size={a: 1}", "size.很好=2").size == {"a": 1, "很好": "2"}
    assert read("inner={rate: 0.5}", "inner={count: 9}").inner == Inner(rate=0.5, count=9)


def test_paths_and_switches() -> None:
    words = settings.read(Small, ["a.tsv", "name=x", "--json", "http://x//y"])
    assert [str(path) for path in words.paths] == ["a.tsv", "http:/x/y"]
    assert words.typed == ["a.tsv", "http://x//y"]
    assert words.json
    assert not words.print_settings


# ---- faults: (YAML or None, words, what the message must contain)
FAULTS = {
    "unknown key": (
        "name: x\ninner:\n  rat: 1\n",
        [],
        ["s.yaml:3: unknown key 'inner.rat'", "did you mean 'inner.rate'?"],
    ),
    "unknown word": (None, ["inner.cuont=1"], ["unknown key 'inner.cuont'", "'inner.count'"]),
    "key without its block": (None, ["flag=true"], ["unknown key 'flag'", "did you mean 'inner.flag'?"]),
    "no key like it": (None, ["zzzzzz=1"], ["unknown key 'zzzzzz'", "known keys: file, inner, name, names, size"]),
    "key twice": ("name: x\ninner: {}\nname: y\n", [], ["s.yaml:3", "the key 'name' is given twice"]),
    "key twice inside": ("inner:\n  rate: 1\n  rate: 2\n", [], ["s.yaml:3", "'rate' is given twice"]),
    "YAML typo": ("name: x\ninner:\n  rate: [1, 2\n", [], ["s.yaml:4", "not valid YAML", "indentation"]),
    "bad indentation": ("name: x\n  rate: 1\n", [], ["s.yaml:2", "not valid YAML"]),
    "a tab": ("inner:\n\trate: 1\n", [], ["s.yaml:2", "not valid YAML"]),
    "a key that is a list": ("[a, b]: 1\n", [], ["s.yaml:1", "a key must be a word"]),
    "not a mapping": ("- a\n- b\n", [], ["s.yaml:1", "keys and values", "this is a list"]),
    "nested without end": ("name: " + "[" * 5000, [], ["s.yaml", "not valid YAML"]),
    "wrong type": ("inner:\n  rate: fast\n", [], ["s.yaml:2: inner.rate", "valid number", "'fast'"]),
    "wrong type, word": (None, ["inner.rate=fast"], ["inner.rate: ", "valid number", "'fast'"]),
    "out of range": (None, ["inner.count=0"], ["inner.count: ", "greater than or equal to 1", "'0'"]),
    "a union": (None, ["size=[1]"], ["size: input should be a valid string"]),
    "in a list": ("names: [a, [b]]\n", [], ["s.yaml:1: names: ", "valid string"]),
    "broken list": (None, ["names=[a"], ["names=", "not valid YAML"]),
    "a word for a block": ("inner: 3\n", [], ["s.yaml:1: inner: ", "(given: 3)"]),
}


@pytest.mark.parametrize(("content", "words", "expected"), FAULTS.values(), ids=FAULTS)
def test_faults(tmp_path: Path, content: str | None, words: list[str], expected: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        read(*([yaml(tmp_path, content)] if content is not None else []), *words)
    for part in expected:
        assert part in str(caught.value)


def test_several_faults_are_one_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(yaml(tmp_path, "nmae: x\ninner:\n  rate: fast\n"), "inner.count=0")
    text = str(caught.value)
    assert len(text.splitlines()) == 3
    assert all(part in text for part in ("s.yaml:1: unknown key 'nmae'", "s.yaml:3: inner.rate", "inner.count"))


def test_no_such_file_and_two_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nosuch\.yaml: no such settings file"):
        read("nosuch.yaml")
    with pytest.raises(SettingsError, match="two settings files"):
        read(yaml(tmp_path, "name: x\n"), "other.yml")
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9\n")
    with pytest.raises(SettingsError, match=r"latin\.yaml: can't be read as UTF-8"):
        read(str(tmp_path / "latin.yaml"))


def test_budgets(tmp_path: Path) -> None:
    def train(*words: str) -> Any:
        return settings.read(finetune.Settings, words).settings.train

    assert (train().epochs, train("train.steps=5").epochs, train("train.steps=5").steps) == (3.0, None, 5)
    assert train(yaml(tmp_path, "train: {epochs: 2}"), "train.epochs=null", "train.minutes=1").minutes == 1
    with pytest.raises(SettingsError, match=r"s\.yaml:1: train: two budgets named \(epochs and steps\)"):
        train(yaml(tmp_path, "train: {epochs: 2}"), "train.steps=5")
    with pytest.raises(SettingsError, match=r"^train: two budgets named \(tokens and minutes\); name one of epochs"):
        train("train.tokens=5", "train.minutes=1")
    with pytest.raises(SettingsError, match="no budget"):
        train("train.epochs=null")


def test_a_fault_in_a_task_names_the_key_that_was_written() -> None:
    with pytest.raises(SettingsError, match=r"^task\.max_length: "):
        settings.read(finetune.Settings, ["task.max_length=1"])
    with pytest.raises(SettingsError, match=r"did you mean 'objective\.rate'"):
        settings.read(pretrain.Settings, ["objective.rat=1"])


# ---- writing

awkward = st.sampled_from(
    [
        "no",
        "3e-4",
        "1.0",
        "",
        "#x",
        "a: b",
        "研墨，好",
        "null",
        "~",
        "true",
        "- x",
        "'",
        '"',
        "a\nb",
        " a ",
        "@x",
        "!x",
        "0x10",
        "\u2028",
        "[",
        "*x",
    ]
)
texts = awkward | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
inners = st.builds(
    Inner,
    word=texts,
    rate=st.floats(allow_nan=False),
    count=st.none() | st.integers(min_value=1),
    flag=st.booleans(),
)
paths = texts.filter(lambda text: "\0" not in text).map(Path)
smalls = st.builds(
    Small,
    name=st.none() | texts,
    file=st.none() | paths | st.lists(paths),
    names=st.lists(texts, max_size=3),
    size=texts | st.dictionaries(texts, st.integers() | st.floats(allow_nan=False) | texts, max_size=3),
    inner=inners,
)


@given(smalls)
@budget(max_examples=150, deadline=None)
def test_what_is_dumped_reads_back(small: Small) -> None:
    text = settings.dump(small)
    back = settings.build(Small, settings.parse_yaml(text, "dump"), {})
    assert back == small
    assert settings.dump(back) == text


def test_numbers_of_a_file_can_be_dumped(tmp_path: Path) -> None:
    found = read(yaml(tmp_path, "size: {a: 007, b: 1.50, c: [1e-7]}\n"))
    assert read(yaml(tmp_path, settings.dump(found))).size == {"a": 7, "b": 1.5, "c": [1e-7]}


@pytest.mark.parametrize("verb", [verb for verb in VERBS if importlib.util.find_spec(f"yanmo.commands.{verb}")])
def test_printed_settings_read_back_equal(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    schema = importlib.import_module(f"yanmo.commands.{verb}").Settings
    assert main([verb, "--print-settings"]) == 0
    printed = capsys.readouterr().out
    assert settings.read(schema, [yaml(tmp_path, printed)]).settings == schema()
    assert main([verb, yaml(tmp_path, printed), "--print-settings"]) == 0
    assert capsys.readouterr().out == printed


def test_pretraining_on_two_files_can_be_dumped() -> None:
    asked = settings.read(pretrain.Settings, ["data.train=[a.txt, b.txt]"]).settings
    assert "train: [a.txt, b.txt]" in settings.dump(asked)


# ---- Python

PAIRS: list[tuple[dict[str, Any], list[str]]] = [
    ({"run": "runs/x", "seed": 3}, ["run=runs/x", "seed=3"]),
    ({"train": {"steps": 10, "lr": 1e-3}}, ["train.steps=10", "train.lr=1e-3"]),
    ({"train.steps": 10, "train.clip": None}, ["train.steps=10", "train.clip=null"]),
    ({"data": {"train": Path("a.tsv"), "columns": {"text": "t"}}}, ["data.train=a.tsv", "data.columns.text=t"]),
    ({"model": {"size": {"hidden_size": 16}}, "force": True}, ["model.size={hidden_size: 16}", "force=true"]),
]


@pytest.mark.parametrize(("keys", "words"), PAIRS)
def test_arguments_equal_words(keys: dict[str, Any], words: list[str], tmp_path: Path) -> None:
    file = yaml(tmp_path, "seed: 5\ndata: {test: b.tsv, columns: {label: l}}\ntrain: {batch_tokens: 99}\n")
    for start in ([], [file]):
        asked = settings.from_arguments(finetune.Settings, start[0] if start else None, keys)
        assert asked == settings.read(finetune.Settings, [*start, *words]).settings


def test_arguments_are_not_changed_and_faults_are_the_same() -> None:
    given_block = {"steps": 3}
    settings.from_arguments(finetune.Settings, None, {"train": given_block, "train.lr": 1.0})
    assert given_block == {"steps": 3}
    with pytest.raises(SettingsError, match="unknown key 'trian'; did you mean 'train'"):
        settings.from_arguments(finetune.Settings, None, {"trian": {}})


def test_differences() -> None:
    old = {"a": 1, "b": {"c": 2, "d": None}, "f": "y", "machine": {"threads": 1}}  # null and absent are one
    new = {"a": 1, "b": {"c": 3}, "e": "x", "machine": {"threads": 2}}
    said = settings.differences(old, new, ignore=("machine",))
    assert said == ["b.c: was 2, now 3", "e: was '(absent)', now 'x'", "f: was 'y', now '(absent)'"]


def test_compose_gives_what_is_read_back(tmp_path: Path) -> None:
    entries = {
        "run": (Path("runs/x"), "where"),
        "model.config": ({"a": 0.1}, ""),
        "model.size": ("tiny", "why"),
        "train.lr": (5e-4, ""),
    }
    path = tmp_path / "x.yaml"
    path.write_text(text := settings.compose(entries))
    assert settings.read_file(path)[0] == {
        "run": "runs/x",
        "model": {"config": {"a": 0.1}, "size": "tiny"},
        "train": {"lr": 5e-4},
    }
    assert "run: runs/x  # where\n" in text and "  size: tiny  # why\n" in text
