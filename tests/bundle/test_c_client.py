"""clients/c/: written where it is asked for, checked with the other clients, told in the manifest and the README; and what it refuses."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgetl.bundle.check import check_bundle
from edgetl.bundle.client_runs import run_clients
from edgetl.bundle.read import Bundle, open_bundle
from edgetl.bundle.write import write_bundle
from edgetl.core.canonical import canonical
from edgetl.core.errors import InputError
from edgetl.runtime.onnx_metadata import ModelInfo
from edgetl.settings import ExportSettings

from .conftest import CLASSES, PICTURES

FILES = ("check.c", "classifier.c", "classifier.h", "footprint.json")


def written(out: Path, graphs: tuple[Path, Path], info: ModelInfo, **more: Any) -> Bundle:
    given = {"shipped": graphs[1], "form": "int8", "target": "portable", "provenance": {}, **more}
    return write_bundle(out, float_model=graphs[0], info=info, golden=PICTURES, **given)


@pytest.fixture(scope="module")
def bundle(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return written(tmp_path_factory.mktemp("c") / "bundle", graphs, info, c=True)


def test_it_is_part_of_the_bundle_and_its_bytes_are_told(bundle: Bundle) -> None:
    folder = bundle.path / "clients" / "c"
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert {f"clients/c/{name}" for name in FILES} <= set(bundle.manifest.files)
    said = open_bundle(bundle.path).manifest.c
    assert said is not None and said.flash_bytes > said.table_bytes > 0 and said.ram_bytes > said.arena_bytes > 0
    assert f"#define CLASSIFIER_ARENA_BYTES {said.arena_bytes} " in (folder / "classifier.h").read_text(encoding="utf-8")
    assert "`clients/c/` | the network in C99" in (bundle.path / "README.md").read_text(encoding="utf-8")


def test_class_names_of_any_language_are_c_strings(bundle: Bundle) -> None:
    text = (bundle.path / "clients" / "c" / "classifier.c").read_text(encoding="ascii")
    assert r'"\303\251t\303\251"' in text and len(CLASSES) == 7


def test_without_it_nothing_of_it_is_there(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    plain = written(tmp_path / "bundle", graphs, info)
    assert not (plain.path / "clients" / "c").exists() and plain.manifest.c is None
    assert '"c": {' not in (plain.path / "manifest.json").read_text(encoding="utf-8")
    assert "clients/c/" not in (plain.path / "README.md").read_text(encoding="utf-8")


def test_the_same_inputs_give_the_same_bytes(bundle: Bundle, graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    again = written(tmp_path / "bundle", graphs, info, c=True)
    assert again.sha256 == bundle.sha256


def test_bundle_check_compiles_it_and_names_the_image_that_differs(bundle: Bundle, tmp_path: Path) -> None:
    if not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("needs a C compiler")
    found = {finding.part: finding for finding in check_bundle(bundle.path)}
    assert found["client c"].problems == () and found["client c"].skipped is None
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    pixels = np.load(copy / "golden" / "01.resized.npy")
    np.save(copy / "golden" / "01.resized.npy", pixels[..., ::-1].copy())  # BGR
    name, problems, skipped = next(result for result in run_clients(copy, browser=False) if result[0] == "client c")
    assert (name, skipped) == ("client c", None)
    assert problems[0].startswith("01: logits diverge") and problems[0].endswith("of 3 golden vectors 2 agree")


def test_a_float_model_is_refused(graphs: tuple[Path, Path], info: ModelInfo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected an int8 model for --c, found a float model"):
        written(tmp_path / "bundle", graphs, info, shipped=graphs[0], form="float", c=True)


def test_keys_of_what_was_made_before_stay() -> None:
    assert "c" not in canonical(ExportSettings())  # type: ignore[operator]
    assert canonical(ExportSettings(c=True)) == {**canonical(ExportSettings()), "c": True}  # type: ignore[dict-item]
