"""Classify a picture with a bundle. Needs onnxruntime, numpy and Pillow; edgetl and torch are not needed.

    python examples/embed.py BUNDLE PICTURE

This is the usual case: the center crop of an opaque 8-bit picture. The file README.md of each bundle has the complete client.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def prepare(path: Path, p: dict) -> np.ndarray:
    """A picture file -> float32 [1, 3, height, width]; `p` is `preprocess` in manifest.json."""
    if p["color"] != "RGB" or p.get("fit", "crop") != "crop" or not isinstance(p["size"], int):
        sys.exit("this example takes RGB and a square center crop; use the client in the README.md of the bundle")
    image = Image.open(path)
    if p["decode"] == "reduced":  # a large JPEG is decoded at 1/2, 1/4 or 1/8 of its size
        shorter, whole = min(image.size), (n for n in (8, 4, 2) if not any(side % n for side in image.size))
        n = next((n for n in whole if shorter // n >= 2 * p["resize"]), 1)
        image.draft(None, (image.width // n, image.height // n))
    image = ImageOps.exif_transpose(image).convert("RGB")
    scale = p["resize"] / min(image.size)
    size = [p["resize"] if side == min(image.size) else int(scale * side) for side in image.size]
    image = image.resize(size, Image.Resampling[p["filter"].upper()])
    left, top = (round((side - p["size"]) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + p["size"], top + p["size"])), dtype=np.float32)
    x = (pixels / 255 - np.float32(p["mean"])) / np.float32(p["std"])
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def main(bundle: Path, picture: Path) -> tuple[str, float]:
    """The class of the picture and its probability, by the temperature that the bundle gives."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: prepare(picture, manifest["preprocess"])})
    temperature = (manifest["decision"] or {}).get("temperature", 1.0)
    exponentials = np.exp((logits[0] - logits[0].max()) / temperature)
    best = int(exponentials.argmax())
    return manifest["classes"][best], float(exponentials[best] / exponentials.sum())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    name, probability = main(*map(Path, sys.argv[1:]))
    print(f"{name} {probability:.4f}")
