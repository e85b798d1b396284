"""The bundle's graphs that take pixels, on test images: their scores stand in the report beside the shipped one's."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgetl.bundle.read import open_bundle
from edgetl.bundle.write import write_bundle
from edgetl.cgen.footprint import Footprint
from edgetl.core.errors import InputError
from edgetl.data.sources import open_images
from edgetl.report.embedded import embedded_report, embedded_words
from edgetl.report.questions import in_app
from edgetl.runtime.onnx_metadata import ModelInfo
from edgetl.runtime.session import open_session
from edgetl.settings import DataSettings
from edgetl.tasks.classification import Classification

from ..bundle.conftest import CLASSES, PICTURES, PREPROCESS, float_graph
from .conftest import trial


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedded")
    onnx.save_model(float_graph(), folder / "float.onnx")
    given = {
        "shipped": folder / "float.onnx",
        "float_model": folder / "float.onnx",
        "form": "float",
        "target": "portable",
        "provenance": {},
    }
    write_bundle(folder / "bundle", info=ModelInfo(classes=CLASSES, preprocess=PREPROCESS), golden=PICTURES, **given)  # type: ignore[arg-type]
    return folder / "bundle"


def test_scores_stand_beside_the_shipped_ones(bundle: Path, tmp_path: Path) -> None:
    images = open_images(None, DataSettings()).only("test")
    images = images.take(40, 0)
    labels = np.arange(40) % len(CLASSES)
    shipped = open_session(bundle / "model.onnx").run(np.stack([PREPROCESS(images.read(row)) for row in range(40)]))
    task = Classification(classes=CLASSES)
    found = embedded_report(bundle, PREPROCESS, images, task, shipped, labels)
    assert found.image is not None and found.anysize is not None
    assert found.image.images == 40 and found.image.score == found.image.shipped_score == task.score(shipped, labels)
    assert found.image.agreement == 1 and found.image.max_abs_diff < 1e-5  # a batch of one against one of 40
    assert found.anysize.agreement > 0.9
    assert len(embedded_words(found)) == 2 and "model.anysize.onnx" in embedded_words(found)[1]
    changed = shutil.copytree(bundle, tmp_path / "changed")
    model = onnx.load(changed / "model.image.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "matrix":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor)[::-1].copy(), "matrix"))
    onnx.save_model(model, changed / "model.image.onnx")
    (changed / "model.anysize.onnx").unlink()
    other = embedded_report(changed, PREPROCESS, images, task, shipped, labels)
    assert other.image is not None and other.image.agreement < 0.9 and other.anysize is None


def test_a_changed_bundle_is_not_opened(bundle: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(bundle, tmp_path / "changed")
    (changed / "model.anysize.onnx").unlink()
    with pytest.raises(InputError, match=r"model\.anysize\.onnx: missing"):
        open_bundle(changed)


def test_the_page_tells_an_app_developer_of_confidences_graphs_and_memory() -> None:
    plainly = trial(classes=("a", "b"), count=40, student_errors=0.1).report()
    assert in_app(plainly) == ()
    told = in_app(replace(plainly, c=Footprint.of(50_000, 20_000)))
    assert len(told) == 1 and "of flash and" in told[0] and "of RAM" in told[0]
