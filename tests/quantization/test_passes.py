"""Each pass keeps what it says, on graphs that it changes, under onnxruntime; and one that does not is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgetl.metrics.parity import sqnr_db
from edgetl.quantization.candidates.baseline import Baseline
from edgetl.quantization.candidates.qdq import as_qdq
from edgetl.quantization.candidates.unsaturated import graph_to_judge
from edgetl.quantization.graph.editing import with_nodes
from edgetl.quantization.graph.index import GraphIndex
from edgetl.quantization.graph.names import may_be_given, value_names
from edgetl.quantization.graph.passes import Pass, run
from edgetl.quantization.graph.types import inferred
from edgetl.quantization.layout.lay_out import passes as layout_passes
from edgetl.quantization.observe.split_for_judging import Arrays
from edgetl.quantization.prepare.node_names import NODE_NAMES
from edgetl.quantization.prepare.prepare import PASSES as PREPARE
from edgetl.quantization.prepare.prepare import prepare_graph
from edgetl.quantization.prepare.read import read_float_graph
from edgetl.runtime.session import open_graph
from edgetl.settings import Target

from .conftest import bounded_layers

MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def photos(count: int, channels: int, side: int, seed: int = 0) -> NDArray[np.float32]:
    """Images of 256 levels, normalized, smooth enough for layers to tell them apart."""
    rng = np.random.default_rng(seed)
    codes = np.clip(rng.normal(128, 40, (count, channels, 1, 1)) + rng.normal(0, 50, (count, channels, side, side)), 0, 255).astype(
        np.uint8
    )
    codes[:, :, 0, :2] = [0, 255]
    mean, std = (values[:channels, None, None] for values in (MEAN, STD))
    return ((codes / 255 - mean) / std).astype(np.float32)


@dataclass(frozen=True)
class Judge:
    """Images, and what the float graph answers to them."""

    photos: NDArray[np.float32]
    wanted: NDArray[np.float32] | None = None

    def __call__(self, keeps: str, before: onnx.ModelProto, after: onnx.ModelProto) -> None:
        """Fail where `after` does not keep of `before` what it should."""
        others = 1.7 * self.photos[:, :, ::-1] + np.float32(0.01)  # no levels, and beyond what set the ranges
        looked_at = [self.photos] if keeps == "same codes" else [self.photos, others]
        for x in looked_at:
            old, new = (open_graph(graph_to_judge(graph)).run(x) for graph in (before, after))
            match keeps:
                case "same bits" | "same codes":
                    np.testing.assert_array_equal(new, old)
                case "same function up to float rounding":
                    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-4 * np.abs(old).max())
                case "same function up to rounding to codes" if self.wanted is not None:
                    if x is self.photos:
                        assert sqnr_db(self.wanted, new) > sqnr_db(self.wanted, old) - 1
                        assert sqnr_db(old, new) > sqnr_db(self.wanted, old) - 3
                case _:
                    raise AssertionError(f"nothing holds a pass to {keeps!r}")


RENAMING = {"own names", "public names", "short names"}  # passes whose work is names


def held(
    passes: Iterable[Pass], model: onnx.ModelProto, judge: Judge, target: Target | None = None, names: Set[str] | None = None
) -> Iterator[str]:
    """Run passes one by one, each held to what it keeps; the names of those that changed the graph.

    New values have names that values of the user's (`names`; None: those of `model`) give way to.
    """
    names = {*value_names(model.graph)} if names is None else names
    for each in passes:
        if target is None or target in each.targets:
            given = model.SerializeToString(deterministic=True)
            after = each(model)
            assert model.SerializeToString(deterministic=True) == given, f"{each.name} changed what it was given"
            if after.SerializeToString(deterministic=True) != given:
                judge(each.keeps, model, after)
                new = {name for name in {*value_names(after.graph)} - {*value_names(model.graph)} if not may_be_given(name, names)}
                assert not new or each.name in RENAMING, f"{each.name} gives names without a suffix of graph/names.py: {sorted(new)}"
                yield each.name
            model = after


# Networks


def every_form(path: Path, side: int = 32) -> Path:
    """What exporters write in many forms, 4 logits out."""
    rng = np.random.default_rng(0)
    shapes = {"stem": (8, 3, 7, 7), "second": (8, 8, 3, 3), "third": (16, 8, 3, 3), "head": (16, 4)}
    floats = {name: rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])) for name, shape in shapes.items()}
    floats |= {
        "eight": rng.standard_normal(8) / 9,
        "sixteen": rng.standard_normal(16) / 9,
        "c": rng.standard_normal((1, 4)),
        "fill": np.zeros(1),
    }
    whole = {"zero": [0], "end": [2**31], "two": [2], "three": [3], "one": [1], "more": [4, 4], "space": [2, 3]}
    stored = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in floats.items()]
    stored += [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in whole.items()]
    node = helper.make_node
    nodes = [
        node("Conv", ["edgetl_image", "stem", "eight"], ["a"], name="stem", strides=[2, 2], pads=[3] * 4),
        node("Relu", ["a"], ["b"]),
        node("Conv", ["b", "second", "eight"], ["c_scale"], pads=[1] * 4),
        node("HardSigmoid", ["c_scale"], ["gate"], alpha=1 / 6, beta=0.5),
        node("Mul", ["c_scale", "gate"], ["d"]),
        node("Conv", ["d", "third", "sixteen"], ["e"], strides=[2, 2], pads=[1] * 4),
        node("Slice", ["d", "zero", "end", "two", "two"], ["f"]),
        node("Slice", ["f", "zero", "end", "three", "two"], ["g"]),
        node("Pad", ["g", "more", "fill", "one"], ["h"]),
        node("Add", ["e", "h"], ["i"]),
        node("ReduceMean", ["i", "space"], ["j"], keepdims=0),
        node("Add", ["j", "sixteen"], ["k"]),
        node("Gemm", ["k", "head", "c"], ["logits"], alpha=0.5, beta=2.0),
    ]
    return saved(path, nodes, stored, "edgetl_image", side)


def residual(path: Path, side: int = 16) -> Path:
    """A stem of few products and two residual blocks behind it: 4 logits out."""
    rng = np.random.default_rng(0)
    shapes = {"stem": (16, 3, 3, 3), "one": (16, 16, 3, 3), "two": (16, 16, 3, 3), "three": (16, 16, 3, 3), "head": (16, 4)}
    stored = [numpy_helper.from_array((rng.standard_normal(shape) / 6).astype(np.float32), name) for name, shape in shapes.items()]
    node = helper.make_node
    nodes = [
        node("Conv", ["image", "stem"], ["a"], name="stem", pads=[1] * 4),
        node("Relu", ["a"], ["b"], name="stem_relu"),
        node("Conv", ["b", "one"], ["c"], name="one", pads=[1] * 4),
        node("Add", ["c", "b"], ["d"], name="add"),
        node("Relu", ["d"], ["e"], name="add_relu"),
        node("Conv", ["e", "two"], ["f"], name="two", pads=[1] * 4),
        node("Add", ["f", "e"], ["g"], name="add_again"),
        node("Conv", ["g", "three"], ["h"], name="three", strides=[2, 2]),
        node("GlobalAveragePool", ["h"], ["i"], name="mean"),
        node("Flatten", ["i"], ["j"], name="flat"),
        node("Gemm", ["j", "head"], ["logits"], name="classifier"),
    ]
    return saved(path, nodes, stored, "image", side)


def unnamed(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with two nodes without names."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    result.graph.node[1].name = result.graph.node[3].name = ""
    return result


def littered(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy with what exporters leave in a file: notes, a node that nothing reads, an operator set that nothing uses."""
    copy = helper.make_node("Identity", [model.graph.output[0].name], ["edgetl_unread"], name="unread")
    result = with_nodes(model, [*model.graph.node, copy])
    result.doc_string, result.graph.doc_string = "written by nobody", "of nobody's network"
    for node in result.graph.node:
        node.doc_string = "/home/nobody/train.py"
        node.metadata_props.add(key="stack_trace", value="/home/nobody/train.py, line 1")
    result.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    return result


