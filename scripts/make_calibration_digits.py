"""Write calibration/digits: the digits that edgetl reserves from every split, as unlabelled PNG files, and the manifest.

    python scripts/make_calibration_digits.py [--out calibration]

Which images are reserved is a rule of edgetl/data/digits.py; tests/data/test_digits.py checks that the folder follows it.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image

from edgetl.core.canonical import file_sha256
from edgetl.core.files import write_json, write_whole
from edgetl.data.digits import Digit, reserved_digits


def png(digit: Digit) -> bytes:
    """The image as an 8x8 gray PNG: the same pixels as its PGM."""
    stream = io.BytesIO()
    Image.open(io.BytesIO(digit.pgm)).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def main() -> None:
    """Write the images, named by content so that a name says nothing about the class, and the manifest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "calibration")
    out: Path = parser.parse_args().out
    folder = out / "digits"
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for digit in reserved_digits():
        path = folder / f"{digit.sha256[:12]}.png"
        write_whole(path, png(digit))
        images.append({"file": f"digits/{path.name}", "sha256": file_sha256(path), "content_sha256": digit.sha256})
    write_json(
        out / "manifest.json",
        {
            "schema": 1,
            "name": "digits",
            "origin": "scikit-learn load_digits; UCI Optical Recognition of Handwritten Digits",
            "license": "CC BY 4.0",
            "labelled": False,
            "images": images,
        },
    )


if __name__ == "__main__":
    main()
