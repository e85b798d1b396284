"""The C code of whole networks on other compilers and CPUs: onnxruntime's bits.

Of edge_small for all 450 digits of the test part, everywhere. Of ResNet-20 for 500 photos of CIFAR-10 where the C is optimized for this
CPU, and for 30 of them where each takes long: without optimization, with sanitizers, under emulation.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgetl.cgen.footprint import CODE_BYTES, STACK_BYTES
from edgetl.cgen.write import write_c
from edgetl.core.preprocess import Preprocess
from edgetl.data.sources import open_images
from edgetl.quantization.engine import quantize
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.runtime.onnx_metadata import read_info
from edgetl.settings import DataSettings

pytestmark = pytest.mark.slow
BOARDS = Path(__file__).parent / "boards"
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
SANITIZED = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
CORTEX_M = ("-mthumb", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections", "--specs=rdimon.specs")


@dataclass(frozen=True)
class Shipped:
    """C code, images for it and the logits that onnxruntime gives; `few` images are enough where each takes long."""

    code: Path
    images: NDArray[np.uint8]
    logits: NDArray[np.float32]
    few: int
    bundle: Path | None = None

    def check(self, folder: Path, *program: str, count: int | None = None) -> str:
        """Run a program in a folder on all images, or so many; its logits must have the same bits. What it said."""
        self.images[:count].tofile(folder / "images.bin")
        done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False, timeout=1200)
        assert done.returncode == 0, done.stdout + done.stderr
        wanted = self.logits[:count]
        found = np.fromfile(folder / "logits.bin", np.float32).reshape(wanted.shape)
        np.testing.assert_array_equal(found.view(np.int32), wanted.view(np.int32))
        return done.stdout

    def build(self, folder: Path, compiler: str, *options: str, sources: tuple[Path, ...] = ()) -> str:
        """The program that runs many images; its path."""
        program = folder / "program"
        files = [*sources, BOARDS / "run_images.c", self.code / "classifier.c"]
        command = [compiler, *options, f"-I{self.code}", "-o", str(program), *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return str(program)


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def builds(compiler: str, folder: Path, *options: str) -> bool:
    """Whether a program that does nothing can be built."""
    (folder / "nothing.c").write_text("int main(void) { return 0; }\n", encoding="ascii")
    command = [compiler, *options, "-o", str(folder / "nothing"), str(folder / "nothing.c")]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def digits(folder: Path) -> Shipped:
    """The default run with edge_small, trained for a few epochs: bits do not depend on how well it learned."""
    words = ["pipeline", "--student", "edge_small", "--set", "export.c=true", "--out", str(folder / "run")]
    epochs = ["--set", "finetune.epochs=1", "--set", "distill.epochs=6"]
    done = subprocess.run([sys.executable, "-m", "edgetl", *words, *epochs], capture_output=True, text=True, check=False)
    bundle = folder / "run" / "bundle"
    assert bundle.is_dir(), done.stdout + done.stderr
    preprocess = read_info(bundle / "model.onnx").preprocess
    assert preprocess is not None
    test = open_images(None, DataSettings()).only("test")
    images = np.stack([preprocess.pixels(test.read(index)) for index in range(len(test))])
    assert len(images) == 450
    model = onnx.load(bundle / "model.onnx")
    return Shipped(bundle / "clients" / "c", images, logits_of(model, preprocess, images), 450, bundle)


def photos(folder: Path, shared: Path) -> Shipped:
    """ResNet-20, whose Adds, shortcuts and average pool the digits' network does not have, on photos of CIFAR-10's test part."""
    preprocess = Preprocess(size=32, resize=32)
    with zipfile.ZipFile(shared / "data/cifar10_test.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))[::18]  # of all ten classes
        given = np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])
    order = np.random.default_rng(0).permutation(len(given))
    images, fitting = given[order[:500]], given[order[500:]]
    assert len(images) == 500 and len(fitting) > 48
    calibration = Arrays(np.stack([preprocess.normalize(image) for image in fitting]))
    quantize(shared / "models/resnet20_cifar10.onnx", calibration, target="portable", out=folder / "int8.onnx", threads=1, tune_images=0)
    model = onnx.load(folder / "int8.onnx")
    write_c(model, preprocess, [str(index) for index in range(10)], folder)
    return Shipped(folder, images, logits_of(model, preprocess, images), 30)


def logits_of(model: onnx.ModelProto, preprocess: Preprocess, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return np.concatenate([session.run(None, {name: preprocess.normalize(image)[None]})[0] for image in images])


@pytest.fixture(scope="module", params=["digits", "photos"])
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    folder = tmp_path_factory.mktemp(request.param)
    return digits(folder) if request.param == "digits" else photos(folder, request.getfixturevalue("shared"))


@pytest.mark.parametrize("options", [("-O0",), ("-O2",), ("-O3", "-march=native"), SANITIZED], ids=["O0", "O2", "O3-native", "sanitizers"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_this_cpu(shipped: Shipped, compiler: str, options: tuple[str, ...], tmp_path: Path) -> None:
    need(compiler)
    if options == SANITIZED and not builds(compiler, tmp_path, *options):
        pytest.skip(f"{compiler} has no sanitizers here")
    slow = options in (SANITIZED, ("-O0",))
    shipped.check(tmp_path, shipped.build(tmp_path, compiler, *STRICT, *options), count=shipped.few if slow else None)


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_this_cpu_with_contraction_allowed(shipped: Shipped, compiler: str, tmp_path: Path) -> None:
    """A compiler that may fuse multiplications and additions finds none to fuse."""
    need(compiler)
    shipped.check(tmp_path, shipped.build(tmp_path, compiler, "-std=gnu99", "-O3", "-march=native", "-ffp-contract=fast"))


@pytest.mark.parametrize(("compiler", "emulator"), [("aarch64-linux-gnu-gcc", "qemu-aarch64"), ("arm-linux-gnueabihf-gcc", "qemu-arm")])
def test_arm_with_64_and_32_bits(shipped: Shipped, compiler: str, emulator: str, tmp_path: Path) -> None:
    need(compiler, emulator)
    options = ("-std=gnu99", "-O3", "-ffp-contract=fast", "-static")
    if not builds(compiler, tmp_path, "-static"):
        pytest.skip(f"{compiler} has no C library here (libc6-dev-arm64-cross, libc6-dev-armhf-cross)")
    shipped.check(tmp_path, emulator, shipped.build(tmp_path, compiler, *options), count=shipped.few)


@pytest.mark.parametrize(
    ("board", "cpu"),
    [
        ("mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")),
        ("mps2-an500", ("-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")),
        ("mps2-an385", ("-mcpu=cortex-m3", "-mfloat-abi=soft")),
    ],
    ids=["cortex-m4", "cortex-m7", "cortex-m3"],
)
def test_cortex_m(shipped: Shipped, board: str, cpu: tuple[str, ...], tmp_path: Path, record_property: Callable[..., None]) -> None:
    """A board of Arm's, emulated, without a system; the Cortex-M3 has no FPU, and computes floats in software."""
    need("arm-none-eabi-gcc", "qemu-system-arm")
    options = (*CORTEX_M, *cpu, "-std=gnu99", "-O2", "-DBARE", "-T", str(BOARDS / "mps2.ld"))
    program = shipped.build(tmp_path, "arm-none-eabi-gcc", *options, sources=(BOARDS / "startup.c",))
    semihosting = ("-nographic", "-semihosting-config", "enable=on,target=native")
    said = shipped.check(tmp_path, "qemu-system-arm", "-M", board, *semihosting, "-kernel", program, count=shipped.few)
    stack = re.search(r"stack (\d+)", said)
    assert stack and 0 < int(stack[1]) <= STACK_BYTES
    record_property("stack_bytes", int(stack[1]))


