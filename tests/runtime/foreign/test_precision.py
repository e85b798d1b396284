"""Laws of other float types: float32 for the engine, their own answers for who asks the file itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgetl.core.errors import InputError
from edgetl.runtime.foreign.compare import compared
from edgetl.runtime.foreign.read import read_float, read_runnable

Build = Callable[..., onnx.ModelProto]
Save = Callable[[onnx.ModelProto], Path]
TYPES = [
    (TensorProto.FLOAT16, np.float16, "float16"),
    (TensorProto.BFLOAT16, ml_dtypes.bfloat16, "bfloat16"),
    (TensorProto.DOUBLE, float, "float64"),
]


KINDS = {np.dtype(dtype): kind for kind, dtype, _ in TYPES}


def stored_as(model: onnx.ModelProto, dtype: Any) -> onnx.ModelProto:
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).astype(dtype)  # onnx 1.17 takes no bfloat16 in `from_array`
        tensor.CopyFrom(onnx.helper.make_tensor(tensor.name, KINDS[values.dtype], values.shape, values.tobytes(), raw=True))
    return model


@pytest.mark.parametrize(("kind", "dtype", "name"), TYPES)
def test_other_types_become_float32_with_the_same_weights(
    build: Build, save: Save, ask: Any, images: Any, kind: int, dtype: Any, name: str
) -> None:
    model = stored_as(build(kind=kind), dtype)
    found = read_float(save(model))
    weights = {tensor.name: numpy_helper.to_array(tensor).astype(np.float32) for tensor in model.graph.initializer}
    np.testing.assert_array_equal(ask(found.model, images), ask(build(stored=weights), images))
    assert found.said == (f"{name} inside: converted to float32",)


def test_float16_between_casts_becomes_float32(build: Build, save: Save, ask: Any, images: Any) -> None:
    ends = {
        "front": [helper.make_node("Cast", ["x"], ["image"], to=TensorProto.FLOAT16)],
        "tail": [helper.make_node("Cast", ["scores"], ["logits"], to=TensorProto.FLOAT)],
        "outputs": [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 5])],
    }
    path = save(stored_as(build(**ends), np.float16))
    found = read_float(path)
    assert found.said == ("float16 inside: converted to float32",)
    assert {tensor.data_type for tensor in found.model.graph.initializer} == {TensorProto.FLOAT}
    np.testing.assert_allclose(ask(found.model, images), ask(path, images), atol=0.02)
    assert read_runnable(path).clean  # float32 at its ends: it is judged as it is


def test_a_float16_file_is_asked_in_float16(build: Build, save: Save, ask: Any, images: Any) -> None:
    path = save(stored_as(build(kind=TensorProto.FLOAT16), np.float16))
    found = read_runnable(path)
    assert {tensor.data_type for tensor in found.model.graph.initializer} == {TensorProto.FLOAT16}
    np.testing.assert_allclose(ask(found.model, images), ask(path, images.astype(np.float16)), rtol=1e-3)  # the last is rounded to float16
    assert "takes and gives float16" in found.said[0]


@pytest.mark.parametrize("dtype", [np.float16, float])
def test_other_types_in_branches_and_attributes_are_converted_too(build: Build, save: Save, ask: Any, images: Any, dtype: Any) -> None:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = numpy_helper.from_array(np.full((8, 1, 1), 0.5, dtype))
    twice = [helper.make_node("Constant", [], ["k"], value=value), helper.make_node("Mul", ["r", "k"], ["t"])]
    same = [helper.make_node("Cast", ["r"], ["i"], to=kind)]
    then, other = (
        helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(nodes[-1].output[0], kind, None)]) for nodes in (twice, same)
    )
    middle = [helper.make_node("If", ["yes"], ["h"], then_branch=then, else_branch=other)]
    model = stored_as(build(middle=middle, kind=kind), dtype)
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    found = read_float(save(model)).model
    half = build(middle=[helper.make_node("Mul", ["r", "k"], ["h"])], stored={"k": np.full((8, 1, 1), 0.5, np.float32)})
    np.testing.assert_allclose(ask(found, images), ask(half, images), atol=0.01)


def test_overflow_in_float16_is_said(build: Build, save: Save) -> None:
    model = build(kind=TensorProto.FLOAT16, stored={"b": np.full(5, 60000), "f": np.full((8, 5), 60000)})
    assert "where it does not overflow as before" in read_float(save(stored_as(model, np.float16))).said[0]


def test_answers_that_changed_with_the_types_are_refused(build: Build) -> None:
    other = build(stored={"b": np.full(5, 3, np.float32)})
    with pytest.raises(InputError, match=r"expected the same outputs of m.onnx after conversion to float32, found a difference of"):
        compared(build().SerializeToString(), other, "m.onnx")
    assert compared(build().SerializeToString(), build(), "m.onnx") == ""


def test_sizes_computed_in_float64_stay(build: Build, save: Save) -> None:
    """Exporters compute the sizes of Resize so; only weights and ends make a model a float64 one."""
    middle = [helper.make_node("Cast", ["k"], ["d"], to=TensorProto.DOUBLE), helper.make_node("Floor", ["d"], ["e"])]
    middle += [helper.make_node("Cast", ["e"], ["s"], to=TensorProto.FLOAT), helper.make_node("Mul", ["r", "s"], ["h"])]
    assert read_float(save(build(middle=middle, stored={"k": np.float32(1.5)}))).clean
