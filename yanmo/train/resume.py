"""The state that a run needs to go on as if nothing had happened: optimiser, random states, cursor and progress.

Tensors as safetensors, the rest as JSON; never pickle. The weights beside them are an ordinary model folder.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from yanmo import files
from yanmo.errors import ModelError
from yanmo.text.batches import Cursor
from yanmo.train.average import Average

TENSORS, STATE = "training.safetensors", "training.json"


@dataclass
class Progress:
    """Where a run stands. Everything here is ready for JSON."""

    step: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    best: dict[str, Any] | None = None  # the dev scores of the best evaluation so far
    best_step: int = 0
    worse: int = 0  # evaluations since the best one
    seconds: float = 0.0
    tokens: int = 0
    losses: list[float] = field(default_factory=list)  # since the last line of the log
    recent: list[tuple[float, float]] = field(
        default_factory=list
    )  # loss and gradient norm that a spike is measured against
    finished: bool = False  # early stopping has spoken
    skipped: int = 0  # faulty steps that were passed over
    in_a_row: int = 0  # the latest of them
    rollbacks: int = 0
    anchor: int | None = None  # the step that a rollback goes back to


def contents(
    model: nn.Module, optimiser: torch.optim.Optimizer, progress: Progress, average: Average | None
) -> dict[str, str | dict[str, Tensor]]:
    """The files of the training state, name -> text or tensors (which are the run's own). With an average, the model's folder holds
    that, and the weights that training goes on from stand here."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    tensors = {"random.cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    for parameter, state in optimiser.state.items():
        for key, value in state.items():
            tensors[f"optimiser.{key}.{names[parameter]}"] = torch.as_tensor(value).detach().contiguous()
    if average is not None:
        tensors |= {f"weights.{name}": p.detach().contiguous() for name, p in model.named_parameters()}
    return {TENSORS: tensors, STATE: files.to_json(asdict(progress))}


def best(folder: Path) -> int | None:
    """The step of the best checkpoint that a checkpoint knows of. OSError, ValueError or KeyError where that can't be read."""
    step: int = json.loads((folder / STATE).read_text("utf-8"))["best_step"]
    return step or None


def needs(folder: Path) -> list[int]:
    """The steps of the other checkpoints that a checkpoint refers to: the best so far, and where a rollback goes. Raises as `best`."""
    content = json.loads((folder / STATE).read_text("utf-8"))
    return [step for step in (best(folder), content["anchor"]) if step not in (None, content["step"])]


def load(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: Average | None) -> Progress:
    """Put the training state back into what was made of the folder's model, and answer with the progress. Call it last: it sets the
    random states."""
    try:
        tensors = safetensors.torch.load_file(folder / TENSORS)
        content = json.loads((folder / STATE).read_text("utf-8"))
        progress = Progress(**content | {"cursor": Cursor(*content["cursor"])})
    except (OSError, ValueError, TypeError, KeyError, safetensors.SafetensorError) as error:
        raise ModelError(
            f"{folder}: the training state can't be read ({error}); give force=true to start anew"
        ) from None
    parameters = dict(model.named_parameters())
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kind, _, rest = name.partition(".")
        if kind == "optimiser":
            key, _, parameter = rest.partition(".")
            optimiser.state[parameters[parameter]][key] = tensor.to(parameters[parameter].device)
        elif kind == "weights":
            weights[rest] = tensor
    if average is not None:
        average.put(weights)
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    torch.set_rng_state(tensors["random.cpu"])
    return progress