def four_bounded(path: Path) -> Path:
    """Layers with a Relu6 each, the third of which lies between others in int8 for every target."""
    return bounded_layers(path, ("first", "second", "third", "fourth"))


def saved(path: Path, nodes: list[onnx.NodeProto], stored: list[onnx.TensorProto], name: str, side: int) -> Path:
    given = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, side, side])
    made = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 4])
    graph = helper.make_graph(nodes, "g", [given], [made], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


# Passes


def prepared_and_held(path: Path, x: NDArray[np.float32]) -> set[str]:
    """The passes of `prepare` that changed the graph at `path`."""
    return {*held(PREPARE, read_float_graph(path), Judge(x))}


def laid_out_and_held(
    path: Path,
    target: Target,
    x: NDArray[np.float32],
    *,
    floating: tuple[str, ...] = (),
    change: Callable[[onnx.ModelProto], onnx.ModelProto] | None = None,
) -> set[str]:
    """The passes of `layout` that changed an int8 graph of the one at `path`, which leaves `floating` in float besides.

    `change` changes the graph in front of them.
    """
    baseline = Baseline.of(prepare_graph(path), Arrays(x), target, batch_size=8, threads=1)
    graph = as_qdq(baseline.model, baseline.min_max_ranges, floating=[*baseline.in_float, *floating]) if floating else baseline.by_extremes
    graph = change(graph) if change else graph
    original = onnx.load(path)
    public = ([value.name for value in values] for values in (original.graph.input, original.graph.output))
    own = {*value_names(baseline.model.graph)}
    return {*held(layout_passes(*public), graph, Judge(x, open_graph(original).run(x)), target, own)}


def test_each_pass_of_prepare_keeps_what_it_says(small: Path, tmp_path: Path) -> None:
    changed = prepared_and_held(every_form(tmp_path / "a.onnx"), photos(8, 3, 32))
    changed |= prepared_and_held(small, photos(8, 3, 16)) | prepared_and_held(residual(tmp_path / "b.onnx"), photos(8, 3, 16))
    nameless = unnamed(onnx.load(tmp_path / "b.onnx"))  # in the list, `own names` has named all nodes before
    changed |= {*held([NODE_NAMES], nameless, Judge(photos(8, 3, 16)))}
    assert changed == {each.name for each in PREPARE}
    assert GraphIndex(prepare_graph(small)).kinds >= {"HardSwish", "GlobalAveragePool"}


@pytest.mark.parametrize("target", get_args(Target))
def test_each_pass_of_layout_keeps_what_it_says(small: Path, tmp_path: Path, target: Target) -> None:
    side = 128 if target == "x86" else 32  # where squares as channels pay
    changed = laid_out_and_held(every_form(tmp_path / "a.onnx", side), target, photos(12, 3, side))
    changed |= laid_out_and_held(residual(tmp_path / "b.onnx"), target, photos(12, 3, 16))
    changed |= laid_out_and_held(every_form(tmp_path / "c.onnx"), target, photos(12, 3, 32), floating=("stem",))
    changed |= laid_out_and_held(four_bounded(tmp_path / "d.onnx"), target, photos(12, 3, 16), floating=("third", "third_bound"))
    noise = np.random.default_rng(0).standard_normal((12, 3, 16, 16)).astype(np.float32)  # no pixels, so no Pad of codes
    changed |= laid_out_and_held(tmp_path / "d.onnx", target, noise, change=littered)
    changed |= laid_out_and_held(small, target, photos(12, 3, 16))
    every = {each.name for each in layout_passes((), ()) if target in each.targets}
    elsewhere = set() if target in ("x86", "x86-avx2") else {"channels-last Adds"}  # no Add is in float
    idle = every - changed - elsewhere
    assert not idle, f"none of these networks gives {', '.join(sorted(idle))} anything to do for {target}: add one that does"


def test_names_are_given_to_nodes_without_and_taken_from_none_that_has_its_own(tmp_path: Path) -> None:
    before = unnamed(onnx.load(residual(tmp_path / "a.onnx")))
    before.graph.node[5].name = before.graph.node[4].name
    after = [node.name for node in NODE_NAMES(before).graph.node]
    assert "" not in after and len({*after}) == len(after)
    assert {index for index, node in enumerate(before.graph.node) if node.name != after[index]} == {1, 3, 5}


def test_nothing_of_what_exporters_leave_in_a_file_is_written(small: Path) -> None:
    baseline = Baseline.of(prepare_graph(small), Arrays(photos(8, 3, 16)), "portable", batch_size=8, threads=1)
    given = littered(baseline.by_extremes)
    names = ([value.name for value in values] for values in (given.graph.input, given.graph.output))
    after = run(layout_passes(*names), given, "portable")
    assert b"nobody" in given.SerializeToString() and b"nobody" not in after.SerializeToString()
    assert "ai.onnx.ml" not in {each.domain for each in after.opset_import}
    read = {*(name for node in after.graph.node for name in node.input), *(output.name for output in after.graph.output)}
    assert all(read & {*node.output} for node in after.graph.node)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["portable", "x86", "arm64"])
