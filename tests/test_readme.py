"""Every `yanmo` command of the READMEs runs as it stands there, on small files of the names that it uses."""

import io
import re
import shlex
import shutil
from pathlib import Path

import pytest

from yanmo.__main__ import VERBS, main

ROOT = Path(__file__).parents[1]
READMES = [ROOT / "README.md", ROOT / "README.zh-CN.md"]
# What would take minutes is cut to a few steps; nothing else is changed.
SHORTER = {"train.minutes=5": "train.steps=3"}


def commands(path: Path) -> list[str]:
    """The lines of the shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory, small_folder: Path) -> Path:
    """A folder that holds what the commands name."""
    folder = tmp_path_factory.mktemp("readme")
    for name, rows in (("train", 100), ("test", 40)):
        lines = [
            f"{'good' if i % 2 else 'bad'}\t{'well made' if i % 2 else 'falls apart'} item {name} {i}"
            for i in range(rows)
        ]
        (folder / f"{name}.tsv").write_text("label\ttext\n" + "\n".join(lines) + "\n")
    (folder / "new.csv").write_text("text\nwell made\nfalls apart\n")
    (folder / "text.txt").write_text("".join(f"some words of document {i}\n" for i in range(200)))
    shutil.copytree(small_folder, folder / "bert-base-chinese")
    settings = (
        (ROOT / "recipes" / "from-a-larger-model.yaml").read_text("utf-8").replace("max_length: 128", "max_length: 64")
    )
    (folder / "recipes").mkdir()
    (folder / "recipes" / "from-a-larger-model.yaml").write_text(settings)  # the stand-in has 64 positions
    return folder


def test_every_command_runs(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of both languages; what stands in both runs once. All in this process: that one begins is seen elsewhere, often."""
    lines = list(dict.fromkeys(line for path in READMES for line in commands(path)))
    assert len(lines) >= 10
    monkeypatch.chdir(here)
    monkeypatch.setattr("yanmo.machine.cores", lambda: 1)  # small models gain nothing by more
    for line in lines:
        for long, short in SHORTER.items():
            line = line.replace(long, short)
        said, _, command = line.rpartition("| ")
        program, *words = shlex.split(command)
        assert program == "yanmo", line
        given = shlex.split(said)[1] + "\n" if said else ""
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(given.encode()), "utf-8"))
        status = main(words)
        assert status == 0, f"{line}\n{capsys.readouterr().err}"


def test_every_verb_is_told() -> None:
    for path in READMES:
        text = path.read_text("utf-8")
        assert all(f"yanmo {verb}" in text for verb in VERBS), path.name


def blocks(path: Path, *kinds: str) -> list[str]:
    """The code of the blocks of some kinds."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [code for kind, code in found if kind in kinds]


def typed(code: str) -> str:
    """What is typed, without comments and without the sentences in quotes, which each language has its own of."""
    return re.sub(r"\s+#.*", "", re.sub(r'"[^"\n]*[ \u4e00-\u9fff][^"\n]*"', '"TEXT"', code))


def test_both_languages_tell_the_same() -> None:
    """The same commands and code, the same output of the demo, a tree of as many lines, the same verbs and measured figures."""
    english, chinese = READMES
    assert [typed(code) for code in blocks(english, "", "sh", "python")] == [
        typed(code) for code in blocks(chinese, "", "sh", "python")
    ]
    (demo, tree), (same, other_tree) = blocks(english, "text"), blocks(chinese, "text")
    assert demo == same
    assert [line.split()[0] for line in tree.splitlines()] == [line.split()[0] for line in other_tree.splitlines()]
    rows = [re.findall(r"^\|.*\|$", path.read_text("utf-8"), re.MULTILINE) for path in READMES]
    figures, other_figures = ([row.split("|")[2:] for row in each if "`python " in row] for each in rows)
    assert figures == other_figures
    verbs, other_verbs = ([set(re.findall(r"`.*?`", row)) for row in each] for each in rows)
    assert verbs == other_verbs


def test_no_placeholder_is_left() -> None:
    assert not [path.name for path in READMES if "@@" in path.read_text("utf-8")]
