"""What a disk can do to a run: power failures, errors, a full disk, rotten bits. After each the run goes on to the same end."""

import errno
import json
import random
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.reliability.disk import MODES, Failing, Operation, Remembering, after_power_failure, materialise, replay
from tests.reliability.rows import ROWS, VERBS, digest, settings
from yanmo import files, runs
from yanmo.errors import StorageError
from yanmo.runs import Common, Run
from yanmo.train import track

Figure = Callable[..., None]
ROW = ROWS["classify"]
SAVES = {"minutes": 1e-9, "keep": 2}  # at every step


def asked(data: Path, run: Path, steps: int = 6) -> dict[str, Any]:
    return settings(ROW, data, run, steps=steps, evaluations=3, save=SAVES)


def opened(folder: Path) -> Run:
    return Run(folder, Common(), resuming=True)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- power failures


@pytest.fixture(scope="module")
def trace(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Operation], dict[str, dict[str, bytes]], str]:
    """Everything that a whole run told the disk, the content of each of its checkpoints, and the digest of what it left."""
    root = tmp_path_factory.mktemp("trace")
    disk, written = Remembering(root), dict[str, dict[str, bytes]]()
    write_folder = files.write_folder

    def noting(path: Path, contents: Any) -> None:
        write_folder(path, contents)
        written[path.name] = content(path)
        disk.note("returned", path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "disk", disk)
        patch.setattr(files, "write_folder", noting)
        VERBS[ROW.verb](**asked(data, root / "run"))
    return disk.operations, written, digest(root / "run")


@pytest.mark.timeout(900)
def test_r3_power_failure(
    trace: tuple[list[Operation], dict[str, dict[str, bytes]], str], data: Path, tmp_path: Path, figure: Figure
) -> None:
    """After any operation of a whole run the power fails, and of what was not synced the disk keeps nothing, something or all.

    A checkpoint that is found is whole, none that was promised is lost, the log reaches as far, the run comes to the same end.
    """
    operations, written, expected = trace
    states = resumed = 0
    generator = random.Random(3)
    for length in range(len(operations) + 1):
        disk = replay(operations[:length])
        promised = [step_of(o) for o in operations[:length] if o.kind == "returned"]
        for mode in MODES:
            states += 1
            place = tmp_path / f"{length}"
            place.mkdir()
            materialise(after_power_failure(disk, *mode, generator), place)
            folder = place / "run"
            check(folder, written, max(promised, default=0))
            if generator.random() < 0.02:
                VERBS[ROW.verb](**asked(data, folder))
                assert digest(folder) == expected, f"after {length} operations, {mode}"
                resumed += 1
            shutil.rmtree(place)
    assert states >= 2000 and resumed > 20
    figure("R3", operations=len(operations), crash_states=states, neither_old_nor_new=0, run_on_to_the_same_end=resumed)


@pytest.mark.parametrize("forgotten", ["files", "folders"])
def test_the_trial_sees_a_writer_that_forgets_to_sync(forgotten: str, trace: Any, tmp_path: Path) -> None:
    """The test above can fail: without the syncs of files, or of folders, some crash loses what was promised."""
    operations, written, _ = trace
    folders = {operation.path for operation in operations if operation.kind == "make"} | {"."}
    careless = [o for o in operations if o.kind != "sync" or (o.path in folders) != (forgotten == "folders")]
    generator, faults = random.Random(3), 0
    for length in range(0, len(careless), 7):
        promised = max([step_of(o) for o in careless[:length] if o.kind == "returned"], default=0)
        place = tmp_path / f"{length}"
        place.mkdir()
        materialise(
            after_power_failure(
                replay(careless[:length]), "all" if forgotten == "files" else "none", "lost", generator
            ),
            place,
        )
        try:
            check(place / "run", written, promised)
        except (AssertionError, ValueError):
            faults += 1
    assert faults > 5


def step_of(operation: Operation) -> int:
    return int(operation.path.rsplit("-", 1)[1])


def check(folder: Path, written: dict[str, dict[str, bytes]], promised: int) -> None:
    """What must hold of a run folder after a crash. promised: the newest step whose save had returned."""
    if not folder.exists():
        assert promised == 0
        return
    files.mend(folder)
    assert files.partials(folder) == []
    if not (folder / runs.SETTINGS).exists():
        assert promised == 0 and not (folder / "config.json").exists()  # it begins anew
        return
    if runs.is_finished(folder):
        assert files.changed(folder) == []
        return
    latest = opened(folder).latest()
    if latest is None:
        assert promised == 0
        return
    assert content(latest) == written[latest.name]
    assert opened(folder).step_of(latest) >= promised
    progress = json.loads((latest / "training.json").read_text())
    logged = [line["step"] for line in track.read(folder / track.FILE) if line["kind"] == "train"]
    assert [step for step in logged if step <= progress["step"]] == list(range(1, progress["step"] + 1))


# ---- errors


