"""Models of one channel and of rectangular inputs work with image folders: predict, quantize, verify, export; and 12-bit files do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgetl.bundle.golden_check import check_golden
from edgetl.bundle.predict import find_pictures, open_classifier, predict
from edgetl.bundle.read import open_bundle
from edgetl.cli import stages
from edgetl.cli.options import given_preprocess
from edgetl.cli.verify import verify
from edgetl.core.errors import InputError
from edgetl.core.workspace import Workspace
from edgetl.data.sources import open_images
from edgetl.runtime.session import open_session
from edgetl.settings import DataSettings, ExportSettings, QuantizeSettings, VerifySettings

from .conftest import Told

HEIGHT, WIDTH = 24, 40


def brightness(path: Path, channels: int) -> Path:
    """Says `light` where the mean value is above one half, else `dark`; [n, channels, 24, 40], with a 3 x 3 mean in front."""
    kernel = np.full((2, channels, 3, 3), 1 / (9 * channels), dtype=np.float32)
    weights = {"k": kernel, "w": np.array([[-8, -8], [8, 8]], dtype=np.float32), "b": np.array([8, -8], dtype=np.float32)}
    nodes = [
        helper.make_node("Conv", ["x", "k"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["c"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["logits"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", channels, HEIGHT, WIDTH])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    helper.set_model_props(model, {"edgetl.labels": json.dumps(["dark", "light"])})
    onnx.save_model(model, path)
    return path


def pictures(root: Path, first: int = 0, count: int = 8, bits: int = 8) -> Path:
    """Class folders `dark` and `light` of gray pictures of several shapes; above 8 bits, in files of 16."""
    for label, name in enumerate(("dark", "light")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + count):
            rng = np.random.default_rng([label, number])
            coarse = (rng.random((6, 8)) * 0.4 + 0.05 + 0.5 * label).repeat(5 + number % 3, axis=0).repeat(7, axis=1)
            values = np.rint(coarse * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)
            Image.fromarray(values).save(root / name / f"{number:02}.png")
    return root


def preparing(path: Path, **changes: Any) -> str:
    path.write_text(json.dumps({"size": [HEIGHT, WIDTH], "resize": [HEIGHT, WIDTH], "mean": 0, "std": 1, "color": "gray", **changes}))
    return str(path)


THREE = {"color": "RGB", "mean": [0, 0, 0], "std": [1, 1, 1]}


@pytest.mark.parametrize(("channels", "changes"), [(1, {}), (3, THREE), (1, {"fit": "squash"}), (1, {"fit": "pad", "fill": 0})], ids=str)
def test_predict_answers_right_and_from_the_same_inputs(tmp_path: Path, channels: int, changes: dict[str, Any]) -> None:
    model, root = brightness(tmp_path / "m.onnx", channels), pictures(tmp_path / "photos")
    preprocess = given_preprocess(preparing(tmp_path / "p.json", **changes))
    found = list(predict(model, [root], preprocess=preprocess))
    assert len(found) == 16 and all(one.answer == one.path.parent.name for one in found)


def test_quantize_verify_and_export_take_them(tmp_path: Path) -> None:
    model, prepared = brightness(tmp_path / "m.onnx", 1), preparing(tmp_path / "p.json")
    train, test = pictures(tmp_path / "train"), pictures(tmp_path / "test", first=20)
    judged = pictures(tmp_path / "eval", first=40)
    settings = QuantizeSettings(tune_images=0)
    result = stages.quantize(model, train, tmp_path / "q.onnx", settings, evaluation=str(judged), preprocess=prepared)
    assert result.decision.shipped == "int8" and result.decision.int8_score == 1.0
    with Workspace(tmp_path / "run") as do:
        verdict = verify(tmp_path / "q.onnx", str(test), do, VerifySettings(latency_runs=5), reference=model, preprocess=prepared)
    assert verdict.verdict != "failed"
    golden = open_images(str(train), DataSettings()).only("val")
    folder = stages.export(tmp_path / "q.onnx", tmp_path / "bundle", ExportSettings(), golden, preprocess=prepared).path
    bundle = open_bundle(folder)
    assert bundle.manifest.preprocess == given_preprocess(prepared) and bundle.manifest.inputs[0].shape[1:] == (1, HEIGHT, WIDTH)
    assert check_golden(bundle) == [] and [one.answer for one in predict(folder, [test / "light"])] == ["light"] * 8
    assert np.load(folder / "golden/00.input.npy").shape == (1, 1, HEIGHT, WIDTH)


def test_a_preprocess_that_does_not_fit_names_the_fields_before_anything_is_decoded(tmp_path: Path) -> None:
    model, root = brightness(tmp_path / "m.onnx", 1), pictures(tmp_path / "photos")
    wrong = preparing(tmp_path / "p.json", **THREE, size=28, resize=28)
    words = r'write "color": "gray" \(mean and std: one number each\), "size": \[24, 40\] and "resize": \[24, 40\] \(or more\)'
    with pytest.raises(InputError, match=words):
        open_classifier(model, preprocess=given_preprocess(wrong))
    with pytest.raises(InputError, match=words):
        stages.quantize(model, root, tmp_path / "q.onnx", QuantizeSettings(), preprocess=wrong)
    with pytest.raises(InputError, match=words), Workspace(tmp_path / "run") as do:
        verify(model, str(root), do, VerifySettings(), reference=model, preprocess=wrong)
    with pytest.raises(InputError, match=words):
        golden = open_images(str(root), DataSettings()).only("val")
        stages.export(model, tmp_path / "bundle", ExportSettings(), golden, preprocess=wrong)
    assert not (tmp_path / "q.onnx").exists() and not (tmp_path / "bundle").exists()


def test_without_a_preprocess_one_for_the_model_is_shown(tmp_path: Path) -> None:
    model = brightness(tmp_path / "m.onnx", 1)
    with pytest.raises(InputError) as caught:
        open_classifier(model)
    example = str(caught.value).partition("this model contains ")[2].partition("}")[0] + "}"
    (tmp_path / "p.json").write_text(example)
    assert open_classifier(model, preprocess=given_preprocess(str(tmp_path / "p.json"))).session.input_shape[1:] == (1, HEIGHT, WIDTH)


@pytest.mark.parametrize("channels", [1, 3])
def test_12_bits_in_files_of_16_are_scaled_everywhere_and_said(tmp_path: Path, told: Told, channels: int) -> None:
    model, root = brightness(tmp_path / "m.onnx", channels), pictures(tmp_path / "photos", bits=12)
    prepared = preparing(tmp_path / "p.json", **(THREE if channels == 3 else {}))
    found = list(predict(model, [root], preprocess=given_preprocess(prepared)))
    assert all(one.answer == one.path.parent.name for one in found)
    assert 'so they hold 12 bits: 4095 is taken for white ("bits": 12 in the preprocessing)' in told.text
    told.lines.clear()
    with Workspace(tmp_path / "run") as do:
        verdict = verify(model, str(root), do, VerifySettings(latency_runs=5), reference=model, preprocess=prepared)
        report = json.loads(verdict.report.path.read_text(encoding="utf-8"))
    assert report["models"]["onnx_float"]["score"] == 1.0 and told.text.count("4095 is taken for white") == 1
    result = stages.quantize(model, root, tmp_path / "q.onnx", QuantizeSettings(tune_images=0), preprocess=prepared)
    assert result.decision.agreement == 1.0
    golden = open_images(str(root), DataSettings()).only("val")
    folder = stages.export(model, tmp_path / "bundle", ExportSettings(), golden, preprocess=prepared).path
    assert open_bundle(folder).manifest.preprocess.bits == 12
    one = tmp_path / "photos/light/00.png"
    assert open_classifier(folder).ask(one).answer == "light"
    x = open_bundle(folder).manifest.preprocess(one.read_bytes())
    assert open_session(model).run(x[None]).argmax() == 1 and find_pictures([one]) == [one]
