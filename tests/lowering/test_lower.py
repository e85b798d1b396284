"""The graph answers as torch does, carries what an app must know and nothing private, and is the same every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.data.tensors import Batch
from edgetl.lowering.lower import check_equal, exported, lower
from edgetl.lowering.reference import torch_outputs
from edgetl.models.build import build
from edgetl.models.checkpoint import CheckpointInfo, load_model, read_checkpoint, save_checkpoint
from edgetl.runtime.session import open_session

CLASSES = ("hen", "Küken", "鸡")
PREPROCESS = Preprocess(size=32, resize=36)
SEEN = SeenImages.of("ab" * 32, train=["12" * 32], val=["34" * 32])
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    model, path = build("edge_tiny", len(CLASSES), 32), tmp_path_factory.mktemp("lower") / "checkpoint.safetensors"
    model(torch.randn(8, 3, 32, 32))  # BatchNorm's statistics are no longer the defaults
    save_checkpoint(path, model=model, arch="edge_tiny", classes=CLASSES, preprocess=PREPROCESS, seen=SEEN, provenance={})
    return path


@pytest.fixture(scope="module")
def graph(checkpoint: Path) -> Path:
    lower(checkpoint, path := checkpoint.with_name("model.onnx"))
    return path


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_graph_answers_as_torch_does_for_any_number_of_images(checkpoint: Path, graph: Path, count: int) -> None:
    x = np.random.default_rng(count).standard_normal((count, 3, 32, 32), dtype=np.float32)
    with torch.no_grad():
        expected = load_model(checkpoint)(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(open_session(graph).run(x), expected, atol=1e-5)


def test_the_reference_is_torchs_answer_batch_by_batch(checkpoint: Path) -> None:
    x = np.random.default_rng(0).standard_normal((5, 3, 32, 32), dtype=np.float32)
    with torch.no_grad():
        expected = load_model(checkpoint)(torch.from_numpy(x)).numpy()
    answer = torch_outputs(checkpoint, (Batch(part, None) for part in np.split(x, [2, 4])))
    np.testing.assert_allclose(answer, expected, atol=1e-6)
    with pytest.raises(InputError, match="found none"):
        torch_outputs(checkpoint, [])


def test_the_file_is_sound_readable_by_older_runtimes_and_named_as_promised(graph: Path) -> None:
    model = onnx.load(graph)
    onnx.checker.check_model(model, full_check=True)
    assert (model.ir_version, [(o.domain, o.version) for o in model.opset_import]) == (10, [("", 20)])
    assert [
        (v.name, [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]) for v in (*model.graph.input, *model.graph.output)
    ] == [
        ("input", ["batch", 3, 32, 32]),
        ("logits", ["batch", 3]),
    ]
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}


def test_what_an_app_must_know_travels_in_the_file(graph: Path) -> None:
    props = {prop.key: prop.value for prop in onnx.load(graph).metadata_props}
    assert json.loads(props["edgetl.labels"]) == list(CLASSES)
    assert Preprocess.from_json(props["edgetl.preprocess"]) == PREPROCESS
    assert (props["edgetl.task"], props["edgetl.split"]) == ("classification", "ab" * 32)


def test_no_local_path_is_in_the_file(graph: Path) -> None:
    content = graph.read_bytes()
    for private in (str(ROOT), sys.prefix, str(graph.parent), "site-packages", "pkg.torch", ".py"):
        assert private.encode() not in content


@pytest.mark.slow
def test_same_checkpoint_same_bytes_in_another_process_and_not_a_word_is_printed(checkpoint: Path, graph: Path, tmp_path: Path) -> None:
    script = "import sys; from pathlib import Path; from edgetl.lowering.lower import lower; lower(Path(sys.argv[1]), Path(sys.argv[2]))"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", script, str(checkpoint), str(tmp_path / "again.onnx")]
    done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "again.onnx").read_bytes() == graph.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.onnx"]


def test_a_graph_that_answers_otherwise_is_refused(checkpoint: Path, graph: Path) -> None:
    info, other = read_checkpoint(checkpoint), load_model(checkpoint)
    with torch.no_grad():
        next(other.parameters()).mul_(1.5)
    with pytest.raises(
        InputError, match=r"expected the logits of the ONNX graph of edge_tiny to differ from torch by at most .*, found a difference of"
    ):
        check_equal(other, graph, info)


def test_answers_that_are_no_numbers_are_refused(checkpoint: Path, graph: Path) -> None:
    broken = load_model(checkpoint)
    with torch.no_grad():
        next(broken.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match="found a difference of nan"):
        check_equal(broken, graph, read_checkpoint(checkpoint))


class Stubborn(nn.Module):
    """Its answer depends on a value, which no graph can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean((2, 3)) if x.sum().item() > 0 else x.amax((2, 3))


def test_a_network_that_cannot_be_exported_is_refused_by_name() -> None:
    info = CheckpointInfo(arch="stubborn", classes=CLASSES, preprocess=PREPROCESS, task="classification", seen=SEEN, provenance={})
    with pytest.raises(InputError, match="found that it cannot export stubborn at 32 px"):
        exported(Stubborn().eval(), info)
