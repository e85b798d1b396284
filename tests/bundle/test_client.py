"""The README's Python is run, as written, by a Python that knows nothing of edgetl."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from edgetl.bundle.predict import open_classifier
from edgetl.bundle.read import Bundle
from edgetl.bundle.write import write_bundle
from edgetl.runtime.onnx_metadata import ModelInfo

from .conftest import PICTURES, picture


@pytest.fixture(scope="module")
def bundle(graphs: tuple[Path, Path], info: ModelInfo, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    float_path, int8_path = graphs
    out = tmp_path_factory.mktemp("client") / "bundle"
    return write_bundle(
        out, shipped=int8_path, float_model=float_path, form="int8", info=info, golden=PICTURES, target="x86", provenance={}
    )


def readme_of(bundle: Bundle) -> str:
    return (bundle.path / "README.md").read_text(encoding="utf-8")


def run_sample(bundle: Bundle, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The block, saved outside the bundle, run without edgetl on the path and with a home of its own."""
    (block,) = re.findall(r"```python\n(.*?)```", readme_of(bundle), flags=re.DOTALL)
    (folder / "classify.py").write_text(block, encoding="utf-8")
    shutil.copy(bundle.path / "clients/python/check.py", folder)
    home = folder / "home"
    home.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "ORT_DISABLE_TELEMETRY")}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-I", str(folder / "classify.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=folder)


def stored(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def clear(seed: int) -> bytes:
    """Half transparent, half not, black below the transparent half."""
    rgba = np.random.default_rng(seed).integers(0, 256, (40, 50, 4), dtype=np.uint8)
    rgba[:20] = 0
    return stored(Image.fromarray(rgba), "PNG")


def deep(seed: int) -> bytes:
    return stored(Image.fromarray(np.random.default_rng(seed).integers(0, 65536, (40, 50), dtype=np.uint16)), "PNG")


def heic(seed: int) -> bytes:
    pillow_heif.register_heif_opener()
    return stored(Image.open(io.BytesIO(picture(seed, 64, 48))), "HEIF")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("wide.png", picture(11, 61, 40)),
        ("tall.png", picture(12, 25, 90)),
        ("turned.jpg", picture(13, 70, 41, "JPEG", orientation=8)),
        ("gray.png", picture(14, 33, 33, mode="L")),
        ("large.jpg", picture(15, 640, 480, "JPEG", orientation=6)),
        ("clear.png", clear(16)),
        ("deep.png", deep(17)),
        ("wide.heic", heic(18)),
    ],
)
def test_the_sample_answers_as_edgetl_does(bundle: Bundle, tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    done = run_sample(bundle, tmp_path, name, str(bundle.path))
    assert done.returncode == 0, done.stderr
    said, *rows = [line.split("  ", 1) for line in done.stdout.splitlines()]
    answer = open_classifier(bundle.path).ask(tmp_path / name)
    expected = answer.top
    assert said == [answer.decision]
    assert [row[1] for row in rows] == [label for label, _ in expected] and len(rows) == 5
    np.testing.assert_allclose([float(row[0]) for row in rows], [p for _, p in expected], atol=6e-5)


def test_the_sample_checks_the_golden_vectors_and_writes_nothing_at_home(bundle: Bundle, tmp_path: Path) -> None:
    done = run_sample(bundle, tmp_path, "check", str(bundle.path))
    assert (done.returncode, done.stdout) == (0, "3 golden images agree\n"), done.stderr
    assert list((tmp_path / "home").iterdir()) == []


def test_the_sample_finds_a_wrong_model(bundle: Bundle, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle.path, tmp_path / "copy")
    output = np.load(copy / "golden/01.output.npy")
    np.save(copy / "golden/01.output.npy", output[:, ::-1])
    done = run_sample(bundle, tmp_path, "check", str(copy))
    assert done.returncode == 1 and "01.jpg: logits: off by" in done.stderr


def test_the_readme_tells_app_developers_what_they_must_know(bundle: Bundle) -> None:
    text = readme_of(bundle)
    assert "ORT_DISABLE_TELEMETRY=1" in text and "report usage to Microsoft" in text
    assert "**bicubic** filter **with antialias**" in text and "24 x 24" in text and "softmax not applied" in text
    assert "`bee 'sting'`" in text and "VNNI" in text
    assert "`<script>alert(1)</script>`" in text  # inside a code span it is text
