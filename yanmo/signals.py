"""Signals that ask the work to stop: noted here, answered where it is safe."""

import signal
import threading
from types import FrameType

from yanmo.errors import Interrupted


class Signals:
    """SIGINT and SIGTERM ask the run to stop after the step that it is in; the second one stops at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def __enter__(self) -> "Signals":
        heard = (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ()
        self.old = {
            number: signal.signal(number, self._hear) for number in heard
        }  # Python hears signals in the main thread only
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            raise Interrupted("stopped at once; the run goes on from its last checkpoint", number)
        self.received = number  # printing here could interrupt a print
