"""bfloat16 products in training: every family and objective learns alike; who decides, and that a run keeps to it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import yanmo
from tests.commands.test_pretrain import FITTING, SIZES
from tests.families import CASES, Case
from tests.models.test_contracts import fresh, heads_of, packed, rectangle, targets, types_of
from tests.reliability.rows import ROWS, settings, write_data
from tests.reliability.test_resume import stop_after
from yanmo import checkpoint, models
from yanmo.errors import Interrupted
from yanmo.models import ModelSettings
from yanmo.models.base import LANGUAGE, Memory
from yanmo.tasks import OBJECTIVES, make
from yanmo.tasks.base import Loss
from yanmo.text import tokenizer
from yanmo.text.batches import Batch, Key
from yanmo.train import precision as precision_of
from yanmo.train.backward import mixed, plain

CPU = torch.device("cpu")


class Everything:
    """A task of all that a head can say: the next token, or a class, of each state."""

    def __init__(self, head: str, more: Batch | None = None) -> None:
        self.head, self.more = head, more

    def loss(self, model: Any, batch: Batch) -> Loss:
        hidden, run = model.hidden(batch), batch.source
        if self.head == "seq2seq":
            assert self.more is not None
            hidden, run = model.decode(self.more.source, memory=Memory(hidden, run.lengths)), self.more.source
        if self.head in LANGUAGE:
            own = getattr(model, "language_losses", None)
            found = own(hidden, run.ids) if own else F.cross_entropy(model.logits(hidden), run.ids, reduction="none")
        else:
            logits = model.head(hidden, run)
            logits = logits.t() if logits.shape[1] == 1 else logits  # choices
            found = F.cross_entropy(logits, logits.new_zeros(len(logits), dtype=torch.long), reduction="none")
        return Loss(found.sum(), len(found))


def alike(model: torch.nn.Module, task: Any, batch: Batch) -> None:
    """One step's loss and gradients, in float32 and with bfloat16 products."""
    found = []
    for backward in (plain, mixed):
        model.zero_grad(set_to_none=True)
        torch.manual_seed(1)  # a variational latent is drawn
        loss = backward(model, task, batch)
        assert loss.total.dtype == torch.float32
        parts = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        assert all(part.dtype == torch.float32 for part in parts)
        found.append((float(loss.total.detach()), torch.cat(parts)))
    (full, exact), (half, rounded) = found
    assert half == pytest.approx(full, rel=1e-2)
    assert torch.isfinite(rounded).all()
    # Mostly 0.6%; a ReLU or a maximum that falls the other way moves a whole gradient, and the rows' may cancel each other.
    assert float((rounded - exact).norm()) < 0.15 * float(exact.norm()) + 0.002 * loss.count
    assert not torch.equal(rounded, exact)  # it was another precision


@pytest.mark.parametrize(
    ("case", "head"),
    [pytest.param(case, head, id=f"{case.id}-{head}") for case in CASES for head in heads_of(case) if head != "base"],
)
def test_every_head_of_every_family_learns_alike(case: Case, head: str) -> None:
    ids, mask, types = rectangle(case.values["vocab_size"])
    more = Batch(packed(*targets(case.values["vocab_size"]))) if head == "seq2seq" else None
    alike(fresh(case, head), Everything(head, more), Batch(packed(ids, mask, types_of(case, types))))


@pytest.mark.parametrize(("family", "name"), FITTING, ids=map(" ".join, FITTING))
def test_every_objective_learns_alike(family: str, name: str) -> None:
    schema, kind = OBJECTIVES[name]
    texts = [" ".join(f"w{(i * k + k) % 23}" for k in range(1, 30)) for i in range(40)]
    cutter = tokenizer.train(texts, tokenizer.TokenizerSettings(kind="word", vocab=150), kind.tokens)
    task = make(schema(max_length=16), cutter)
    found, config = models.configure(ModelSettings(family=family, size=SIZES[family]), 16, vocab_size=cutter.size)
    torch.manual_seed(0)
    model = checkpoint.create(found, config, kind.head).eval()
    rows = cutter.chunks(cutter.encode_all(texts), task.row_length, "train")
    alike(model, task, task.batch(rows[:12], Key(0, 0, 0)))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


def pretrain(data: Path, run: Path, precision: str) -> dict[str, Any]:
    asked = settings(ROWS["masked"], data, run)
    return yanmo.pretrain(**{**asked, "machine": {"threads": 1, "precision": precision}})


def record(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "yanmo.json").read_text()))


@pytest.mark.parametrize(("gain", "decided"), [(4.0, "bfloat16"), (1.2, "float32"), (0.0, "float32")])
def test_auto_decides_by_what_the_machine_gains(
    gain: float, decided: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision_of, "gain", lambda: gain)
    metrics = pretrain(data, tmp_path / "auto", "auto")
    assert metrics["cost"]["precision"] == record(tmp_path / "auto")["precision"] == decided
    assert precision_of.choose("auto", torch.device("mps")) == "float32"
    pretrain(data, tmp_path / "named", decided)
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("auto", "named")]
    assert weights[0] == weights[1]


def test_the_probe_is_short_and_leaves_the_random_state() -> None:
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    began = time.thread_time()
    assert precision_of.gain.__wrapped__() > 0
    assert time.thread_time() - began < 1
    assert torch.equal(torch.get_rng_state(), before) and torch.get_num_threads() == threads


def stopped(data: Path, run: Path, precision: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, 7)
        with pytest.raises(Interrupted):
            pretrain(data, run, precision)


def test_a_run_keeps_what_auto_became(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Also where another machine would decide otherwise. Naming a precision changes it, and is told."""
    monkeypatch.setattr(precision_of, "gain", lambda: 4.0)
    stopped(data, tmp_path / "run", "auto")
    pretrain(data, tmp_path / "whole", "bfloat16")
    monkeypatch.setattr(precision_of, "gain", lambda: 0.0)
    pretrain(data, tmp_path / "run", "auto")
    assert record(tmp_path / "run")["precision"] == "bfloat16"
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
    assert "machine.precision:" not in capsys.readouterr().err
    stopped(data, tmp_path / "changed", "bfloat16")
    metrics = pretrain(data, tmp_path / "changed", "float32")
    assert metrics["cost"]["precision"] == record(tmp_path / "changed")["precision"] == "float32"
    assert "warning: machine.precision: bfloat16 -> float32" in capsys.readouterr().err


def test_a_run_that_began_before_there_was_a_choice_stays_in_float32(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped(data, tmp_path / "run", "float32")
    content = record(tmp_path / "run")
    del content["precision"]
    (tmp_path / "run" / "yanmo.json").write_text(json.dumps(content))
    monkeypatch.setattr(precision_of, "gain", lambda: 4.0)
    assert pretrain(data, tmp_path / "run", "auto")["cost"]["precision"] == "float32"
