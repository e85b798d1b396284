"""The parts of a report about the bundle: its decision rule, and its graphs that take pixels, on the test images."""

from __future__ import annotations

from edgetl.bundle.read import open_bundle
from edgetl.core.artifacts import BundleFolder
from edgetl.data.images import Images
from edgetl.data.npz import NpzRows, NpzTensors
from edgetl.report.confidence import ConfidenceReport, confidence_report
from edgetl.report.embedded import Embedded, embedded_report
from edgetl.report.judgement import Judgement
from edgetl.report.schema import model_name


def confidence_of(folder: BundleFolder | None, judgement: Judgement) -> ConfidenceReport | None:
    """The bundle's decision rule, where it has one and what it ships was judged."""
    name = model_name(judgement.shipped)
    rule = open_bundle(folder.path).manifest.decision if folder else None
    if rule is None or name not in judgement.outputs:
        return None
    return confidence_report(rule, judgement.task_of(name), judgement.outputs[name], judgement.labels, judgement.groups)


def embedded_of(folder: BundleFolder | None, data: Images | NpzTensors | NpzRows, judgement: Judgement) -> Embedded | None:
    """The bundle's graphs that take pixels, where there are image files and what it ships was judged."""
    name = model_name(judgement.shipped)
    if folder is None or not isinstance(data, Images) or name not in judgement.outputs:
        return None
    preprocess = open_bundle(folder.path).manifest.preprocess
    return embedded_report(folder.path, preprocess, data, judgement.task_of(name), judgement.outputs[name], judgement.labels)
