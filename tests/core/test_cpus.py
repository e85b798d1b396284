"""As many CPUs are used as the process may use: not those of the whole machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgetl.core.cpus import available_cpus, busy_seconds, free_cpus, quota_of, quota_of_groups

DOCKER_V1 = """12:pids:/docker/6ab32f
5:cpu,cpuacct:/docker/6ab32f
3:cpuset:/docker/6ab32f
1:name=systemd:/docker/6ab32f
"""


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("max 100000\n", None), ("200000 100000\n", 2.0), ("150000 100000\n", 1.5), ("5000 10000", 0.5), ("max", None), ("-1 100000", None)],
)
def test_a_quota_is_read_as_the_kernel_writes_it(text: str, cpus: float | None) -> None:
    assert quota_of(*text.split()) == cpus


def written(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text, encoding="ascii")


def test_of_nested_groups_of_version_2_the_tightest_counts(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("0::/user.slice/job.scope\n", encoding="ascii")
    written(tmp_path / "fs", cpu__max="max 100000\n")
    written(tmp_path / "fs/user.slice", cpu__max="200000 100000\n")
    written(tmp_path / "fs/user.slice/job.scope", cpu__max="max 100000\n")
    assert quota_of_groups(tmp_path / "mine", tmp_path / "fs") == 2.0
    written(tmp_path / "fs/user.slice/job.scope", cpu__max="50000 100000\n")
    assert quota_of_groups(tmp_path / "mine", tmp_path / "fs") == 0.5


def test_a_quota_of_version_1_is_found_at_the_top_of_what_a_container_sees(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text(DOCKER_V1, encoding="ascii")
    assert quota_of_groups(tmp_path / "mine", tmp_path / "fs") is None
    written(tmp_path / "fs/cpu,cpuacct", cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    assert quota_of_groups(tmp_path / "mine", tmp_path / "fs") == 3.0
    written(tmp_path / "fs/cpu,cpuacct", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert quota_of_groups(tmp_path / "mine", tmp_path / "fs") is None


def test_where_there_are_no_control_groups_there_is_no_quota(tmp_path: Path) -> None:
    assert quota_of_groups(tmp_path / "none", tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_kept_to_one_cpu_works_with_one_thread() -> None:
    told = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from edgetl.settings import Runtime; from edgetl.core.threads import WORKERS; print(Runtime().threads, WORKERS)"
    )
    found = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=60)
    assert found.stdout.split() == ["1", "1"]


def test_at_least_one_cpu_and_never_more_than_the_machine_has() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


STAT = """cpu  1000 0 500 9000 10 5 5 0 0 0
cpu0 700 10 300 4000 5 5 5 0 0 0
cpu1 300 0 200 5000 5 0 0 0 0 0
cpu99 9000 0 0 0 0 0 0 0 0 0
intr 12345
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
def test_busy_time_is_that_of_the_cpus_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert busy_seconds(STAT) == pytest.approx((700 + 10 + 300 + 5 + 5 + 300 + 200) / os.sysconf("SC_CLK_TCK"))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1})
    assert busy_seconds(STAT) == pytest.approx(500 / os.sysconf("SC_CLK_TCK"))
    assert busy_seconds(None) is None


@pytest.mark.skipif(not Path("/proc/stat").is_file() or available_cpus() < 2, reason="needs Linux and two CPUs")
def test_a_cpu_that_other_work_keeps_busy_is_not_free() -> None:
    """Whatever else runs here: with as many busy processes as CPUs, one thread is left."""
    spin = "while True: pass"
    busy = [subprocess.Popen([sys.executable, "-c", spin]) for _ in range(available_cpus())]
    try:
        time.sleep(0.5)
        assert free_cpus(1.0) == 1
    finally:
        for process in busy:
            process.kill()
            process.wait()
