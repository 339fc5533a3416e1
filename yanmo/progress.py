"""Progress bars on standard error, with rate and time left; silent where nobody watches (a pipe, CI), and plain with NO_COLOR."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def console() -> Console:
    """Where people read: standard error."""
    return Console(stderr=True, highlight=False, no_color=bool(os.environ.get("NO_COLOR")) or None, soft_wrap=True)


def say(text: str) -> None:
    """One line for people."""
    console().print(text, markup=False)


Advance = Callable[..., None]


@contextmanager
def bar(title: str, total: int | None = None, done: int = 0, unit: str = "") -> Iterator[Advance]:
    """A bar; call the yielded function with the work done, and `note=` for what stands at its end."""
    if not (sys.stderr.isatty() or "ipykernel" in sys.modules):
        say(title)
        yield lambda work=1, note="": None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=console(), transient=False) as progress:
        task = progress.add_task(title, total=total, completed=done, rate="", note="")

        def advance(work: int = 1, note: str = "") -> None:
            speed = progress.tasks[task].speed
            rate = f"{speed:,.0f} {unit}/s" if speed and speed >= 10 else f"{speed:.1f} {unit}/s" if speed else ""
            progress.update(task, advance=work, rate=rate, note=note or progress.tasks[task].fields["note"])

        yield advance
