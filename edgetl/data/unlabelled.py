"""Photos without labels for distillation (`--unlabeled DIR`). Images of val and test are removed from them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edgetl.core.errors import InputError
from edgetl.core.progress import say
from edgetl.data.calibration import unlabelled_images
from edgetl.data.images import Images, Source
from edgetl.data.ties import fingerprints, ties

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
    compared = ties(fingerprints(judging), fingerprints(fresh), classes)
    kept = tuple(ref for at, ref in enumerate(fresh.refs) if at not in compared.tied)
    same, alike = len(found) - len(fresh), len(fresh) - len(kept)
    left = [f"{same} that {data.name} holds" if same else "", f"{alike} that look like one of its val or test images" if alike else ""]
    out = "; left out: " + ", ".join(filter(None, left)) if same or alike else ""
    say(f"{folder}: {len(kept)} photos without labels, for the student{out}")
    if (groups := compared.groups).by_nature or (alike and groups.typical is not None):
        say(f"{folder}, compared with val and test: {groups.certainty(alike)}")
    return replace(fresh, refs=kept)


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
