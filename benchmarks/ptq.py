"""edgetl's int8 engine beside its peers: same float files, same calibration images, scored alike under onnxruntime on other images.

    python benchmarks/ptq.py [--peers DIR] [--networks DIR] [--models NAME...] [--tools NAME...] [--images N] [--mirrored] [--keep DIR]

Peers that are no part of edgetl's environment are taken from virtual environments in DIR, one each:

    python -m venv DIR/nncf && DIR/nncf/bin/pip install nncf onnx onnxruntime
    python -m venv DIR/aimet && DIR/aimet/bin/pip install aimet-onnx onnxruntime
    python -m venv DIR/quark && DIR/quark/bin/pip install amd-quark onnxruntime torch

All write QDQ for x86 with VNNI: uint8 activations, int8 weights, per channel, as far as the tool can. Each quantizes in a process of
its own, so that seconds (its imports among them) and peak memory are its own; a tool that is not there, or fails, gets a row that says
so. With `--keep DIR` files stay there, and a run that was cut off goes on; take away those of a tool that has changed since.

Drop and agreement are against the float model, on images that calibrated nothing; the drop, and the lead of the first tool over
each other one in agreement and noise, with two standard errors of the paired difference. Latency is the median of one image at one
thread, all files in turns.

The three models of the default are those of the folder below; `--networks` takes those that `networks.py` trains.
Needs the models, CIFAR-10 zips and ImageNet samples of the folder named by EDGETL_SHARED (default ../shared).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BATCH = 25
LATENCY_RUNS, LATENCY_REPEATS = 60, 30  # rounds in which every file runs once; with sessions of its own each time
ADAROUND = 500  # steps a layer, of one image each: AIMET's own 10,000 were not through ResNet-20 after eight minutes
INSECTS = {"ants": 310, "bees": 309}  # of ImageNet's 1,000 classes
Feeds = list[dict[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class Case:
    """A model and its images: `calibration` of them set the ranges, `judged` others judge."""

    model: str
    calibration: int
    judged: int
    folder: Path | None = None  # None: that of the shared models


CASES = (
    Case("resnet20_cifar10", 256, 10_000),
    Case("mobilenet_v3_small_cifar64", 256, 4_000),
    Case("squeezenet1_0_imagenet", 200, 598),
)


def edgetl(target: Literal["x86", "portable"]) -> Callable[[Path, Path, Path], None]:
    """The engine with its defaults."""

    def run(model: Path, calibration: Path, out: Path) -> None:
        from edgetl.data.npz import open_npz
        from edgetl.quantization.engine import quantize
        from edgetl.settings import Runtime

        quantize(model, open_npz(calibration), target=target, out=out, threads=Runtime().threads)

    return run


def onnxruntime(method: str) -> Callable[[Path, Path, Path], None]:
    """`quantize_static` behind its own preprocessing, as its documentation has it."""

    def run(model: Path, calibration: Path, out: Path) -> None:
        from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        prepared = out.with_suffix(".pre.onnx")
        quant_pre_process(str(model), str(prepared))
        types: dict[str, Any] = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(prepared, out, _Reader(feeds(calibration)), per_channel=True, calibrate_method=CalibrationMethod[method], **types)

    return run


def nncf(fast: bool) -> Callable[[Path, Path, Path], None]:
    """`nncf.quantize` with fast or full bias correction."""

    def run(model: Path, calibration: Path, out: Path) -> None:
        import nncf as tool
        import onnx

        given = feeds(calibration)
        found = tool.quantize(
            onnx.load(model), tool.Dataset(given), fast_bias_correction=fast, subset_size=len(given), target_device=tool.TargetDevice.CPU
        )
        onnx.save(found, out)

    return run


def aimet(step: str) -> Callable[[Path, Path, Path], None]:
    """AIMET-ONNX: enhanced ranges, behind cross-layer equalization, or with AdaRound."""

    def run(model: Path, calibration: Path, out: Path) -> None:
        import aimet_onnx
        import onnx

        graph, given = onnx.load(model), feeds(calibration)
        if step == "equalization":
            from aimet_onnx.cross_layer_equalization import equalize_model

            equalize_model(graph)
        sim = aimet_onnx.QuantizationSimModel(
            graph, param_type=aimet_onnx.int8, activation_type=aimet_onnx.int8, quant_scheme="tf_enhanced", config_file="default"
        )
        if step == "adaround":
            aimet_onnx.apply_adaround(sim, given, num_iterations=ADAROUND)
        sim.compute_encodings(given)
        onnx.save(sim.to_onnx_qdq(export_int32_bias=True, prequantize_constants=True), out)

    return run


def quark(model: Path, calibration: Path, out: Path) -> None:
    """AMD Quark's A8W8 preset."""
    from quark.onnx import ModelQuantizer
    from quark.onnx.quantization.config import Config, get_default_config

    tool = ModelQuantizer(Config(global_quant_config=get_default_config("A8W8")))
    tool.quantize_model(str(model), str(out), _Reader(feeds(calibration)))


