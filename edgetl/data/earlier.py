"""`split.json`: which image is of which class and part. A run that goes on with more photos reads its own, and moves none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgetl.core.errors import InputError
from edgetl.core.files import disk_errors, read_json, write_json
from edgetl.core.progress import say
from edgetl.core.workspace import SPLIT
from edgetl.data.images import PARTS, Images, Part
from edgetl.data.leftout import is_own
from edgetl.settings import DataSettings

RUN_DEPTH = 4  # folders above a file in which its run may be: RUN/stages/distill-KEY/checkpoint.safetensors
ASKED = ("seed", "val_share", "test_share")  # what, changed, asks for another split


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The parts that images had in an earlier run in the same folder; none where there was no such run."""

    parts: Mapping[str, Part] = field(default_factory=dict)

    @staticmethod
    def read(path: Path, settings: DataSettings) -> Earlier:
        """What `write` left at `path`; nothing where that is not there, or was asked for with another seed or other shares.

        Raises:
            InputError: something else is there.
        """
        if not path.is_file():
            return Earlier()
        parts, asked = read_split(path)
        changed = [name for name in ASKED if asked and asked[name] != getattr(settings, name)]
        if changed:
            say(f"{path.name}: the images are split anew, because {' and '.join(changed)} changed")
            return Earlier()
        return Earlier(parts=parts)

    @staticmethod
    def of_run(place: Path | None, settings: DataSettings) -> Earlier:
        """What the run says that `place` (its folder, or something in it) is of; nothing where that is no run's.

        Raises:
            InputError: as `read`.
        """
        run = None if place is None else run_of(place)
        return Earlier() if run is None else Earlier.read(run / SPLIT, settings)


def run_of(place: Path) -> Path | None:
    """The run folder that `place` is, or lies in, and that says the parts of its images; None: it lies in none."""
    above = (place.resolve(), *place.resolve().parents[:RUN_DEPTH])
    return next((folder for folder in above if (folder / SPLIT).is_file() and is_own(folder)), None)


def read_split(path: Path) -> tuple[Mapping[str, Part], Mapping[str, object] | None]:
    """What `write_split` left at `path`: sha256 -> part, and the settings asked for; None where an older one does not say them.

    Raises:
        InputError: something else is there.
    """
    found = read_json(path)
    try:
        parts = {str(sha256): part for sha256, (_, part) in found["images"].items()}
        asked = {name: found["asked"][name] for name in ASKED} if "asked" in found else None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _no_split(path) from error
    if not set(parts.values()) <= set(PARTS):
        raise _no_split(path)
    return parts, asked


def write_split(path: Path, images: Images, settings: DataSettings) -> None:
    """sha256 of each image -> its class and part; whole or not at all."""
    rows = {ref.sha256: [images.classes[ref.label], ref.part] for ref in images.refs}
    asked = {name: getattr(settings, name) for name in ASKED}
    with disk_errors(path.parent):
        write_json(path, {"digest": images.digest, "name": images.name, "classes": list(images.classes), "asked": asked, "images": rows})


def _no_split(path: Path) -> InputError:
    return InputError(
        f"expected the split (train, val, test) of an earlier run in {path}, found other content. Choose another --out, or delete the "
        "file: edgetl then splits the images again, and images of the earlier test part may be used for training"
    )
