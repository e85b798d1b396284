"""Work in threads: in order, not too far ahead, and interrupted at any place."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import islice

import pytest

from edgetl.core.threads import at_most, in_threads


def test_results_come_in_order() -> None:
    def slow_first(number: int) -> int:
        time.sleep(0.02 if number % 5 == 0 else 0)
        return number * number

    assert list(in_threads(slow_first, range(50))) == [number * number for number in range(50)]
    assert list(in_threads(slow_first, [])) == []


def test_no_more_items_are_taken_than_asked_for_and_some_ahead() -> None:
    taken: list[int] = []
    results = in_threads(lambda number: number, (taken.append(number) or number for number in range(1000)), ahead=7)  # type: ignore[func-returns-value]
    assert list(islice(results, 5)) == [0, 1, 2, 3, 4]
    assert len(taken) <= 5 + 7


def test_an_error_comes_at_its_turn() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = in_threads(work, range(100))
    assert list(islice(results, 3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)


def test_threads_end_with_the_last_result_and_when_nobody_listens() -> None:
    before = threading.active_count()
    assert len(list(in_threads(lambda number: number, range(100)))) == 100
    results = in_threads(lambda number: number, range(100))
    next(results)
    results.close()  # type: ignore[attr-defined]
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before


def test_ctrl_c_ends_the_process_wherever_it_comes() -> None:
    """Of 20 processes with concurrent.futures in its place, 6 hung."""
    code = (
        "import os, signal, sys, threading, time\n"
        "from edgetl.core.threads import at_most, in_threads\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def later():\n    time.sleep(float(sys.argv[1])); os.kill(os.getpid(), signal.SIGINT)\n"
        "threading.Thread(target=later, daemon=True).start()\n"
        "try:\n    sum(in_threads(lambda number: number, range(10**9)))\n"
        "except KeyboardInterrupt:\n    sys.exit(130)\n"
    )
    for attempt in range(10):
        done = subprocess.run([sys.executable, "-c", code, str(0.05 + 0.003 * attempt)], timeout=30, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (130, "")


def test_no_more_threads_work_than_are_allowed() -> None:
    names: set[str] = set()

    def note(_: int) -> None:
        names.add(threading.current_thread().name)
        time.sleep(0.002)

    with at_most(1):
        assert len(list(in_threads(note, range(20)))) == 20
    assert len(names) == 1
