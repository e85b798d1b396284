"""Three bundles for the clients: real digits, real photos of insects, and a network that edgetl did not train."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image
from sklearn.linear_model import LogisticRegression

from edgetl.bundle.decision import fit_decision
from edgetl.bundle.read import Bundle
from edgetl.bundle.write import write_bundle
from edgetl.core.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess
from edgetl.core.seen import SeenImages
from edgetl.data.sources import open_images
from edgetl.runtime.onnx_metadata import ModelInfo
from edgetl.runtime.session import open_session
from edgetl.settings import DataSettings
from edgetl.tasks.classification import Classification

KERNELS = 16
Photos = Sequence[tuple[bytes, int]]


def network(preprocess: Preprocess, photos: Photos, classes: int) -> onnx.ModelProto:
    """Conv 5x5 of random kernels -> Relu -> AveragePool -> Flatten -> a head that is fitted on the photos."""
    channels, height, width = preprocess.shape
    kernels = np.random.default_rng(0).normal(0, 0.3, (KERNELS, channels, 5, 5)).astype(np.float32)
    side = height // 8
    nodes = [
        helper.make_node("Conv", ["x", "kernels"], ["c"], name="conv", strides=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("AveragePool", ["r"], ["a"], name="pool", kernel_shape=[side, side], strides=[side, side]),
        helper.make_node("Flatten", ["a"], ["f"], name="flat"),
    ]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", channels, height, width])]

    def built(extra: list[onnx.NodeProto], out: str, values: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
        made = [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["batch", "k"])]
        stored = [numpy_helper.from_array(value, name) for name, value in values.items()]
        graph = helper.make_graph([*nodes, *extra], "network", given, made, stored)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)

    def features(folder: Path) -> NDArray[np.float32]:
        onnx.save_model(built([], "f", {"kernels": kernels}), folder / "features.onnx")
        return open_session(folder / "features.onnx").compute(np.stack([preprocess(data) for data, _ in photos]))

    with tempfile.TemporaryDirectory() as folder:
        found = features(Path(folder))
    head = LogisticRegression(max_iter=300).fit(found, [label for _, label in photos])
    weights, bias = head.coef_, head.intercept_
    if classes == 2:  # scikit-learn has one row for both
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    values = {"kernels": kernels, "weights": weights.astype(np.float32), "bias": bias.astype(np.float32)}
    return built([helper.make_node("Gemm", ["f", "weights", "bias"], ["logits"], name="head", transB=1)], "logits", values)


class _Reader(CalibrationDataReader):
    def __init__(self, preprocess: Preprocess, photos: Photos) -> None:
        self._rest = iter([{"x": preprocess(data)[None]} for data, _ in photos])

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self._rest, None)


def written(
    out: Path,
    model: onnx.ModelProto,
    preprocess: Preprocess,
    fitting: Photos,
    val: Photos,
    classes: tuple[str, ...],
    suffix: str,
    **more: Any,
) -> Bundle:
    """The bundle of its int8 form, as onnxruntime's quantizer makes it, with a decision rule that is fitted on `val`."""
    out.mkdir(parents=True)
    onnx.save_model(model, out / "float.onnx")
    settings = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True, "reduce_range": True}
    quantize_static(out / "float.onnx", out / "int8.onnx", _Reader(preprocess, fitting[:50]), quant_format=QuantFormat.QDQ, **settings)
    return sealed(out / "bundle", out / "int8.onnx", out / "float.onnx", preprocess, val, classes, suffix, **more)


def sealed(
    out: Path, shipped: Path, float_model: Path, preprocess: Preprocess, val: Photos, classes: tuple[str, ...], suffix: str, **more: Any
) -> Bundle:
    outputs = open_session(shipped).compute(np.stack([preprocess(data) for data, _ in val]))
    rule = fit_decision(outputs, np.array([label for _, label in val]), Classification(classes=classes), 0.9)
    return write_bundle(
        out,
        shipped=shipped,
        float_model=float_model,
        form="float" if shipped == float_model else "int8",
        info=ModelInfo(classes=classes, preprocess=preprocess, seen=SeenImages.of("ab" * 32)),
        golden=[(data, suffix) for data, _ in val[:6]],
        target="portable",
        provenance={},
        decision=rule,
        **more,
    )


def digits_bundle(out: Path) -> Bundle:
    """Gray graymaps that are enlarged."""
    images = open_images(None, DataSettings())
    train, val = (
        [(part.read(i), int(part.labels[i])) for i in range(n)] for part, n in ((images.only("train"), 600), (images.only("val"), 120))
    )
    preprocess = Preprocess(size=32, resize=32, color="gray", mean=(0.3,), std=(0.35,))
    return written(out, network(preprocess, train, 10), preprocess, train, val, images.classes, ".pgm")


def insects_bundle(out: Path, shared: Path) -> Bundle:
    """Photos of other shapes, shrunk and cropped."""
    names = ("ants", "bees")
    photos = {
        part: [
            [(path.read_bytes(), names.index(name)) for path in sorted((shared / "data/hymenoptera" / part / name).iterdir())[:60]]
            for name in names
        ]
        for part in ("train", "val")
    }
    train, val = ([photo for pair in zip(*photos[part], strict=True) for photo in pair] for part in ("train", "val"))
    preprocess = Preprocess(size=96, resize=110, filter="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD, decode="reduced")
    return written(out, network(preprocess, train[:80], 2), preprocess, train, val[:60], names, ".jpg")


def foreign_bundle(out: Path, shared: Path) -> Bundle:
    """MobileNetV3-small on CIFAR-10, as it was found: float."""
    with zipfile.ZipFile(shared / "data/cifar10_test.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::100]
        classes = tuple(sorted({Path(name).parent.name for name in names}))
        val = [(archive.read(name), classes.index(Path(name).parent.name)) for name in names]
    model = shared / "models/mobilenet_v3_small_cifar64.onnx"
    mixed = [photo for start in range(10) for photo in val[start::10]]
    preprocess = Preprocess(size=64, resize=64, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return sealed(out / "bundle", model, model, preprocess, mixed, classes, ".jpg")


def drawn_bundle(out: Path, **more: Any) -> Bundle:
    """Noise of two kinds in wide pictures, so that each wrong step is seen; nothing from outside is needed."""
    rng, photos = np.random.default_rng(7), []
    for index in range(120):
        pixels = rng.integers(0, 256, (60, 90, 3)) // (1 + index % 2)
        pixels[..., 0] //= 2  # red is darker: other orders of the channels are seen
        stream = io.BytesIO()
        Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
        photos.append((stream.getvalue(), index % 2))
    preprocess = Preprocess(size=24, resize=27, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return written(out, network(preprocess, photos[:60], 2), preprocess, photos[:60], photos[60:], ("bright", "dark"), ".png", **more)
