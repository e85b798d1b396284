"""Every client that can run here agrees with Python on every golden vector, and names the step of every mistake that is planted in it.

Beside Python they need tools that edgetl does not: EDGETL_TOOLS names a folder with `node_modules/` (npm install onnxruntime-node
onnxruntime-web sharp axe-core), `venv/` (pip install openvino), `kotlinc/bin/kotlinc` and `swift/bin/swiftc`. What is missing is
skipped, and said.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgetl.bundle.golden import FLOAT_MODEL, MODEL, read_golden
from edgetl.bundle.image_graph import IMAGE_MODEL
from edgetl.bundle.read import Bundle
from edgetl.core.preprocess import Preprocess
from edgetl.core.preprocess_rules import pair
from edgetl.tasks.classification import Classification

from .client_bundles import ODD, digits_bundle, drawn_bundle, foreign_bundle, insects_bundle, large_bundle, odd_bundle
from .driven_page import BROWSER, drive

CLIENTS = Path(__file__).parents[2] / "edgetl/bundle/clients"
TOOLS = Path(os.environ.get("EDGETL_TOOLS", "/nonexistent"))
NAMES = ("drawn", "fixed", "unsure", "large", "digits", "insects", "foreign")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Callable[[str], Bundle]:
    """The bundle of that name, made when it is first asked for."""
    found: dict[str, Bundle] = {}

    def make(name: str) -> Bundle:
        if name not in found:
            out = tmp_path_factory.mktemp("clients") / name
            match name:
                case "drawn":
                    found[name] = drawn_bundle(out)
                case "fixed":
                    found[name] = drawn_bundle(out, batch=1)
                case "unsure":
                    found[name] = drawn_bundle(out, unsure=True)
                case "large":
                    found[name] = large_bundle(out)
                case "odd":
                    found[name] = odd_bundle(out)
                case "digits":
                    found[name] = digits_bundle(out)
                case "insects":
                    found[name] = insects_bundle(out, request.getfixturevalue("shared"))
                case _:
                    found[name] = foreign_bundle(out, request.getfixturevalue("shared"))
        return found[name]

    return make


def with_clients(bundle: Bundle, out: Path) -> Path:
    """A copy of the bundle with the clients in it, as `export` puts them there."""
    shutil.copytree(bundle.path, out / "bundle")
    shutil.copytree(CLIENTS, out / "bundle/clients", dirs_exist_ok=True)
    return out / "bundle"


def run(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | variables
    command = [str(word) for word in words]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=300, check=False)


def by_python(bundle: Path) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "-I", bundle / "clients/python/classify.py", "check")


def by_node(bundle: Path) -> subprocess.CompletedProcess[str]:
    if shutil.which("node") is None or not (TOOLS / "node_modules/onnxruntime-node").is_dir():
        pytest.skip("needs node, and onnxruntime-node and sharp in EDGETL_TOOLS/node_modules")
    (bundle / "clients/node/node_modules").symlink_to(TOOLS / "node_modules")
    return run("node", bundle / "clients/node/classify.mjs", "check", bundle)


def by_cpp(bundle: Path) -> subprocess.CompletedProcess[str]:
    """Compiled with OpenVINO, which its wheel brings, or with onnxruntime where ORT_HOME names a release of it."""
    if shutil.which("cmake") is None or shutil.which("c++") is None:
        pytest.skip("needs cmake and a C++ compiler")
    return run(built((bundle / "clients/cpp/steps.hpp").read_text(encoding="utf-8")), bundle, "check")


@cache
def built(steps: str) -> Path:
    """The program with that steps.hpp, compiled once."""
    home, folder = os.environ.get("ORT_HOME"), Path(tempfile.mkdtemp(prefix="edgetl-cpp-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    runtime = f"-DORT_HOME={home}" if home else f"-DOpenVINO_DIR={openvino_folder() / 'cmake'}"
    source = shutil.copytree(CLIENTS / "cpp", folder / "cpp")
    (source / "steps.hpp").write_text(steps, encoding="utf-8")
    made = run("cmake", "-S", source, "-B", folder / "build", runtime, "-DCMAKE_CXX_FLAGS=-Werror", "-DCMAKE_BUILD_TYPE=Debug")
    assert made.returncode == 0, made.stderr
    done = run("cmake", "--build", folder / "build")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "build/classify"


def openvino_python() -> Path:
    """A Python that has OpenVINO: this one, or that of EDGETL_TOOLS/venv."""
    if find_spec("openvino"):
        return Path(sys.executable)
    if not (TOOLS / "venv/bin/python").exists():
        pytest.skip("needs openvino, here or in EDGETL_TOOLS/venv")
    return TOOLS / "venv/bin/python"


def openvino_folder() -> Path:
    return Path(run(openvino_python(), "-c", "import openvino; print(openvino.__path__[0])").stdout.strip())


def by_swift(bundle: Path) -> subprocess.CompletedProcess[str]:
    """The resizing alone: the rest of the app needs iOS."""
    check = (CLIENTS / "ios/Sources/check/main.swift").read_text(encoding="utf-8")
    return run(swift_program((bundle / "clients/ios/Sources/Steps/Steps.swift").read_text(encoding="utf-8"), check), bundle)


def swiftc() -> str:
    found = shutil.which("swiftc") or shutil.which(str(TOOLS / "swift/bin/swiftc"))
    if found is None:
        pytest.skip("needs swiftc, on the path or in EDGETL_TOOLS/swift/bin")
    return found


@cache
def swift_program(steps: str, main: str) -> Path:
    """Those Steps.swift and main.swift as a program, compiled once, as Package.swift says: two modules."""
    compiler, folder = swiftc(), Path(tempfile.mkdtemp(prefix="edgetl-swift-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "Steps.swift").write_text(steps, encoding="utf-8")
    (folder / "main.swift").write_text(main, encoding="utf-8")
    library = ["-emit-library", "-static", "-emit-module", "-module-name", "Steps", "-o", folder / "libSteps.a"]
    program = ["-I", folder, "-L", folder, "-lSteps", "-o", folder / "program"]
    for words in ([*library, "-emit-module-path", folder / "Steps.swiftmodule", folder / "Steps.swift"], [folder / "main.swift", *program]):
        made = run(compiler, "-O", "-swift-version", "6", "-warnings-as-errors", *words)
        assert made.returncode == 0, made.stderr
    return folder / "program"


def by_page(bundle: Path) -> subprocess.CompletedProcess[str]:
    """As a user runs it: check.mjs drives the page in a browser."""
    if BROWSER is None or shutil.which("node") is None or not (TOOLS / "node_modules/onnxruntime-web").is_dir():
        pytest.skip("needs chromium, node, and onnxruntime-web in EDGETL_TOOLS/node_modules")
    (bundle / "clients/web/node_modules").symlink_to(TOOLS / "node_modules")
    return run("node", bundle / "clients/web/check.mjs", "check", bundle)


RUNNERS = {"python": by_python, "node": by_node, "cpp": by_cpp, "swift": by_swift, "web": by_page}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("client", [client for client in RUNNERS if client != "web"])  # the page: see below
def test_a_client_agrees_on_every_golden_vector(client: str, name: str, made: Callable[[str], Bundle], tmp_path: Path) -> None:
    bundle = with_clients(made(name), tmp_path)
    done = RUNNERS[client](bundle)
    assert (done.returncode, done.stdout) == (0, f"{len(read_golden(bundle).images)} golden images agree\n"), done.stderr


RUN_BY_NODE = """
import { readFile } from "node:fs/promises";
const [runtime, bundle] = process.argv.slice(2);
const ort = (await import(runtime)).default;
const { readNpy } = await import(`${bundle}/clients/web/steps.mjs`);
const read = async (name) => readNpy(Uint8Array.from(await readFile(`${bundle}/golden/${name}`)).buffer);
const session = await ort.InferenceSession.create(`${bundle}/model.image.onnx`, { logSeverityLevel: 3 });
const found = {};
for (const { image, stages } of JSON.parse(await readFile(`${bundle}/golden/golden.json`, "utf8")).images) {
  const { data, shape } = await read(stages.resized);
  const made = await session.run({ image: new ort.Tensor("uint8", data, [1, ...shape]) });
  found[image] = [Array.from(made.logits.data), Array.from(made.probabilities.data)];
}
console.log(JSON.stringify(found));
"""


@pytest.mark.parametrize("name", NAMES)
def test_node_gives_the_golden_answers_with_the_graph_that_takes_pixels(name: str, made: Callable[[str], Bundle], tmp_path: Path) -> None:
    runtime, bundle = TOOLS / "node_modules/onnxruntime-node/dist/index.js", with_clients(made(name), tmp_path)
    if shutil.which("node") is None or not runtime.is_file():
        pytest.skip("needs node, and onnxruntime-node in EDGETL_TOOLS/node_modules")
    (tmp_path / "run.mjs").write_text(RUN_BY_NODE, encoding="utf-8")
    done = run("node", tmp_path / "run.mjs", runtime, bundle, ORT_DISABLE_TELEMETRY="1")
    assert done.returncode == 0, done.stderr
    agrees_with_golden(bundle, made(name).manifest.classes, json.loads(done.stdout))


def agrees_with_golden(bundle: Path, classes: tuple[str, ...], found: dict[str, list[list[float]]]) -> None:
    """Whether what model.image.onnx gave for each golden image, logits and probabilities, is within the tolerances."""
    golden = read_golden(bundle)
    assert set(found) == {entry.image for entry in golden.images}
    for entry in golden.images:
        logits, probabilities = found[entry.image]
        expected, allowed = np.load(bundle / "golden" / entry.outputs[MODEL]), golden.stages["probabilities"].graph_abs
        assert golden.tolerances[MODEL].holds(np.array(logits, np.float32).reshape(expected.shape), expected), entry.image
        named = dict(zip(classes, probabilities, strict=True))
        assert allowed is not None and all(abs(named[label] - share) <= allowed for label, share in entry.top), entry.image


@pytest.mark.parametrize(
    ("client", "unread"), [("python", ()), ("node", ("bmp.bmp",)), ("cpp", ()), ("swift", ()), ("web", ("tif.tif", "deep.png"))]
)
def test_a_client_leaves_profiles_alone_and_says_which_files_its_runtime_does_not_read(
    client: str, unread: tuple[str, ...], made: Callable[[str], Bundle], tmp_path: Path
) -> None:
    done = RUNNERS[client](with_clients(made("odd"), tmp_path))
    *notes, last = done.stdout.splitlines()
    assert (done.returncode, last) == (0, f"{len(ODD) + 1} golden images agree"), done.stderr
    names = [f"{ODD.index(name):02d}.{name.split('.')[1]}: not decoded here: " for name in unread]
    assert len(notes) == len(names) and all(note.startswith(name) for note, name in zip(notes, names, strict=True)), notes


PYTHON, STEPS, CPP, SWIFT = "python/classify.py", "web/steps.mjs", "cpp/steps.hpp", "ios/Sources/Steps/Steps.swift"
WITHOUT_ANTIALIAS = (
    "image.transform(size, Image.Transform.AFFINE, (image.width / size[0], 0, 0, 0, image.height / size[1], 0), Image.BILINEAR)"
)
MISTAKES = {  # client, mistake -> file, what stands there, what the mistake makes of it, the step that must be named
    ("python", "BGR"): (
        PYTHON,
        'if p["color"] == "gray" else image\n',
        'if p["color"] == "gray" else Image.fromarray(np.asarray(image)[..., ::-1])\n',
        "decoded",
    ),
    ("python", "no antialias"): (PYTHON, 'image.resize(size, Image.Resampling[p["filter"].upper()])', WITHOUT_ANTIALIAS, "resized"),
    ("python", "squash for crop"): (PYTHON, 'p.get("fit", "crop")', '"squash"', "resized"),
    ("python", "missing normalization"): (PYTHON, ' - np.float32(p["mean"])) / np.float32(p["std"])', ")", "input"),
    ("python", "wrong layout"): (PYTHON, "x.transpose(2, 0, 1)[None]", "x.reshape(1, x.shape[2], *x.shape[:2])", "input"),
    ("node", "BGR"): (STEPS, "[r, g, b], 3 * i", "[b, g, r], 3 * i", "decoded"),
    ("node", "no antialias"): (STEPS, "Math.max(1, scale)", "1", "resized"),
    ("node", "squash for crop"): (STEPS, 'const fit = p.fit ?? "crop"', 'const fit = "squash"', "resized"),
    ("node", "missing normalization"): (STEPS, " - Math.fround(p.mean[c])) / Math.fround(p.std[c])", ")", "input"),
    ("node", "wrong layout"): (STEPS, "input[c * area + i] =", "input[i * channels + c] =", "input"),
    ("cpp", "BGR"): (CPP, "picture.data[i * channels + c]) / 255", "picture.data[i * channels + channels - 1 - c]) / 255", "input"),
    ("cpp", "no antialias"): (CPP, "std::max(1.0, scale)", "1.0", "resized"),
    ("cpp", "squash for crop"): (CPP, 'p.has("fit") ? p["fit"].text : "crop"', '"squash"', "resized"),
    ("cpp", "missing normalization"): (CPP, "(share - mean[c]) / std[c]", "share + 0 * (mean[c] + std[c])", "input"),
    ("cpp", "wrong layout"): (CPP, "input[c * area + i] =", "input[i * channels + c] =", "input"),
    ("swift", "no antialias"): (SWIFT, "max(1, scale)", "1.0", "resized"),
    ("swift", "squash for crop"): (SWIFT, 'p.fit ?? "crop"', '"squash"', "resized"),
}
MISTAKES |= {("web", mistake): planted for (client, mistake), planted in MISTAKES.items() if client == "node"}  # the same steps.mjs
UNSEEN = {"BGR", "wrong layout"}  # in a client of a gray network: its pixels have one channel
PLANTED = [
    (name, *case)
    for case in MISTAKES
    for name in ("drawn", "insects", "digits", "foreign")
    if (case[0] != "web" or name == "insects") and not (name == "digits" and case[1] in UNSEEN)
]


@pytest.mark.parametrize(("name", "client", "mistake"), PLANTED)
def test_a_planted_mistake_is_found_and_its_step_named(
    name: str, client: str, mistake: str, made: Callable[[str], Bundle], tmp_path: Path
) -> None:
    bundle = with_clients(made(name), tmp_path)
    file, right, wrong, step = MISTAKES[client, mistake]
    planted(bundle, file, right, wrong)
    done = RUNNERS[client](bundle)
    shapes = {entry.image: np.load(bundle / "golden" / entry.stages["decoded"]).shape for entry in read_golden(bundle).images}
    least = max(pair(made(name).manifest.preprocess.resize))
    hiding = {
        "squash for crop": [image for image, (height, width, _) in shapes.items() if height == width],
        "no antialias": [image for image, (height, width, _) in shapes.items() if min(height, width) <= least],
    }
    images = [image for image in shapes if image not in hiding.get(mistake, [])]
    said = done.stderr.splitlines()
    assert images and done.returncode == 1 and [line.split(": ")[:2] for line in said] == [[image, step] for image in images], done.stderr


THRESHOLDS = {"python": (PYTHON, "sure = not rule or"), "node": (STEPS, "const sure ="), "cpp": (CPP, "const bool sure =")}
TEMPERATURES = {"python": (PYTHON, ") / temperature)"), "node": (STEPS, ") / temperature)"), "cpp": (CPP, ") / temperature)")}


def planted(bundle: Path, file: str, right: str, wrong: str) -> None:
    text = (bundle / "clients" / file).read_text(encoding="utf-8")
    assert text.count(right) == 1
    (bundle / "clients" / file).write_text(text.replace(right, wrong), encoding="utf-8")


@pytest.mark.parametrize(
    "wrong",
    [") / (1 + 0 * temperature))", ") * temperature)", ") / (1.02 * temperature))"],
    ids=["no temperature", "multiplied by it", "slightly another"],
)
@pytest.mark.parametrize("client", [*TEMPERATURES, "web"])
def test_another_temperature_is_found_as_softmax_is_given_the_golden_logits(
    client: str, wrong: str, made: Callable[[str], Bundle], tmp_path: Path
) -> None:
    bundle = with_clients(made("unsure"), tmp_path)
    file, right = TEMPERATURES["node" if client == "web" else client]
    planted(bundle, file, right, wrong)
    done = RUNNERS[client](bundle)
    golden = read_golden(bundle)
    images = [(image.image, "probabilities") for image in golden.images]
    assert [tuple(line.split(": ")[:2]) for line in done.stderr.splitlines()] == images and done.returncode == 1, done.stderr


@pytest.mark.parametrize("client", [*THRESHOLDS, "web"])
def test_an_ignored_threshold_is_found_where_the_golden_decision_is_unknown(
    client: str, made: Callable[[str], Bundle], tmp_path: Path
) -> None:
    bundle = with_clients(made("unsure"), tmp_path)
    file, right = THRESHOLDS["node" if client == "web" else client]
    planted(bundle, file, right, f"{right} true ||" if file != PYTHON else "sure = True or")
    done = RUNNERS[client](bundle)
    images = [(image.image, "decision") for image in read_golden(bundle).images if image.decision == "unknown"]
    assert 0 < len(images) < len(read_golden(bundle).images)
    images.append(("golden.json", "decision"))  # of equal confidences, which each bundle with a threshold has
    assert [tuple(line.split(": ")[:2]) for line in done.stderr.splitlines()] == images and done.returncode == 1, done.stderr


@pytest.mark.parametrize(
    ("client", "file", "right", "wrong", "steps"),
    [  # the last photo has no golden array of what is decoded; behind it is a drawn picture
        ("node", STEPS, "[r, g, b], 3 * i", "[b, g, r], 3 * i", ("decoded", "decoded", "decoded", "resized", "decoded")),
        ("web", STEPS, "[r, g, b], 3 * i", "[b, g, r], 3 * i", ("decoded", "decoded", "decoded", "resized", "decoded")),
        ("node", STEPS, "Math.max(1, scale)", "1", ("resized", "resized", "resized", None, "resized")),
        ("node", "node/classify.mjs", ".rotate()", "", (None, "decoded", "decoded", None, None)),
    ],
)
def test_a_mistake_is_named_where_the_client_decodes_in_full_and_edgetl_did_not(
    client: str, file: str, right: str, wrong: str, steps: tuple[str | None, ...], made: Callable[[str], Bundle], tmp_path: Path
) -> None:
    bundle = with_clients(made("large"), tmp_path)
    planted(bundle, file, right, wrong)
    done = RUNNERS[client](bundle)
    expected = [[image.image, step] for image, step in zip(read_golden(bundle).images, steps, strict=True) if step]
    assert done.returncode == 1 and [line.split(": ")[:2] for line in done.stderr.splitlines()] == expected, done.stderr


@pytest.mark.parametrize(
    ("client", "file", "right", "wrong"),
    [
        ("node", "node/classify.mjs", ", { ignoreIcc: true }", ""),
        ("web", "web/app.mjs", 'colorSpaceConversion: "none"', 'colorSpaceConversion: "default"'),
    ],
)
def test_an_applied_color_profile_is_found(
    client: str, file: str, right: str, wrong: str, made: Callable[[str], Bundle], tmp_path: Path
) -> None:
    bundle = with_clients(made("odd"), tmp_path)
    planted(bundle, file, right, wrong)
    done = RUNNERS[client](bundle)
    said = [line for line in done.stderr.splitlines() if "not decoded here" not in line]
    assert done.returncode == 1 and [line.split(": ")[:2] for line in said] == [["00.jpg", "decoded"], ["01.png", "decoded"]], done.stderr


@pytest.mark.parametrize("client", ["python", "node"])
def test_bad_words_and_files_get_one_line(client: str, made: Callable[[str], Bundle], tmp_path: Path) -> None:
    bundle = with_clients(made("drawn"), tmp_path)
    program = [sys.executable, "-I", bundle / "clients" / PYTHON] if client == "python" else ["node", bundle / "clients/node/classify.mjs"]
    if client == "node":
        assert by_node(bundle).returncode == 0  # or skipped
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    for words in ([], [tmp_path / "missing.jpg"], [tmp_path / "broken.jpg"], ["check", tmp_path / "nowhere"]):
        done = run(*program, *words)
        assert done.returncode not in (0, 77) and len(done.stderr.splitlines()) == 1 and done.stdout == "", done.stderr
        assert "Traceback" not in done.stderr and (words or "expected a p" in done.stderr)


def test_the_cpp_client_refuses_a_picture_that_ends_early(made: Callable[[str], Bundle], tmp_path: Path) -> None:
    bundle = with_clients(made("drawn"), tmp_path)
    assert by_cpp(bundle).returncode == 0
    (tmp_path / "short.ppm").write_bytes(b"P6 4 4 255 abc")
    done = run(built((bundle / "clients/cpp/steps.hpp").read_text(encoding="utf-8")), bundle, tmp_path / "short.ppm")
    assert (done.returncode, done.stderr) == (2, f"expected 16 pixels in {tmp_path / 'short.ppm'}, found fewer\n")


@pytest.mark.parametrize(("stage", "step"), [("decoded", "decoded"), ("resized", "resized"), ("input", "input"), ("output", "logits")])
@pytest.mark.parametrize("client", ["python", "node", "cpp"])
def test_a_golden_array_that_is_off_is_named(client: str, stage: str, step: str, made: Callable[[str], Bundle], tmp_path: Path) -> None:
    bundle = with_clients(made("digits"), tmp_path)
    path = bundle / f"golden/01.{stage}.npy"
    array = np.load(path)
    np.save(path, array[:, :, ::-1] if array.ndim == 4 else array[:, ::-1])
    done = RUNNERS[client](bundle)
    assert done.returncode == 1 and done.stderr.startswith(f"01.pgm: {step}: "), done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
@pytest.mark.parametrize(("name", "width"), [("insects", 390), ("digits", 1280), ("foreign", 1280)])
def test_the_page_answers_a_dropped_photo_offline(name: str, width: int, made: Callable[[str], Bundle], tmp_path: Path) -> None:
    if not (TOOLS / "node_modules/onnxruntime-web").is_dir():
        pytest.skip("needs onnxruntime-web in EDGETL_TOOLS/node_modules")
    bundle = with_clients(made(name), tmp_path)
    (bundle / "clients/web/node_modules").symlink_to(TOOLS / "node_modules")
    (tmp_path / "profile").mkdir()
    golden, rule = read_golden(bundle), made(name).manifest.decision
    entry = golden.images[0]
    found = drive(bundle, bundle / "golden" / entry.image, tmp_path / "profile", width=width)
    if found is None:
        pytest.skip("the browser does not start here")
    assert found["checked"] == f"{len(golden.images)} golden images agree"
    agrees_with_golden(bundle, made(name).manifest.classes, found["pixels"])
    assert [label for label, _ in found["answers"]] == [label for label, _ in entry.top]
    shares = [float(share.rstrip("%")) / 100 for _, share in found["answers"]]
    np.testing.assert_allclose(shares, [share for _, share in entry.top], atol=0.006)
    assert rule is not None and found["status"].startswith(
        "Not sure" if rule.decide("x", entry.top[0][1]) == "unknown" else entry.top[0][0]
    )
    assert found["link"].startswith("Expected a photo, found a link or text")
    assert found["torn"][0].startswith("This file cannot be read as a photo") and found["torn"][1:] == [True, True]
    assert found["camera"][1] == "true" and found["camera"][2] > 1
    assert found["wide"] == found["width"] == width
    assert (found["outside"], found["console"], found["unnamed"], found["reached"]) == ([], [], 0, 0)
    assert found["violations"] == []  # of accessibility, where EDGETL_TOOLS/node_modules has axe-core


@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_the_page_says_not_sure_below_the_threshold(made: Callable[[str], Bundle], tmp_path: Path) -> None:
    if not (TOOLS / "node_modules/onnxruntime-web").is_dir():
        pytest.skip("needs onnxruntime-web in EDGETL_TOOLS/node_modules")
    bundle = with_clients(made("digits"), tmp_path)
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    manifest["decision"]["threshold"] = 1.1
    (bundle / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (bundle / "clients/web/node_modules").symlink_to(TOOLS / "node_modules")
    (tmp_path / "profile").mkdir()
    entry = read_golden(bundle).images[0]
    found = drive(bundle, bundle / "golden" / entry.image, tmp_path / "profile", width=390, check=False)
    if found is None:
        pytest.skip("the browser does not start here")
    assert re.fullmatch(rf"Not sure\. Maybe {entry.top[0][0]} \(\d+%, below the threshold of 110%\)", found["status"])


RUN_BY_OPENVINO = """
import sys, numpy as np, openvino as ov
from pathlib import Path
model, out, *inputs = map(Path, sys.argv[1:])
settings = {"INFERENCE_PRECISION_HINT": "f32"}
compiled = ov.Core().compile_model(str(model), "CPU", settings)
for path in inputs:
    x = np.load(path)
    found = compiled(x[None] if x.dtype == np.uint8 else x)
    np.savez(out / (path.stem + ".npz"), **{name: found[port] for port in compiled.outputs for name in port.names})
