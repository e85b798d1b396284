"""Work in threads that Ctrl-C can interrupt at any place.

The locks of concurrent.futures are held by Python code: a KeyboardInterrupt between taking one and letting it go leaves it taken, and
threads and who joins them wait forever (6 of 20 interrupted processes, in a loop of nothing else). Those of SimpleQueue are not.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import islice
from queue import SimpleQueue
from typing import Any, TypeVar

from edgetl.core.cpus import available_cpus

WORKERS = min(available_cpus(), 16)
T = TypeVar("T")
R = TypeVar("R")
_most: ContextVar[int] = ContextVar("edgetl_workers", default=WORKERS)


@contextmanager
def at_most(count: int) -> Iterator[None]:
    """No more than `count` threads in each `in_threads` that begins inside the block."""
    token = _most.set(min(WORKERS, count))
    try:
        yield
    finally:
        _most.reset(token)


def in_threads(work: Callable[[T], R], items: Iterable[T], *, ahead: int | None = None) -> Iterator[R]:
    """The results of `work` for each item, in order.

    Args:
        work: runs in `WORKERS` threads, or fewer (`at_most`). When the caller stops listening, what has begun is left to end by itself.
        items: taken as they are needed.
        ahead: how many are worked on, or done, before the caller has asked for them; None: four for each thread.

    Raises:
        Exception: what `work` raised, at its item's turn.
    """
    todo: SimpleQueue[tuple[int, T] | None] = SimpleQueue()
    done: SimpleQueue[tuple[int, Any, BaseException | None]] = SimpleQueue()
    stopped, workers = False, _most.get()
    ahead = 4 * workers if ahead is None else ahead

    def run() -> None:
        for number, item in iter(todo.get, None):
            if not stopped:
                try:
                    done.put((number, work(item), None))
                except BaseException as error:
                    done.put((number, None, error))

    source = enumerate(items)
    found: dict[int, tuple[Any, BaseException | None]] = {}
    try:
        for _ in range(workers):
            threading.Thread(target=run, daemon=True).start()
        taken = given = 0
        while True:
            for job in islice(source, max(1, ahead) - (taken - given)):
                todo.put(job)
                taken += 1
            if given == taken:
                return
            while given not in found:
                number, result, error = done.get()
                found[number] = (result, error)
            result, error = found.pop(given)
            given += 1
            if error is not None:
                raise error
            yield result
    finally:
        stopped = True
        for _ in range(workers):
            todo.put(None)
