"""Names -> folders, against a server that speaks the hub's protocol; a folder as a hub; names that lead nowhere else (M8)."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

import yanmo
from tests.hub_server import Hub, serving
from yanmo import checkpoint, files, hub
from yanmo.__main__ import main
from yanmo.errors import MissingExtra, ModelError, SettingsError, YanmoError
from yanmo.hub.parcel import NAME

IDS = torch.tensor([[2, 5, 6, 3]])


def endpoint(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub that HF_ENDPOINT names, and an empty cache."""
    with serving() as running:
        endpoint(monkeypatch, running.address)
        for key, value in {
            "HF_HUB_OFFLINE": False,
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_CACHE": str(tmp_path / "home/hub"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
        }.items():
            monkeypatch.setattr(constants, key, value)
        yield running


def held(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def other_folder(small_folder: Path, tmp_path: Path) -> Path:
    """The same model with other weights."""
    opened = checkpoint.load(small_folder)
    with torch.no_grad():
        opened.model.embeddings.word.weight.add_(1.0)
    checkpoint.write(tmp_path / "other", opened)
    return tmp_path / "other"


# ---- fetching


@pytest.mark.parametrize("name", ["tiny", "team/tiny"])
def test_a_name_is_fetched_and_opened(name: str, server: Hub, small_folder: Path) -> None:
    strange = {"pytorch_model.bin": b"\x80\x04.", "code.py": b"raise SystemExit", "sub/model.safetensors": b"x"}
    sha = server.commit(name, {**held(small_folder), **strange, "model.fp16.safetensors": b"x", "README.md": b"hello"})
    assert torch.equal(yanmo.load(name).logits(IDS), yanmo.load(small_folder).logits(IDS))
    found = hub.find(name)
    assert found.origin == {"name": name, "revision": sha, "hub": server.address}
    assert sorted(path.name for path in found.folder.iterdir()) == sorted(
        path.name for path in small_folder.iterdir() if path.name != files.MANIFEST
    )
    fetched = [line for line in server.asked if "/resolve/" in line]
    assert all(f"/resolve/{sha}/" in line for line in fetched) and "config.json" in fetched[-1]


def test_a_revision_is_kept_to(server: Hub, small_folder: Path, other_folder: Path) -> None:
    old = server.commit("team/tiny", held(small_folder))
    new = server.commit("team/tiny", held(other_folder))
    assert hub.find("team/tiny").origin["revision"] == new
    assert hub.find(f"team/tiny@{old}").origin["revision"] == old
    assert not torch.equal(yanmo.load("team/tiny").logits(IDS), yanmo.load(f"team/tiny@{old}").logits(IDS))
    with pytest.raises(ModelError, match="no model 'team/tiny'"):
        hub.find("team/tiny@never")


def test_a_folder_wins_over_a_name(
    server: Hub, small_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_folder, tmp_path / "team/tiny")
    monkeypatch.chdir(tmp_path)
    assert hub.find("team/tiny") == hub.Found(Path("team/tiny")) and server.asked == []


def test_offline_takes_what_was_fetched(server: Hub, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha = server.commit("team/tiny", held(small_folder))
    folder = hub.resolve("team/tiny")
    asked = len(server.asked)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert hub.resolve("team/tiny") == hub.resolve(f"team/tiny@{sha}") == folder and len(server.asked) == asked
    with pytest.raises(ModelError, match=r"(?s)team/other: no such folder.*offline.*Check the path"):
        hub.resolve("team/other")


def test_a_server_that_is_down(
    server: Hub, small_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.commit("team/tiny", held(small_folder))
    folder = hub.resolve("team/tiny")
    home = constants.HF_HUB_CACHE
    endpoint(monkeypatch, "http://127.0.0.1:9")
    assert Path(home) in folder.parents and hub.resolve("team/tiny") == folder
    assert "taken as it was fetched before" in capsys.readouterr().err
    with pytest.raises(ModelError, match="could not be asked for 'team/other'"):
        hub.resolve("team/other")


def test_a_connection_that_breaks_goes_on_where_it_broke(
    server: Hub, small_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    server.commit("team/tiny", held(small_folder))
    server.cut["model.safetensors"] = 1000
    assert torch.equal(yanmo.load("team/tiny").logits(IDS), yanmo.load(small_folder).logits(IDS))
    assert any(line.endswith("model.safetensors bytes=1000-") for line in server.asked)


def test_half_a_download_is_no_model(server: Hub, small_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    sha = server.commit("team/tiny", held(small_folder))
    server.broken = {"tokenizer.json"}
    with pytest.raises(ModelError, match="could not be fetched; what has arrived is kept"):
        hub.resolve("team/tiny")
    half = Path(constants.HF_HUB_CACHE) / "models--team--tiny/snapshots" / sha
    assert (half / "model.safetensors").is_file()
    with pytest.raises(ModelError, match="not a model folder"):
        yanmo.load(half)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match="no such folder"):
        hub.resolve("team/tiny")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server.broken, asked = set(), len(server.asked)
    yanmo.load("team/tiny")
    assert not any(
        "model.safetensors" in line for line in server.asked[asked:]
    )  # what had arrived is not fetched again


def test_damage_on_the_way_is_seen(server: Hub, small_folder: Path) -> None:
    server.commit("team/tiny", held(small_folder))
    server.damaged = {"model.safetensors"}
    with pytest.raises(ModelError, match=r"model.safetensors arrived damaged"):
        hub.resolve("team/tiny")
    server.damaged = set()
    yanmo.load("team/tiny")


def test_only_pickles(server: Hub) -> None:
    server.commit("team/old", {"config.json": b"{}", "pytorch_model.bin": b"\x80"})
    with pytest.raises(ModelError, match=r"no config.json with model.safetensors, but config.json, pytorch_model.bin"):
        hub.resolve("team/old")
    assert not any("resolve" in line for line in server.asked)


def test_a_run_stays_with_the_commit_that_it_began_with(server: Hub, small_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("".join(f"a good film {i}\n" for i in range(60)))
    old = server.commit("team/tiny", held(small_folder))
    keys = {
        "run": tmp_path / "run",
        "model": {"base": "team/tiny"},
        "data": {"train": tmp_path / "text.txt"},
        "train": {"steps": 2},
        "objective": {"max_length": 16},
    }
    yanmo.pretrain(**keys)
    origin = {"name": "team/tiny", "revision": old, "hub": server.address}
    assert checkpoint.read_record(tmp_path / "run")["base"] == origin
    server.commit("team/tiny", {"config.json": b"{}", "model.safetensors": b"now something else"})
    (tmp_path / "run/metrics.json").unlink()  # as if it had been killed at the end
    yanmo.pretrain(**keys)
    assert (tmp_path / "run/metrics.json").is_file()
    assert checkpoint.read_record(tmp_path / "run")["base"] == origin
    assert hub.pinned("team/tiny", origin) == f"team/tiny@{old}" and hub.pinned("team/other", origin) == "team/other"


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    (tmp_path / "reviews").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingExtra, match=r"(?s)did you mean .*reviews.*pip install 'yanmo\[hub\]'"):
        hub.resolve("reviewz")


@pytest.mark.parametrize("name", ["../x", "/no/such", "a/b/c", "x y", "", "a" * 5000, "~nobody-here/x", "a\0b", "a@"])
def test_what_is_neither_a_folder_nor_a_name(name: str, server: Hub) -> None:
    with pytest.raises(ModelError, match=r"no such folder.*and no name on a hub"):
        hub.resolve(name or "./none/such/here")
    assert server.asked == []


# ---- hubs of one's own


def shelf(tmp_path: Path) -> Path:
    return tmp_path / "hub"


def test_a_folder_as_a_hub(
    small_folder: Path, other_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = shelf(tmp_path)
    (tmp_path / "run").mkdir()
    shutil.copytree(small_folder, tmp_path / "run/reviews")
    (tmp_path / "run/reviews/secret.env").write_text("x")
    (tmp_path / "run/reviews/old.bin").write_text("x")
    assert main(["hub", "push", str(tmp_path / "run/reviews"), f"hub={root}", "name=team/reviews", "--json"]) == 0
    pushed = json.loads(capsys.readouterr().out)
    assert pushed["name"] == "team/reviews" and "secret.env" not in pushed["files"] and "old.bin" not in pushed["files"]
    assert files.verify(root / "team/reviews") == []
    assert main(["hub", "list", f"hub={root}", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)["models"]
    assert (listed["name"], listed["family"], listed["task"]) == ("team/reviews", "bert", "classify")
    assert listed["revision"] == pushed["revision"]
    out = tmp_path / "mine"
    assert main(["hub", "pull", "team/reviews", f"hub={root}", f"out={out}"]) == 0
    assert torch.equal(yanmo.load(out).logits(IDS), yanmo.load(small_folder).logits(IDS))
    assert torch.equal(yanmo.load(root / "team/reviews").logits(IDS), yanmo.load(small_folder).logits(IDS))
    # A new state takes the place of the old one, there and in an untouched copy.
    hub.open_hub(str(root)).push(other_folder, "team/reviews")
    hub.open_hub(str(root)).pull("team/reviews", "main", out)
    assert torch.equal(yanmo.load(out).logits(IDS), yanmo.load(other_folder).logits(IDS))
    assert sorted(path.name for path in root.iterdir()) == ["team"]
    assert main(["hub", "list", "nothing", f"hub={root}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == []


def test_what_a_folder_hub_refuses(small_folder: Path, tmp_path: Path) -> None:
    root = shelf(tmp_path)
    kept = hub.open_hub(str(root))
    kept.push(small_folder, "team/a")
    kept.push(small_folder, "single")
    for name in ("team", "single/inside"):  # which would put one model into another, or in the place of many
        with pytest.raises(SettingsError, match="give another name"):
            kept.push(small_folder, name)
    with pytest.raises(ModelError, match="did you mean team/a"):
        kept.pull("team/b", "main", tmp_path / "out")
    with pytest.raises(SettingsError, match="leave the revision out"):
        kept.pull("team/a", "0" * 40, tmp_path / "out")
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/thesis.txt").write_text("x")
    with pytest.raises(SettingsError, match="holds something else"):
        kept.pull("team/a", "main", tmp_path / "precious")
    (root / "team/a/config.json").write_text("{}")
    with pytest.raises(ModelError, match="content is not what was written"):
        kept.pull("team/a", "main", tmp_path / "out")
    for folder, expected in ((tmp_path / "precious", "no config.json"), (tmp_path / "none", "no such folder")):
        with pytest.raises(ModelError, match=expected):
            kept.push(folder, "team/c")
    assert not (tmp_path / "out").exists() and (tmp_path / "precious/thesis.txt").exists()


def test_a_server_as_a_hub(
    server: Hub,
    small_folder: Path,
    other_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endpoint(monkeypatch, "http://127.0.0.1:9")  # the public one is elsewhere
    words = [f"hub={server.address}", "--json"]
    assert main(["hub", "push", str(small_folder), "name=team/reviews", *words]) == 0
    pushed = json.loads(capsys.readouterr().out)
    sha, there = server.commits["team/reviews"][-1]
    assert pushed["revision"] == sha and there == {name: (small_folder / name).read_bytes() for name in pushed["files"]}
    server.commits["team/reviews"][-1][1]["heads.safetensors"] = b"of an older model"
    assert main(["hub", "push", str(other_folder), "name=team/reviews", *words]) == 0
    assert "heads.safetensors" not in server.commits["team/reviews"][-1][1]
    capsys.readouterr()
    assert main(["hub", "list", "revi", *words]) == 0
    assert [model["name"] for model in json.loads(capsys.readouterr().out)["models"]] == ["team/reviews"]
    for called, source in (("team/reviews", other_folder), (f"team/reviews@{sha}", small_folder)):
        if source == small_folder:
            del server.commits["team/reviews"][0][1]["heads.safetensors"]
        assert main(["hub", "pull", called, f"out={tmp_path / 'out'}", *words]) == 0
        assert torch.equal(yanmo.load(tmp_path / "out").logits(IDS), yanmo.load(source).logits(IDS))
    assert files.verify(tmp_path / "out") == []
    assert not Path(constants.HF_HUB_CACHE).exists()  # the names of another hub stay out of the shared cache


def test_usage(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["push"], ["pull", "a", "b"], ["frob", "x"]):
        assert main(["hub", *words]) == 2
    assert main(["hub", "push", "somewhere", "name=a@b"]) == 2
    assert "expected `yanmo hub list" in capsys.readouterr().err


def test_environment_is_respected(small_folder: Path, tmp_path: Path) -> None:
    """HF_ENDPOINT and HF_HOME, as a person sets them."""
    with serving() as running:
        running.commit("team/tiny", held(small_folder))
        done = subprocess.run(
            [sys.executable, "-c", "from yanmo import hub; print(hub.resolve('team/tiny'))"],
            env={"PYTHONPATH": ":".join(sys.path), "HF_ENDPOINT": running.address, "HF_HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert str(tmp_path / "hub") in done.stdout


# ---- M8


HOSTILE = [
    *("..", ".", "../x", "x/..", "x/../y", "../../etc/passwd", "/etc/passwd", "//etc", "x//y", "x/", "/x", "a/b/c"),
    *("~", "~root", "~/x", "$HOME", "${HOME}", "`id`", "$(id)", "x;id", "x|id", "x&id", "x\nid", "x\n", "\nx", "x y"),
    *("..\\x", "x\\..\\y", "C:\\x", "C:x", "\\\\host\\share", "file:///etc/passwd", "http://x/y", "x:y", "x@y@z"),
    *("%2e%2e/x", "%2e%2e%2fx", "..%2fx", "..%252fx", "x%00", "x\0", "\0", "x\0/../y", "．．/x", "‥/x", "∕etc", "x／y"),
    *("-rf", "--help", ".hidden", ".git/config", "x/.git", "x/.", "_x", "x/-y", "", " ", "\t", "x/\0", "é", "研墨/x"),
    *(
        "manifest.json",
        "x/manifest.json",
        "x.partial",
        "x.partial/y",
        "x/y.partial",
        "x" * 97,
        "x/" + "y" * 97,
        "a" * 9999,
    ),
    *(
        "....//....//x",
        "..;/x",
        "..././x",
        "x/....",
        "x/..../..",
        "x?y",
        "x#y",
        "x*",
        "[x]",
        "{x,y}",
        "x'y",
        'x"y',
        "x<y",
    ),
]


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def attempt(name: str, small_folder: Path, base: Path) -> None:
    """Nothing stands outside the hub afterwards that did not stand there before, and nothing outside is read as a model."""
    root = base / "hub"
    before = tree(base)
    for verb in ("push", "pull", "find"):
        try:
            if verb == "push":
                hub.Folder(root).push(small_folder, name)
            elif verb == "pull":
                hub.Folder(root).pull(name, "main", base / "hub/out-of-a-pull")
            else:
                hub.parse(name)
        except YanmoError:
            pass
    new = tree(base) - before
    assert all(path.startswith("hub/") and ".." not in Path(path).parts for path in new), new
    place = hub.Folder(root)._at(name)
    assert place is None or place.resolve().is_relative_to(root.resolve())
    if new and (root / name).exists():
        assert NAME.fullmatch(name)
    shutil.rmtree(root)
    root.mkdir()


def test_m8_names_that_would_lead_elsewhere(small_folder: Path, tmp_path: Path) -> None:
    assert len(HOSTILE) >= 80
    (tmp_path / "hub").mkdir()
    for name in HOSTILE:
        attempt(name, small_folder, tmp_path)
        with pytest.raises(YanmoError):
            hub.Folder(tmp_path / "hub").push(small_folder, name)
        with pytest.raises(YanmoError):
            hub.Folder(tmp_path / "hub").pull(name, "main", tmp_path / "out")
        if "@" not in name and not name.endswith((files.PARTIAL, "manifest.json", ".partial/y")):
            with pytest.raises(SettingsError):
                hub.parse(name)
        if not re.fullmatch(
            r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})*", name, re.ASCII
        ):  # as a branch may be
            with pytest.raises(SettingsError):
                hub.parse(f"team/x@{name}")
    assert tree(tmp_path) == {"hub"}


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "-", "~", "\0", "%2e", "\n", "@", "．", ".lock"]), max_size=8)
)
def test_m8_names_that_nobody_thought_of(parts: list[str]) -> None:
    name = "".join(parts)
    root = Path("/hub")
    place = hub.Folder(root)._at(name) if "\0" not in name else None
    assert place is None or (NAME.fullmatch(name) and root in place.parents and ".." not in place.parts)
    try:
        called, revision = hub.parse(name)
    except SettingsError:
        return
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?", called)
    assert ".." not in revision.split("/") and not revision.startswith("/")


def test_m8_links_and_manifests_that_lead_out(small_folder: Path, tmp_path: Path) -> None:
    root = shelf(tmp_path)
    kept = hub.Folder(root)
    (tmp_path / "outside").mkdir()
    root.mkdir()
    (root / "team").symlink_to(tmp_path / "outside")
    with pytest.raises(SettingsError):
        kept.push(small_folder, "team/x")
    kept.push(small_folder, "good/x")
    (root / "good/link").symlink_to(root / "good/x")
    assert [model["name"] for model in kept.list()] == ["good/x"]
    # A file of the model that is a link, and a manifest that names files elsewhere.
    secret = tmp_path / "outside/secret"
    secret.write_text("secret")
    named = json.loads((root / "good/x/manifest.json").read_text())
    for hostile in ("../../../outside/secret", "/dev/zero", "sub/x.safetensors", "README.md"):
        if hostile == "README.md":
            (root / "good/x/README.md").symlink_to(secret)
        (root / "good/x/manifest.json").write_text(files.to_json({**named, hostile: files.sha256(secret)}))
        with pytest.raises(ModelError, match="not as it was put there"):
            kept.pull("good/x", "main", tmp_path / "out")
    source = tmp_path / "source"
    shutil.copytree(small_folder, source)
    (source / "README.md").symlink_to(secret)
    with pytest.raises(ModelError, match="links that lead out"):
        kept.push(source, "good/y")
    assert not (tmp_path / "out").exists() and tree(tmp_path / "outside") == {"secret"}
