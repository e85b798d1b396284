"""Classifies pictures with numpy, Pillow and onnxruntime.

python classify.py PICTURE [BUNDLE]    the likeliest classes, or "unknown"
python classify.py check [BUNDLE]      runs the golden vectors (check.py); names the first step that disagrees
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before onnxruntime is imported

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

try:  # HEIC, if pillow-heif is installed
    from pillow_heif import register_heif_opener

    register_heif_opener()
except ImportError:
    pass


def pair(number):
    """Height and width; one number stands for both."""
    return (number, number) if isinstance(number, int) else tuple(number)


def decode(path, p):
    """An image file -> an upright picture, RGB or gray."""
    image = Image.open(path)
    if p["decode"] == "reduced":  # JPEG only; Pillow passes over it for other formats
        width, height = image.size
        least = 2 * max(pair(p["resize"]))
        whole = (n for n in (8, 4, 2) if width % n == height % n == 0 and min(width, height) // n >= least)
        n = next(whole, 1)
        image.draft(None, (width // n, height // n))
    image.load()
    if image.mode.startswith("I;16") or image.mode == "I":  # 16-bit gray, of which "bits" are filled; a TIFF may say 12 itself
        stored = getattr(image, "tag_v2", {}).get(258, (16,))[0]
        filled = p.get("bits", 16) if stored == 16 else stored
        image = Image.fromarray((np.asarray(image).astype(np.int64) >> (filled - 8)).clip(0, 255).astype(np.uint8))
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, p["background"]), image)
    image = image.convert("RGB")
    return image.convert("L") if p["color"] == "gray" else image


def fitted(image, p):
    """The picture covering the rectangle "resize" (crop), as large (squash), or within it, between bands (pad)."""
    (width, height), (rows, columns), fit = image.size, pair(p["resize"]), p.get("fit", "crop")
    size = (columns, rows)
    if fit != "squash" and (height * columns >= width * rows) == (fit == "crop"):
        size = (columns, int(columns * height / width) if fit == "crop" else max(1, round(columns * height / width)))
    elif fit != "squash":
        size = (int(rows * width / height) if fit == "crop" else max(1, round(rows * width / height)), rows)
    if size != image.size:
        image = image.resize(size, Image.Resampling[p["filter"].upper()])
    if fit == "pad":
        canvas = Image.new(image.mode, (columns, rows), (p["fill"],) * len(image.getbands()))
        canvas.paste(image, (round((columns - size[0]) / 2), round((rows - size[1]) / 2)))
        image = canvas
    return image


def resized(image, p):
    """An upright picture -> uint8 [height, width, channels] at the network's size."""
    pixels = np.asarray(fitted(image, p))
    pixels = pixels.reshape(*pixels.shape[:2], -1)  # gray has one channel
    height, width = pair(p["size"])
    top, left = round((pixels.shape[0] - height) / 2), round((pixels.shape[1] - width) / 2)
    return pixels[top : top + height, left : left + width]


def to_input(pixels, p):
    """Pixels at the network's size -> float32 [1, channels, height, width]."""
    x = (pixels.astype(np.float32) / np.float32(255) - np.float32(p["mean"])) / np.float32(p["std"])
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def preprocess(path, p):
    """An image file -> float32 [1, channels, height, width]; p is manifest["preprocess"]."""
    return to_input(resized(decode(path, p), p), p)


def confidences(x, kind, temperature=1.0):
    """The outputs for one image -> a number in [0, 1] for each class; kind is manifest["outputs"][0]["kind"]."""
    if kind in ("probabilities", "sigmoids"):
        return np.clip(x, 0, 1)
    if kind == "sigmoid":  # one output, for the second class
        return np.array([1 - np.clip(x[0], 0, 1), np.clip(x[0], 0, 1)])
    x = np.array([0, x[0]]) if kind == "logit" else x
    e = np.exp((x - x.max()) / temperature)
    return e / e.sum()


def decision(found, manifest):
    """The likeliest class, or "unknown" where its confidence is below the threshold."""
    rule, best = manifest["decision"], int(found.argmax())
    sure = not rule or rule["threshold"] is None or found[best] >= rule["threshold"]
    return manifest["classes"][best] if sure else rule["unknown"]


def likelihoods(outputs, manifest):
    """The outputs for one image as confidences, as this bundle's manifest says."""
    return confidences(outputs, manifest["outputs"][0]["kind"], (manifest["decision"] or {}).get("temperature", 1.0))


def main():
    """Classify one picture, or run the check: see the first lines."""
    if len(sys.argv) < 2:
        sys.exit("expected a picture, or check")
    bundle = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(__file__).parents[2]
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    session = onnxruntime.InferenceSession(str(bundle / "model.onnx"), providers=["CPUExecutionProvider"])

    def run(x):
        return session.run([manifest["outputs"][0]["name"]], {manifest["inputs"][0]["name"]: x})[0].reshape(1, -1)

    if sys.argv[1] == "check":
        sys.path.insert(0, str(Path(__file__).parent))
        sys.dont_write_bytecode = True  # a bundle stays as it is
        from check import check

        check(bundle, manifest, run)
        return
    found = likelihoods(run(preprocess(sys.argv[1], manifest["preprocess"]))[0], manifest)
    print(decision(found, manifest))
    for i in np.argsort(-found, kind="stable")[:5]:
        print(f"{found[i]:.4f}  {manifest['classes'][i]}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, SyntaxError) as error:
        sys.exit(f"expected a bundle and a picture that can be read: {error}")
