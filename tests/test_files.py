"""Writing whole or not at all: what stands after an error, a crash, a full disk; and who holds a folder."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from yanmo import files
from yanmo.errors import RunError, StorageError


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def make(folder: Path, **content: files.Content) -> None:
    files.write_folder(folder, content)


def no_space(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_file_is_written_whole(tmp_path: Path) -> None:
    file = tmp_path / "new/folder/a.txt"
    files.write_file(file, "研墨\n")
    assert file.read_bytes() == "研墨\n".encode()
    files.write_file(file, b"\xff")
    assert file.read_bytes() == b"\xff"
    files.write_json(file, {"名": 1.5})
    assert file.read_text("utf-8") == '{\n  "名": 1.5\n}\n'
    assert names(tmp_path) == ["new", "new/folder", "new/folder/a.txt"]
    assert file.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_the_old_file(tmp_path: Path, error: type[BaseException]) -> None:
    file = tmp_path / "a.txt"
    files.write_file(file, "old")

    def half(path: Path) -> None:
        path.write_text("ne")
        raise error

    with pytest.raises(error):
        files.write_file(file, half)
    assert file.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_an_error_while_filling_leaves_the_old_folder(tmp_path: Path) -> None:
    make(tmp_path / "run", a="old")

    def stop(path: Path) -> None:
        raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        make(tmp_path / "run", a="new", b=stop)
    assert names(tmp_path) == ["run", "run/a", "run/manifest.json"]
    assert (tmp_path / "run/a").read_text() == "old"
    make(tmp_path / "run", b="new")
    assert names(tmp_path) == ["run", "run/b", "run/manifest.json"]


def test_append(tmp_path: Path) -> None:
    files.append_line(tmp_path / "log", "一")
    files.append_line(tmp_path / "log", "2")
    assert (tmp_path / "log").read_text("utf-8") == "一\n2\n"


# ---- full disks


@pytest.mark.parametrize("broken", ["os.fsync", "pathlib.Path.rename", "pathlib.Path.mkdir"])
def test_a_disk_that_fails_leaves_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    make(tmp_path / "run", a="old")
    files.write_file(tmp_path / "file", "old")
    with monkeypatch.context() as patch:
        patch.setattr(broken, no_space)
        with pytest.raises(StorageError, match=r"No space left on device.*untouched.*Free some space"):
            make(tmp_path / "run", a="new")
        if broken == "os.fsync":
            with pytest.raises(StorageError, match="file: could not be written"):
                files.write_file(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert files.verify(tmp_path / "run") == []
    assert (tmp_path / "run/a").read_text() == "old"
    assert names(tmp_path) == ["file", "run", "run/a", "run/manifest.json"]


def test_a_new_folder_that_can_not_take_its_place_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "run", a="old")
    rename = Path.rename

    def only_aside(path: Path, target: Path) -> Path:
        return no_space() if path.name == "run.partial" else rename(path, target)

    monkeypatch.setattr(Path, "rename", only_aside)
    with pytest.raises(StorageError):
        make(tmp_path / "run", a="new")
    assert (tmp_path / "run/a").read_text() == "old"
    assert names(tmp_path) == ["run", "run/a", "run/manifest.json"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(options, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not let this user mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_is_full(small_disk: Path) -> None:
    file = small_disk / "run/a"
    files.write_file(file, "old" * 1000)
    tensors = {"a": torch.zeros(100_000)}
    writers: list[Callable[[Path], object]] = [
        lambda path: path.write_bytes(bytes(400_000)),
        lambda path: safetensors.torch.save_file(tensors, path),  # has an error of its own for a full disk
    ]
    for writer in writers:
        with pytest.raises(StorageError, match=r"a: could not be written .*No space left on device"):
            files.write_file(file, writer)
        with pytest.raises(StorageError, match="No space left on device"):
            make(small_disk / "b", x=writer)
    assert file.read_text() == "old" * 1000
    assert names(small_disk) == ["run", "run/a"]
    (small_disk / "rest").write_bytes(bytes(60 * 1024))
    with pytest.raises(StorageError), files.lock(small_disk / "run"):
        pass
    with pytest.raises(StorageError):
        files.append_line(small_disk / "run/log", "x" * 5000)


# ---- what stands in a folder


def test_verify(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    make(folder, a="a", b="b", c="c")
    assert files.verify(folder) == []
    (folder / "a").write_text("A")
    (folder / "b").unlink()
    assert files.verify(folder) == [f"{folder / 'a'}: its content is not what was written", f"{folder / 'b'}: missing"]
    for damage in ("{", "[1]", "7"):
        (folder / files.MANIFEST).write_text(damage)
        assert files.verify(folder) == [f"{folder / files.MANIFEST}: missing or unreadable"]
    assert files.verify(tmp_path / "nothing") == [f"{tmp_path / 'nothing' / files.MANIFEST}: missing or unreadable"]


def test_leftovers_are_found_and_mended(tmp_path: Path) -> None:
    (tmp_path / "a.txt.partial").write_text("half")
    (tmp_path / ".tmpAb3dE9").write_text("a kill while safetensors was writing")
    (tmp_path / ".tmpfile").write_text("somebody else's")
    (tmp_path / "sub/run.partial").mkdir(parents=True)
    (tmp_path / "sub/run.partial/x.partial").write_text("half")
    make(tmp_path / "sub/whole.old.partial", a="old")  # a crash between the two renames
    (tmp_path / "sub/whole.partial").mkdir()
    make(tmp_path / "done", a="new")
    make(tmp_path / "done.old.partial", a="old")  # a crash after both
    found = files.partials(tmp_path)
    expected = [
        ".tmpAb3dE9",
        "a.txt.partial",
        "done.old.partial",
        "sub/run.partial",
        "sub/whole.old.partial",
        "sub/whole.partial",
    ]
    assert [str(path.relative_to(tmp_path)) for path in found] == expected
    assert files.mend(tmp_path) == found
    assert files.partials(tmp_path) == []
    assert names(tmp_path / "sub") == ["whole", "whole/a", "whole/manifest.json"]
    assert (tmp_path / "done/a").read_text() == "new"
    assert files.mend(tmp_path) == []


def test_remove(tmp_path: Path) -> None:
    make(tmp_path / "run", a="a")
    (tmp_path / "run.gone.partial").mkdir()  # an earlier removal was cut short
    (tmp_path / "run.gone.partial/x").write_text("x")
    (tmp_path / "file").write_text("x")
    for name in ("run", "file", "nothing"):
        files.remove(tmp_path / name)
    assert names(tmp_path) == []


# ---- who holds it

HOLD = """
import sys, time
from pathlib import Path
from yanmo import files
with files.lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_folder_has_one_holder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(RunError, match=rf"pid {holder.pid}\).*give another .run="), files.lock(tmp_path):
            pass
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with files.lock(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
        with pytest.raises(RunError, match=f"pid {os.getpid()}"), files.lock(tmp_path):
            pass
    with files.lock(tmp_path):
        pass


def test_a_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), files.lock(tmp_path):
        raise ValueError("inside")
    with files.lock(tmp_path):
        pass


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("")
    with pytest.raises(StorageError, match="x: could not be written"), files.lock(tmp_path / "x"):
        pass
