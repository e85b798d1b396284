"""A kill at a chosen moment, for stages that go on where they were."""

from __future__ import annotations

from ..conftest import Stop, Told


class StopIn(Told):
    """A listener that interrupts at the `steps`th step of the bars with one title."""

    def __init__(self, title: str, steps: int) -> None:
        super().__init__()
        self.title, self.left = title, steps

    def moved(self, title: str, steps: float, note: str) -> None:
        wanted = title == self.title
        self.left -= bool(wanted and steps)
        if wanted and self.left == 0:
            raise Stop
