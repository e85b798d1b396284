"""Test images, and those among them that a model has seen."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from edgetl.data.images import Images
from edgetl.data.npz import NpzRows, NpzTensors


def without(data: Images | NpzTensors, hashes: Collection[str]) -> Images | NpzRows:
    """The samples that have none of these hashes."""
    if isinstance(data, Images):
        return replace(data, refs=tuple(ref for ref in data.refs if ref.sha256 not in hashes))
    return NpzRows(whole=data, rows=tuple(row for row, sha in enumerate(data.hashes) if sha not in hashes))


def places(data: Images | NpzTensors) -> list[tuple[str, str]]:
    """Where each sample lies, for people, and its sha256."""
    if isinstance(data, Images):
        return sorted((ref.where, ref.sha256) for ref in data.refs)
    return list(zip(data.places, data.hashes, strict=True))