"""


@pytest.mark.parametrize("name", NAMES)
def test_openvino_reads_the_same_files_and_agrees(name: str, made: Callable[[str], Bundle], tmp_path: Path) -> None:
    python, bundle = openvino_python(), made(name)
    golden, task = read_golden(bundle.path), Classification(classes=bundle.manifest.classes)
    (tmp_path / "run.py").write_text(RUN_BY_OPENVINO, encoding="utf-8")
    for model, stage in ((MODEL, "input"), (FLOAT_MODEL, "input"), (IMAGE_MODEL, "resized")):
        inputs = [bundle.path / "golden" / entry.stages[stage] for entry in golden.images]
        done = run(python, tmp_path / "run.py", bundle.path / model, tmp_path, *inputs)
        assert done.returncode == 0, done.stderr
        for entry, path in zip(golden.images, inputs, strict=True):
            found = np.load(tmp_path / f"{path.stem}.npz")
            graph = MODEL if model == IMAGE_MODEL else model
            logits, expected = (
                found["logits" if model == IMAGE_MODEL else found.files[0]],
                np.load(bundle.path / "golden" / entry.outputs[graph]),
            )
            assert golden.tolerances[graph].holds(logits, expected), f"{model} {entry.image}: off by {np.abs(logits - expected).max()}"
            assert bundle.manifest.classes[int(task.answers(logits)[0])] == entry.answers[graph]
            if model == IMAGE_MODEL:
                named = dict(zip(bundle.manifest.classes, found["probabilities"][0], strict=True))
                allowed = golden.stages["probabilities"].graph_abs
                assert allowed is not None and all(abs(named[label] - share) <= allowed for label, share in entry.top)


PHONES = {  # a program for each: RGBA pixels -> the network's, as the numbers given say; then a decision
    "kotlin": """
