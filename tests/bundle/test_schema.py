"""The published JSON Schema of the manifest: it accepts what edgetl writes, and finds what it does not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnxruntime as ort
import pytest

from edgetl.bundle.licences import UNKNOWN, licences
from edgetl.bundle.manifest import Manifest
from edgetl.bundle.read import Bundle
from edgetl.bundle.schema import manifest_schema, mismatches, schema_text
from edgetl.bundle.write import write_bundle
from edgetl.cli.options import given_preprocess
from edgetl.core.preprocess import Preprocess
from edgetl.models.packaged import PACKAGES
from edgetl.runtime.onnx_metadata import ModelInfo

from .conftest import PICTURES, PREPROCESS


@pytest.fixture(scope="module")
def bundle(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    float_path, int8_path = graphs
    out = tmp_path_factory.mktemp("schema") / "bundle"
    source = {"weights": "published:SqueezeNet1_0_Weights.IMAGENET1K_V1 sha256:00"}
    return write_bundle(
        out, shipped=int8_path, float_model=float_path, form="int8", info=info, golden=PICTURES, target="portable", provenance=source
    )


def said(bundle: Bundle) -> Any:
    return json.loads((bundle.path / "manifest.json").read_text(encoding="utf-8"))


def test_the_bundle_holds_the_schema_that_its_manifest_fits(bundle: Bundle) -> None:
    assert (bundle.path / "manifest.schema.json").read_text(encoding="utf-8") == schema_text()
    assert list(mismatches(said(bundle), manifest_schema())) == []


def put(manifest: Any, place: str, value: Any) -> None:
    *way, last = (int(part) if part.isdigit() else part for part in place.split("."))
    for part in way:
        manifest = manifest[part]
    manifest[last] = value


@pytest.mark.parametrize(
    ("place", "value", "line"),
    [
        ("schema", 2, "manifest.schema: expected 1, found 2"),
        ("schema", True, "manifest.schema: expected 1, found true"),
        ("classes", [], "manifest.classes: expected at least 1 items, found 0"),
        ("classes.1", 7, "manifest.classes[1]: expected string, found 7"),
        ("preprocess.antialias", False, "manifest.preprocess.antialias: expected true, found false"),
        ("preprocess.order", "BGR", "manifest.preprocess.order: unknown"),
        ("preprocess.size", "24", "manifest.preprocess.size: none of the 2 forms"),
        ("shipped", "int4", "manifest.shipped: expected one of"),
        ("opset", 0, "manifest.opset: expected at least 1, found 0"),
        ("files.README.md", "12", "manifest.files.README.md: expected text like"),
        ("models.0.input.dtype", "float16", "manifest.models[0].input.dtype: expected one of"),
    ],
)
def test_what_does_not_fit_is_named(bundle: Bundle, place: str, value: Any, line: str) -> None:
    manifest = said(bundle)
    put(manifest, place, value) if "README" not in place else manifest["files"].update({"README.md": value})
    assert [found for found in mismatches(manifest, manifest_schema()) if found.startswith(line)], list(
        mismatches(manifest, manifest_schema())
    )


def test_a_missing_field_is_named(bundle: Bundle) -> None:
    manifest = said(bundle)
    del manifest["preprocess"]["mean"]
    assert list(mismatches(manifest, manifest_schema())) == ["manifest.preprocess.mean: missing"]


def test_a_keyword_that_the_check_does_not_know_is_no_pass() -> None:
    with pytest.raises(ValueError, match="oneOf"):
        list(mismatches(1, {"oneOf": []}))


def test_the_reference_implementation_agrees(bundle: Bundle) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(manifest_schema())
    validator.check_schema(manifest_schema())
    validator.validate(said(bundle))
    for place, value in (("schema", 2), ("classes", []), ("preprocess.antialias", False), ("shipped", "int4"), ("preprocess.size", "24")):
        manifest = said(bundle)
        put(manifest, place, value)
        assert not validator.is_valid(manifest)


@pytest.mark.parametrize(
    "preprocess",
    [
        PREPROCESS,
        Preprocess(size=24, resize=24, fit="pad", fill=9, color="gray", mean=(0.5,), std=(0.2,), bits=12),
        Preprocess(size=(24, 16), resize=(30, 16), decode="full", filter="lanczos"),
    ],
)
def test_every_preprocess_is_spelled_out_and_read_back(bundle: Bundle, preprocess: Preprocess, tmp_path: Path) -> None:
    text = replace(bundle.manifest, preprocess=preprocess).to_json()
    (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
    assert given_preprocess(str(tmp_path / "manifest.json")) == preprocess  # --preprocess manifest.json
    assert list(mismatches(json.loads(text), manifest_schema())) == []
    assert Manifest.from_json(text).preprocess == preprocess
    told = json.loads(text)["preprocess"]
    assert told["fit"] == preprocess.fit and told["antialias"] is True
    assert ("luma" in told) == (preprocess.color == "gray")
    assert told["gray16"] == {"bits": preprocess.bits or 16, "kept": "highest_8"}


def test_a_manifest_of_an_earlier_version_is_read(bundle: Bundle) -> None:
    manifest = said(bundle)
    del manifest["models"], manifest["licences"]
    for name in ("antialias", "rounding", "fit", "gray16"):
        del manifest["preprocess"][name]
    read = Manifest.from_json(json.dumps(manifest))
    assert read.preprocess == bundle.manifest.preprocess and read.models == ()
    assert list(mismatches(manifest, manifest_schema())) == []


def test_licences_name_pretrained_weights(bundle: Bundle) -> None:
    named = {row.what: row.name for row in bundle.manifest.licences}
    weights = "pretrained weights: published:SqueezeNet1_0_Weights.IMAGENET1K_V1 sha256:00"
    assert "BSD-3-Clause" in named[weights] and "sample code in this bundle" in named


def test_licences_name_those_of_weights_that_pip_brings() -> None:
    """As the packages' LICENSE files say; weights of an unknown package are said to be not known."""
    for known in PACKAGES.values():
        row = licences({"weights": f"package:{known.package} sha256:00"}, ())[0]
        assert row.name.startswith("Apache-2.0") and row.source.endswith(known.package.replace("-", "_"))
    assert licences({"weights": "package:strange sha256:00"}, ())[0].name == UNKNOWN


def test_models_lists_every_graph(bundle: Bundle) -> None:
    assert {model.file for model in bundle.manifest.models} == {path.name for path in bundle.path.glob("*.onnx")}
    for model in bundle.manifest.models:
        session = ort.InferenceSession(bundle.path / model.file, providers=["CPUExecutionProvider"])
        assert [(i.name, i.shape) for i in session.get_inputs()] == [(model.input.name, list(model.input.shape))]
        assert [(o.name, o.shape) for o in session.get_outputs()] == [(o.name, list(o.shape)) for o in model.outputs]
        assert model.size_bytes == (bundle.path / model.file).stat().st_size
