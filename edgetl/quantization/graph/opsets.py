"""Operator sets and IR versions: what a file declares, so that its readers take it."""

from __future__ import annotations

import onnx

OLDEST_IR, NEWEST_IR = 8, 10  # below 4, weights were inputs; above 10, older runtimes do not read the file


def with_opsets_used(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy that imports only the operator sets it uses, at an IR version that its readers know."""
    used = {node.domain for node in model.graph.node} | {""}
    trimmed = onnx.ModelProto()
    trimmed.CopyFrom(model)
    del trimmed.opset_import[:]
    trimmed.opset_import.extend(sorted((item for item in model.opset_import if item.domain in used), key=lambda item: item.domain))
    trimmed.ir_version = min(max(model.ir_version, OLDEST_IR), NEWEST_IR)
    return trimmed
