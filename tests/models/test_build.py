"""Every known name builds; every other name, and every size that cannot work, is refused with what would."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from edgetl.core.errors import InputError
from edgetl.models.build import OWN_NAMES, build, check_architecture, known_architectures
from edgetl.models.published import published_weights, torchvision_names


def test_torchvisions_classification_networks_are_known_and_detectors_are_not() -> None:
    known = known_architectures()
    assert {"resnet18", "squeezenet1_0", "vit_b_16", *OWN_NAMES} <= set(known)
    assert len(known) == len(set(known))
    assert "fasterrcnn_resnet50_fpn" not in known


@pytest.mark.parametrize("arch", OWN_NAMES)
def test_own_networks_give_one_column_per_class(arch: str) -> None:
    assert build(arch, 7, 32).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("arch", ["googlenet", "inception_v3"])
def test_auxiliary_outputs_are_gone_while_training(arch: str) -> None:
    with torch.device("meta"):
        answer = build(arch, 5, 96).train()(torch.empty(2, 3, 96, 96))
    assert isinstance(answer, torch.Tensor)
    assert answer.shape == (2, 5)


@pytest.mark.parametrize(
    ("arch", "size", "advice"),
    [
        ("vit_b_32", 230, "224 or 256"),
        ("vit_b_32", 20, "32"),
        ("maxvit_t", 200, "224"),
        ("inception_v3", 64, "75"),
        ("squeezenet1_1", 16, "17"),
        ("densenet121", 16, "29"),
    ],
)
def test_a_size_that_cannot_work_is_refused_with_one_that_can(arch: str, size: int, advice: str) -> None:
    with pytest.raises(InputError) as caught:
        build(arch, 3, size)
    assert str(caught.value) == (
        f"expected an image size that {arch} can run at, found {size} px. The nearest that fits: {advice}. Use --image-size"
    )


@pytest.mark.parametrize(("arch", "size"), [("vit_b_32", 64), ("squeezenet1_1", 17)])
def test_a_size_that_can_work_is_taken(arch: str, size: int) -> None:
    with torch.device("meta"):
        assert build(arch, 3, size).eval()(torch.empty(1, 3, size, size)).shape == (1, 3)


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(InputError, match=r'found \'edge_smal\' \(did you mean "edge_small"\?\)'):
        build("edge_smal", 3, 32)


def test_one_class_is_no_classification() -> None:
    with pytest.raises(InputError, match="at least two classes, found 1"):
        build("edge_tiny", 1, 32)


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_without_timm_its_networks_are_refused_with_how_to_install_it() -> None:
    with pytest.raises(InputError, match=r"pip install edgetl\[timm\]"):
        check_architecture("timm:resnet18")


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs timm (pip install edgetl[timm])")
def test_timms_networks_are_built_by_name() -> None:
    assert build("timm:mobilenetv3_small_050", 4, 64).eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 4)
    with pytest.raises(InputError, match="a model that timm knows"):
        check_architecture("timm:mobilenetv9")


def test_the_same_seed_gives_the_same_weights_whatever_was_checked_before() -> None:
    torch.manual_seed(3)
    first = build("shufflenet_v2_x0_5", 2, 40)  # checks the size: a cache miss
    torch.manual_seed(3)
    second = build("shufflenet_v2_x0_5", 2, 40)  # a hit
    assert all(torch.equal(a, b) for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True))


def test_every_torchvision_network_has_published_weights_of_imagenets_classes() -> None:
    assert {arch for arch in torchvision_names() if len(published_weights(arch).meta["categories"]) != 1000} == set()
