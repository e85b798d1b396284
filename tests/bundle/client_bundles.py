"""Bundles for the clients: real digits, real photos of insects, a network that edgetl did not train, and what photos come as."""

from __future__ import annotations

import io
import struct
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from PIL import Image, ImageCms
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

from .conftest import picture

KERNELS = 16
GOLDEN = 6  # images
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
    out: Path,
    shipped: Path,
    float_model: Path,
    preprocess: Preprocess,
    val: Photos,
    classes: tuple[str, ...],
    suffix: str,
    *,
    unsure: bool = False,
    golden: Sequence[tuple[bytes, str]] | None = None,
    **more: Any,
) -> Bundle:
    """The bundle of these graphs; `unsure`: tempered by 2, with a threshold that some of its golden images do not reach."""
    outputs = open_session(shipped).compute(np.stack([preprocess(data) for data, _ in val]))
    task = Classification(classes=classes)
    rule = fit_decision(outputs, np.array([label for _, label in val]), task, 0.9)
    if unsure:
        shares = np.unique(task.confidences(outputs[:GOLDEN], 2.0).max(axis=1))
        rule = replace(rule, temperature=2.0, threshold=round(float(shares[len(shares) // 2 - 1 : len(shares) // 2 + 1].mean()), 4))
    return write_bundle(
        out,
        shipped=shipped,
        float_model=float_model,
        form="float" if shipped == float_model else "int8",
        info=ModelInfo(classes=classes, preprocess=preprocess, seen=SeenImages.of("ab" * 32)),
        golden=golden or [(data, suffix) for data, _ in val[:GOLDEN]],
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


def large_bundle(out: Path) -> Bundle:
    """Photos as phones take them: beyond 4 MB where they are decoded in full, decoded at a quarter, some turned by EXIF."""
    shapes = ((1600, 1200, None), (1200, 1600, 6), (1600, 1280, 3), (1537, 1200, None))
    photos = [(picture(seed, width, height, "JPEG", orientation), seed % 2) for seed, (width, height, orientation) in enumerate(shapes)]
    preprocess = Preprocess(size=96, resize=110, mean=IMAGENET_MEAN, std=IMAGENET_STD, decode="reduced")
    golden = [(data, ".jpg") for data, _ in (*photos, photos[0])]  # the last one gives way to the picture that edgetl draws
    return written(out, network(preprocess, photos, 2), preprocess, photos, photos, ("even", "odd"), ".jpg", golden=golden)


def swapped_profile() -> bytes:
    """A color profile whose red and blue change places: wherever it is applied, it is seen."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    (count,) = struct.unpack_from(">I", profile, 128)  # ICC.1:2022, 7.3: the tag table
    entries = {bytes(profile[at : at + 4]): at + 4 for at in range(132, 132 + 12 * count, 12)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    profile[red : red + 8], profile[blue : blue + 8] = profile[blue : blue + 8], profile[red : red + 8]
    return bytes(profile)


ODD = ("profile.jpg", "profile.png", "cmyk.jpg", "bmp.bmp", "tif.tif", "deep.png")


def odd_bundle(out: Path) -> Bundle:
    """Golden images with color profiles, of ink, of formats that not every runtime reads, and gray of 16 bits of which 12 are filled."""
    plain = [Image.open(io.BytesIO(picture(seed, 60, 40))) for seed in range(len(ODD))]
    golden = []
    for name, image in zip(ODD, plain, strict=True):
        kind, suffix, stream = name.split(".")[0], "." + name.split(".")[1], io.BytesIO()
        if kind == "deep":
            noise = np.random.default_rng(1).integers(0, 16, (40, 60))
            image = Image.fromarray((np.asarray(image.convert("L")) * 16 + noise).astype(np.uint16))
        options = {"icc_profile": swapped_profile()} if kind == "profile" else {}
        image.convert("CMYK" if kind == "cmyk" else image.mode).save(
            stream, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:]), **options
        )
        golden.append((stream.getvalue(), suffix))
    photos = [(data, index % 2) for index, (data, _) in enumerate(golden)]
    preprocess = Preprocess(size=24, resize=27, mean=IMAGENET_MEAN, std=IMAGENET_STD, bits=12)
    golden.append(golden[0])  # gives way to the picture that edgetl draws
    return written(out, network(preprocess, photos, 2), preprocess, photos, photos, ("even", "odd"), "", golden=golden)
