"""The number of CPUs that this process may use, after the limits of affinity, containers and batch systems.

`os.cpu_count()` counts the machine's. Of a container with two of 64 CPUs it says 64, and 64 threads then wait for each other's turns.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CGROUPS = Path("/sys/fs/cgroup")
MINE = Path("/proc/self/cgroup")
STAT = Path("/proc/stat")
LOOKED, BUSY = 0.4, 0.7  # seconds, and the share of a CPU's time from which on it is not free


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


def free_cpus(seconds: float = LOOKED) -> int:
    """Of the available CPUs those that no other work keeps busy, at least 1: what is seen of the system's clock in `seconds` of rest.

    Threads that wait for each other at every operator are only as fast as the slowest: on two CPUs, one of them busy, two threads
    train several times slower than one. Elsewhere than on Linux all are taken to be free.
    """
    cpus = available_cpus()
    before = busy_seconds(_read(STAT))
    if cpus == 1 or before is None:
        return cpus
    begun, mine = time.monotonic(), time.process_time()
    time.sleep(seconds)
    passed, after = time.monotonic() - begun, busy_seconds(_read(STAT))
    others = (after or before) - before - (time.process_time() - mine)
    allowed = len(os.sched_getaffinity(0))
    return max(1, min(cpus, allowed - int(others / passed + 1 - BUSY)))


def busy_seconds(stat: str | None) -> float | None:
    """CPU seconds that anything has used since the system's start, on the CPUs of this process, as /proc/stat has them."""
    if stat is None or not hasattr(os, "sched_getaffinity"):
        return None
    allowed, ticks = {f"cpu{index}" for index in os.sched_getaffinity(0)}, 0
    for line in stat.splitlines():
        name, *fields = line.split()
        if name in allowed and len(fields) > 4:
            user, nice, system, _idle, _waiting, interrupt, soft, *_ = (*map(int, fields), 0, 0)
            ticks += user + nice + system + interrupt + soft
    return ticks / os.sysconf("SC_CLK_TCK")
