"""Nodes that nothing reads any more, taken out."""

from __future__ import annotations

from edgetl.quantization.graph.editing import without_unread
from edgetl.quantization.graph.passes import Pass

UNREAD_NODES = Pass(name="unread nodes", rewrite=lambda index: without_unread(index.model), keeps="same bits")
