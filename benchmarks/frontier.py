"""What answers cost on a data set: the runs of `photos.py`, and the usual tutorial with onnxruntime's own int8, as one plot.

    python benchmarks/frontier.py FOLDER OUT.svg [--data hymenoptera] [--epochs 25]

FOLDER is that of `photos.py`; of each of its rows with that data the first seed that is done is shown: its int8 file, on the test photos.
The tutorial is that of `finetune_vs_tutorial.py`, with SqueezeNet 1.0 and fixed features, the better of its variants there; its int8 file
is onnxruntime's static quantization with the settings of its documentation, calibrated on training photos. Latencies are measured here,
in turns.
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from finetune_vs_tutorial import loaders, taught
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from photos import DATA, ROWS, RUN, SQUEEZENET

from edgetl.report.figures import Spot, frontier_figure, page_svg
from edgetl.runtime.latency import measure_all
from edgetl.runtime.session import open_session
from edgetl.training.fit import standard_error

BATCHES = 25  # of four photos, that calibrate
RUNS = 50


@dataclass(frozen=True)
class Point:
    """An int8 file, and its share of right answers on the test photos."""

    name: str
    path: Path
    score: float
    images: int


class Reader(CalibrationDataReader):  # type: ignore[misc]
    """Training photos, as the tutorial looks at them."""

    def __init__(self, photos: Path) -> None:
        self.left = islice(loaders(photos)[0], BATCHES)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch; None at the end."""
        batch = next(self.left, None)
        return None if batch is None else {"input": batch[0].numpy()}


def as_folders(data: Path, folder: Path) -> Path:
    """train/ and val/ as the tutorial wants them: links to what `photos.py` lists to learn and select from, and to judge by."""
    if data.is_dir():
        return data
    with data.open(newline="") as file:
        for index, row in enumerate(csv.DictReader(file)):
            link = folder / ("val" if row["part"] == "test" else "train") / row["label"] / f"{index}{Path(row['path']).suffix}"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(row["path"])
    return folder


def tutorial(photos: Path, folder: Path, epochs: int) -> Point:
    """SqueezeNet, fine-tuned as tutorials do it, exported, int8 by onnxruntime."""
    model, _ = taught(photos, SQUEEZENET, 0, fixed=True, epochs=epochs)
    path = {name: folder / f"{name}.onnx" for name in ("float", "prepared", "int8")}
    dynamic = ({0: torch.export.Dim("batch")},)
    torch.onnx.export(model, (torch.zeros(2, 3, 224, 224),), path["float"], input_names=["input"], dynamic_shapes=dynamic, verbose=False)
    quant_pre_process(path["float"], path["prepared"])
    torch.manual_seed(0)
    settings = {"quant_format": QuantFormat.QDQ, "activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8, "per_channel": True}
    quantize_static(path["prepared"], path["int8"], Reader(photos), **settings)
    session, right, images = open_session(path["int8"]), 0, 0
    for x, y in loaders(photos)[1]:
        right += int((session.run(x.numpy()).argmax(1) == y.numpy()).sum())
        images += len(y)
    return Point("tutorial: squeezenet1_0, int8 by onnxruntime", path["int8"], right / images, images)


def done(folder: Path, data: str) -> Iterator[Point]:
    """The runs on that data that are there."""
    for name, row in ROWS.items():
        found = sorted(folder.glob(f"{name}-[0-9]/{RUN}"))
        if row.data == data and found:
            report = json.loads(found[0].read_text())
            int8, size = report["models"]["onnx_int8"], report["data"]["images"]["test"]
            yield Point(int8["arch"], found[0].parent / "bundle" / "model.onnx", int8["score"], size)


def main() -> None:
    """Draw, and print what is drawn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", choices=sorted({row.data for row in ROWS.values()}), default="hymenoptera")
    parser.add_argument("--epochs", type=int, default=25, help="of the tutorial")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        photos = as_folders(Path(DATA[options.data](options.folder)), Path(temporary))
        points = [*done(options.folder, options.data), tutorial(photos, Path(temporary), options.epochs)]
        times = [latency.p50 for latency in measure_all([point.path for point in points], RUNS)]
        spots = [
            Spot(
                name=point.name,
                kb=point.path.stat().st_size / 1000,
                ms=time,
                score=point.score,
                standard_error=standard_error(point.score, point.images),
            )
            for point, time in zip(points, times, strict=True)
        ]
    options.out.write_text(page_svg(frontier_figure(spots, f"test score, %, of {points[0].images} photos")))
    print("| int8 file | kB | ms | test score |\n|---|---|---|---|")
    for spot in sorted(spots, key=lambda spot: -spot.score):
        print(f"| {spot.name} | {spot.kb:.0f} | {spot.ms:.2f} | {spot.score:.3f} ± {spot.standard_error:.3f} |")


if __name__ == "__main__":
    main()
