"""Operator sets that the file uses, and no others, at an IR version that its readers know."""

from __future__ import annotations

from edgetl.quantization.graph.opsets import with_opsets_used
from edgetl.quantization.graph.passes import Pass

USED_OPSETS = Pass(name="used operator sets", rewrite=lambda index: with_opsets_used(index.model), keeps="same bits")
