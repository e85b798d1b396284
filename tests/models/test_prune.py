"""Pruning leaves a narrower network that works, loses what matters least, and comes back from its checkpoint to the bit."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from edgetl.core.errors import InputError, SettingsError
from edgetl.core.preprocess import Preprocess
from edgetl.core.seen import SeenImages
from edgetl.data.augment import Augment
from edgetl.data.pixels import PixelSet
from edgetl.models.build import build
from edgetl.models.channel_groups import parameter_count
from edgetl.models.checkpoint import KEY, load_model, read_checkpoint, save_checkpoint
from edgetl.models.loading import load_into
from edgetl.models.narrow import narrow
from edgetl.models.prune import Pruned, check_prunable, prune
from edgetl.models.refit import refit
from edgetl.models.state import read_description
from edgetl.models.weights import resolve_weights
from edgetl.settings import DistillSettings
from edgetl.training.inherit import effects, inherit

FAMILIES = {
    "cifar_resnet8": 32, "edge_tiny": 32, "mobilenet_v3_small": 32, "resnet18": 32, "squeezenet1_1": 48,
}  # fmt: skip
LARGE = {
    "alexnet": 64, "convnext_tiny": 32, "densenet121": 32, "efficientnet_b0": 32, "efficientnet_v2_s": 33, "googlenet": 32,
    "inception_v3": 75, "mnasnet0_5": 32, "mobilenet_v2": 32, "regnet_x_400mf": 32, "regnet_y_400mf": 32,
    "resnext50_32x4d": 32, "vgg11": 32, "wide_resnet50_2": 32,
}  # fmt: skip
SIZE = Preprocess(size=32, resize=32)


def network(arch: str = "cifar_resnet8", size: int = 32, classes: int = 5) -> nn.Module:
    """Random weights; the norms have seen something, so that they are no identities."""
    torch.manual_seed(3)
    model = build(arch, classes, size)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, size, size))
    return model.eval()


def pruned_to(model: nn.Module, keep: float, arch: str = "cifar_resnet8", size: int = 32) -> Pruned:
    torch.manual_seed(4)
    return prune(model, arch, size, keep, effects(model, torch.randn(8, 3, size, size), seed=0))


def saved(path: Path, model: nn.Module, pruned: float | None = 0.5, arch: str = "cifar_resnet8", size: Preprocess = SIZE) -> Path:
    seen = SeenImages.of("ab" * 32)
    save_checkpoint(
        path, model=model, arch=arch, classes=tuple("abcde"), preprocess=size, seen=seen, provenance={"stage": "distill"}, pruned=pruned
    )
    return path


@pytest.mark.parametrize(
    ("arch", "size"), [*FAMILIES.items(), *(pytest.param(arch, size, marks=pytest.mark.slow) for arch, size in LARGE.items())]
)
def test_each_family_is_pruned_closely_never_above_and_comes_back(arch: str, size: int, tmp_path: Path) -> None:
    model, x = network(arch, size), torch.randn(2, 3, size, size)
    before = copy.deepcopy(model.state_dict())
    pruned = pruned_to(model, 0.4, arch, size)
    assert 0.95 * 0.4 <= pruned.share <= 0.4
    assert pruned.share == parameter_count(pruned.model) / parameter_count(model)
    outputs = pruned.model(x)
    assert outputs.shape == (2, 5)
    path = saved(tmp_path / "c.safetensors", pruned.model, pruned.share, arch, Preprocess(size=size, resize=size))
    assert torch.equal(load_model(path)(x), outputs)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())  # what was given stays as it was


def test_channels_that_do_nothing_go_first_and_their_loss_changes_nothing() -> None:
    model = network()
    dead: dict[str, set[int]] = {}
    with torch.no_grad():
        for group in ("layer1", "layer2", "layer3"):
            block = model.get_submodule(f"{group}.0")
            gone = torch.randperm(block.conv1.out_channels)[: block.conv1.out_channels // 2]
            for tensor in (block.conv1.weight, block.bn1.weight, block.bn1.bias):
                tensor[gone] = 0
            dead[f"{group}.0.conv1"] = {int(i) for i in gone}
    left = sum(  # counted by hand: half of the outputs of conv1 and bn1, half of the inputs of conv2
        p.numel() // (2 if any(name.endswith(part) for part in ("0.conv1.weight", "0.bn1.weight", "0.bn1.bias", "0.conv2.weight")) else 1)
        for name, p in model.named_parameters()
    )
    pruned = pruned_to(model, left / parameter_count(model))
    assert parameter_count(pruned.model) == left
    assert {name: set(range(len(model.get_submodule(name).weight))) - set(pruned.kept[name].tolist()) for name in dead} == dead
    x = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(pruned.model(x), model(x))


def test_widths_are_multiples_of_eight_where_layers_are_wide_enough() -> None:
    pruned = pruned_to(network("squeezenet1_1", 48), 0.5, "squeezenet1_1", 48).model
    widths = {layer.out_channels for name, layer in pruned.named_modules() if isinstance(layer, nn.Conv2d) and "classifier" not in name}
    assert {width % 8 for width in widths} == {0}


def test_the_same_arguments_give_the_same_network() -> None:
    first, second = (pruned_to(network(), 0.3).model.state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("arch", ["shufflenet_v2_x0_5", "vit_b_16", "swin_t", "maxvit_t", "timm:vit_small_patch16_224"])
def test_networks_that_cannot_be_pruned_are_named_with_what_to_use_instead(arch: str) -> None:
    with pytest.raises(InputError, match=rf"expected a teacher that can be pruned, found {arch}: .*Use --student same"):
        check_prunable(arch)


def test_a_share_that_no_cut_reaches_is_refused() -> None:
    message = r"found cifar_resnet8: its layers are too narrow to leave 1% of its parameters\. Use --student same"
    with pytest.raises(InputError, match=message):
        pruned_to(network(), 0.01)


def test_a_network_that_the_library_does_not_understand_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.fc = nn.Conv2d(3, 16, 3), nn.Linear(16, 5)

        def forward(self, x: Tensor) -> Tensor:
            x = self.conv(x)
            return self.fc(x.view(len(x), 16, -1).mean(2))  # 16 stands in the code: no narrower network can run it

    with pytest.raises(InputError, match="expected a teacher that can be pruned, found odd: "):
        pruned_to(Odd().eval(), 0.5, "odd")


# Fitting again


def test_layers_that_were_disturbed_are_fitted_back_to_what_they_gave() -> None:
    model, x = network(), torch.randn(32, 3, 32, 32)
    disturbed = copy.deepcopy(model)
    with torch.no_grad():
        for layer in disturbed.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight.add_(0.3 * layer.weight.std() * torch.randn_like(layer.weight))
    everything = {name: torch.arange(len(layer.weight)) for name, layer in model.named_modules() if isinstance(layer, nn.Conv2d)}
    fresh = torch.randn(16, 3, 32, 32)
    before = (disturbed(fresh) - model(fresh)).abs().max()
    refit(disturbed, model, everything, x)
    assert (disturbed(fresh) - model(fresh)).abs().max() < 0.1 * before


def test_a_pruned_network_answers_more_like_the_original_after_fitting(shared: Path) -> None:
    weights, _ = resolve_weights("cifar_resnet16", "auto", Path())
    assert weights is not None and weights.preprocess is not None  # embedded: a network that was really trained
    model = build("cifar_resnet16", 10, 32)
    load_into(model, weights, weights.classes)
    with zipfile.ZipFile(shared / "data" / "cifar10_test.zip") as files:
        names = sorted(name for name in files.namelist() if name.endswith(".jpg"))[::50]
        x = torch.from_numpy(np.stack([weights.preprocess(files.read(name)) for name in names]))
    few, fresh = x[::3], x[1::3]
    pruned = prune(model.eval(), "cifar_resnet16", 32, 0.7, effects(model, few, seed=0))
    before = agreement(pruned.model, model, fresh)
    refit(pruned.model, model, pruned.kept, few)
    after = agreement(pruned.model, model, fresh)
    assert after > before + 0.2 and after > 0.8  # gates alone lose less than weights times gradients did: less is left to gain


@torch.no_grad()
def agreement(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    return float((one(x).argmax(1) == other(x).argmax(1)).float().mean())


def test_the_student_inherits_a_network_of_the_share_that_was_asked_for() -> None:
    model = network("edge_tiny")
    train = PixelSet(torch.randint(0, 256, (40, 3, 32, 32), dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    views, device = Augment(size=32, shift=2, flip=True), torch.device("cpu")
    found = inherit(model, "edge_tiny", 0.5, train=train, augment=views, sees=SIZE, seed=1, device=device)
    assert 0.475 <= found.share <= 0.5
    assert all(p.grad is None for p in (*model.parameters(), *found.model.parameters()))
    for name, chosen in found.kept.items():  # rows of the teacher, through all steps
        assert len(chosen) == len(found.model.get_submodule(name).weight)
        assert sorted(set(chosen.tolist())) == chosen.tolist()
        assert int(chosen[-1]) < len(model.get_submodule(name).weight)


# Checkpoints


def test_a_pruned_checkpoint_says_so_and_others_keep_their_bytes(tmp_path: Path) -> None:
    pruned = pruned_to(network(), 0.4)
    info = read_checkpoint(saved(tmp_path / "c.safetensors", pruned.model, 0.398))
    assert (info.arch, info.pruned, info.title) == ("cifar_resnet8", 0.398, "cifar_resnet8 pruned to 40%")
    whole = saved(tmp_path / "w.safetensors", network(), None)
    assert read_checkpoint(whole).title == "cifar_resnet8"
    assert "pruned" not in read_description(whole)[KEY]


def test_same_pruned_network_same_bytes(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.safetensors", pruned_to(network(), 0.4).model)
    assert saved(tmp_path / "b.safetensors", load_model(first)).read_bytes() == first.read_bytes()


def test_damaged_pruned_checkpoints_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.safetensors", pruned_to(network(), 0.4).model)
    metadata, tensors = read_description(path), load_file(path)
    name = "layer2.0.conv1.weight"

    def changed(**state: Tensor) -> Path:
        state = {key.replace("__", "."): value for key, value in state.items()}
        save_file({**tensors, **state}, other := tmp_path / "d.safetensors", metadata)
        return other

    narrower = changed(**{name: tensors[name][:-1].clone()})
    with pytest.raises(
        InputError, match=r"(?s)d\.safetensors: .*numbers of channels that do not fit each other: .*damaged, or of another network"
    ):
        load_model(narrower)
    wider = changed(**{name: torch.zeros(999, *tensors[name].shape[1:])})
    with pytest.raises(InputError, match=r"(?s)layer2\.0\.conv1\.weight: expected at most \(32, 16, 3, 3\), found \(999"):
        load_model(wider)
    kernel = changed(**{name: tensors[name][..., :1].clone()})
    with pytest.raises(InputError, match=r"expected at most \(32, 16, 3, 3\)"):
        load_model(kernel)
    with pytest.raises(InputError, match="other: unknown"):
        load_model(changed(other=torch.zeros(1)))
    fewer = changed(fc__weight=tensors["fc.weight"][:4].clone(), fc__bias=tensors["fc.bias"][:4].clone())
    with pytest.raises(InputError, match="another number of outputs"):
        load_model(fewer)


def test_tensors_that_are_missing_are_named() -> None:
    state = dict(network().state_dict())
    del state["conv1.weight"]
    with pytest.raises(InputError, match=r"conv1\.weight: missing"):
        narrow(network(), state, 32)


# Settings


def test_what_inherits_trains_shorter_and_more_gently() -> None:
    fresh, inheriting = DistillSettings(arch="edge_small"), DistillSettings(arch="pruned")
    rates = [settings.resolved().lr for settings in (inheriting, fresh)]
    assert rates == [5e-4, 4e-3]
    assert inheriting.epochs_for(200) < fresh.epochs_for(200)
    assert DistillSettings(arch="pruned", lr=1e-2, epochs=3, batch_size=32).resolved().lr == 1e-2


@pytest.mark.parametrize(("images", "epochs"), [(200, 90), (1_000, 60), (2_575, 23), (5_000, 12), (42_000, 5)])
def test_what_inherits_is_taught_for_long_where_views_are_small(images: int, epochs: int) -> None:
    small = DistillSettings(arch="pruned", image_size=32)
    assert small.epochs_for(images) == small.but(image_size=64).epochs_for(images) == epochs
    assert small.but(image_size=96).epochs_for(images) == DistillSettings(arch="pruned").epochs_for(images) <= 20
    assert small.but(epochs=3).epochs_for(images) == 3


@pytest.mark.parametrize("keep", [0.0, 1.0, -1.0])
def test_a_share_is_more_than_nothing_and_less_than_all(keep: float) -> None:
    with pytest.raises(SettingsError, match="keep: expected"):
        DistillSettings(keep=keep)
