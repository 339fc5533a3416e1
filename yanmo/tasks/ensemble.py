"""Several models that answer as one: a Task wrapped round those of its members, which are of one class.

Each member cuts a row with its own tokeniser and says what it makes of it; the task joins what they say (`Task.join`), every member
counting the same (the mean of probabilities, as in Lakshminarayanan et al. 2017, https://arxiv.org/abs/1612.01474, section 2.4). An
ensemble answers and is scored; it is neither trained nor written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from torch import nn

from yanmo.errors import ModelError
from yanmo.models.base import Config, Model
from yanmo.tasks.base import Answer, Loss, Task, ids_of
from yanmo.text.batches import Batch, Key, pack
from yanmo.text.sources import Example


class Members(nn.ModuleList):
    """The models of an ensemble. They have no states in common."""

    def __init__(self, models: Sequence[nn.Module], config: Config) -> None:
        super().__init__(models)
        self.config = config

    def hidden(self, batch: Batch) -> Any:
        raise ModelError(
            "an ensemble only predicts: its models have no states in common. Open one of them, or average their weights (join=weights)"
        )


@dataclass(frozen=True, slots=True, eq=False)
class Row(Example):
    """As the first member prepared it, and as each did."""

    each: tuple[Example, ...] = ()


_COMMON = [field.name for field in fields(Example)]


class Ensemble:
    """members: tasks of one class with the same labels, perhaps in another order. Their models are a `Members`, in the same order. All that
    is not said here, such as scores, is as with the first."""

    def __init__(self, members: Sequence[Task]) -> None:
        self.members = tuple(members)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.members[0], name)

    def one(self, name: str | None) -> "Ensemble":
        self.members[0].one(name)  # which refuses a name
        return self

    def prepare(self, examples: Sequence[Example]) -> list[Example]:
        """Raises ModelError where the members cut a row into other words, so that their answers are of other things."""
        prepared = list(zip(*(member.prepare(examples) for member in self.members), strict=True))
        if strange := next((row[0] for row in prepared if len({each.marks for each in row}) > 1), None):
            raise ModelError(
                f"{strange.where}: these models cut it into other words, so their answers can't be joined. Join models that were "
                "fine-tuned with the same task.units"
            )
        return [Row(**{name: getattr(row[0], name) for name in _COMMON}, each=row) for row in prepared]

    def batch(self, examples: Sequence[Example], key: Key | None) -> Batch:
        """The rows as the first member reads them; each member makes a batch of its own of `examples`."""
        return Batch(pack(ids_of(examples)), rows=tuple(e.id for e in examples), examples=tuple(examples))

    def loss(self, model: Model, batch: Batch) -> Loss:
        raise ModelError("an ensemble is not trained; train its members, or go on from the mean of their weights")

    def predict(self, model: Model, batch: Batch) -> list[Answer]:
        models: Any = model
        rows: Any = batch.examples
        opinions = []
        for number, (task, member) in enumerate(zip(self.members, models, strict=True)):
            own = task.batch([row.each[number] for row in rows], None)
            opinions.append(task.opinions(member, own.to(batch.source.ids.device)))
        return self.members[0].join(self.members, opinions, [row.each[0] for row in rows])