@dataclass(frozen=True)
class Tool:
    """One row: what runs, and the environment it runs in (None: edgetl's)."""

    run: Callable[[Path, Path, Path], None]
    home: str | None = None


TOOLS = {
    "edgetl": Tool(edgetl("x86")),
    "edgetl portable": Tool(edgetl("portable")),
    "onnxruntime MinMax": Tool(onnxruntime("MinMax")),
    "onnxruntime Percentile": Tool(onnxruntime("Percentile")),
    "onnxruntime Entropy": Tool(onnxruntime("Entropy")),
    "NNCF fast": Tool(nncf(True), "nncf"),
    "NNCF full": Tool(nncf(False), "nncf"),
    "AIMET enhanced": Tool(aimet("ranges"), "aimet"),
    "AIMET equalization": Tool(aimet("equalization"), "aimet"),
    "AIMET AdaRound": Tool(aimet("adaround"), "aimet"),
    "Quark A8W8": Tool(quark, "quark"),
}


class _Reader:
    """What onnxruntime's calibrators read: one image after the other, then None."""

    def __init__(self, given: Feeds) -> None:
        self.left = iter(given)

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        return next(self.left, None)

    def __iter__(self) -> Iterator[dict[str, NDArray[np.float32]]]:
        return self.left


def feeds(calibration: Path) -> Feeds:
    """The images one by one, as peers want them."""
    return [{"input": image[np.newaxis]} for image in np.load(calibration)["x"]]


# what follows runs in edgetl's environment


