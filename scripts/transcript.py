"""Record docs/transcript.md: a first session in a terminal of 80 columns, with the edgetl that is installed beside this Python.

python scripts/transcript.py FOLDER_OF_PHOTOS > docs/transcript.md

FOLDER_OF_PHOTOS has class folders; one of its JPEGs is cut in half in a copy. Takes as long as the default run.
"""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import textwrap
from importlib.metadata import version
from pathlib import Path

COLUMNS = 80
LINES = (
    "edgetl --help",
    "edgetl pipeline fotos",
    "edgetl pipeline photos",
    "edgetl pipeline",
    "edgetl predict runs/digits/bundle runs/digits/bundle/golden --top-k 2",
    "edgetl predict runs/digits/bundle nowhere",
    "edgetl bundle check runs/digits/bundle",
    "edgetl status runs/digits --set distill.epochs=80",
)
HEAD = """# A first session

Recorded by `scripts/transcript.py` on {day} on {cpus} CPUs ({cpu}). Python {python}, torch {torch}, onnxruntime
{onnxruntime}, no network. Two mistakes come first: a typing error, and a folder of photos (ants and bees) with a damaged file. Then the
default run, on scikit-learn's handwritten digits. The output went to a file, so there are no progress bars; long lines are wrapped at
{columns} columns, and empty lines are left out.
"""


def cpu() -> str:
    """The CPU's own name, where the system tells it."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def output(line: str, folder: Path) -> list[str]:
    """What a command prints in `folder`, wrapped, without empty lines and trailing spaces."""
    program, *words = shlex.split(line)
    environment = {**os.environ, "COLUMNS": str(COLUMNS)}
    command = [str(Path(sys.executable).with_name(program)), *words]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    lines = (text.rstrip() for text in done.stdout.splitlines() if text.strip())
    return [part for text in lines for part in (textwrap.wrap(text, COLUMNS, break_on_hyphens=False) if len(text) > COLUMNS else [text])]


def damaged(photos: Path, copy: Path) -> None:
    """A copy of the photos in which the first JPEG is cut in half."""
    shutil.copytree(photos, copy)
    first = next(path for path in sorted(copy.rglob("*.jpg")))
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])


def main() -> None:
    """Print the page."""
    versions = {"python": platform.python_version(), "torch": version("torch").partition("+")[0], "onnxruntime": version("onnxruntime")}
    day = f"{datetime.date.today():%-d %B %Y}"
    print(HEAD.format(day=day, cpus=os.cpu_count(), cpu=cpu(), columns=COLUMNS, **versions))
    print("```text")
    with tempfile.TemporaryDirectory() as place:
        damaged(Path(sys.argv[1]), Path(place) / "photos")
        for line in LINES:
            print("\n".join([f"$ {line}", *output(line, Path(place))]), flush=True)
    print("```")


if __name__ == "__main__":
    main()
