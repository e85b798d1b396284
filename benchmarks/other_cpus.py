r"""The same int8 file on CPUs of other kinds: does `portable` answer the same on all of them, and what would `x86` answer there?

    python benchmarks/other_cpus.py [--arm64 ROOT] [--web DIR] [--networks DIR] [--models NAME...] [--targets NAME...] [--images N]

1. haswell: this Python and onnxruntime under qemu-x86_64 (Debian: qemu-user-static), AVX2 without VNNI.
2. arm64: another Python and onnxruntime under qemu-aarch64, -cpu max, in ROOT, a folder of Debian's arm64 packages:

       dpkg --add-architecture arm64 && apt-get update
       apt-get download $(for p in libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 liblzma5 \
           libpython3.11-minimal libpython3.11-stdlib python3.11-minimal; do echo $p:arm64; done)
       for p in *_arm64.deb; do dpkg -x $p ROOT; done
       pip install --target ROOT/packages --platform manylinux_2_28_aarch64 --python-version 3.11 --only-binary=:all: onnxruntime numpy

3. web: onnxruntime-web (WebAssembly, SIMD, one thread) under node, in DIR, made by `npm install --prefix DIR onnxruntime-web`.

What is not there is left out, and said. `--networks` takes the models that `networks.py` trains.
Every file answers the same images, one at a time; the first line of each is this machine's own.

Needs the models, CIFAR-10 zips and ImageNet samples of the folder named by EDGETL_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from ptq import Case, cases, shared_folder, write_images

from edgetl.data.npz import open_npz
from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.engine import quantize
from edgetl.settings import Runtime

Answers = NDArray[np.float32]

PYTHON = """
import sys, numpy as np, onnxruntime as ort
o = ort.SessionOptions(); o.log_severity_level = 4; o.intra_op_num_threads = 1
s = ort.InferenceSession(sys.argv[1], o, providers=["CPUExecutionProvider"])
n = s.get_inputs()[0].name
np.save(sys.argv[3], np.concatenate([s.run(None, {n: x[None]})[0] for x in np.load(sys.argv[2])]))
"""
CPUINFO = """processor	: 0
BogoMIPS	: 243.75
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1
"""
NODE = """
const ort = require("onnxruntime-web"), fs = require("fs");
const [model, images, out, channels, size] = process.argv.slice(2);
(async () => {
  ort.env.wasm.numThreads = 1; ort.env.logLevel = "fatal";
  const session = await ort.InferenceSession.create(fs.readFileSync(model), {executionProviders: ["wasm"]});
  const bytes = fs.readFileSync(images), all = new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  const each = channels * size * size, found = [];
  for (let start = 0; start < all.length; start += each) {
    const x = new ort.Tensor("float32", all.slice(start, start + each), [1, +channels, +size, +size]);
    const y = await session.run({[session.inputNames[0]]: x});
    found.push(...y[session.outputNames[0]].data);
  }
  fs.writeFileSync(out, Buffer.from(new Float32Array(found).buffer));
})().catch(error => { console.error(String(error)); process.exit(1); });
"""


def on_python(command: list[str], packages: Path, model: Path, x: Answers, folder: Path) -> Answers:
    """What a Python of some CPU answers."""
    np.save(folder / "x.npy", x)
    environment = {**os.environ, "PYTHONPATH": str(packages), "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}
    full = [*command, "-c", PYTHON, str(model), str(folder / "x.npy"), str(folder / "y.npy")]
    subprocess.run(full, check=True, env=environment)
    found: Answers = np.load(folder / "y.npy")
    return found


def on_node(modules: Path, model: Path, x: Answers, folder: Path) -> Answers:
    """What onnxruntime-web answers."""
    x.tofile(folder / "x.bin")
    (folder / "run.cjs").write_text(NODE, encoding="utf-8")
    sizes = [str(x.shape[1]), str(x.shape[2])]
    environment = {**os.environ, "NODE_PATH": str(modules / "node_modules")}
    command = ["node", str(folder / "run.cjs"), str(model), str(folder / "x.bin"), str(folder / "y.bin"), *sizes]
    subprocess.run(command, check=True, env=environment)
    return np.fromfile(folder / "y.bin", np.float32).reshape(len(x), -1)


def answers(model: Path, x: Answers, folder: Path, arm64: Path | None, web: Path | None) -> Iterator[tuple[str, Answers | str]]:
    """Each CPU's answers, float32 [n, k], or why there are none; this machine's first."""
    here = Path(onnxruntime.__file__).parents[1]
    python = os.path.realpath(sys.executable)
    yield "this machine", on_python([python], here, model, x, folder)
    emulator = _found("qemu-x86_64", "qemu-x86_64-static")
    if emulator and os.uname().machine == "x86_64":
        yield "haswell", on_python([emulator, "-cpu", "Haswell", python], here, model, x, folder)
    else:
        yield "haswell", "needs qemu-x86_64 on an x86-64 machine"
    emulator = _found("qemu-aarch64", "qemu-aarch64-static")
    if emulator and arm64:
        (arm64 / "proc").mkdir(
            exist_ok=True
        )  # what is in ROOT hides what is here: onnxruntime crashes where an ARM CPU says it is an Intel
        (arm64 / "proc" / "cpuinfo").write_text(CPUINFO, encoding="ascii")
        command = [emulator, "-cpu", "max", "-L", str(arm64), "-E", f"PYTHONHOME={arm64}/usr", str(arm64 / "usr/bin/python3.11")]
        yield "arm64", on_python(command, arm64 / "packages", model, x, folder)
    else:
        yield "arm64", "needs qemu-aarch64 and --arm64"
    if web and shutil.which("node"):
        yield "web", on_node(web, model, x, folder)
    else:
        yield "web", "needs node and --web"


def _found(*names: str) -> str | None:
    return next((path for name in names if (path := shutil.which(name))), None)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arm64", type=Path, default=None, help="root of arm64 packages")
    parser.add_argument("--web", type=Path, default=None, help="folder with node_modules/onnxruntime-web")
    parser.add_argument("--networks", type=Path, default=None, help="folder of networks.py's models, in place of the shared ones")
    parser.add_argument("--models", nargs="+", default=None, help="names of models, without .onnx. Default: all")
    parser.add_argument("--targets", nargs="+", default=["portable", "x86"])
    parser.add_argument("--images", type=int, default=20, help="that are answered on each CPU")
    options = parser.parse_args()
    shared = shared_folder()
    arm64, web = (path.resolve() if path else None for path in (options.arm64, options.web))
    print("| model | target | CPU | same bits | same class | largest difference of a logit | the same, of their range | SQNR dB |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as temporary:
        folder = Path(temporary)
        for case in cases(options.networks, options.models):
            for row in rows_of(replace(case, judged=options.images), options.targets, shared, folder, arm64, web):
                print(row, flush=True)


def rows_of(case: Case, targets: list[str], shared: Path, folder: Path, arm64: Path | None, web: Path | None) -> Iterator[str]:
    """One line for each target and CPU."""
    calibration, judging = write_images(case, shared, folder)
    x = np.load(judging)["x"]
    for target in targets:
        out = folder / f"{case.model}.{target}.onnx"
        model = (case.folder or shared / "models") / f"{case.model}.onnx"
        quantize(model, open_npz(calibration), target=target, out=out, threads=Runtime().threads)  # type: ignore[arg-type]
        wanted: Answers | None = None
        for cpu, found in answers(out, x, folder, arm64, web):
            line = f"| {case.model} | {target} | {cpu} |"
            if isinstance(found, str):
                yield f"{line} {found} | | | | |"
                continue
            wanted = found if wanted is None else wanted
            same = (wanted.argmax(1) == found.argmax(1)).sum()
            most, span = np.abs(wanted - found).max(), np.ptp(wanted)
            yield (
                f"{line} {'yes' if np.array_equal(wanted, found) else 'no'} | {same} of {len(x)} | {most:.2g} | {most / span:.2g} "
                f"| {sqnr_db(wanted, found):.1f} |"
            )


if __name__ == "__main__":
    main()
