"""A small float classifier, its int8 form and pictures to ask them about."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image

from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.runtime.onnx_metadata import ModelInfo

CLASSES = ("ant", "bee `sting`", "<script>alert(1)</script>", "wasp", "été", "moth", "fly")
PREPROCESS = Preprocess(size=24, resize=27, filter="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3), decode="reduced")


def float_graph(seed: int = 0) -> onnx.ModelProto:
    """Conv 3x3 -> Relu -> GlobalAveragePool -> Flatten -> Gemm, dynamic batch."""
    rng = np.random.default_rng(seed)
    weights = {
        "kernel": rng.normal(0, 0.5, (8, 3, 3, 3)),
        "offset": rng.normal(0, 0.5, 8),
        "matrix": rng.normal(0, 2, (len(CLASSES), 8)),
        "bias": rng.normal(0, 0.2, len(CLASSES)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "offset"], ["c"], name="conv", doc_string="from the exporter"),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "matrix", "bias"], ["logits"], name="head", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, PREPROCESS.size, PREPROCESS.size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", len(CLASSES)])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def picture(
    seed: int, width: int, height: int, form: str = "PNG", orientation: int | None = None, mode: str = "RGB", grain: int = 0
) -> bytes:
    """Smooth random colors, so that resampling matters but JPEG does not destroy them; `grain` is noise of so many levels."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
    stream, exif = io.BytesIO(), Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    smooth = coarse.resize((width, height), Image.Resampling.BICUBIC)
    noise = rng.integers(-grain, grain + 1, (height, width, 3))
    grained = Image.fromarray((np.asarray(smooth) + noise).clip(0, 255).astype(np.uint8))
    grained.convert(mode).save(stream, format=form, exif=exif)
    return stream.getvalue()


PICTURES = ((picture(1, 40, 31, grain=60), ".png"), (picture(2, 30, 64, "JPEG", orientation=6), ".JPG"), (picture(3, 27, 27), ".png"))


class _Reader(CalibrationDataReader):
    def __init__(self, inputs: list[NDArray[np.float32]]) -> None:
        self._rest: Iterator[NDArray[np.float32]] = iter(inputs)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        x = next(self._rest, None)
        return None if x is None else {"image": x}


@pytest.fixture(scope="session")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The files of the float and of the int8 graph, as onnxruntime's own quantizer writes it."""
    folder = tmp_path_factory.mktemp("graphs")
    float_path, int8_path = folder / "float.onnx", folder / "int8.onnx"
    onnx.save_model(float_graph(), float_path)
    inputs = [PREPROCESS(picture(seed, 40, 40))[None] for seed in range(8)]
    quantize_static(
        float_path,
        int8_path,
        _Reader(inputs),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        reduce_range=True,  # no sum saturates on any CPU
    )
    return float_path, int8_path


@pytest.fixture(scope="session")
def info() -> ModelInfo:
    seen = SeenImages.of("ab" * 32, train=["01" * 32], val=["02" * 32], calibration=["01" * 32])
    return ModelInfo(classes=CLASSES, preprocess=PREPROCESS, seen=seen)
