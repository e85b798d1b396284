"""Checks that images fit one model, before any of them is decoded; mismatches are explained in terms of the Preprocess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edgetl.core.misfit import refuse_misfit
from edgetl.core.preprocess import Preprocess
from edgetl.data.survey import deepest, surveyed
from edgetl.data.tensors import ImageTensors, TensorSource
from edgetl.runtime.engine import start
from edgetl.runtime.model_input import input_of


def suited(model: Path, sources: Sequence[TensorSource]) -> list[TensorSource]:
    """The sources for one model, all images with one Preprocess that is adapted to their files; arrays of an .npz stay as they are.

    Raises:
        InputError: a Preprocess that does not give what the model takes, or images that cannot be prepared.
    """
    pictured = [source for source in sources if isinstance(source, ImageTensors)]
    if not pictured:
        return list(sources)
    first, depth = pictured[0], deepest(source.images.depth for source in pictured)
    refuse_other_inputs(model, first.preprocess)
    prepared = surveyed(replace(first.images, depth=depth), first.preprocess)
    return [replace(source, preprocess=prepared) if isinstance(source, ImageTensors) else source for source in sources]


def refuse_other_inputs(model: Path, preprocess: Preprocess) -> None:
    """Pass if the model takes what the Preprocess gives.

    Raises:
        InputError: it does not; says which fields to change.
    """
    refuse_misfit(preprocess, input_of(start(model), model.name).shape, model.name)
