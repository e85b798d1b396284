"""Measures `kernels` of `report.json`; apart from the schema, which is read without onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgetl.core.artifacts import FileArtifact
from edgetl.core.files import read_json
from edgetl.report.kernels import KernelReport, KernelsReport
from edgetl.runtime.kernels import kernels, placement


def kernels_report(path: Path, size: Sequence[int], names: FileArtifact | None = None) -> KernelsReport:
    """Where the time of the graph at `path` goes, for an image of `size` [c, h, w]; `names`: JSON, of what is in it."""
    found = placement(kernels(path, like=size, names=read_json(names.path) if names else None))
    float_layers, islands = (
        tuple(KernelReport(name=kernel.name, kind=kernel.kind, share=kernel.share) for kernel in listed)
        for listed in (found.float_layers, found.islands)
    )
    return KernelsReport(int8=found.int8, conversion=found.conversion, floating=found.floating, float_layers=float_layers, islands=islands)