def test_flash_and_ram_are_what_the_footprint_says(shipped: Shipped, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc", "arm-none-eabi-size")
    file = tmp_path / "classifier.o"
    options = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16", "-Os", "-std=c99")
    subprocess.run(["arm-none-eabi-gcc", *options, "-c", "-o", str(file), str(shipped.code / "classifier.c")], check=True)
    said = subprocess.run(["arm-none-eabi-size", "-A", str(file)], capture_output=True, text=True, check=True).stdout
    sizes = {name: int(size) for name, size in re.findall(r"^(\.\S+)\s+(\d+)", said, re.MULTILINE)}
    footprint = json.loads((shipped.code / "footprint.json").read_text(encoding="utf-8"))
    constants = sum(size for name, size in sizes.items() if name.startswith(".rodata"))
    code = sum(size for name, size in sizes.items() if name.startswith(".text"))
    assert sizes[".bss"] == footprint["arena_bytes"] and sizes.get(".data", 0) == 0
    assert abs(constants - footprint["table_bytes"]) <= 512  # names of classes; small tables that became code
    assert 0 < code <= CODE_BYTES and constants + code <= footprint["flash_bytes"]
    assert footprint["ram_bytes"] == footprint["arena_bytes"] + STACK_BYTES


def test_the_model_of_pixels_gives_the_same_bits(shipped: Shipped) -> None:
    if shipped.bundle is None:
        pytest.skip("no bundle")
    session = onnxruntime.InferenceSession(shipped.bundle / "model.image.onnx", providers=["CPUExecutionProvider"])
    found = np.concatenate([session.run(["logits"], {"image": image[None]})[0] for image in shipped.images])
    np.testing.assert_array_equal(found.view(np.int32), shipped.logits.view(np.int32))


def test_the_program_beside_it_checks_the_golden_vectors(shipped: Shipped, tmp_path: Path) -> None:
    if shipped.bundle is None:
        pytest.skip("no bundle")
    need("gcc")
    sources = [str(shipped.code / name) for name in ("check.c", "classifier.c")]
    subprocess.run(["gcc", *STRICT, "-O1", "-o", str(tmp_path / "check"), *sources], check=True)
    golden = shutil.copytree(shipped.bundle / "golden", tmp_path / "golden")
    done = subprocess.run([str(tmp_path / "check"), "check", str(tmp_path)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "7 golden vectors: the logits' bits are those of model.onnx\n")
    pixels = np.load(golden / "03.resized.npy")
    np.save(golden / "03.resized.npy", 255 - pixels)  # a port that inverts
    done = subprocess.run([str(tmp_path / "check"), "check", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stdout.startswith("03: logits diverge")
    assert done.stdout.endswith("of 7 golden vectors 6 agree\n")
    (golden / "03.output.npy").unlink()
    assert subprocess.run([str(tmp_path / "check"), "check", str(tmp_path)], capture_output=True, check=False).returncode == 2
