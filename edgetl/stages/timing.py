"""timing: an int8 file gives its latency, measured once."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from edgetl.core.artifacts import FileArtifact, Int8Model
from edgetl.core.files import write_json
from edgetl.core.stage import Stage
from edgetl.runtime.latency import measure

TIMED_RUNS = 50
TRIES = 2  # where the latency, or the machine, moved meanwhile


@dataclass(frozen=True, kw_only=True)
class TimedFile:
    """The latency of a file, ms of one image at one thread, its size, and `latency.json`."""

    latency_ms: float
    size_bytes: int
    measurement: FileArtifact


@dataclass(frozen=True, kw_only=True)
class Timing(Stage[TimedFile]):
    """Measure the latency of an int8 file; again where it moved by more than a tenth, and take the lowest: other work only adds to it."""

    name: ClassVar[str] = "timing"
    version: ClassVar[int] = 1
    decides: ClassVar[bool] = True
    int8: Int8Model

    def run(self, out: Path) -> TimedFile:
        """Write `latency.json`."""
        found = [measure(self.int8.path, TIMED_RUNS)]
        while found[-1].moved and len(found) < TRIES:
            found.append(measure(self.int8.path, TIMED_RUNS))
        write_json(path := out / "latency.json", [asdict(each) for each in found])
        lowest = min(each.p50 for each in found)
        return TimedFile(latency_ms=lowest, size_bytes=self.int8.path.stat().st_size, measurement=FileArtifact.of(path))
