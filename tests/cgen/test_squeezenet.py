"""SqueezeNet 1.0 with ImageNet's weights and its own head, whose logits are means in float: the C code gives onnxruntime's bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgetl.cgen.averages import with_whole_averages
from edgetl.core.preprocess import imagenet
from edgetl.quantization.engine import quantize
from edgetl.quantization.observe.split_for_judging import Arrays

pytestmark = pytest.mark.slow
CLASSES, CALIBRATION, PHOTOS = 1000, 16, 24


def test_logits_are_onnxruntimes_bit_for_bit(shared: Path, compiler: Any, reference: Any, tmp_path: Path) -> None:
    preprocess = imagenet(224)
    files = sorted((shared / "data/imagenet_samples").glob("*.jpg"))[:: 400 // (CALIBRATION + PHOTOS)]
    photos = [preprocess.pixels(path.read_bytes()) for path in files[: CALIBRATION + PHOTOS]]
    calibration = Arrays(np.stack([preprocess.normalize(photo) for photo in photos[:CALIBRATION]]))
    out = tmp_path / "int8.onnx"
    quantize(shared / "models/squeezenet1_0_imagenet.onnx", calibration, target="portable", out=out, threads=1, tune_images=0)
    model, images = with_whole_averages(onnx.load(out)), np.stack(photos[CALIBRATION:])
    expected = reference(model, preprocess, images)
    assert len(images) == PHOTOS and len(set(expected.argmax(1))) > PHOTOS // 2
    found = compiler.logits(model, preprocess, images, CLASSES, "-O3", "-march=native")
    np.testing.assert_array_equal(found.view(np.int32), expected.view(np.int32))
