"""Replacing parts of a model by others, in place: what adapters, quantisation and pruning share.

Knows modules and their dotted names, nothing of what the new part does. A part that is reached by several names (tied
layers) is made once and put at each of them. What lies inside a replaced part belongs to its maker and is not looked at.
"""

import re
from collections.abc import Callable, Iterable, Iterator

from torch import nn

from yanmo.errors import ModelError

Test = Callable[[str, nn.Module], bool]


def swap(model: nn.Module, pattern: str | Test, make: Callable[[str, nn.Module], nn.Module]) -> list[str]:
    """Replace every submodule that the pattern names by `make(name, module)`; return the names, in the model's order.

    A string is a regular expression that is searched anywhere in the dotted name: "query|value" finds every attention's
    query and value, "^head$" the head alone. A function is asked `(name, module)`, for a choice by type. The model
    itself is never replaced. A pattern that finds nothing is a ModelError that lists the names there are.
    """
    test = _searching(pattern) if isinstance(pattern, str) else pattern
    named = [(name, module) for name, module in model.named_modules(remove_duplicate=False) if name]
    found = list(_outermost((name, module) for name, module in named if test(name, module)))
    if not found:
        wanted = f"{pattern!r}" if isinstance(pattern, str) else "the given test"
        raise ModelError(
            f"no module matches {wanted}; the modules are: {', '.join(_folded(name for name, _ in named))}"
        )
    made: dict[nn.Module, nn.Module] = {}
    for name, module in found:
        if module not in made:
            made[module] = make(name, module)
        model.set_submodule(name, made[module])
    return [name for name, _ in found]


def _searching(pattern: str) -> Test:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise ModelError(f"{pattern!r} is not a regular expression: {error}") from error
    return lambda name, module: expression.search(name) is not None


def _outermost(found: Iterable[tuple[str, nn.Module]]) -> Iterator[tuple[str, nn.Module]]:
    """Leave out what lies inside the module found before it; a parent's name always comes before its children's."""
    last = None
    for name, module in found:
        if last is None or not name.startswith(f"{last}."):
            last = name
            yield name, module


def _folded(names: Iterable[str]) -> list[str]:
    """The names with their layers' numbers left out, each once: 12 equal layers read as one."""
    return list(dict.fromkeys(re.sub(r"(^|\.)\d+(?=\.|$)", r"\1N", name) for name in names))
