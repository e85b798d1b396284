"""Command-line options: those that commands share, and those made from settings, so that each is written once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgetl.core.errors import InputError
from edgetl.core.files import read_json
from edgetl.core.machine import MOST_THREADS, Runtime
from edgetl.core.progress import say

if TYPE_CHECKING:
    from edgetl.core.preprocess import Preprocess

RUNNING = "How it runs"
DATA_ROOT = Path("data")
KINDS_OF_DATA = "One folder per class, or train/, val/, test/ of such folders; a CSV; cifar10"

Data = Annotated[str | None, typer.Argument(metavar="DATA", help=f"{KINDS_OF_DATA}. Default: handwritten digits.")]
NeedData = Annotated[str, typer.Argument(metavar="DATA", help=f"{KINDS_OF_DATA} or digits.")]
RunFolder = Annotated[Path, typer.Option(help="Run folder.")]
Device = Annotated[str, typer.Option(rich_help_panel=RUNNING, help="auto, cpu, cuda or mps.")]
Threads = Annotated[
    int | None,
    typer.Option(
        rich_help_panel=RUNNING,
        min=1,
        metavar="N",
        help="CPU threads; the results depend on it in the last bits. Default: the idle CPUs, at most 8.",
        show_default=False,
    ),
]
Answering = Annotated[
    int | None,
    typer.Option(
        "--threads",
        rich_help_panel=RUNNING,
        min=1,
        metavar="N",
        help="CPU threads. Default: 1 for the model, all available CPUs for reading images.",
        show_default=False,
    ),
]
PixelMemory = Annotated[
    float, typer.Option("--pixel-memory", rich_help_panel=RUNNING, min=0, metavar="GIB", help="Most memory for decoded images.")
]
PixelDisk = Annotated[
    float,
    typer.Option(
        "--pixel-disk",
        rich_help_panel=RUNNING,
        min=0,
        metavar="GIB",
        help="Most disk (in TMPDIR) for decoded images that do not fit into memory.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", rich_help_panel=RUNNING, help="Print one JSON object instead of text.")]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", rich_help_panel=RUNNING, help="Also show reasons and measurements; the file run.log always has them."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Exit with code 1 unless the verdict is certified.")]
Root = Annotated[Path, typer.Option(rich_help_panel=RUNNING, help="Folder of the data sets that edgetl knows by name; downloads go there.")]
PreprocessOption = Annotated[
    str | None, typer.Option(metavar="FILE|imagenet", help="Preprocessing of images, if the model file does not contain it.")
]
LabelsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Class names, one per line, in the order of the outputs; if the model file does not contain them."),
]
Output = Annotated[str | None, typer.Option(metavar="NAME", help="Output with the class scores, if the model has several.")]
Unlabeled = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of photos without labels, for distillation: the student learns the teacher's answers to them."
    ),
]
KnownData = Annotated[
    bool,
    typer.Option(
        "--allow-known-data",
        rich_help_panel=RUNNING,
        help="Allow images that the pretrained weights were trained on; the scores then prove nothing.",
    ),
]
Config = Annotated[Path | None, typer.Option(metavar="FILE.toml", help="Settings file: one table per stage, with the keys of --set.")]
Assign = Annotated[
    list[str] | None, typer.Option("--set", metavar="STAGE.KEY=VALUE", help="Any setting of any stage, for example distill.epochs=60.")
]
SkipBad = Annotated[bool, typer.Option("--skip-bad-images", help="Skip image files that cannot be decoded, and list them.")]
Rehash = Annotated[bool, typer.Option("--rehash", rich_help_panel=RUNNING, help="Hash every image again instead of trusting the index.")]


def threads_for(wanted: int | None, recorded: int | None = None) -> int:
    """As many threads as were asked for, or as this run had before, or as CPUs are free now, said where that is not all."""
    from edgetl.core.cpus import available_cpus, free_cpus
    from edgetl.core.progress import say

    if wanted is not None or recorded is not None:
        return wanted or recorded or 1
    free, allowed = min(free_cpus(), MOST_THREADS), min(available_cpus(), MOST_THREADS)
    if free < allowed:
        say(f"threads: uses {free} of {allowed} CPUs, because other programs keep the rest busy (--threads N uses more)")
    return free


@contextmanager
def running(
    threads: int | None,
    recorded: int | None = None,
    *,
    device: str = Runtime.device,
    pixel_memory: float = Runtime.pixel_memory_gib,
    pixel_disk: float = Runtime.pixel_disk_gib,
) -> Iterator[Runtime]:
    """The Runtime of the block; its number of threads also limits the threads that decode images."""
    from edgetl.core.threads import at_most

    count = threads_for(threads, recorded)
    with at_most(count):
        yield Runtime(device=device, threads=count, pixel_memory_gib=pixel_memory, pixel_disk_gib=pixel_disk)


@contextmanager
def answering(threads: int | None) -> Iterator[int]:
    """The number of threads of onnxruntime inside the block; if it is given, decoding uses no more."""
    from edgetl.core.threads import WORKERS, at_most

    with at_most(threads or WORKERS):
        yield threads or 1


def given_preprocess(text: str | None) -> Preprocess | None:
    """`imagenet`, or a JSON file with a Preprocess (a bundle's manifest.json will do).

    Raises:
        InputError: neither.
    """
    from edgetl.core.preprocess import Preprocess, imagenet  # numpy would slow --help down

    if text is None or text == "imagenet":
        return imagenet() if text else None
    data = read_json(Path(text))
    try:
        given = Preprocess.from_json(json.dumps(data.get("preprocess", data) if isinstance(data, dict) else data))
    except InputError as error:
        raise InputError(f"{text}: {error}") from error
    if doubt := given.doubt():
        say(f"{text}: {doubt}")
    return given


def given_labels(path: Path | None, outputs: int | None = None) -> tuple[str, ...] | None:
    """Class names from a file (`data.labelfile.read_labels`), a name for each of `outputs` where these are known.

    Raises:
        InputError: no such file, names that are missing or there twice, or another number of them.
    """
    from edgetl.data.labelfile import read_labels  # numpy would slow --help down

    return None if path is None else read_labels(path, outputs)