@pytest.mark.timeout(900)
@pytest.mark.parametrize("stride", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_r4_errors_of_the_disk(
    stride: int, trace: Any, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    """From some operation on the disk is broken (EIO) or full (ENOSPC): the command fails loudly, the checkpoints that stand are whole, and
    on a sound disk the same command leaves no leftover and ends in the same state."""
    operations, _, expected = trace
    tried = failed = 0
    told = sum(operation.kind != "returned" for operation in operations)
    for number in (errno.EIO, errno.ENOSPC):
        for first in range(1, told + 1, stride):
            run, tried = tmp_path / f"{number}-{first}", tried + 1
            with monkeypatch.context() as patch:
                patch.setattr(files, "disk", Failing(first, number))
                try:
                    VERBS[ROW.verb](**asked(data, run))
                except StorageError as error:
                    failed += 1
                    assert ("No space left" if number == errno.ENOSPC else "Input/output error") in str(error)
                else:  # only what nobody needs any more could not be done
                    assert runs.is_finished(run)
            found = opened(run).checkpoints()
            assert all(files.verify(path) == [] for path in found)
            VERBS[ROW.verb](**asked(data, run))
            assert digest(run) == expected and files.partials(run) == []
            shutil.rmtree(run)
    assert failed > 0.8 * tried
    figure("R4", errors=tried, commands_that_failed_loudly=failed, mismatches=0, leftovers=0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, where this machine lets us mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine does not let this user mount a small tmpfs")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_r4_a_real_disk_that_fills_up(data: Path, small_disk: Path, tmp_path: Path, trace: Any) -> None:
    """A tmpfs that has room when the run begins and none after its third step."""
    from yanmo import fit

    wanted = asked(data, small_disk / "run")
    steps = fit.loop.steps

    def filling(*arguments: Any, **keys: Any) -> Any:
        for step in steps(*arguments, **keys):
            if step.number == 3:
                for thread in threading.enumerate():
                    if thread.name == "yanmo-save":
                        thread.join()  # what it goes on to write or to remove would change the room that is left
                free = shutil.disk_usage(small_disk).free
                (small_disk / "filler").write_bytes(bytes(max(0, free - 20_000)))
            yield step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.loop, "steps", filling)
        with pytest.raises(StorageError, match=r"No space left on device.*Free some space"):
            VERBS[ROW.verb](**wanted)
    assert all(files.verify(path) == [] for path in opened(small_disk / "run").checkpoints())
    (small_disk / "filler").unlink()
    VERBS[ROW.verb](**wanted)
    assert digest(small_disk / "run") == trace[2]


# ---- rotten bits


@pytest.fixture(scope="module")
def stopped(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with two checkpoints, as a kill leaves it."""
    from yanmo import fit, job

    run = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "conclude", lambda *_: None)
        patch.setattr(job.Job, "dev", [], raising=False)
        VERBS[ROW.verb](**asked(data, run))
    assert len(opened(run).checkpoints()) >= 2
    return run


Damage = Callable[[Path, random.Random], str]


def flip(folder: Path, generator: random.Random) -> str:
    file = any_file(folder, generator)
    data = bytearray(file.read_bytes())
    place = generator.randrange(len(data))
    data[place] ^= 1 << generator.randrange(8)
    file.write_bytes(data)
    return f"{file.name}: bit {place}"


def truncate(folder: Path, generator: random.Random) -> str:
    file = any_file(folder, generator)
    length = generator.randrange(file.stat().st_size)
    file.write_bytes(file.read_bytes()[:length])
    return f"{file.name}: cut to {length}"


def lose(folder: Path, generator: random.Random) -> str:
    file = any_file(folder, generator)
    file.unlink()
    return f"{file.name}: missing"


def add(folder: Path, generator: random.Random) -> str:
    name = generator.choice(["heads.safetensors", "model-00001-of-00002.safetensors", ".hidden", "notes.txt"])
    (folder / name).write_bytes(generator.randbytes(20))
    return f"{name}: extra"


def any_file(folder: Path, generator: random.Random) -> Path:
    return generator.choice(sorted(path for path in folder.iterdir() if path.stat().st_size))


COUNTS = [(flip, 100), (truncate, 30), (lose, 12), (add, 8)]
FULL = [(flip, 1000), (truncate, 200), (lose, 50), (add, 20)]


@pytest.mark.parametrize(
    ("damage", "count"),
    [*COUNTS, *(pytest.param(*each, marks=pytest.mark.slow) for each in FULL)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_r6_damage_is_seen(
    damage: Damage, count: int, stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: Figure
) -> None:
    """Every damaged checkpoint is seen, named, and passed over for the one before it."""
    generator = random.Random(count)
    run = opened(stopped)
    newest, before = run.checkpoints()[:2]
    shutil.copytree(newest, tmp_path / "sound")
    for _ in range(count):
        what = damage(newest, generator)
        capsys.readouterr()
        assert run.latest() == before, what
        assert f"warning: {newest}" in capsys.readouterr().err, what
        shutil.rmtree(newest)
        shutil.copytree(tmp_path / "sound", newest)
    assert run.latest() == newest
    figure("R6", damage=damage.__name__, tried=count, seen=count)


def test_r6_the_run_goes_on_from_the_one_before(stopped: Path, trace: Any, data: Path, tmp_path: Path) -> None:
    """To the same end, and the damaged one does not take the place of a whole one that is to be kept."""
    from yanmo import fit

    shutil.copytree(stopped, tmp_path / "run")
    run = opened(tmp_path / "run")
    for path in run.checkpoints()[:2]:
        flip(path, random.Random(1))
    seen: list[int] = []
    steps = fit.loop.steps

    def looking(*arguments: Any, **keys: Any) -> Any:
        for step in steps(*arguments, **keys):
            yield step
            seen.append(min(2, len([path for path in run.checkpoints() if not run.faults(path)])))

    wanted = {**asked(data, tmp_path / "run")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.loop, "steps", looking)
        VERBS[ROW.verb](**wanted)
    assert seen[-1] == 2 and digest(tmp_path / "run") == trace[2]


def test_r6_a_damaged_best_is_not_gone_on_with(stopped: Path, tmp_path: Path) -> None:
    """A checkpoint is only as good as the best one that it refers to."""
    shutil.copytree(stopped, tmp_path / "run")
    run = opened(tmp_path / "run")
    from yanmo.train import resume

    [best] = resume.needs(run.checkpoints()[0])
    flip(run.place(best), random.Random(0))
    latest = run.latest()
    assert latest is None or best not in resume.needs(latest)
