"""What a model writes while it learns: a few texts at each evaluation, of the same prompts and with the same draws, so that they can be
compared. The run's own random state stays as it is."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from pydantic import Field
from torch import nn

from yanmo.checkpoint import Checkpoint
from yanmo.decoding.sampling import Sampling
from yanmo.engine.writing import WRITES, Generation, Writer
from yanmo.settings import Block


class Samples(Block):
    count: int = Field(2, ge=0, description="texts of each prompt, at each evaluation; 0: none")
    prompts: list[str] = Field(
        [],
        description="what they go on from, or what an encoder-decoder reads; none: a causal model writes from nothing",
    )
    tokens: int = Field(40, ge=1, description="of each text, at most")
    temperature: float = Field(0.8, gt=0, allow_inf_nan=False, description="how freely tokens are drawn")


def writer(asked: Samples, opened: Checkpoint, device: torch.device) -> Callable[[], list[dict[str, str]]] | None:
    """A function that answers with what the model writes by then: {"prompt", "text"} of each. None where it writes nothing: it has no
    head for that, is not asked to, or has nothing to begin with. Raises ModelError for prompts that don't fit."""
    prompts = asked.prompts or ([""] if opened.head == "causal" and opened.tokenizer.cls is not None else [])
    if not asked.count or not prompts or opened.head not in WRITES:
        return None
    model, pen = opened.model.to(device), Writer(opened, device)
    tokens, longest = asked.tokens, opened.config.longest
    if longest is not None:  # a prompt that leaves no room is the Writer's to refuse
        tokens = max(1, min(tokens, longest - max(len(opened.tokenizer.encode(prompt)) for prompt in prompts)))
    drawn = Generation(max_new_tokens=tokens, n=asked.count, sampling=Sampling(temperature=asked.temperature))

    def write() -> list[dict[str, str]]:
        texts = {(place, n): "" for place in range(len(prompts)) for n in range(asked.count)}
        with _resting(model):
            for piece in pen.stream(prompts, drawn):
                texts[piece.prompt, piece.sample] += piece.text
        return [{"prompt": prompts[place], "text": text} for (place, _), text in texts.items()]

    with _resting(model):
        next(pen.stream(prompts, drawn))  # what is wrong is told now, not at the first evaluation
    return write


@contextmanager
def _resting(model: nn.Module) -> Iterator[None]:
    """The model does not learn for the length of the block: no dropout draws from the run's random state."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)
