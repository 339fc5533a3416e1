"""A function over a stream of work, on all cores: processes forked from this one, which have all that it has and end when it ends.

Where processes can't safely be forked (elsewhere than on Linux), or for a single item of work, the function runs in this one.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import chain, islice
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Any, TypeVar

from yanmo import machine

_END_WITH_PARENT = 1  # PR_SET_PDEATHSIG of linux/prctl.h
Item = TypeVar("Item")
Answer = TypeVar("Answer")


def over(function: Callable[[Item], Answer], items: Iterable[Item], count: int | None = None) -> Iterator[Answer]:
    """function(item) for each item, in their order; an item is taken from the stream just before it is worked on. Items and answers
    must be such as can be sent (pickled); the function need not. count: of processes; None means one for each core.

    Raises what the function raises, and RuntimeError where a process ends before its answer is there.
    """
    items, count = iter(items), machine.cores() if count is None else count
    first = list(islice(items, 2))
    if len(first) < 2 or count < 2 or sys.platform != "linux":
        yield from map(function, chain(first, items))
        return
    ours: list[Connection] = []
    processes: list[ForkProcess] = []
    waiting: deque[Connection] = deque()
    try:
        for _ in range(count):
            mine, theirs = multiprocessing.Pipe()
            ours.append(mine)
            context = multiprocessing.get_context("fork")
            processes.append(context.Process(target=_work, args=(function, theirs, list(ours)), daemon=True))
            processes[-1].start()
            theirs.close()
        for item in chain(first, items):
            answer = None
            if len(waiting) == count:
                answer = _answer(waiting[0])
                waiting.rotate(-1)
            else:
                waiting.append(ours[len(waiting)])
            waiting[-1].send(item)  # before the answer is given: nobody waits while the caller works on it
            if answer is not None:
                yield answer[0]
        for connection in waiting:
            yield _answer(connection)[0]
    finally:
        for connection in ours:
            connection.close()
        for process in processes:
            process.terminate()
            process.join()


def _answer(connection: Connection) -> tuple[Any]:
    try:
        answer, error = connection.recv()
    except EOFError:
        raise RuntimeError("a working process was ended from outside; is there too little memory?") from None
    if error is not None:
        raise error
    return (answer,)


def _work(function: Callable[[Any], Any], theirs: Connection, ours: list[Connection]) -> None:
    """What a process does until the other end of its pipe is closed."""
    # However the one that began the work ends: a lock that it held is shared by its forks, and must go with it at once.
    ctypes.CDLL(None).prctl(_END_WITH_PARENT, signal.SIGKILL)
    for connection in ours:  # this copy of the other end would keep it open
        connection.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process that began the work
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # this is one of several, and threads do not survive a fork
    with suppress(EOFError, OSError):  # nobody is there any more
        while True:
            item = theirs.recv()
            try:
                answer, error = function(item), None
            except Exception as raised:
                answer, error = None, raised
            theirs.send((answer, error))
