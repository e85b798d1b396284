"""How many CPUs this process may use: what the machine has, less what affinity, containers and batch systems keep from it.

`os.cpu_count()` counts the machine's. Of a container with two of 64 CPUs it says 64, and 64 threads then wait for each other's turns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")


def available_cpus() -> int:
    """CPUs that this process may use at once, at least 1: of half a CPU more, no thread would make use without waiting."""
    count = float(_by_affinity())
    quota = quota_of_groups(MINE, CGROUPS)
    return max(1, int(count if quota is None else min(count, quota)))


def _by_affinity() -> int:
    if hasattr(os, "process_cpu_count"):  # Python 3.13; PYTHON_CPU_COUNT is heeded there
        return os.process_cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def quota_of_groups(mine: Path, mounted: Path) -> float | None:
    """CPUs that the control groups of a process allow it, the tightest of all above it; None without a limit.

    Args:
        mine: the process's groups, as in /proc/self/cgroup.
        mounted: where control groups are mounted.
    """
    try:
        lines = mine.read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return None
    quotas = [quota for folder in _folders(lines, mounted) if (quota := _quota_at(folder)) is not None]
    return min(quotas, default=None)


def _folders(lines: list[str], mounted: Path) -> Iterator[Path]:
    """Folders of the groups named in `lines`, and all above them. Inside a container only the topmost may be there."""
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        tops = [mounted / controllers, mounted / "cpu"] if controllers else [mounted, mounted / "unified"]
        within = PurePosixPath(path.lstrip("/"))
        for top in tops:
            yield from (top / place for place in (within, *within.parents))


def _quota_at(folder: Path) -> float | None:
    """The limit of one group: version 2 has one file for it, version 1 two."""
    if (text := _read(folder / "cpu.max")) is not None:
        return quota_of(*text.split()[:2])
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return None if quota is None or period is None else quota_of(quota, period)


def quota_of(quota: str, period: str = "100000") -> float | None:
    """CPUs of a quota and a period in microseconds, as the kernel writes them; None for `max`, -1 or what is no number."""
    try:
        allowed, per = int(quota), int(period)
    except ValueError:
        return None
    return allowed / per if allowed > 0 and per > 0 else None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None
