"""A kill at a chosen moment, for stages that go on where they were."""

from __future__ import annotations

from edgetl.core.progress import Bar


class Stop(Exception):
    """Raised in the middle, as a kill would come."""


class StopIn:
    """A listener that interrupts at the `steps`th step of the bars with one title."""

    def __init__(self, title: str, steps: int) -> None:
        self.title, self.left = title, steps

    def open(self, title: str, total: float, unit: str) -> Bar:
        wanted, stop = title == self.title, self

        class Line:
            def advance(self, steps: float = 1, note: str = "") -> None:
                stop.left -= bool(wanted and steps)
                if wanted and stop.left == 0:
                    raise Stop

        return Line()

    def close(self, bar: Bar) -> None:
        pass

    def say(self, message: str) -> None:
        pass

    def detail(self, message: str) -> None:
        pass
