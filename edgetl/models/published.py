"""Published facts about torchvision's networks: names, addresses of weights, preprocessing. Nothing is downloaded.

torchvision is imported when it is asked: its import takes longer than torch's, and edgetl's own networks do without it.
"""

from __future__ import annotations

import functools
import importlib
from typing import Any

from edgetl.core.errors import InputError
from edgetl.core.preprocess import FILTERS, Preprocess

TIMM = "timm:"


@functools.cache
def torchvision_names() -> tuple[str, ...]:
    """Torchvision's classification networks."""
    from torchvision import models

    return tuple(models.list_models(module=models))


def published_weights(arch: str) -> Any | None:
    """Torchvision's recommended weights of an architecture (`url`, `meta`, `transforms()`), or None if it has none."""
    from torchvision import models

    return models.get_model_weights(arch).DEFAULT if arch in torchvision_names() else None


def published_preprocess(arch: str) -> Preprocess | None:
    """The Preprocess that the published weights of an architecture were evaluated with, or None if there is none.

    torchvision's resizes PIL images as `Preprocess` does; of timm's only those that crop a square from the center.
    """
    if arch.startswith(TIMM):
        return _of_timm(timm_package().get_pretrained_cfg(arch.removeprefix(TIMM)))
    known = published_weights(arch)
    if known is None:
        return None
    transform = known.transforms()
    (size,), (resize,) = transform.crop_size, transform.resize_size
    return Preprocess(size=size, resize=resize, filter=transform.interpolation.value, mean=tuple(transform.mean), std=tuple(transform.std))


def _of_timm(published: Any | None) -> Preprocess | None:
    if published is None or published.interpolation not in FILTERS or published.crop_mode != "center":
        return None
    size = int(published.input_size[-1])
    resize = max(size, int(size / published.crop_pct))
    return Preprocess(size=size, resize=resize, filter=published.interpolation, mean=tuple(published.mean), std=tuple(published.std))


def timm_package() -> Any:
    """The package timm.

    Raises:
        InputError: it is not installed.
    """
    try:
        return importlib.import_module("timm")
    except ImportError:
        raise InputError(
            "expected the package timm for a timm: architecture, found that it is not installed. Install it: pip install edgetl[timm]"
        ) from None
