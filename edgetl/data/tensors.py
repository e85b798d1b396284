"""Network inputs as a stream: images through a Preprocess, or the arrays of an .npz. At most one batch is held beside what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgetl.core.canonical import digest_of
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.threads import in_threads
from edgetl.data.images import Images
from edgetl.data.pixel_cache import center, kept_squares


@dataclass(frozen=True)
class Batch:
    """Inputs float32 [n, c, h, w] and labels int64 [n] (None where there are none)."""

    x: NDArray[np.float32]
    y: NDArray[np.int64] | None


class TensorSource(Protocol):
    """An artifact: inputs that can be gone through again and again."""

    @property
    def digest(self) -> str:
        """sha256 of the content."""
        ...

    @property
    def hashes(self) -> tuple[str, ...]:
        """A sha256 for every sample, of the image file or, in an .npz, of its row of `x`."""
        ...

    @property
    def looks(self) -> Mapping[str, str]:
        """sha256 -> perceptual hash, 64 hex digits, of every sample whose look is known: of the image file, or of the row."""
        ...

    @property
    def places(self) -> tuple[str, ...]:
        """Where every sample lies, for messages."""
        ...

    def __len__(self) -> int:
        """The number of samples."""
        ...

    def batches(self, size: int) -> Iterator[Batch]:
        """The samples, in order, `size` at a time."""
        ...


@dataclass(frozen=True, kw_only=True)
class ImageTensors:
    """Images through a Preprocess; labelled unless said otherwise."""

    images: Images
    preprocess: Preprocess
    labelled: bool = True

    @cached_property
    def digest(self) -> str:
        """sha256 over the images and the Preprocess."""
        return digest_of([self.images.digest, self.preprocess, self.labelled])

    @property
    def hashes(self) -> tuple[str, ...]:
        """sha256 of every image file."""
        return self.images.hashes

    @property
    def looks(self) -> Mapping[str, str]:
        """sha256 -> perceptual hash of every image file whose look is known."""
        return self.images.looks

    @property
    def places(self) -> tuple[str, ...]:
        """Where every image lies, for messages."""
        return tuple(ref.where for ref in self.images.refs)

    def __len__(self) -> int:
        """The number of images."""
        return len(self.images)

    def batches(self, size: int) -> Iterator[Batch]:
        """The images, in order, `size` at a time; where `edgetl.data.pixel_cache` keeps them, not decoded again.

        Raises:
            InputError: a file that cannot be decoded (named).
        """
        kept = kept_squares(self.images, self.preprocess)
        decoded = in_threads(self._tensor, [ref.where for ref in self.images.refs] if kept is None else [])
        for start in range(0, len(self.images), size):
            rows = slice(start, start + size)
            if kept is not None:
                x = self.preprocess.normalize(np.moveaxis(center(kept[rows], self.preprocess), 1, -1))
            else:
                x = np.stack(list(islice(decoded, size)))
            yield Batch(x, self.images.labels[rows] if self.labelled else None)

    def _tensor(self, where: str) -> NDArray[np.float32]:
        data = self.images.source.read(where)
        try:
            return self.preprocess(data)
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
