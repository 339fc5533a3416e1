"""What a model is made of, seen while it works: its real modules in the order of the code, the shapes that go in and come out, and
where its parameters are.

Shapes are told with t tokens of all rows packed end to end, s those of a source, rows of a batch.
"""

import re
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from yanmo.models.base import LANGUAGE, Memory
from yanmo.text.batches import Batch, Run

_ROWS, _SOURCE = (7, 4), (8, 5)  # lengths that no width is equal to
_NAMES = {sum(_ROWS): "t", sum(_SOURCE): "s", len(_ROWS): "rows"}


@dataclass
class Part:
    """One module, or several equal ones that follow each other."""

    name: str
    kind: str  # its class
    about: str  # what that says of itself, in a line
    takes: str  # the shape of its first input; "" where it is not called
    gives: str
    parameters: int  # of all of them
    times: int = 1
    parts: list["Part"] = field(default_factory=list)

    def lines(self, indent: str = "") -> list[str]:
        """The tree below this part, a line each."""
        found = []
        for place, part in enumerate(self.parts):
            last = place == len(self.parts) - 1
            name = part.name + (f" × {part.times}" if part.times > 1 else "")
            shape = f"{part.takes} → {part.gives}" if part.gives else ""
            tree = f"{indent}{'└' if last else '├'}─ {name}"
            count = f"{part.parameters:,}" if part.parameters else ""
            found.append(f"{tree:38} {part.kind:18} {shape:34} {count:>13}  {part.about}".rstrip())
            found += part.lines(indent + ("   " if last else "│  "))
        return found

    def content(self) -> dict[str, Any]:
        return asdict(self)


def look(model: nn.Module, head: str, vocabulary: int) -> Part:
    """The parts of a model (any weights), called once on rows of random ids. head: the kind that it carries."""
    seen: dict[nn.Module, tuple[str, str]] = {}

    def note(module: nn.Module, given: tuple[Any, ...], answer: Any) -> None:
        first = next((part for part in given if isinstance(part, (Tensor, Run))), None)
        seen.setdefault(module, (_shape(first.ids if isinstance(first, Run) else first), _shape(answer)))

    hooks = [module.register_forward_hook(note) for module in model.modules()]
    try:
        with torch.inference_mode():
            _use(model.eval(), head, vocabulary)
    finally:
        for hook in hooks:
            hook.remove()
    return _part("", model, seen)


def _use(model: Any, head: str, vocabulary: int) -> None:
    run, source = (Run(torch.randint(vocabulary, (sum(rows),)), rows) for rows in (_ROWS, _SOURCE))
    memory = Memory(model.encode(source), source.lengths) if head == "seq2seq" else None
    hidden = model.hidden(Batch(run)) if memory is None else model.decode(run, memory=memory)
    if head in LANGUAGE:
        model.logits(hidden)
    if model.task_head is not None:
        model.head(hidden, run)


def _part(name: str, module: nn.Module, seen: dict[nn.Module, tuple[str, str]]) -> Part:
    kind = type(module)
    own = kind.__module__.startswith("yanmo.")
    about = re.split(r"[:;\n]|\. ", (kind.__doc__ or "").strip())[0].rstrip(".") if own else ""
    takes, gives = seen.get(module, ("", ""))
    count = sum(parameter.numel() for parameter in module.parameters())
    found = Part(name, kind.__name__, about, takes, gives, count)
    for child_name, child in module.named_children():
        if isinstance(child, nn.Identity) or (isinstance(child, nn.Dropout) and not child.p):
            continue
        part = _part(child_name, child, seen)
        before = found.parts[-1] if found.parts else None
        if before is not None and isinstance(module, nn.ModuleList) and _like(before) == _like(part):
            before.times += 1
            before.parameters += part.parameters
            before.name = f"{before.name.partition('-')[0]}-{child_name}"
        else:
            found.parts.append(part)
    return found


def _like(part: Part) -> Any:
    """What two parts have in common that are drawn as one."""
    return (part.kind, part.takes, part.gives, part.parameters // part.times, [(p.name, _like(p)) for p in part.parts])


def _shape(value: Any) -> str:
    tensor = next((one for one in value if isinstance(one, Tensor)), None) if isinstance(value, tuple) else value
    if not isinstance(tensor, Tensor):
        return ""
    sizes = [str(size) for size in tensor.shape]
    if tensor.dim():
        sizes[0] = _NAMES.get(tensor.shape[0], sizes[0])
    if sizes[:1] == ["rows"] and tensor.dim() > 2 and tensor.shape[1] in (max(_ROWS), max(_SOURCE)):
        sizes[1] = "longest"
    return f"({', '.join(sizes)})"
