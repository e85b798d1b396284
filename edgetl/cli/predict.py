"""`edgetl predict`: the images to classify, and the destination of the answers."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import BinaryIO, TextIO

from edgetl.bundle.answers import Tally, to_csv, to_json, to_lines
from edgetl.bundle.predict import find_pictures, open_classifier
from edgetl.core.errors import InputError, listing
from edgetl.core.files import disk_errors, refuse_special, whole_text
from edgetl.core.preprocess import Preprocess

STANDARD_INPUT = Path("-")  # standard input among the images, standard output as the CSV
COMMONEST = 10


def run_predict(
    model: Path,
    images: Sequence[Path],
    *,
    csv: Path | None,
    top_k: int,
    preprocess: Preprocess | None,
    output: str | None = None,
    threads: int = 1,
    as_json: bool,
    given: BinaryIO,
    out: TextIO,
) -> None:
    """Answer for every image, each answer written as soon as it is there.

    Args:
        model: a bundle or an ONNX file.
        images: files and folders; `-` stands for paths that `given` names.
        csv: the file to write, which is there whole at the end or not at all; `-` is `out`.
        top_k: answers for each image.
        preprocess: for an ONNX file that does not say how images are prepared.
        output: the one that answers, of an ONNX file with several.
        threads: of onnxruntime.
        as_json: write JSON to `out` instead of lines.
        given: paths, one a line, or ended by NUL as `find -print0` writes them.
        out: results, and nothing else.

    Raises:
        InputError: a model, paths or a place for the CSV that cannot be used, before any work; files that cannot be
            read, after all others are answered.
    """
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(errors="backslashreplace")  # file names may be any bytes
    check_csv(csv, as_json)
    classifier = open_classifier(model, preprocess=preprocess, output=output, threads=threads)
    paths, tally = find_pictures(named(images, given)), Tally()
    classifier = classifier.suited(paths)
    most = min(top_k, len(classifier.task.classes))
    with csv_stream(csv, out) as stream:
        answered = classifier.answers(paths, most)
        if stream is not None:
            answered = to_csv(answered, stream, most)
        if as_json:
            answered = to_json(answered, out, most)
        elif stream is None:
            answered = to_lines(answered, out, most)
        tally.count(answered)
    if csv not in (None, STANDARD_INPUT) and not as_json:
        out.write(summary_line(tally, csv))
    out.flush()
    if tally.unreadable:
        what = "have no answer" if tally.not_finite else "cannot be read"
        others = "The others are answered. " if tally.answers else ""
        raise InputError(
            f"expected images, found {tally.unreadable} of {tally.images} files that {what}:\n"
            f"{listing(tally.culprits)}{_more(tally)}\n{others}Replace these files, or leave them out"
        )


def check_csv(csv: Path | None, as_json: bool) -> None:
    """Pass if the CSV can be written where it was asked for.

    Raises:
        InputError: a folder or a device is there, there is no folder to hold it, or both CSV and JSON on standard output.
    """
    if csv is None:
        return
    if csv == STANDARD_INPUT:
        if as_json:
            raise InputError("expected one kind of result on standard output, found --json and --csv -. Leave one out, or name a file")
    elif csv.is_dir() or not csv.absolute().parent.is_dir():
        found = "a folder" if csv.is_dir() else f"no folder {csv.absolute().parent}"
        raise InputError(f"expected to be able to write a CSV file at {csv}, found {found}. Name a file in an existing folder")
    else:
        refuse_special(csv)


def named(images: Sequence[Path], given: BinaryIO) -> list[Path]:
    """The images as they were named, with those on standard input in the place of `-`.

    Raises:
        InputError: nothing on standard input.
    """
    return [path for image in images for path in (_listed(given) if image == STANDARD_INPUT else [image])]


@contextmanager
def csv_stream(csv: Path | None, out: TextIO) -> Iterator[TextIO | None]:
    """Where the CSV goes: nowhere, to `out`, or to a file that is there whole at the end of the block or not at all."""
    if csv is None or csv == STANDARD_INPUT:
        with nullcontext(None if csv is None else out) as stream:
            yield stream
        return
    with disk_errors(csv.absolute().parent), whole_text(csv) as file:
        yield file


def summary_line(tally: Tally, csv: Path | None) -> str:
    """How many images, which answers, and where they are."""
    common = tally.commonest(COMMONEST)
    lines = [f"{'answers':<12} {csv}", f"{'images':<12} {tally.images}"]
    lines += [f"{'unreadable':<12} {tally.unreadable}"] if tally.unreadable else []
    lines += [f"{'unknown':<12} {tally.unknown}  (less sure than the bundle's threshold)"] if tally.unknown else []
    lines += [f"  {times:>10} {name}" for name, times in common]
    rest = len(tally.answers) - len(common)
    return "\n".join([*lines, *([f"             and {rest} more classes"] if rest else [])]) + "\n"


def _listed(given: BinaryIO) -> list[Path]:
    data = given.read()
    lines = data.split(b"\0") if b"\0" in data else data.splitlines()
    paths = [Path(os.fsdecode(line)) for line in lines if line]
    if not paths:
        raise InputError("expected paths on standard input, one per line, found none. Give paths there, or name files instead of -")
    return paths


def _more(tally: Tally) -> str:
    hidden = tally.unreadable - len(tally.culprits)
    return f"\n  ... and {hidden} more" if hidden else ""
