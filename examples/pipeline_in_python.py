"""Run all five stages from Python: photos in, bundle and verdict out.

    python examples/pipeline_in_python.py PHOTOS RUN_FOLDER

PHOTOS holds one folder of images per class. Without arguments the handwritten digits of scikit-learn are used, as in `edgetl pipeline`.
A second call reuses what is finished.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from edgetl import PipelineSettings, Runtime, Workspace, open_images, pipeline, prepare, publish


def main(photos: str | None, run: Path, settings: PipelineSettings) -> str:
    """The verdict: certified, passed, undecided or failed."""
    images = open_images(photos, settings.data)
    with Workspace(run) as do:  # runs each stage once, and holds the lock of the folder
        job = prepare(images, settings, Runtime(), do.root / "weights")  # chooses teacher, student and image size
        outcome = pipeline(job, do)
        publish(outcome, run)  # writes bundle/, report.html and report.json
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    for name, model in report["models"].items():
        print(f"{name:<11} top1 {model['score']:.3f}  {model['size_bytes'] / 1000:8.1f} kB  {model['latency_ms']['p50']:.2f} ms")
    print(f"verdict: {report['verdict']}; shipped: {report['shipped']}; bundle: {run / 'bundle'}")
    return str(report["verdict"])


if __name__ == "__main__":
    given = sys.argv[1:]
    # The values of settings.toml and of --set have the same names.
    wanted = PipelineSettings.from_tables({"distill": {"seed": 1}, "verify": {"max_drop": 0.05}})
    main(given[0] if given else None, Path(given[1] if len(given) > 1 else "runs/example"), wanted)