@pytest.mark.parametrize(("name", "side"), [("resnet20_cifar10", 32), ("mobilenet_v3_small_cifar64", 64), ("squeezenet1_0_imagenet", 224)])
def test_each_pass_keeps_what_it_says_of_real_networks(shared: Path, name: str, side: int, target: Target) -> None:
    path, x = shared / "models" / f"{name}.onnx", photos(16, 3, side)
    prepared_and_held(path, x[:4])  # a graph may be in the one form already
    assert "compact" in laid_out_and_held(path, target, x)


# The loop


def rounding(index: GraphIndex) -> onnx.ModelProto:
    """A pass that keeps nothing that it should: weights of two digits."""
    result = onnx.ModelProto()
    result.CopyFrom(index.model)
    for tensor in result.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(np.round(numpy_helper.to_array(tensor), 2), tensor.name))
    return result


@pytest.mark.parametrize("keeps", ["same bits", "same codes", "same function up to float rounding"])
def test_a_pass_that_does_not_keep_what_it_says_is_caught(small: Path, keeps: Any) -> None:
    with pytest.raises(AssertionError):
        list(held([Pass(name="rounding", rewrite=rounding, keeps=keeps)], prepare_graph(small), Judge(photos(4, 3, 16))))


def test_a_pass_that_changes_what_it_is_given_is_caught(small: Path) -> None:
    def named(index: GraphIndex) -> onnx.ModelProto:
        index.model.graph.name = "another"
        return index.model

    with pytest.raises(AssertionError, match="changed what it was given"):
        list(held([Pass(name="names", rewrite=named, keeps="same bits")], prepare_graph(small), Judge(photos(4, 3, 16))))


