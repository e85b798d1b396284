"""The settings of `distill`, and of the search for a student under a budget."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgetl.core.validated import Settings
from edgetl.settings.values import ImageSize, Positive, Seed, epochs_within

FEW_IMAGES = 400  # 211 photos taught all stages of a student nothing, 860 a lot (docs/adr/0050)
PATIENT_SIDE = 64  # height and width of an input; up to here views cost so little that a pruned network is taught for long


class DistillSettings(Settings):
    """The student: a small network trained to give the teacher's answers (Hinton et al. 2015)."""

    arch: str = Field(
        "auto",
        description="Student: an architecture (edge_tiny, ..., resnet18), auto, pruned (a narrower teacher) or same (the teacher).",
    )
    keep: float | None = Field(
        None, gt=0, lt=1, description="Share of the parameters that remain after pruning. Default: 0.4 for pruned, else all."
    )
    weights: str = Field(
        "installed",
        description="Initial weights of the student: installed (from pip packages), none, auto, or a .safetensors or .pth file.",
    )
    partial_weights: bool = Field(False, description="Load the tensors that fit by name and shape, even if the architecture differs.")
    image_size: ImageSize | None = Field(None, description="The student's input height and width, pixels. Default: the teacher's.")
    epochs: int | None = Field(
        None,
        ge=1,
        le=10_000,
        description="Epochs. Default: 15 to 100 (pruned: 5 to 20, up to 64 px 5 to 100; pretrained: 8 to 80), fewer for more images.",
    )
    lr: float | None = Field(None, gt=0, le=1, description="Peak learning rate. Default: 4e-3; pruned or pretrained: 5e-4.")
    weight_decay: float = Field(0.02, ge=0, le=1, description="Decoupled weight decay (AdamW).")
    batch_size: int | None = Field(
        None, ge=2, le=4096, description="Images per step. Default: 64; with fewer than 5,000 images pruned: 16, pretrained: 32."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the training steps in which the learning rate rises (warmup).")
    temperature: float = Field(4.0, gt=0, le=100, description="Temperature of the soft targets.")
    hard_weight: float | None = Field(
        None, ge=0, le=1, description="Weight of the label loss beside the distillation loss. Default: 0.1; pretrained: 0."
    )
    features: float | None = Field(
        None,
        ge=0,
        le=100,
        description="Weight of the feature loss (student's features against the teacher's). Default: 0; pretrained: 0.1.",
    )
    mix: float | None = Field(None, ge=0, le=10, description="Mixup with shares from Beta(N, N); 0: none. Default: 0; pretrained: 1.")
    answers: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Random views of each image, answered once by the teacher; 0: new views in each epoch. Default: 0; pretrained: 24.",
    )
    balance: Literal["auto", "none", "sampling", "loss"] = Field(
        "auto",
        description="Class balance: sampling (draw rare classes more often), loss (weight them), none, or auto.",
    )
    augment: Literal["auto", "none"] = Field("auto", description="Random crops, flips and colors, chosen by the image size; or none.")
    flip: bool | None = Field(None, description="Random horizontal flips. Default: as in the teacher's training.")
    freeze: int | None = Field(
        None,
        ge=0,
        le=5,
        description="Number of the student's first blocks (of about six) that are not trained. Default: 0; pretrained: 2, with fewer than "
        f"{FEW_IMAGES} images 4; efficientnet_lite0_early: 3.",
    )
    patience: int | None = Field(
        None, ge=1, description="Early stopping: epochs without a better val score. Default: 15; pretrained: never."
    )
    seed: Seed = Field(0, description="Random seed of weights, image order and augmentation.")

    @property
    def inherits(self) -> bool:
        """Whether the student starts as a pruned teacher."""
        return self.arch == "pruned"

    @property
    def pretrained(self) -> bool:
        """Whether the student starts with weights from elsewhere; once they have been found."""
        return not self.inherits and self.arch != "same" and self.weights not in ("none", "installed")

    @property
    def share(self) -> float | None:
        """The share of its parameters that a pruned student keeps; None: it is not pruned."""
        return 0.4 if self.inherits and self.keep is None else self.keep

    def epochs_for(self, images: int) -> int:
        """The number of epochs for `images` training images: about 18,000 views; of inherited weights 3,200.

        Of pretrained weights 16,000, or as many as 20 epochs have, up to 50,000; of the early network, which is for photos with little
        detail and quick, as many as 60 epochs have, up to 100,000 (docs/adr/0046). Of inherited weights and inputs of up to
        PATIENT_SIDE pixels, whose views cost little, 18,000, or as many as 60 epochs have, up to 60,000 (docs/adr/0051).
        """
        views, least, most = 18_000, 15, 100
        if self.inherits and self.image_size is not None and self.image_size <= PATIENT_SIDE:
            least = max(5, min(60, 60_000 // max(1, images)))
        elif self.inherits:
            views, least, most = 3_200, 5, 20
        elif self.pretrained:
            enough, affordable = (60, 100_000) if self.arch.endswith("_early") else (20, 50_000)
            views, least, most = 16_000, max(8, min(enough, affordable // max(1, images))), 80
        return epochs_within(self.epochs, images, views=views, least=least, most=most)

    def batch_for(self, images: int) -> int:
        """The batch size for `images` training images: few epochs of few images need small steps."""
        if self.batch_size is not None or images >= 5_000:
            return self.batch_size or 64
        return 16 if self.inherits else 32 if self.pretrained else 64

    def frozen_for(self, images: int) -> int:
        """How many blocks do not learn from `images` training images: of pretrained weights those that a few images only spoil."""
        if self.freeze is not None or not self.pretrained:
            return self.freeze or 0
        early, few = self.arch.endswith("_early"), images < FEW_IMAGES
        return 3 if early else 4 if few else 2

    def resolved(self) -> DistillSettings:
        """The same with every default that depends on how the student starts written out."""
        defaults: dict[str, object] = {
            "lr": 5e-4 if self.inherits or self.pretrained else 4e-3,
            "hard_weight": 0.0 if self.pretrained else 0.1,
            "features": 0.1 if self.pretrained else 0.0,
            "mix": 1.0 if self.pretrained else 0.0,
            "answers": 24 if self.pretrained else 0,
            "patience": None if self.pretrained else 15,
        }
        return self.but(**{name: value for name, value in defaults.items() if getattr(self, name) is None})


class SearchSettings(Settings):
    """The search for a student under a budget, where one is asked for."""

    max_kb: Positive | None = Field(None, description="Largest int8 file of the student, kB.")
    max_ms: Positive | None = Field(None, description="Highest latency of the student, ms per image on one thread.")
    epochs: int | None = Field(None, ge=1, le=10_000, description="Epochs of each trial. Default: an eighth of the student's epochs.")

    @property
    def wanted(self) -> bool:
        """Whether there is a budget."""
        return self.max_kb is not None or self.max_ms is not None
