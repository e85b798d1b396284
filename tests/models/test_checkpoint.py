"""A checkpoint gives back the network and all there is to know about it; anything else is refused in plain words."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.models.build import build
from edgetl.models.checkpoint import find_checkpoint, load_model, read_checkpoint, save_checkpoint

CLASSES = ("hen", "Küken", "鸡")
PREPROCESS = Preprocess(size=32, resize=36, filter="bicubic", mean=(0.1, 0.2, 0.3), std=(1.0, 1.0, 0.5))
SEEN = SeenImages.of("ab" * 32, train=["12" * 32, "34" * 32], val=["56" * 32])
PROVENANCE = {"weights": "none (random)", "data": "hens", "stage": "finetune"}


def network() -> nn.Module:
    torch.manual_seed(0)
    model = build("edge_tiny", len(CLASSES), PREPROCESS.size)
    model(torch.randn(4, 3, 32, 32))  # BatchNorm's statistics are no longer the defaults
    return model


def saved(path: Path, model: nn.Module, arch: str = "edge_tiny") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(path, model=model, arch=arch, classes=CLASSES, preprocess=PREPROCESS, seen=SEEN, provenance=PROVENANCE)
    return path


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "c.safetensors"
    info = read_checkpoint(saved(path, model))
    assert (info.arch, info.classes, info.preprocess, info.task) == ("edge_tiny", CLASSES, PREPROCESS, "classification")
    assert (info.seen, dict(info.provenance)) == (SEEN, PROVENANCE)
    loaded, x = load_model(path), torch.randn(2, 3, 32, 32)
    assert not loaded.training
    assert torch.equal(loaded(x), model.eval()(x))


def test_channels_last_weights_are_written_as_they_are_meant(tmp_path: Path) -> None:
    model = network()
    plain = saved(tmp_path / "a.safetensors", model).read_bytes()
    assert saved(tmp_path / "b.safetensors", model.to(memory_format=torch.channels_last)).read_bytes() == plain


@pytest.mark.slow
def test_same_network_same_bytes_in_another_process(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edgetl.models.checkpoint import *; p = Path(sys.argv[1]); i = read_checkpoint(p)\n"
        "save_checkpoint(Path(sys.argv[2]), model=load_model(p), arch=i.arch, classes=i.classes, preprocess=i.preprocess, seen=i.seen,"
        " provenance=dict(reversed(list(i.provenance.items()))))"
    )
    first, second = saved(tmp_path / "a.safetensors", network()), tmp_path / "b.safetensors"
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, "-c", script, str(first), str(second)], check=True, env=environment)
    assert first.read_bytes() == second.read_bytes()


def test_every_way_to_name_a_checkpoint_finds_the_same(tmp_path: Path) -> None:
    stage = tmp_path / "run" / "stages" / "finetune-0123456789ab"
    file = saved(stage / "checkpoint.safetensors", network())
    (stage / "result.json").write_text("{}", encoding="utf-8")
    found = [find_checkpoint(path) for path in (file, stage, tmp_path / "run")]
    assert {f.path for f in found} == {file}
    assert {f.sha256 for f in found} == {hashlib.sha256(file.read_bytes()).hexdigest()}


def test_of_several_checkpoints_in_a_run_the_named_one_is_meant(tmp_path: Path) -> None:
    model = network()
    for name in ("distill-222222222222", "finetune-111111111111"):
        saved(tmp_path / "stages" / name / "checkpoint.safetensors", model)
        (tmp_path / "stages" / name / "result.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=r"expected one checkpoint in .*, found 2; name one:\n  .*distill-2.*\n  .*finetune-1"):
        find_checkpoint(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"results": {"distill": "distill-222222222222"}}), encoding="utf-8")
    assert find_checkpoint(tmp_path, "distill").path.parent.name == "distill-222222222222"


def test_unfinished_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found neither"):
        find_checkpoint(tmp_path)
    with pytest.raises(InputError, match="found nothing there"):
        find_checkpoint(tmp_path / "gone")
    saved(tmp_path / "checkpoint.safetensors", network())
    with pytest.raises(InputError, match=r"finished stage in .*, found one without result\.json"):
        find_checkpoint(tmp_path)
    (tmp_path / "run" / "stages").mkdir(parents=True)
    with pytest.raises(InputError, match="none that is finished"):
        find_checkpoint(tmp_path / "run")


def test_other_files_are_refused(tmp_path: Path) -> None:
    (noise := tmp_path / "noise.safetensors").write_bytes(b"\xff" * 100)
    (text := tmp_path / "model.txt").write_text("hello", encoding="utf-8")
    save_file({"weight": torch.zeros(1)}, bare := tmp_path / "bare.safetensors")
    save_file({"weight": torch.zeros(1)}, odd := tmp_path / "odd.safetensors", metadata={"edgetl": '{"schema": 1}'})
    save_file({"weight": torch.zeros(1)}, new := tmp_path / "new.safetensors", metadata={"edgetl": '{"schema": 2}'})
    for path, message in (
        (noise, "expected a safetensors file"),
        (text, r"expected a checkpoint \(\.safetensors\), found model\.txt"),
        (bare, r"found bare weights in bare\.safetensors: start from them with finetune --teacher-weights"),
        (odd, "unreadable metadata in odd"),
        (new, "schema 2, where this edgetl reads 1"),
        (tmp_path / "gone.safetensors", "found nothing there"),
    ):
        with pytest.raises(InputError, match=message):
            read_checkpoint(path)


def test_weights_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.safetensors", network(), arch="edge_small")
    with pytest.raises(
        InputError, match=r"(?s)expected the weights of edge_small in c\.safetensors, found others:.*expected \(3, 40\), found \(3, 24\)"
    ):
        load_model(path)


def test_one_flipped_weight_changes_the_digest(tmp_path: Path) -> None:
    model = network()
    before = find_checkpoint(saved(tmp_path / "a.safetensors", model)).digest
    with torch.no_grad():
        next(model.parameters()).flatten()[0] += 1
    after = saved(tmp_path / "b.safetensors", model)
    assert find_checkpoint(after).digest != before
    assert load_file(after).keys() == model.state_dict().keys()
