"""How to train and how to save: the `train` block of every verb that trains."""

from typing import Literal

from pydantic import Field, model_validator

from yanmo.settings import Block

BUDGETS = ("epochs", "steps", "tokens", "minutes")


class Save(Block):
    minutes: float | None = Field(
        None,
        gt=0,
        description="wall minutes between checkpoints; null: 2, or more where saving would cost 0.5% of the run",
    )
    keep: int = Field(2, ge=1, description="newest checkpoints that stay; the best always does")
    every: int | None = Field(
        None,
        gt=0,
        description="steps between checkpoints that stay for good, also when the run is finished; null: none",
    )


class Train(Block):
    """How to train. Of the budgets, naming one replaces the default."""

    epochs: float | None = Field(3.0, gt=0, description="budget: passes over the rows")
    steps: int | None = Field(None, ge=0, description="budget: optimiser steps; 0: the beginning is scored and kept")
    tokens: int | None = Field(None, gt=0, description="budget: tokens read")
    minutes: float | None = Field(
        None, gt=0, description="budget: wall minutes on this machine, turned into steps by a probe"
    )
    batch_tokens: int = Field(4096, ge=16, description="tokens of one batch")
    accumulate: int = Field(1, ge=1, description="batches of one step")
    optimiser: Literal["adamw", "adam", "sgd"] = Field("adamw", description="adamw, adam or sgd")
    lr: float = Field(3e-4, gt=0, description="highest learning rate")
    rates: dict[str, float] = Field(
        default_factory=dict, description="beginning of a parameter's name: factor on its learning rate"
    )
    layer_decay: float = Field(
        1.0,
        gt=0,
        le=1,
        description="factor on the learning rate from each layer to the one below it; 1: all learn alike",
    )
    warmup: float = Field(0.06, ge=0, lt=1, description="share of the steps in which the rate rises")
    schedule: Literal["linear", "cosine", "wsd"] = Field(
        "linear",
        description="of the rate after that: linear or cosine fall to 0, or wsd (warm-up, stable, decay), which falls over the last tenth",
    )
    weight_decay: float = Field(0.01, ge=0, description="decay of matrices")
    l1: float = Field(0.0, ge=0, description="penalty on the absolute weights")
    l2: float = Field(0.0, ge=0, description="penalty on the squared weights")
    clip: float | None = Field(1.0, gt=0, description="largest gradient norm; null: none")
    fgm: float | None = Field(
        None,
        gt=0,
        description="adversarial training: length of the push on the token vectors with which each batch is learnt once more; null: none",
    )
    average: float | None = Field(
        None, gt=0, lt=1, description="decay of a moving average of the weights, kept in their place; null: none"
    )
    evaluations: int = Field(10, ge=1, description="how often the dev rows are scored")
    patience: int | None = Field(
        None, ge=1, description="evaluations without a new best before the run stops; null: never"
    )
    on_fault: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="at a loss or gradient that is not finite: stop, skip the step, or rollback to the last evaluation and go on past it",
    )
    spike: float | None = Field(
        None,
        gt=0,
        description="standard deviations above the last 128 steps at which a loss or gradient is a fault too; null: none",
    )
    save: Save = Field(default_factory=Save)

    @model_validator(mode="after")
    def _one_budget(self) -> "Train":
        given = [name for name in BUDGETS if name in self.model_fields_set and getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"two budgets named ({' and '.join(given)}); name one of {', '.join(BUDGETS)}")
        if given and given != ["epochs"]:
            self.__dict__["epochs"] = None  # the default steps back
        if all(getattr(self, name) is None for name in BUDGETS):
            raise ValueError(f"no budget; name one of {', '.join(BUDGETS)}")
        return self
