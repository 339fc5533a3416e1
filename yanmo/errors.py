"""The errors that a user can meet, each with the exit status that the command line gives back.

    YanmoError (1)
    ├── SettingsError (2)      a key, value, path or verb that can't be used as it was given
    ├── DataError (1)          a row, column, label or encoding in somebody's file
    ├── ModelError (1)         a model folder, tensor or tokeniser that is not what it says it is
    ├── RunError (1)           a run folder in use, or one that another run owns
    ├── TrainingError (1)      a loss or gradient that is not a number
    ├── StorageError (1)       a disk that is full or can't be written
    ├── MissingExtra (1)       an optional package that is not installed
    └── Interrupted (128 + n)  a signal stopped the work; what was finished is kept

A message says what happened, where (file:line, column, key or tensor), what was expected, and what to do. Several faults of one
kind are gathered and raised once (`gather`). Whatever it quotes, it is printable and of some lines. Anything that is not a YanmoError
is a defect of Yanmo and shows its traceback.
"""

import importlib
import re
import reprlib
from collections.abc import Sequence
from types import ModuleType


class YanmoError(Exception):
    exit_status = 1

    def __init__(self, message: str) -> None:
        super().__init__(_printable(message))


# What moves a terminal's cursor, turns the direction of its text, or is half of a character.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LINE, _MESSAGE = 1000, 8000  # letters


def _printable(message: str) -> str:
    """Messages quote files that are not to be trusted: what they quote stays short and does nothing to a terminal."""
    shown = _UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], message)
    return _cut("\n".join(_cut(line, _LINE) for line in shown.split("\n")), _MESSAGE)


def _cut(text: str, most: int) -> str:
    """At most about so many letters: the beginning and the end."""
    return text if len(text) <= most else f"{text[: most * 3 // 4]} ... {text[-most // 4 :]}"


class SettingsError(YanmoError):
    exit_status = 2


class DataError(YanmoError):
    pass


class ModelError(YanmoError):
    pass


class RunError(YanmoError):
    pass


class TrainingError(YanmoError):
    pass


class StorageError(YanmoError):
    pass


class MissingExtra(YanmoError):
    pass


class Interrupted(YanmoError):
    """A signal stopped the work. `signal` is its number: 2 for Ctrl-C, 15 for SIGTERM."""

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.exit_status = 128 + signal


def gather(faults: Sequence[str], heading: str, kind: type[YanmoError], shown: int = 5) -> None:
    """Raise one error of `kind` that lists the first `shown` faults and counts the rest; do nothing when there are none."""
    if faults:
        rest = [f"... and {len(faults) - shown} more"] if len(faults) > shown else []
        raise kind("\n  ".join([heading, *faults[:shown], *rest]))


_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = _brief.maxlong = 100


def brief(value: object) -> str:
    """A value as Python writes it, cut short however long it is."""
    return _brief.repr(value)


def some(count: int, noun: str) -> str:
    """1 row, 2 rows."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def optional(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"needs '{module.split('.')[0]}': pip install 'yanmo[{extra}]'") from error