def write_images(case: Case, shared: Path, folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Calibration and judging images with labels as .npz; for CIFAR-10 from its train and test files, for photos disjoint samples."""
    rng = np.random.default_rng(seed)
    prepare = prepared_for(case)
    if case.model.endswith("imagenet"):
        photos = shuffled_photos(shared, rng)
        parts = [photos[: case.calibration], photos[case.calibration :][: case.judged]]
    else:
        wanted = (("train", case.calibration), ("test", case.judged))
        parts = [drawn(shared / "data" / f"cifar10_{part}.zip", count, rng) for part, count in wanted]
    paths = (folder / f"{case.model}-calibration.npz", folder / f"{case.model}-judging.npz")
    for path, images in zip(paths, parts, strict=True):
        write_npz(path, [(prepare(image), label) for image, label in images])
    return paths


def shuffled_photos(shared: Path, rng: np.random.Generator) -> list[tuple[bytes, int]]:
    """All shared photos, as files, with their classes of ImageNet."""
    found = [(file, int(file.name[:3])) for file in (shared / "data" / "imagenet_samples").glob("*.jpg")]
    found += [(file, INSECTS[file.parent.name]) for file in (shared / "data" / "hymenoptera").rglob("*.jpg")]
    found.sort(key=lambda pair: pair[0])
    return [(found[i][0].read_bytes(), found[i][1]) for i in rng.permutation(len(found))]


def prepared_for(case: Case) -> Callable[[bytes], NDArray[np.float32]]:
    """From a file to what the model reads."""
    from edgetl.core.preprocess import imagenet

    if case.model.endswith("imagenet"):
        return imagenet(224)
    return upsampled if case.model.endswith("64") else at_32


def write_npz(path: Path, images: Sequence[tuple[NDArray[np.float32], int]]) -> None:
    """Images with labels, as `x` and `y`."""
    np.savez(path, x=np.stack([image for image, _ in images]), y=np.array([label for _, label in images]))


def drawn(archive: Path, count: int, rng: np.random.Generator) -> list[tuple[bytes, int]]:
    """`count` of its photos, as files, with their classes."""
    with zipfile.ZipFile(archive) as pack:
        names = sorted(name for name in pack.namelist() if name.endswith(".jpg"))
        classes = sorted({Path(name).parent.name for name in names})
        return [(pack.read(names[i]), classes.index(Path(names[i]).parent.name)) for i in rng.choice(len(names), count, replace=False)]


def at_32(data: bytes) -> NDArray[np.float32]:
    """float32 [3, 32, 32], normalized."""
    from edgetl.core.preprocess import Preprocess

    return Preprocess(size=32, resize=32)(data)


def upsampled(data: bytes) -> NDArray[np.float32]:
    """float32 [3, 64, 64]: normalized at 32 px, then bilinear, align_corners=False."""
    values = at_32(data)
    for axis in (1, 2):
        at = np.clip((np.arange(64) + 0.5) / 2 - 0.5, 0, 31)
        low = at.astype(int)
        shape = [64 if i == axis else 1 for i in range(3)]
        share = (at - low).astype(np.float32).reshape(shape)
        values = values.take(low, axis) * (1 - share) + values.take(np.minimum(low + 1, 31), axis) * share
    return values


@dataclass
class Made:
    """What a tool gave: a file, or the reason why there is none."""

    tool: str
    out: Path
    costs: dict[str, float] = field(default_factory=dict)
    why_not: str | None = None


def made_by(name: str, tool: Tool, model: Path, calibration: Path, out: Path, peers: Path | None, limit: float) -> Made:
    """Let a tool quantize, in a process of its own; a file that it made before is taken as it is, with what it cost."""
    costs = out.with_suffix(".json")
    if costs.exists():
        return Made(name, out, costs=json.loads(costs.read_text(encoding="utf-8")))
    home = peers / tool.home if peers and tool.home else None
    python = next((path for path in (home / "bin" / "python", home / "Scripts" / "python.exe") if path.exists()), None) if home else None
    if tool.home and python is None:
        return Made(name, out, why_not=f"not installed (--peers DIR with DIR/{tool.home})")
    command = [str(python or sys.executable), __file__, "--run", name, str(model), str(calibration), str(out)]
    environment = os.environ | ({} if tool.home else {"PYTHONPATH": os.pathsep.join(sys.path)})
    try:
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=limit)
    except subprocess.TimeoutExpired:
        return Made(name, out, why_not=f"cut off after {limit:.0f} s")
    if done.returncode:
        return Made(name, out, why_not=f"fails: {(done.stderr.strip() or 'no message').splitlines()[-1][:160]}")
    made = Made(name, out, costs=json.loads(done.stdout.splitlines()[-1]))
    costs.write_text(json.dumps(made.costs), encoding="utf-8")
    return made


def rows_of(
    case: Case, tools: Sequence[str], shared: Path, folder: Path, peers: Path | None, limit: float, mirrored: bool
) -> Iterator[str]:
    """One line of the table for each tool."""
    from edgetl.data.npz import open_npz
    from edgetl.metrics.parity import sqnr_db
    from edgetl.runtime.answers import outputs_of

    model = (case.folder or shared / "models") / f"{case.model}.onnx"
    calibration, judging = write_images(case, shared, folder)
    made = [
        made_by(name, TOOLS[name], model, calibration, folder / f"{case.model}-{name.replace(' ', '-')}.onnx", peers, limit)
        for name in tools
    ]
    there = [item for item in made if item.why_not is None]
    if mirrored:
        judging = with_mirrored(judging)
    wanted, labels = outputs_of(model, open_npz(judging), batch_size=BATCH)
    assert labels is not None
    latencies = latencies_of(model, [item.out for item in there])
    answers = [outputs_of(item.out, open_npz(judging), batch_size=BATCH)[0] for item in there]
    views = 2 if mirrored else 1
    for item, latency, found in zip(there, latencies, answers, strict=True):
        lost = by_image(lost_answers(wanted, found, labels), views)
        same, first = (by_image(other.argmax(1) == wanted.argmax(1), views) for other in (found, answers[0]))
        noises = [by_image(np.square(other.astype(np.float64) - wanted).sum(1), views) for other in (answers[0], found)]
        yield (
            f"| {case.model} | {item.tool} | {100 * lost.mean():.2f} ± {200 * error_of(lost):.2f} "
            f"| {same.mean():.4f} ± {error_of(same):.4f} | {len(labels)} | {sqnr_db(wanted, found):.1f} "
            f"| {100 * (first - same).mean():.2f} ± {200 * error_of(first - same):.2f} | {lead_in_db(*noises)} "
            f"| {latency} | {item.out.stat().st_size / model.stat().st_size:.4f} "
            f"| {item.costs['seconds']:.0f} | {item.costs['peak_mib']:.0f} |"
        )
    for item in made:
        if item.why_not:
            yield f"| {case.model} | {item.tool} | {item.why_not} | | | | | | | | | | |"


def latencies_of(model: Path, files: Sequence[Path]) -> list[str]:
    """Of one image at one thread: ms of each file / of the float model = the share | % longer than the first file, ± two standard errors.

    Each repeat opens the files in another order: always opened last, a file was 2% faster than in any order (docs/log.md).
    """
    from edgetl.runtime.latency import measure_all

    paths, rng = [model, *files], np.random.default_rng(0)
    times = np.empty((LATENCY_REPEATS, len(paths)))
    for repeat in times:
        order = rng.permutation(len(paths))
        repeat[order] = [each.p50 for each in measure_all([paths[i] for i in order], LATENCY_RUNS)]
    base, *made = times.T
    cells = []
    for each in made:
        share, more = each / base, 100 * (each / made[0] - 1)
        ms = f"{each.mean():.2f} / {base.mean():.2f} = {share.mean():.3f} ± {2 * error_of(share):.3f}"
        cells.append(f"{ms} | {more.mean():.1f} ± {2 * error_of(more):.1f}")
    return cells


def with_mirrored(judging: Path) -> Path:
    """The images of an .npz, each followed by its mirror image, with labels."""
    stored = np.load(judging)
    x, y = stored["x"], stored["y"]
    path = judging.with_name(f"{judging.stem}-mirrored.npz")
    np.savez(path, x=np.stack([x, x[..., ::-1]], axis=1).reshape(-1, *x.shape[1:]), y=y.repeat(2))
    return path


def lost_answers(wanted: NDArray[np.float32], found: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 where only the float model's logits, [..., classes], are right, -1 where only the others are, else 0: [...], as the labels."""
    lost: NDArray[np.float64] = (wanted.argmax(-1) == labels).astype(float) - (found.argmax(-1) == labels)
    return lost


def by_image(values: NDArray[Any], views: int) -> NDArray[np.float64]:
    """Means of the views of an image, which are no independent observations."""
    means: NDArray[np.float64] = values.reshape(-1, views).mean(1)
    return means


def error_of(values: NDArray[np.float64]) -> float:
    """Standard error of the mean of one value per image, or repeat."""
    return float(values.std() / len(values) ** 0.5)


def lead_in_db(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> str:
    """How much less noise the first has, in dB; ± two standard errors of the logarithm of a ratio of sums over the same images."""
    if not ours.sum() or not theirs.sum():
        return "no noise"
    spread = np.sqrt(np.square(theirs / theirs.sum() - ours / ours.sum()).sum())
    return f"{10 * np.log10(theirs.sum() / ours.sum()):.1f} ± {20 / np.log(10) * spread:.1f}"


def cases(networks: Path | None, wanted: Sequence[str] | None) -> list[Case]:
    """The shared models, or those that `networks.py` wrote, as far as they are wanted."""
    found = CASES if networks is None else tuple(Case(path.stem, 256, 2_000, networks) for path in sorted(networks.glob("*_cifar??.onnx")))
    return [case for case in found if wanted is None or case.model in wanted]


def peak_mib() -> float:
    """The largest resident size of this process; NaN without /proc (getrusage starts at the parent's peak)."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.is_file() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), float("nan"))


def run_tool(name: str, model: Path, calibration: Path, out: Path) -> dict[str, float]:
    """Quantize in this process: seconds and peak memory, MiB."""
    begin = time.perf_counter()
    TOOLS[name].run(model, calibration, out)
    return {"seconds": time.perf_counter() - begin, "peak_mib": peak_mib()}


def shared_folder() -> Path:
    """Of models and images; without it there is nothing to measure."""
    found = Path(os.environ.get("EDGETL_SHARED", Path(__file__).parents[2] / "shared")).resolve()
    if not (found / "models").is_dir():
        sys.exit(f"needs models and images: no {found} (set EDGETL_SHARED)")
    return found


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, default=None, help="folder of the peers' virtual environments")
    parser.add_argument("--networks", type=Path, default=None, help="folder of networks.py's models, in place of the shared ones")
    parser.add_argument("--models", nargs="+", default=None, help="names of models, without .onnx. Default: all")
    parser.add_argument("--tools", nargs="+", default=list(TOOLS), choices=list(TOOLS))
    parser.add_argument("--images", type=int, default=None, help="images that judge, at most")
    parser.add_argument("--mirrored", action="store_true", help="judge by the mirror image of each image as well")
    parser.add_argument("--limit", type=float, default=900, help="seconds that a tool has for a model")
    parser.add_argument(
        "--keep", type=Path, default=None, help="folder for what is written, which a later run takes from there. Default: none"
    )
    parser.add_argument("--run", nargs=4, metavar=("TOOL", "MODEL", "NPZ", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        name, *paths = options.run
        found = run_tool(name, *(Path(path) for path in paths))
        sys.stdout.write("\n" + json.dumps(found) + "\n")
        return
    shared = shared_folder()
    print(f"{platform.machine()}, {os.cpu_count()} cores; drop and leads of the first tool in points or dB, ± 2 standard errors;")
    print("latency in ms (int8 / float) and % longer than that of the first tool, size as share of float\n")
    print("| model | tool | drop | agreement | n | SQNR dB | lead | lead dB | latency | longer, % | size | seconds | peak MiB |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="edgetl-") as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for case in cases(options.networks, options.models):
            limited = replace(case, judged=min(case.judged, options.images or case.judged))
            for row in rows_of(limited, options.tools, shared, folder, options.peers, options.limit, options.mirrored):
                print(row, flush=True)


if __name__ == "__main__":
    main()
