"""Quantize a float ONNX classifier from any source to int8, and print what that costs.

    python examples/quantize_any_onnx.py MODEL.onnx CALIBRATION.npz INT8.onnx

CALIBRATION.npz holds `x`, float32 [images, channels, height, width], preprocessed as the model expects it; 100 to 300 images are enough.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import edgetl


def main(model: Path, calibration: Path, out: Path) -> float:
    """Write the int8 model to `out`; the share of held-out calibration images on which it answers as the float model does."""
    images = np.load(calibration)["x"]
    result = edgetl.quantize(model, images, target="portable")
    result.save(out)
    low, high = result.interval
    before, after = result.before, result.after
    print(f"same answer as float on {result.agreement:.1%} of {result.images} images (95% interval {low:.1%} to {high:.1%})")
    print(f"size    {before.size_bytes / 1000:.1f} kB -> {after.size_bytes / 1000:.1f} kB")
    print(f"latency {before.latency_ms.p50:.2f} ms -> {after.latency_ms.p50:.2f} ms, one image on one thread")
    return result.agreement


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*map(Path, sys.argv[1:]))
