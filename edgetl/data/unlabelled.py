"""Photos without labels for distillation (`--unlabeled DIR`). Images of val and test are removed from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgetl.core.errors import InputError
from edgetl.core.imagefile import decode
from edgetl.core.progress import say, track
from edgetl.core.threads import in_threads
from edgetl.data.calibration import unlabelled_images
from edgetl.data.fingerprint import Fingerprint, look_of
from edgetl.data.hashes import DECODED_SIDE
from edgetl.data.images import ImageRef, Images, Source
from edgetl.data.near import grouped

NOBODY = -1  # the label of a photo that has none


def open_unlabelled(folder: Path, data: Images, *, skip_bad_images: bool = False) -> Images:
    """Every image in `folder` and below; without those of `data` itself, and without those that look like one of its val or test images.

    Raises:
        InputError: no folder, no images, or images that do not decode (all named).
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of photos for --unlabeled, found {'a file' if folder.exists() else 'nothing'} at {folder}")
    found = unlabelled_images(folder, skip_bad_images=skip_bad_images)
    own = set(data.hashes)
    fresh = replace(found, refs=tuple(ref for ref in found.refs if ref.sha256 not in own))
    judging = data.only("val", "test")
    classes = [*(data.classes[ref.label] for ref in judging.refs), *[None] * len(fresh)]
    compared = grouped([*_looks(judging), *_looks(fresh)], classes)
    known = set(compared.group[: len(judging)].tolist())
    near = {int(other) - len(judging) for one, other in compared.pairs if one < len(judging) <= other}  # to one that does not lead
    numbers = compared.group[len(judging) :].tolist()
    kept = tuple(ref for at, (ref, number) in enumerate(zip(fresh.refs, numbers, strict=True)) if number not in known and at not in near)
    same, alike = len(found) - len(fresh), len(fresh) - len(kept)
    left = [f"{same} that {data.name} holds" if same else "", f"{alike} that look like one of its val or test images" if alike else ""]
    out = "; left out: " + ", ".join(filter(None, left)) if same or alike else ""
    say(f"{folder}: {len(kept)} photos without labels, for the student{out}")
    return replace(fresh, refs=kept)


def _looks(images: Images) -> list[Fingerprint]:
    with track("compare photos", total=len(images), unit="image") as bar:

        def look(ref: ImageRef) -> Fingerprint:
            found = look_of(decode(images.source.read(ref.where), shorter=DECODED_SIDE))
            bar.advance()
            return found

        return list(in_threads(look, images.refs))


@dataclass(frozen=True)
class BothSources:
    """The bytes of two sets of images; `where` says by its first letter which."""

    sources: tuple[Source, Source]

    def read(self, where: str) -> bytes:
        """The bytes of one image file.

        Raises:
            InputError: the file is gone or cannot be read.
        """
        return self.sources[int(where[0])].read(where[1:])


def together(labelled: Images, unlabelled: Images | None) -> Images:
    """Both sets in one; images without labels have the label `NOBODY`."""
    if unlabelled is None or not len(unlabelled):
        return labelled
    refs = [replace(ref, where=f"0{ref.where}") for ref in labelled.refs]
    refs += [replace(ref, where=f"1{ref.where}", label=NOBODY) for ref in unlabelled.refs]
    return replace(labelled, refs=tuple(refs), source=BothSources((labelled.source, unlabelled.source)))
