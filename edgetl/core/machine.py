"""The resources of the machine that a stage may use. No torch."""

from __future__ import annotations

import ctypes
from contextlib import suppress
from dataclasses import dataclass, field

from edgetl.core.cpus import available_cpus

MOST_THREADS = 8  # by default: the networks are small


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Options that change how work is done but not its result; they are no part of any key.

    The thread count is recorded, since sums in another order round differently.

    Attributes:
        pixel_memory_gib: decoded images are kept in memory up to this, GiB (2: about 11,000 images for inputs of 224 pixels).
        pixel_disk_gib: beyond that in temporary files up to this, GiB (20: about 109,000 more).
    """

    device: str = "auto"
    threads: int = field(default_factory=lambda: min(available_cpus(), MOST_THREADS))
    pixel_memory_gib: float = 2.0
    pixel_disk_gib: float = 20.0


def return_freed_memory() -> None:
    """Give freed memory back to the system. Only glibc keeps it, behind blocks in use (malloc_trim(3)); elsewhere this does nothing."""
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