import classify.*
import java.io.File
import java.nio.ByteBuffer

fun main(given: Array<String>) {
    val n = given.drop(5).map { it.toInt() }
    val rgba = ByteBuffer.wrap(File(given[0]).readBytes()).asIntBuffer()
    val argb = IntArray(rgba.remaining()) { Integer.rotateRight(rgba.get(it), 8) }
    val p = Preprocess(Pair(n[2], n[3]), Pair(n[4], n[5]), given[2], given[3], n[6], given[4] == "gray")
    File(given[1]).writeBytes(resized(upright(colored(argb, n[0], n[1], p.gray), n[7]), p).data)
    val rule = DecisionRule(0.6, "unknown")
    val found = listOf(floatArrayOf(0.2f, 0.5f, 0.3f), floatArrayOf(0.2f, 0.1f, 0.7f)).map { decided(it, listOf("a", "b", "c"), rule) }
    println(found.joinToString(" ") { "${it.first} ${it.third}" })
}
""",
    "swift": """
import Foundation
import Steps

let given = Swift.CommandLine.arguments.dropFirst().map { $0 }
let n = given[5...].map { Int($0)! }
let json = \"\"\"
{"classes": ["a", "b", "c"], "decision": {"threshold": 0.6, "unknown": "unknown"}, "preprocess": {"size": [\\(n[2]), \\(n[3])],
"resize": [\\(n[4]), \\(n[5])], "filter": "\\(given[2])", "fit": "\\(given[3])", "fill": \\(n[6]), "color": "\\(given[4])"}}
\"\"\"
let manifest = try JSONDecoder().decode(Manifest.self, from: Data(json.utf8))
let rgba = [UInt8](try Data(contentsOf: URL(fileURLWithPath: given[0])))
let picture = resized(upright(colored(rgba, height: n[0], width: n[1], gray: given[4] == "gray"), n[7]), manifest.preprocess)
try Data(picture.data).write(to: URL(fileURLWithPath: given[1]))
let found: [[Float]] = [[0.2, 0.5, 0.3], [0.2, 0.1, 0.7]]
print(found.map { decided($0, manifest) }.map { "\\($0.name) \\($0.decision)" }.joined(separator: " "))
""",
}
WAYS = (
    Preprocess(size=24, resize=27),
    Preprocess(size=(16, 40), resize=(18, 44), filter="bicubic"),
    Preprocess(size=24, resize=24, filter="lanczos", fit="squash"),
    Preprocess(size=(40, 16), resize=40, filter="bicubic", fit="pad", fill=114, color="gray", mean=(0.5,), std=(0.25,)),
)


@cache
def kotlin_program(main: str) -> tuple[str | Path, ...]:
    """Steps.kt of the Android client and that Main.kt, compiled once, for a desktop."""
    compiler = shutil.which("kotlinc") or shutil.which(str(TOOLS / "kotlinc/bin/kotlinc"))
    if compiler is None or shutil.which("java") is None:
        pytest.skip("needs java, and kotlinc on the path or in EDGETL_TOOLS/kotlinc/bin")
    folder = Path(tempfile.mkdtemp(prefix="edgetl-kotlin-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "Main.kt").write_text(main, encoding="utf-8")
    steps = CLIENTS / "android/app/src/main/kotlin/classify/Steps.kt"
    done = run(compiler, steps, folder / "Main.kt", "-include-runtime", "-d", folder / "steps.jar")
    assert (folder / "steps.jar").exists(), done.stderr
    return "java", "-cp", folder / "steps.jar", "MainKt"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: f"{way.fit}-{way.filter}")
@pytest.mark.parametrize("client", PHONES)
def test_a_phone_s_arithmetic_gives_pillow_s_pixels(client: str, way: Preprocess, tmp_path: Path) -> None:
    """The numeric file of the Android and of the iOS client: colors, EXIF orientation, resizing, decisions."""
    main = PHONES[client]
    swift = (CLIENTS.parent / "clients" / SWIFT).read_text(encoding="utf-8")
    program = kotlin_program(main) if client == "kotlin" else (swift_program(swift, main),)
    for orientation, (height, width) in enumerate([(61, 90), (90, 61), (9, 130), (30, 30)] + [(61, 90), (90, 61)] * 2, start=1):
        pixels = np.random.default_rng(height).integers(0, 256, (height, width, 4), dtype=np.uint8)
        (tmp_path / "rgba").write_bytes(pixels.tobytes())
        stream, exif = io.BytesIO(), Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(stream, "PNG", exif=exif)
        numbers = [height, width, *pair(way.size), *pair(way.resize), way.fill or 0, orientation]
        said = run(*program, tmp_path / "rgba", tmp_path / "made", way.filter, way.fit, way.color, *numbers)
        assert said.stdout == "b unknown c c\n", said.stderr
        expected = way.pixels(stream.getvalue())
        np.testing.assert_array_equal(np.fromfile(tmp_path / "made", np.uint8).reshape(expected.shape), expected)


def test_the_ios_app_has_no_error_of_syntax() -> None:
    """All that can be asked of it where Apple's frameworks are not."""
    done = run(swiftc(), "-parse", *sorted((CLIENTS / "ios/App").glob("*.swift")))
    assert (done.returncode, done.stderr) == (0, "")
