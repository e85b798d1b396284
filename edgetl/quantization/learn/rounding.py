"""Weights and biases of a QDQ graph, one layer after the other, each for the inputs that the int8 layers before it give.

1. Second-order rounding: the weights that are not rounded yet compensate the error of a rounded one, as far as the inputs
   of the layer correlate. Frantar et al. 2022, "Optimal Brain Compression" and "GPTQ": with the second moments
   H = E[x x^T] of a layer's inputs, the change that follows from rounding weight j is in row j of the Cholesky factor of H^-1.
2. Bias correction: the mean of every output channel is that of the float graph. Nagel et al. 2019, "Data-free
   quantization through weight equalization and bias correction", section 4.2.

No labels. A bounded number of images, all of them in memory between two layers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor
from torch.nn import functional as F

from edgetl.quantization.candidates.saturation import PAIR_SUM_MAX, Pairs
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHT_CODE_MAX, WEIGHTED, float_name, layers
from edgetl.quantization.graph.quant_params import QuantParams, with_quant_params
from edgetl.quantization.learn.operators import interleaved, spatial_padding
from edgetl.quantization.learn.quantizers import Bias, Weight
from edgetl.quantization.learn.simulation import GraphStep, Simulation, key
from edgetl.quantization.observe.effort import REFINED_IMAGES, REFINED_PIXELS
from edgetl.quantization.observe.split_for_judging import few_images
from edgetl.quantization.observe.work import MOMENT_ROWS, MOST_INPUTS
from edgetl.runtime.session import InputSource
from edgetl.training.device import threaded

DAMPING_SHARE = 0.01  # of the mean of the diagonal of H
BLOCK_WEIGHTS = 128  # weights whose rounding is made good at once


def refined(
    float_model: onnx.ModelProto,
    qdq: onnx.ModelProto,
    source: InputSource,
    *,
    second_order: bool = False,
    correct_biases: bool = False,
    pairs: Mapping[str, Pairs] | None = None,
    threads: int = 1,
    seed: int = 0,
) -> onnx.ModelProto:
    """A QDQ graph with other codes of weights, other biases, or both.

    Args:
        float_model: the graph that `qdq` was made from.
        qdq: where to start; its scales stay.
        source: images, a few of which, spread over them, are looked at; their labels are not read.
        second_order: round weights again.
        correct_biases: correct the mean of each output channel.
        pairs: neighbours in weights that must not saturate, by the name of the codes.
        threads: of torch.
        seed: for the choice of positions that give the second moments.

    Raises:
        UnknownOperator: the graph cannot be run in torch.
    """
    x = torch.from_numpy(few_images(source, REFINED_PIXELS, REFINED_IMAGES))
    with threaded(threads), torch.no_grad():
        means: dict[str, Tensor] = {}
        if correct_biases:
            teacher = _Means(float_model)
            teacher(x)
            means = teacher.means
        student = _Refining(float_model, qdq, pairs or {}, means, second_order, seed)
        student(x)
    return with_quant_params(qdq, student.found)


class _Means(Simulation):
    """A float graph that notes the mean of each output channel of its layers, by the name of the weight."""

    def __init__(self, model: onnx.ModelProto) -> None:
        super().__init__(model)
        self.means: dict[str, Tensor] = {}

    def _run(self, step: GraphStep, given: list[Any]) -> tuple[Any, ...]:
        outputs = super()._run(step, given)
        if step.kind in WEIGHTED:
            self.means[step.inputs[1]] = channel_means(outputs[0], step.kind)
        return outputs


class _Refining(Simulation):
    """A QDQ graph whose layers get their new numbers when they are reached."""

    def __init__(
        self,
        float_model: onnx.ModelProto,
        qdq: onnx.ModelProto,
        pairs: Mapping[str, Pairs],
        means: Mapping[str, Tensor],
        second_order: bool,
        seed: int,
    ) -> None:
        super().__init__(qdq, GraphIndex(float_model).constants, pairs)
        self.pairs, self.means, self.second_order = pairs, means, second_order
        self.generator = torch.Generator().manual_seed(seed)
        self.layers = {layer.node.output[0]: layer for layer in layers(GraphIndex(qdq))}
        self.weights_found: dict[str, tuple[Any, Any]] = {}
        self.biases_found: dict[str, Any] = {}

    @property
    def found(self) -> QuantParams:
        """The new numbers."""
        return QuantParams(weights=self.weights_found, biases=self.biases_found)

    def _run(self, step: GraphStep, given: list[Any]) -> tuple[Any, ...]:
        layer = self.layers.get(step.outputs[0]) if step.kind in WEIGHTED else None
        if layer is None:
            return super()._run(step, given)
        codes = layer.weight.input[0]
        weight = self.weights[key(codes)]
        assert isinstance(weight, Weight)
        if self.second_order and (shaped := Columns.of(step, weight)) is not None:
            exact = shaped.rows(weight.get_buffer("exact"))
            moments = shaped.second_moments(given[0], self.generator)
            rounded_codes = shaped.back(second_order_codes(exact, moments, shaped.partners(self.pairs.get(codes))))
            given = [given[0], rounded_codes * weight.get_buffer("scale"), *given[2:]]
            self.weights_found[codes] = (rounded_codes.numpy().astype(np.int8), weight.get_buffer("scale").numpy())
        (output,) = super()._run(step, given)
        mean = self.means.get(float_name(codes))
        if mean is None or layer.bias is None or not isinstance(bias := self.weights[key(layer.bias.input[0])], Bias):
            return (output,)
        missing = (mean - channel_means(output, step.kind)).reshape(bias().shape)
        self.biases_found[layer.bias.input[0]] = (bias() + missing).numpy()
        return (output + missing.reshape(1, -1, *(1,) * (output.dim() - 2)) if step.kind == "Conv" else output + missing,)


def channel_means(output: Tensor, kind: str) -> Tensor:
    """Means of the channels of a layer's output, float32 [channels]: axis 1 of a Conv's, the last axis of a matrix product's."""
    channels = output.transpose(1, -1) if kind == "Conv" else output
    return channels.reshape(-1, channels.shape[-1]).mean(0)


