"""Numbers that must not reach the weights: not finite, or a spike. Stop, skip or roll back."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.reliability.rows import ROWS, VERBS, digest, settings
from tests.reliability.test_resume import stop_after
from yanmo import files
from yanmo.errors import Interrupted, TrainingError
from yanmo.tasks.base import Loss
from yanmo.train import guard

Figure = Callable[..., None]
ROW = ROWS["classify"]
KINDS = ["loss nan", "loss inf", "gradient nan", "gradient inf"]


def poison(
    patch: pytest.MonkeyPatch, kind: str, bad: Callable[[int, tuple[str, ...]], bool], factor: float = 1.0
) -> None:
    """From now on a step's loss or gradient is spoilt where `bad` says so of its number and rows."""
    from yanmo import fit

    steps = fit.loop.steps

    def spoilt(model: Any, task: Any, batch: Any) -> Loss:
        loss: Loss = spoilt.backward(model, task, batch)  # type: ignore[attr-defined]
        number = round(batch.progress * spoilt.steps) + 1  # type: ignore[attr-defined]
        if not bad(number, batch.rows):
            return loss
        what, value = kind.split()
        if what == "loss":
            return Loss(loss.total * float(value) * factor, loss.count)
        parameter = next(p for p in model.parameters() if p.grad is not None)
        parameter.grad.view(-1)[0] = float(value)
        return loss

    def spoiling(model: Any, task: Any, stream: Any, optimiser: Any, plan: Any, backward: Any) -> Any:
        spoilt.steps, spoilt.backward = plan.steps, backward  # type: ignore[attr-defined]
        return steps(model, task, stream, optimiser, plan, spoilt)

    patch.setattr(fit.loop, "steps", spoiling)


def batches_of(data: Path, run: Path) -> list[tuple[str, ...]]:
    """The rows of each step of a run that nobody disturbs."""
    seen: list[tuple[str, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, "loss nan", lambda number, rows: bool(seen.append(rows)))
        VERBS[ROW.verb](**settings(ROW, data, run))
    return seen


def finite(run: Path) -> bool:
    return all(
        bool(tensor.isfinite().all())
        for path in [run / "model.safetensors", *run.glob("checkpoints/step-*/*.safetensors")]
        if path.exists()
        for tensor in load_file(path).values()
    )


@pytest.fixture(scope="module")
def rows(data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, ...]]:
    return batches_of(data, tmp_path_factory.mktemp("clean") / "run")


@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_r7_not_finite(policy: str, data: Path, tmp_path: Path, rows: list[tuple[str, ...]], figure: Figure) -> None:
    """A loss or gradient that is not finite at each of 20 steps: no weight ever becomes so, and the message says where it was."""
    for step in range(1, 21):
        kind, run = KINDS[step % len(KINDS)], tmp_path / f"run{step}"
        asked = settings(ROW, data, run, on_fault=policy)
        spoilt: list[int] = []

        def bad(number: int, found: tuple[str, ...], step: int = step, spoilt: list[int] = spoilt) -> bool:
            if found == rows[step - 1] and not (spoilt and policy == "skip"):
                spoilt.append(number)
                return True
            return False

        with pytest.MonkeyPatch.context() as patch:
            poison(patch, kind, bad)
            if policy == "stop":
                with pytest.raises(TrainingError) as told:
                    VERBS[ROW.verb](**asked)
                message = str(told.value)
                lr = 5e-3 * (1.0 if step == 1 else (20 - (step - 1)) / 19)
                for part in (
                    f"step {step}:",
                    rows[step - 1][0],
                    f"learning rate {lr:.2e}",
                    "gradient norm",
                    "No weight was changed",
                ):
                    assert part in message
                assert "train.on_fault=skip" in message
                if step > 1:
                    saved = run / f"checkpoints/step-{step - 1:08d}"
                    assert f"model.base={saved} starts from there" in message and files.verify(saved) == []
            else:
                metrics = VERBS[ROW.verb](**asked)
                assert metrics["train"]["steps"] == 20
                assert metrics["train"][{"skip": "skipped_steps", "rollback": "rollbacks"}[policy]] == len(spoilt) >= 1
        assert finite(run), f"{kind} at step {step}"
    figure("R7", policy=policy, faults=20, weights_not_finite=0)


def test_r7_rollbacks_and_skips_end(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is always wrong is not tried for ever."""
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, "loss nan", lambda number, found: number > 6)
        with pytest.raises(TrainingError, match=r"step 7: .* 3 rollbacks did not help\. The step before it is saved"):
            VERBS[ROW.verb](**settings(ROW, data, tmp_path / "back", on_fault="rollback"))
        assert capsys.readouterr().err.count("Going back to step 5, on past these rows") == 3
        with pytest.raises(TrainingError, match="10 faulty steps in a row were skipped, and here is the next: step 17"):
            VERBS[ROW.verb](**settings(ROW, data, tmp_path / "skip", on_fault="skip"))
        assert capsys.readouterr().err.count("warning: skipped step") == 11
    assert finite(tmp_path / "back") and finite(tmp_path / "skip")


@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_r2_with_faults(policy: str, data: Path, tmp_path: Path, rows: list[tuple[str, ...]]) -> None:
    """Stopped at every step on the way round two faults: the same end as without the stops."""
    spoilt = {rows[7], rows[12]}
    with pytest.MonkeyPatch.context() as patch:
        poison(patch, "gradient nan", lambda number, found: found in spoilt)
        whole = VERBS[ROW.verb](**settings(ROW, data, tmp_path / "whole", on_fault=policy))
        assert whole["train"].get("skipped_steps", 0) + whole["train"].get("rollbacks", 0) >= 2
        asked = settings(ROW, data, tmp_path / "stopped", on_fault=policy)
        for step in range(1, 21):
            with pytest.MonkeyPatch.context() as inner:
                stop_after(inner, step)
                with pytest.raises(Interrupted):
                    VERBS[ROW.verb](**asked)
        assert VERBS[ROW.verb](**asked)["train"] == whole["train"]
    assert digest(tmp_path / "stopped") == digest(tmp_path / "whole")


def test_spikes_are_faults_on_request(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for spike, skipped in ((None, 0), (6.0, 1)):
        with pytest.MonkeyPatch.context() as patch:
            poison(patch, "loss 1", lambda number, found: number == 45, factor=1000.0)
            asked = settings(ROW, data, tmp_path / f"run{spike}", steps=60, on_fault="skip", spike=spike)
            metrics = VERBS[ROW.verb](**asked)
        assert metrics["train"].get("skipped_steps", 0) == skipped
    assert (
        "step 45: the loss is" in (said := capsys.readouterr().err)
        and "a spike: the loss of the last 44 steps was" in said
    )


def test_the_rule_of_spikes() -> None:
    generator = torch.Generator().manual_seed(0)
    recent = [(1 + 0.1 * float(torch.randn((), generator=generator)), 2.0) for _ in range(100)]
    assert guard.fault(1.3, 2.0, recent, 6.0) is None
    assert "the loss of the last 100 steps was 0.99" in str(guard.fault(1.9, 2.0, recent, 6.0))
    assert "gradient norm" in str(guard.fault(1.0, 2.1, recent, 6.0))
    assert guard.fault(1.9, 2.0, recent[:31], 6.0) is None  # too few to know
    assert guard.fault(1e9, 2.0, recent, None) is None
    for bad in (math.nan, math.inf, -math.inf):
        assert guard.fault(bad, 1.0, (), None) and guard.fault(1.0, bad, (), None)
