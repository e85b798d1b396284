"""edgetl: from a folder of labelled photos to a verified int8 ONNX classifier.

    from pathlib import Path
    from edgetl import PipelineSettings, Runtime, Workspace, open_images, pipeline, prepare, publish

    data = open_images("photos", PipelineSettings().data)
    with Workspace(Path("runs/photos")) as do:
        outcome = pipeline(prepare(data, PipelineSettings(), Runtime(), do.root / "weights"), do)
        publish(outcome, do.root)
    print(outcome.verdict.verdict)

Names are imported when they are first used, so that `import edgetl` is quick and torch comes only with what needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from edgetl.core.waiting import wait_briefly

wait_briefly()

if TYPE_CHECKING:
    from edgetl.bundle.predict import predict
    from edgetl.bundle.read import open_bundle
    from edgetl.core.preprocess import Preprocess
    from edgetl.core.workspace import Workspace
    from edgetl.data.calibration import open_calibration, open_evaluation
    from edgetl.data.sources import open_images
    from edgetl.quantization.api import quantize
    from edgetl.selection.job import prepare
    from edgetl.settings import PipelineSettings, Runtime
    from edgetl.stages.distill import Distill
    from edgetl.stages.export import Export
    from edgetl.stages.finetune import Finetune
    from edgetl.stages.lower import Lower
    from edgetl.stages.quantize import Quantize
    from edgetl.stages.verify import Verify
    from edgetl.workflow import pipeline, publish

__all__ = [
    "Distill",
    "Export",
    "Finetune",
    "Lower",
    "PipelineSettings",
    "Preprocess",
    "Quantize",
    "Runtime",
    "Verify",
    "Workspace",
    "open_bundle",
    "open_calibration",
    "open_evaluation",
    "open_images",
    "pipeline",
    "predict",
    "prepare",
    "publish",
    "quantize",
]

_HOMES = {
    "Distill": "stages.distill",
    "Export": "stages.export",
    "Finetune": "stages.finetune",
    "Lower": "stages.lower",
    "PipelineSettings": "settings",
    "Preprocess": "core.preprocess",
    "Quantize": "stages.quantize",
    "Runtime": "settings",
    "Verify": "stages.verify",
    "Workspace": "core.workspace",
    "open_bundle": "bundle.read",
    "open_calibration": "data.calibration",
    "open_evaluation": "data.calibration",
    "open_images": "data.sources",
    "pipeline": "workflow",
    "predict": "bundle.predict",
    "prepare": "selection.job",
    "publish": "workflow",
    "quantize": "quantization.api",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'edgetl' has no attribute {name!r}")
    return getattr(import_module(f"edgetl.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