@dataclass(frozen=True)
class Columns:
    """How a layer's weight is a matrix for each group of channels: [groups, outputs, inputs of one output]."""

    step: GraphStep
    shape: torch.Size
    groups: int
    transposed: bool

    @staticmethod
    def of(step: GraphStep, weight: Weight) -> Columns | None:
        """None where it is neither a Conv of images nor one matrix, or too wide."""
        shape = weight.codes.shape
        if step.kind == "Conv":
            found = Columns(step, shape, step.attributes.get("group", 1), False) if len(shape) == 4 else None
        else:
            plain = len(shape) == 2 and not step.attributes.get("transA")
            found = Columns(step, shape, 1, not step.attributes.get("transB")) if plain else None
        return found if found is not None and found.inputs <= MOST_INPUTS else None

    @property
    def inputs(self) -> int:
        """How many weights each output has."""
        return self.shape[0] if self.transposed else int(np.prod(self.shape[1:]))

    def rows(self, values: Tensor) -> Tensor:
        """The weight as [groups, outputs, inputs]."""
        flat = values.t() if self.transposed else values.flatten(1)
        return flat.reshape(self.groups, -1, flat.shape[1])

    def back(self, rows: Tensor) -> Tensor:
        """What `rows` gave, in the weight's own shape."""
        flat = rows.flatten(0, 1)
        return flat.t().contiguous() if self.transposed else flat.reshape(self.shape)

    def partners(self, pairs: Pairs | None) -> list[int | None]:
        """For each input the one that it shares a 16-bit sum with."""
        found: list[int | None] = [None] * self.inputs
        if pairs is None:
            return found
        places = np.stack([pairs.first, pairs.second])
        inputs, outputs = (
            (places // self.shape[1], places % self.shape[1]) if self.transposed else (places % self.inputs, places // self.inputs)
        )
        for a, b in inputs[:, outputs[0] == 0].T.tolist():  # the same for every output
            found[a], found[b] = b, a
        return found

    def second_moments(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """E[x x^T] over positions of all images, [groups, inputs, inputs]."""
        if self.step.kind != "Conv":
            flat = x.reshape(-1, x.shape[-1])
            chosen = flat[torch.randperm(len(flat), generator=generator)[:MOMENT_ROWS]]
            return (chosen.t() @ chosen)[None] / len(chosen)
        a, window = self.step.attributes, self.shape[2:]
        begin, end = spatial_padding(a, x.shape[2:], window)
        total: Any = 0
        each = max(1, MOMENT_ROWS // len(x))
        for image in x:
            padded = F.pad(image[None], interleaved(begin, end)) if any(begin) or any(end) else image[None]
            columns = F.unfold(padded, window, dilation=a.get("dilations") or 1, stride=a.get("strides") or 1)[0]
            columns = columns[:, torch.randperm(columns.shape[1], generator=generator)[:each]]
            grouped = columns.reshape(self.groups, -1, columns.shape[1])
            total = total + grouped @ grouped.transpose(1, 2) / (columns.shape[1] * len(x))
        moments: Tensor = total
        return moments


def second_order_codes(values: Tensor, moments: Tensor, partners: Collection[int | None]) -> Tensor:
    """Whole numbers in [-127, 127] for `values` (in steps), whose errors cancel as far as inputs go together.

    Args:
        values: float32 [groups, outputs, inputs].
        moments: of the inputs, [groups, inputs, inputs].
        partners: of each input, the one that shares its 16-bit sum.
    """
    together = list(partners)
    size = values.shape[2]
    diagonal = moments.diagonal(dim1=1, dim2=2)
    damped = moments + torch.diag_embed((DAMPING_SHARE * diagonal.mean(1, keepdim=True) + 1e-12).expand_as(diagonal))
    order = torch.argsort(diagonal.mean(0), descending=True, stable=True)  # what matters most first, as all others can still follow
    factor = damped[:, order][:, :, order].double()
    factor = torch.linalg.cholesky(factor)  # one at a time: of the widest layers each has 170 MB
    factor = torch.cholesky_inverse(factor)
    factor = torch.linalg.cholesky(factor, upper=True).float()
    left, codes = values[:, :, order].clone(), torch.zeros_like(values)
    for start in range(0, size, BLOCK_WEIGHTS):
        stop = min(start + BLOCK_WEIGHTS, size)
        errors = torch.zeros(*values.shape[:2], stop - start)
        for at in range(start, stop):
            column = int(order[at])
            now = torch.clamp(torch.round(left[:, :, at]), -WEIGHT_CODE_MAX, WEIGHT_CODE_MAX)
            if (other := together[column]) is not None:
                theirs = codes[:, :, other]  # 0 as long as it has not been rounded
                now = torch.minimum(torch.maximum(now, -PAIR_SUM_MAX - theirs), PAIR_SUM_MAX - theirs)
            codes[:, :, column] = now
            wrong = (left[:, :, at] - now) / factor[:, at, at, None]
            left[:, :, at:stop] -= wrong[:, :, None] * factor[:, at, None, at:stop]
            errors[:, :, at - start] = wrong
        left[:, :, stop:] -= errors @ factor[:, start:stop, stop:]
    return codes