def test_a_pass_that_gives_a_name_which_a_value_of_the_users_may_have_is_caught(small: Path) -> None:
    def doubled(index: GraphIndex) -> onnx.ModelProto:
        copy = helper.make_node("Identity", [index.nodes[0].input[0]], ["mine"])
        return with_nodes(index.model, [copy, *index.nodes])

    with pytest.raises(AssertionError, match="without a suffix"):
        list(held([Pass(name="doubled", rewrite=doubled, keeps="same bits")], prepare_graph(small), Judge(photos(4, 3, 16))))


def test_a_graph_has_one_index_until_a_pass_changes_it(small: Path) -> None:
    seen: list[GraphIndex] = []

    def looking(index: GraphIndex) -> onnx.ModelProto:
        seen.append(index)
        return index.model

    look = Pass(name="look", rewrite=looking, keeps="same bits")
    change = Pass(name="change", rewrite=lambda index: inferred(index.model), keeps="same bits")
    model = prepare_graph(small)
    result = run([look, look, change, look], model)
    assert seen[0] is seen[1] and seen[0].model is model
    assert seen[2].model is result and result is not model


def test_the_loop_passes_over_what_has_nothing_to_do(small: Path) -> None:
    ran: list[str] = []

    def noting(name: str) -> Pass:
        return Pass(name=name, rewrite=lambda index: [ran.append(name), index.model][1], keeps="same bits")  # type: ignore[list-item,return-value,func-returns-value]

    none, some = replace(noting("LSTM"), needs=frozenset({"LSTM"})), replace(noting("Conv"), needs=frozenset({"Conv"}))
    web = replace(noting("web"), targets=frozenset[Target]({"web"}))
    model = prepare_graph(small)
    assert run([none, some, web], model, "x86") is model and ran == ["Conv"]
    assert run([none, some, web], model, "web") is model and ran == ["Conv", "Conv", "web"]
