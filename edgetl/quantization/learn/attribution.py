"""Where the noise of int8 comes from: the share of each rounding, of activations and of weights, in the error of the logits.

One pass over a few images. Each rounding is taken alone, to first order: its error times the gradient of the logits there.
The gradient is that of one random sum of the logits with signs v, since E[(v . J e)^2] = |J e|^2 (Hutchinson 1989, "A
stochastic estimator of the trace"), so one backward pass serves all roundings at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import onnx
import torch
from torch import Tensor

from edgetl.quantization.candidates.qdq import FORWARDING
from edgetl.quantization.candidates.saturation import Pairs
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.layers import WEIGHTED, absorbed, float_name
from edgetl.quantization.learn.noise import NoiseSource
from edgetl.quantization.learn.quantizers import Quantizer, Weight
from edgetl.quantization.learn.simulation import GraphStep, Simulation, UnroundedCodes, key
from edgetl.quantization.observe.effort import ATTRIBUTED_IMAGES, ATTRIBUTED_PIXELS
from edgetl.quantization.observe.split_for_judging import few_images
from edgetl.runtime.session import InputSource
from edgetl.training.device import threaded

HANDS_ON = FORWARDING | {"MaxPool", "Slice", "Split"}
SIGNS_PER_IMAGE = 2  # random sums per image
PIXELS_AT_ONCE = 50_000  # pixels whose activations and gradients are in memory, or one image


def attribute(
    float_model: onnx.ModelProto,
    qdq: onnx.ModelProto,
    source: InputSource,
    *,
    pairs: Mapping[str, Pairs] | None = None,
    images: int = ATTRIBUTED_IMAGES,
    threads: int = 1,
    seed: int = 0,
) -> tuple[NoiseSource, ...]:
    """The roundings of a QDQ graph, the worst first.

    Args:
        float_model: what `qdq` was made from.
        qdq: the graph; only its stored numbers round, its operators compute in float32.
        source: images, a few of which, spread over them, are looked at; their labels are not read.
        pairs: neighbours in weights that are limited, by the name of their codes.
        images: how many are looked at, at most.
        threads: of torch.
        seed: of the signs.

    Raises:
        UnknownOperator: the graph cannot be run in torch.
    """
    probed = Probed(qdq, float_model, pairs)
    generator = torch.Generator().manual_seed(seed)
    looked_at = torch.from_numpy(few_images(source, ATTRIBUTED_PIXELS, images, min(images, 8)))
    seen = 0
    with threaded(threads):
        for x in torch.split(looked_at, max(1, PIXELS_AT_ONCE // (looked_at.shape[2] * looked_at.shape[3]))):
            logits, _ = probed(x.contiguous(memory_format=torch.channels_last))
            for _ in range(SIGNS_PER_IMAGE):
                signs = torch.randint(0, 2, logits.shape, generator=generator).float() * 2 - 1
                (logits * signs).sum().backward(retain_graph=True)
            seen += len(x) * SIGNS_PER_IMAGE
    noises = {site: total / seen for site, total in probed.noise.items()}
    whole = sum(noises.values()) or 1.0
    found = [NoiseSource(name=name, kind=kind, noise=noise, share=noise / whole) for (name, kind), noise in noises.items()]
    return tuple(sorted(found, key=lambda source: (-source.noise, source.name)))


Site = tuple[str, Literal["activations", "weights"]]


class Probed(Simulation):
    """The float function of a QDQ graph, which measures in the backward pass what each rounding would do."""

    def __init__(self, model: onnx.ModelProto, float_model: onnx.ModelProto, pairs: Mapping[str, Pairs] | None) -> None:
        index, floats = GraphIndex(model), GraphIndex(float_model)
        super().__init__(model, floats.constants, pairs)
        self.noise: dict[Site, float] = {}
        for weight in self.weights.values():
            if isinstance(weight, Weight):
                weight.codes.data = weight.get_buffer("exact").clone()  # to the nearest: what was learned makes good for others
        self.rounded = {  # already, to the same codes, before an operator that hands them on
            node.input[0]
            for node in index.nodes
            if node.op_type == "QuantizeLinear"
            and (maker := index.producer(node.input[0])) is not None
            and maker.op_type in HANDS_ON
            and (before := index.producer(maker.input[0])) is not None
            and before.input[1:2] == node.input[1:2]
        }
        self.absorbed = absorbed(floats, index)
        self.behind = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}

    def _run(self, step: GraphStep, given: list[Any]) -> tuple[Any, ...]:
        if step.kind == "DequantizeLinear" and isinstance(given[0], UnroundedCodes):
            quantizer = self.quantizers[given[0].quantizer]
            assert isinstance(quantizer, Quantizer)
            name, exact = given[0].name, given[0].values
            if name in self.rounded:
                return (exact,)
            if name in self.absorbed:
                exact = torch.clamp(exact, *self.absorbed[name])
            return (self._probed(exact, (name, "activations"), lambda: quantizer(exact) - exact),)
        weight = self._weight(step.inputs[1]) if step.kind in WEIGHTED else None
        if step.kind == "DequantizeLinear" and (stored := self._weight(step.outputs[0])) is not None:
            return (stored.get_buffer("exact") * stored.get_buffer("scale"),)
        (result,) = (outputs := super()._run(step, given))[:1]
        if weight is None:
            return outputs
        run, x, exact = super()._run, given[0], given[1]
        return (self._probed(result, (float_name(self.behind[step.inputs[1]]), "weights"), lambda: run(step, [x, weight() - exact])[0]),)

    def _weight(self, dequantized: str) -> Weight | None:
        found = self.weights[name] if (name := key(self.behind.get(dequantized, ""))) in self.weights else None
        return found if isinstance(found, Weight) else None

    def _probed(self, value: Tensor, site: Site, error: Callable[[], Tensor]) -> Tensor:
        """`value`, whose gradient is multiplied by its error; that is computed only then, from what autograd keeps in any case."""
        self.noise.setdefault(site, 0.0)

        def note(gradient: Tensor) -> None:
            with torch.no_grad():
                self.noise[site] += float((gradient * error()).flatten(1).sum(1).square().sum())

        probe = (value if value.requires_grad else value.detach().requires_grad_()).view_as(value)  # of this reader only
        probe.register_hook(note)  # type: ignore[no-untyped-call]
        return probe
