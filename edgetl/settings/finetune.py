"""The settings of `finetune`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgetl.core.validated import Settings
from edgetl.settings.values import ImageSize, Resize, Seed, epochs_within

ADAPTED_SIDE = 160  # height and width of an input; up to here all of a network with installed weights has to adapt


class FinetuneSettings(Settings):
    """The teacher: a pretrained network with a new head, which learns alone, or all of the network with it."""

    arch: str = Field("auto", description="Architecture: a torchvision name, cifar_resnet20, ..., or auto.")
    weights: str = Field("auto", description="Pretrained weights: auto, none, or a .safetensors or .pth file.")
    partial_weights: bool = Field(False, description="Load the tensors that fit by name and shape, even if the architecture differs.")
    image_size: ImageSize | None = Field(None, description="Input height and width, pixels. Default: the pretrained network's own.")
    resize: Resize | None = Field(
        None,
        description="How a photo becomes square: crop (the center), squash (change the aspect ratio), or pad (add bands). "
        "Default: as in pretraining, mostly crop.",
    )
    strategy: Literal["auto", "features", "staged", "full"] = Field(
        "auto",
        description="Which layers are trained: features (only the head), staged (unfreezing block by block), full (all), or auto.",
    )
    head: Literal["linear", "mlp"] = Field("linear", description="The new head: one layer, or two.")
    head_views: int = Field(
        2, ge=1, le=16, description="Views of each training image for fitting the head: the center crop, and random ones."
    )
    head_epochs: int = Field(100, ge=1, le=10_000, description="Epochs of an mlp head on frozen features.")
    head_lr: float = Field(1e-3, gt=0, le=1, description="Peak learning rate of an mlp head on frozen features.")
    balance: Literal["auto", "none", "sampling", "loss"] = Field(
        "auto",
        description="Class balance: sampling (draw rare classes more often), loss (weight them), none, or auto.",
    )
    baselines: bool = Field(True, description="Also train a linear probe and the network from scratch, as baselines in the report.")
    epochs: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Epochs of staged and full training. Default: 4 to 12 (pip's weights, up to 160 px: 6 to 20), fewer for more images.",
    )
    lr: float = Field(1e-3, gt=0, le=1, description="Peak learning rate of the last layers.")
    layer_decay: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Factor on the learning rate from one block to the one before it. Default: 0.6 (pip's weights, up to 160 px: 0.8).",
    )
    weight_decay: float = Field(0.01, ge=0, le=1, description="Decoupled weight decay (AdamW).")
    batch_size: int = Field(64, ge=2, le=4096, description="Images per step.")
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the training steps in which the learning rate rises (warmup).")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Label smoothing: share of the target spread over all classes.")
    augment: Literal["auto", "none"] = Field("auto", description="Random crops, flips and colors, chosen by the image size; or none.")
    flip: bool | None = Field(None, description="Random horizontal flips. Default: decided by a test on the photos; digits: off.")
    patience: int | None = Field(
        None, ge=1, description="Early stopping: epochs without a better val score. Default: 8 (weights from pip, up to 160 px: never)."
    )
    seed: Seed = Field(0, description="Random seed of weights, image order and augmentation.")

    def epochs_for(self, images: int) -> int:
        """The number of epochs for `images` training images: about 8,800 views; where all of a network has to adapt, 12,000."""
        views, least, most = (12_000, 6, 20) if self.adapts else (8_800, 4, 12)
        return epochs_within(self.epochs, images, views=views, least=least, most=most)

    @property
    def adapts(self) -> bool:
        """Whether ImageNet's features meet inputs that are smaller than those they were learned from; once the weights are found."""
        return self.weights == "package" and self.image_size is not None and self.image_size <= ADAPTED_SIDE

    def resolved(self) -> FinetuneSettings:
        """The same with every default that depends on whether the network adapts written out."""
        return self.but(
            layer_decay=self.layer_decay or (0.8 if self.adapts else 0.6), patience=self.patience or (None if self.adapts else 8)
        )
