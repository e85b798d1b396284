"""One way in for ONNX files of other makers: the self-contained classifier in them, and what was changed to get it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from edgetl.core.errors import InputError
from edgetl.core.progress import say
from edgetl.runtime.engine import start
from edgetl.runtime.foreign.compare import compared
from edgetl.runtime.foreign.graph import free_name, graphs_in, nodes_in, values_of
from edgetl.runtime.foreign.images import take_images
from edgetl.runtime.foreign.precision import other_precisions, to_float32, with_float32_ends
from edgetl.runtime.foreign.refusals import refuse_changing_answers, refuse_not_finite, refuse_optimized
from edgetl.runtime.foreign.scores import give_scores
from edgetl.runtime.foreign.side_files import MOST_BYTES, load_side_files
from edgetl.runtime.foreign.sound import blamed_on, refuse_unreadable_text
from edgetl.runtime.loading import brief, load_proto, opset

STANDARD_DOMAIN = "ai.onnx"
ReadStep = Callable[[onnx.ModelProto, str], tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Foreign:
    """An ONNX file as it was understood.

    Attributes:
        path: the file.
        model: float32 images [n, c, h, w] in, float32 scores out, weights inside.
        said: what was changed to get there, for people; nothing where the file can be used as it lies.
    """

    path: Path
    model: onnx.ModelProto
    said: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether the file can be used as it lies."""
        return not self.said

    def tell(self) -> None:
        """Say what was changed."""
        for line in self.said:
            say(f"{self.path.name}: {line}")


def read_float(path: Path) -> Foreign:
    """The file at `path` as a float32 model, to be quantized or exported.

    Raises:
        InputError: a file that cannot be one: expected, found, what to do.
    """
    with blamed_on(path):
        model, said = _opened(path)
        refuse_optimized(model, path.name)
        return _finished(path, model, said, _in_float32)


def read_runnable(path: Path) -> Foreign:
    """The file at `path` as a model whose own answers are asked for: it computes in the types it has, where onnxruntime can.

    Raises:
        InputError: as `read_float`; what onnxruntime has optimized is fine here.
    """
    with blamed_on(path):
        model, said = _opened(path)
        return _finished(path, model, said, _as_it_computes)


def _opened(path: Path) -> tuple[onnx.ModelProto, list[str]]:
    """What lies there with all its weights, and nothing in it that no reader could mend."""
    model = load_proto(path)
    refuse_unreadable_text(model, path.name)
    said = [f"weights read from {', '.join(files)}"] if (files := load_side_files(model, path)) else []
    if model.functions:
        said.append(f"{len(model.functions)} functions of its own written out")
        model = _inlined(model, path.name)
    refuse_changing_answers(model, path.name)
    return model, said


def _inlined(model: onnx.ModelProto, name: str) -> onnx.ModelProto:
    try:
        return onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the inliner's errors are RuntimeErrors, ValidationErrors and more
        raise InputError(f"expected functions in {name} that onnx can inline, found: {brief(error)}. Export it again") from error


def _finished(path: Path, model: onnx.ModelProto, said: list[str], convert: ReadStep) -> Foreign:
    for step in (_standard, _dense, _names_apart, take_images, give_scores, convert):
        said += step(model, path.name)
    refuse_not_finite(model, path.name)
    return Foreign(path=path, model=model, said=tuple(said))


def _in_float32(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    if not other_precisions(model):
        return ()
    before = model.SerializeToString()
    kinds = " and ".join(to_float32(model))
    return (f"{kinds} inside: converted to float32{compared(before, model, name)}",)


def _as_it_computes(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    if not other_precisions(model):
        return ()
    before = model.SerializeToString()
    kinds = with_float32_ends(model)
    try:
        start(model.SerializeToString())
    except InputError:  # bfloat16 and float64 convolutions have no kernel
        model.ParseFromString(before)
        return (f"{' and '.join(to_float32(model))} inside, which onnxruntime does not run on a CPU: converted to float32",)
    return (f"takes and gives {' and '.join(kinds)}: converted from and to float32 at its ends",) if kinds else ()


def _standard(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    """The standard operators under the usual of their domain's two names, the empty one."""
    others = [item for item in model.opset_import if item.domain == STANDARD_DOMAIN]
    if not others and not any(node.domain == STANDARD_DOMAIN for node in nodes_in(model.graph)):
        return ()
    version = opset(model)
    kept = [item for item in model.opset_import if item.domain not in ("", STANDARD_DOMAIN)]
    pairs = [(item.domain, item.version) for item in kept]
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in [("", version), *pairs])
    for node in nodes_in(model.graph):
        node.domain = "" if node.domain == STANDARD_DOMAIN else node.domain
    return (f"its operators of domain {STANDARD_DOMAIN} are the standard ones",)


def _dense(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    """Sparse initializers as dense ones: the writer of int8 graphs knows no others."""
    count = 0
    for graph in graphs_in(model.graph):
        for sparse in graph.sparse_initializer:
            graph.initializer.append(_filled(sparse, name))
            count += 1
        del graph.sparse_initializer[:]
    return (f"{count} sparse weights written out",) if count else ()


def _filled(sparse: onnx.SparseTensorProto, name: str) -> onnx.TensorProto:
    """Indices are positions in the flat tensor, [nnz], or places in each dimension, [nnz, rank]."""
    values, indices = values_of(sparse.values), values_of(sparse.indices)
    if not 0 <= math.prod(sparse.dims) * values.itemsize <= MOST_BYTES:
        raise InputError(f"expected the sparse weight {sparse.values.name} of {name} to fit in 2 GB, found {list(sparse.dims)}")
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    try:
        dense[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dense.shape)] = values
    except (IndexError, ValueError) as error:
        found = f"found indices outside of it: {error}"
        raise InputError(f"expected the sparse weight {sparse.values.name} of {name} to fit its shape, {found}. Export it again") from error
    return numpy_helper.from_array(dense, sparse.values.name)


def _names_apart(model: onnx.ModelProto, name: str) -> tuple[str, ...]:
    """A name of its own for every node: onnxruntime refuses two of the same."""
    count = 0
    for graph in graphs_in(model.graph):
        taken: set[str] = set()
        for node in graph.node:
            if node.name in taken:
                node.name = free_name(model.graph, f"{node.name}_again")
                count += 1
            taken.update({node.name} - {""})
    return (f"{count} nodes renamed, others had their names",) if count else ()
