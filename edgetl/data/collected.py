"""The images of a folder or list, with the depth, look and origin that their files show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgetl.data.files import Collection, FileSource
from edgetl.data.fingerprint import Fingerprint
from edgetl.data.images import ImageRef, Images, Intake
from edgetl.data.known import known_origin
from edgetl.data.splits import Hashed
from edgetl.data.survey import deepest


def images_of(
    collection: Collection,
    hashed: Sequence[Hashed],
    refs: tuple[ImageRef, ...],
    classes: tuple[str, ...],
    intake: Intake,
    *,
    named: tuple[str, ...],
) -> Images:
    """The images `refs` of a collection, with their depth and looks; the classes `named` tell a known data set."""
    source = FileSource(root=collection.root)
    return Images(
        name=collection.name,
        classes=classes,
        refs=refs,
        source=source,
        origin=known_origin(named, source.read(refs[0].where)) if refs else None,
        intake=intake,
        depth=deepest(image.depth for image in hashed),
        fingerprints=fingerprints_of(hashed),
    )


def fingerprints_of(images: Iterable[Hashed]) -> dict[str, Fingerprint]:
    """sha256 -> what the image looks like, of each whose look is known."""
    return {image.sha256: image.look for image in images if image.look}
