"""Run the check of each client in a bundle that can run on this machine.

`PROGRAM check BUNDLE` is what each of them answers to: exit code 0 where all golden vectors agree, 77 where something that it needs is
not installed here (the last line says what), anything else where one does not (a line for each image names it and the first step).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgetl.bundle.finding import Finding
from edgetl.bundle.read import README

CANNOT = 77  # as automake's tests say "skipped"
TIMEOUT_S = 120
UNDECODED = re.compile(r"\d{2,}(\.\w+)?: not decoded here")


@dataclass(frozen=True, kw_only=True)
class Client:
    """A program of the bundle: its file, and what runs it."""

    name: str
    file: str
    runner: tuple[str, ...]


CLIENTS = (
    Client(name="client python", file="clients/python/classify.py", runner=(sys.executable, "-I")),
    Client(name="client node", file="clients/node/classify.mjs", runner=("node",)),
)
C_CODE = "clients/c"
PAGE = Client(name="client web", file="clients/web/check.mjs", runner=("node",))


def run_clients(folder: Path, *, browser: bool) -> Iterator[Finding]:
    """The result of each client in the bundle at `folder`; the README's sample stands in for a Python client."""
    if not (folder / CLIENTS[0].file).is_file() and (folder / README).is_file():
        yield _sample(folder)
    for client in (*CLIENTS, *([PAGE] if browser else [])):
        if (folder / client.file).is_file():
            yield _ran(client.name, [*client.runner, str(folder / client.file)], folder)
    if (folder / C_CODE).is_dir():
        yield _compiled(folder)


def _compiled(folder: Path) -> Finding:
    """The C code, compiled elsewhere and run there."""
    compiler = next((name for name in ("cc", "gcc", "clang") if shutil.which(name)), None)
    if compiler is None:
        return Finding(part="client c", skipped="no C compiler (cc, gcc, clang) is installed here")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as place:
        program = Path(place) / "check"
        sources = [str(folder / C_CODE / name) for name in ("check.c", "classifier.c")]
        done = subprocess.run([compiler, "-std=c99", "-O1", "-o", str(program), *sources], capture_output=True, text=True, check=False)
        if done.returncode:
            return Finding(part="client c", problems=(done.stderr.strip().splitlines()[0] if done.stderr else f"{compiler} failed",))
        return _ran("client c", [str(program)], folder)


def _sample(folder: Path) -> Finding:
    """The Python of the README, saved elsewhere and run there."""
    blocks = re.findall(r"```python\n(.*?)```", (folder / README).read_text(encoding="utf-8"), flags=re.DOTALL)
    if len(blocks) != 1:
        return Finding(part="sample python", problems=(f"expected one block of Python in {README}, found {len(blocks)}",))
    with tempfile.TemporaryDirectory(prefix="edgetl-") as place:
        program = Path(place) / "classify.py"
        program.write_text(blocks[0], encoding="utf-8")
        return _ran("sample python", [sys.executable, "-I", str(program)], folder)


def _ran(name: str, program: list[str], folder: Path) -> Finding:
    if shutil.which(program[0]) is None:
        return Finding(part=name, skipped=f"{program[0]} is not installed here")
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8", "OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(
            [*program, "check", str(folder.resolve())],
            capture_output=True, text=True, encoding="utf-8", errors="replace", env=environment, timeout=TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding(part=name, problems=(f"gave no answer in {TIMEOUT_S} seconds",))
    said = (done.stderr.strip() or done.stdout.strip()).splitlines() or [f"exit code {done.returncode}"]
    if done.returncode == CANNOT:
        return Finding(part=name, skipped=said[-1])
    notes = tuple(line for line in done.stdout.splitlines() if UNDECODED.match(line))
    return Finding(part=name, problems=() if done.returncode == 0 else problems_in(said), notes=notes)


def problems_in(said: list[str]) -> tuple[str, ...]:
    """Of what a failing program said: the lines about golden images, or the error of its crash, or the last line."""
    images = [line for line in said if re.match(r"(\d{2,}(\.\w+)?|golden\.json): (?!not decoded here)", line)]
    errors = [line for line in said if re.match(r"[\w.]*(Error|Exception)\b.*: ", line)]
    return tuple(images) or tuple(errors[-1:]) or (said[-1],)
