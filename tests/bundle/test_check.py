"""`edgetl bundle check`: a sound bundle passes, every flipped byte is found and its file named, every client's word is heard."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgetl.bundle.check import check_bundle
from edgetl.bundle.client_runs import problems_in
from edgetl.bundle.finding import Finding
from edgetl.bundle.golden_check import check_golden
from edgetl.bundle.manifest import UNSEALED, seal_of
from edgetl.bundle.read import Bundle, open_bundle
from edgetl.bundle.write import write_bundle
from edgetl.core.errors import InputError
from edgetl.runtime.onnx_metadata import ModelInfo

from ..conftest import Ended
from .conftest import PICTURES, float_graph


@pytest.fixture(scope="module")
def bundle(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    float_path, int8_path = graphs
    out = tmp_path_factory.mktemp("check") / "bundle"
    return write_bundle(
        out, shipped=int8_path, float_model=float_path, form="int8", info=info, golden=PICTURES, target="portable", provenance={}
    )


@pytest.fixture
def copy(bundle: Bundle, tmp_path: Path) -> Path:
    return shutil.copytree(bundle.path, tmp_path / "copy")


def found(folder: Path) -> dict[str, Finding]:
    return {finding.part: finding for finding in check_bundle(folder)}


def test_a_sound_bundle_passes(bundle: Bundle) -> None:
    parts = found(bundle.path)
    assert {name: finding.problems for name, finding in parts.items() if finding.problems} == {}
    ran = {name for name, finding in parts.items() if finding.state == "ok"}
    assert {"files", "manifest", "golden vectors", "client python"} <= ran  # node, where its packages are not installed, is not run


def test_a_flipped_byte_anywhere_is_found_and_named(copy: Path) -> None:
    """One in every file, at its beginning, in its middle and at its end; in the manifest at many places."""
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    for path in files:
        before, name = path.read_bytes(), path.relative_to(copy).as_posix()
        places = {0, len(before) // 2, len(before) - 1}
        places |= set(range(0, len(before), len(before) // 60)) if name == "manifest.json" else set()
        for place in sorted(places):
            changed = bytearray(before)
            changed[place] ^= 1
            path.write_bytes(changed)
            problems = next(check_bundle(copy)).problems
            assert any(name in line for line in problems), f"{name} at {place}: {problems}"
        path.write_bytes(before)
    assert next(check_bundle(copy)).problems == ()


def test_the_seal_is_a_sha256_of_what_anyone_can_read(bundle: Bundle) -> None:
    text = (bundle.path / "manifest.json").read_text(encoding="utf-8")
    seal = json.loads(text)["seal"]
    assert hashlib.sha256(text.replace(seal, "0" * 64).encode()).hexdigest() == seal == seal_of(text.encode(), seal)
    assert UNSEALED not in text


def test_after_a_changed_file_nothing_is_run(copy: Path) -> None:
    (copy / "labels.txt").write_text("bee\n", encoding="utf-8")
    parts = found(copy)
    assert parts["files"].problems == ("labels.txt: changed",)
    assert parts["golden vectors"].state == parts["clients"].state == "not run"


def resealed(folder: Path) -> None:
    """As somebody would write it who makes bundles by hand: hashes right, contents wrong."""
    said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    said["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in said["files"]}
    said["seal"] = UNSEALED
    text = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
    (folder / "manifest.json").write_text(text.replace(UNSEALED, seal_of(text.encode(), UNSEALED)), encoding="utf-8")


def test_another_network_is_found_by_the_golden_vectors_and_by_the_client(copy: Path) -> None:
    onnx.save_model(float_graph(seed=1), copy / "model.onnx")
    resealed(copy)
    parts = found(copy)
    assert parts["files"].state == "ok"
    assert any("model.onnx is off by" in line for line in parts["golden vectors"].problems)
    client = next(finding for name, finding in parts.items() if "python" in name)
    assert client.state == "failed" and ".png: logits" in client.problems[0]


def test_another_image_graph_is_found(copy: Path) -> None:
    model = onnx.load(copy / "model.image.onnx")
    for tensor in model.graph.initializer:
        if tensor.name == "bias" or tensor.data_type == onnx.TensorProto.INT32:
            values = onnx.numpy_helper.to_array(tensor)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values[::-1].copy(), tensor.name))
    onnx.save_model(model, copy / "model.image.onnx")
    resealed(copy)
    problems = check_golden(open_bundle(copy))
    assert problems and all("model.image.onnx" in problem for problem in problems)


@pytest.mark.parametrize(("step", "word"), [("decoded", "decoded"), ("resized", "resized"), ("input", "input")])
def test_the_first_step_that_differs_is_named(copy: Path, step: str, word: str) -> None:
    path = copy / f"golden/01.{step}.npy"
    array = np.load(path)
    np.save(path, array[..., ::-1].copy())
    resealed(copy)
    problems = [line for line in check_golden(open_bundle(copy)) if line.startswith("01.jpg: its")]
    assert problems and word in problems[0]


def test_a_client_of_the_bundle_is_run_and_its_last_line_told(copy: Path) -> None:
    (copy / "clients/python").mkdir(parents=True, exist_ok=True)
    program = copy / "clients/python/classify.py"
    for code, state in ((0, "ok"), (1, "failed"), (77, "not run")):
        program.write_text(f"import sys\nprint('first')\nprint('00.png: resized', sys.argv[1])\nsys.exit({code})\n", encoding="utf-8")
        manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
        manifest["files"]["clients/python/classify.py"] = ""
        (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        resealed(copy)
        finding = found(copy)["client python"]
        assert finding.state == state
        assert code == 0 or "00.png: resized check" in (*finding.problems, finding.skipped)


def test_a_golden_image_that_a_client_cannot_decode_is_told(copy: Path) -> None:
    program = copy / "clients/python/classify.py"
    program.parent.mkdir(parents=True, exist_ok=True)
    line = "01.heic: not decoded here: cannot identify image file"
    program.write_text(f"print({line!r})\nprint('3 golden images agree')\n", encoding="utf-8")
    manifest = json.loads((copy / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"]["clients/python/classify.py"] = ""
    (copy / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    resealed(copy)
    assert found(copy)["client python"] == Finding(part="client python", notes=(line,))


def test_of_a_failing_client_every_image_is_told_and_of_a_crash_its_error() -> None:
    images = ["09.bmp: not decoded here: unknown", "07.jpg: decoded: off by 51", "12.png: class: ants, expected bees"]
    assert problems_in(images) == tuple(images[1:])
    crash = [
        "file:///classify.mjs:166",
        "  const picture",
        "        ^",
        "",
        "Error: Input buffer contains no image",
        "    at Sharp",
        "",
        "Node.js v20",
    ]
    assert problems_in(crash) == ("Error: Input buffer contains no image",)
    assert problems_in(["Traceback (most recent call last):", '  File "x.py"', "KeyError: 'top'"]) == ("KeyError: 'top'",)
    assert problems_in(["expected golden vectors", "found none"]) == ("found none",)


def test_exit_codes_and_json(edgetl: Callable[..., Ended], bundle: Bundle, copy: Path, tmp_path: Path) -> None:
    good = edgetl("bundle", "check", bundle.path, "--json")
    assert good.returncode == 0, good.stderr
    assert json.loads(good.stdout)["ok"] is True
    (copy / "golden/00.png").write_bytes(b"no image")
    bad = edgetl("bundle", "check", copy)
    assert bad.returncode == 1 and "golden/00.png: changed" in bad.stdout
    nothing = edgetl("bundle", "check", tmp_path)
    assert nothing.returncode == 2 and "expected a bundle" in nothing.stderr and nothing.stdout == ""


def test_no_bundle_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a bundle"):
        list(check_bundle(tmp_path))
