"""The outputs of a model for a stream of samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgetl.core.errors import InputError
from edgetl.core.progress import track
from edgetl.runtime.outputs import NotFinite
from edgetl.runtime.session import InputSource, Session, open_session


def outputs_of(
    path: Path, source: InputSource, *, batch_size: int, threads: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """The outputs of the model at `path` for every sample, as `answers_of` gives them.

    Raises:
        InputError: as `answers_of`, or the model cannot be used.
    """
    return answers_of(open_session(path, threads=threads), source, batch_size=batch_size)


def answers_of(session: Session, source: InputSource, *, batch_size: int) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    """The outputs of a model for every sample, finite float32 [n, k], and the labels int64 [n] if the source has them.

    Raises:
        InputError: the samples do not fit the model, or there are none.
        NotFinite: NaN or infinity in what it gives; a source that has `places` (names of its samples) says for which.
    """
    outputs: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    done = 0
    with track(f"run {session.name}", total=len(source), unit="image") as bar:
        for batch in source.batches(batch_size):
            try:
                outputs.append(session.run(batch.x))
            except NotFinite as error:
                rows = [done + row for row in error.rows]
                raise NotFinite(session.name, rows, done + len(batch.x), getattr(source, "places", None)) from None
            if batch.y is not None:
                labels.append(batch.y)
            done += len(batch.x)
            bar.advance(len(batch.x))
    if not outputs:
        raise InputError(f"expected images to run {session.name} on, found none")
    return np.concatenate(outputs), np.concatenate(labels) if len(labels) == len(outputs) else None
