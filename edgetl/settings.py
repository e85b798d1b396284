"""The settings of every stage, validated once, with defaults written once. No torch.

The command line's options and its help, the tables of a TOML file and the keys of stages all come from here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from edgetl.core.errors import SettingsError, nearest
from edgetl.core.machine import Runtime as Runtime
from edgetl.core.validated import Settings as Settings

Target = Literal["x86", "x86-avx2", "arm64", "web", "portable"]
Resize = Literal["crop", "squash", "pad"]
RESIZE_WORDS = "How a photo becomes square: crop (the center), squash (change the aspect ratio), or pad (add bands)."
Fraction = Annotated[float, Field(ge=0.0, le=0.2)]
FEW_PIXELS = 160  # height and width of an input; up to here all of a network with installed weights has to adapt
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _epochs(wanted: int | None, images: int, *, views: int, least: int, most: int) -> int:
    """`wanted`, or so many epochs that `views` images are seen in all, within bounds."""
    return max(least, min(most, round(views / max(1, images)))) if wanted is None else wanted


class DataSettings(Settings):
    """How images become train, val and test parts."""

    val_share: float = Field(0.15, gt=0, lt=0.5, description="Share of each class for validation (val).")
    test_share: float = Field(0.25, gt=0, lt=0.5, description="Share of each class for the final test (test), if DATA has no test part.")
    seed: Seed = Field(0, description="Seed of the split.")
    skip_bad_images: bool = Field(False, description="Skip image files that cannot be decoded, and list them.")


class FinetuneSettings(Settings):
    """The teacher: a pretrained network with a new head, which learns alone, or all of the network with it."""

    arch: str = Field("auto", description="Architecture: a torchvision name, cifar_resnet20, ..., or auto.")
    weights: str = Field("auto", description="Pretrained weights: auto, none, or a .safetensors or .pth file.")
    partial_weights: bool = Field(False, description="Load the tensors that fit by name and shape, even if the architecture differs.")
    image_size: int | None = Field(
        None, ge=16, le=512, description="Input height and width, pixels. Default: the pretrained network's own."
    )
    resize: Resize | None = Field(None, description=f"{RESIZE_WORDS} Default: as in pretraining, mostly crop.")
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
        return _epochs(self.epochs, images, views=views, least=least, most=most)

    @property
    def adapts(self) -> bool:
        """Whether ImageNet's features meet inputs that are smaller than those they were learned from; once the weights are found."""
        return self.weights == "package" and self.image_size is not None and self.image_size <= FEW_PIXELS

    def resolved(self) -> FinetuneSettings:
        """The same with every default that depends on whether the network adapts written out."""
        return self.but(
            layer_decay=self.layer_decay or (0.8 if self.adapts else 0.6), patience=self.patience or (None if self.adapts else 8)
        )


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
    image_size: int | None = Field(None, ge=16, le=512, description="The student's input height and width, pixels. Default: the teacher's.")
    epochs: int | None = Field(
        None, ge=1, le=10_000, description="Epochs. Default: 15 to 100 (pruned: 5 to 20; pretrained: 8 to 80), fewer for more images."
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
        description="Frozen blocks of the student, from the input on, of about six. Default: 0; pretrained: 2 or 3.",
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
        """The number of epochs for `images` training images: about 18,000 views; of inherited weights 3,200, of pretrained 16,000."""
        views, least, most = (3_200, 5, 20) if self.inherits else (16_000, 8, 80) if self.pretrained else (18_000, 15, 100)
        return _epochs(self.epochs, images, views=views, least=least, most=most)

    def batch_for(self, images: int) -> int:
        """The batch size for `images` training images: few epochs of few images need small steps."""
        if self.batch_size is not None or images >= 5_000:
            return self.batch_size or 64
        return 16 if self.inherits else 32 if self.pretrained else 64

    def resolved(self) -> DistillSettings:
        """The same with every default that depends on how the student starts written out."""
        defaults: dict[str, object] = {
            "lr": 5e-4 if self.inherits or self.pretrained else 4e-3,
            "hard_weight": 0.0 if self.pretrained else 0.1,
            "features": 0.1 if self.pretrained else 0.0,
            "mix": 1.0 if self.pretrained else 0.0,
            "answers": 24 if self.pretrained else 0,
            "freeze": (3 if self.arch.endswith("_early") else 2) if self.pretrained else 0,
            "patience": None if self.pretrained else 15,
        }
        return self.but(**{name: value for name, value in defaults.items() if getattr(self, name) is None})


class CrossvalSettings(Settings):
    """Cross-validation beside the run, where it is asked for."""

    folds: int | None = Field(
        None, ge=2, le=100, description="Folds of the cross-validation of a linear head on the teacher's frozen features."
    )


class SearchSettings(Settings):
    """The search for a student under a budget, where one is asked for."""

    max_kb: float | None = Field(None, gt=0, description="Largest int8 file of the student, in 1,000 bytes.")
    max_ms: float | None = Field(None, gt=0, description="Highest latency of the student, ms per image on one thread.")
    epochs: int | None = Field(None, ge=1, le=10_000, description="Epochs of each trial. Default: an eighth of the student's epochs.")

    @property
    def wanted(self) -> bool:
        """Whether there is a budget."""
        return self.max_kb is not None or self.max_ms is not None


class QuantizeSettings(Settings):
    """The int8 graph, and whether it or the float graph ships."""

    target: Target = Field("portable", description="CPU that will run the int8 model; portable gives the same answers on all CPUs.")
    calibration_images: int = Field(256, ge=1, le=100_000, description="Training images that set the activation ranges.")
    max_drop: Fraction = Field(
        0.01, description="Largest drop of int8 against float on labelled images; beyond it some layers, or all, stay in float."
    )
    when_undecided: Literal["measured", "float", "int8"] = Field(
        "measured", description="What ships if there are too few images to decide; measured: int8 if its drop is within the budget."
    )
    min_agreement: float | None = Field(
        None, ge=0, le=1, description="Lowest share of images with the same answer as float; below it some layers stay in float."
    )
    max_kb: float | None = Field(None, gt=0, description="Largest file, in 1,000 bytes, that float layers may cause.")
    max_ms: float | None = Field(None, gt=0, description="Highest latency, ms per image on one thread, that float layers may cause.")
    tune_images: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Images for the last step, which tunes all layers together. Default: 60 million pixels of them; 0: skip the step.",
    )
    time_limit: float | None = Field(
        None,
        gt=0,
        description="Seconds for quantization; the best model so far is written. Default: about 5 minutes of counted work, which gives "
        "the same bytes every time.",
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Calibration images in memory at once.")
    seed: Seed = Field(0, description="Random seed of the choice of calibration images.")


class ExportSettings(Settings):
    """The bundle: what the app embeds."""

    golden_images: int = Field(8, ge=1, le=64, description="Number of golden vectors (input and output of one image each).")


class VerifySettings(Settings):
    """The verdict, on test images, under onnxruntime on the CPU."""

    max_drop: Fraction = Field(0.05, description="Largest drop of the shipped model against the teacher or reference; decides the verdict.")
    max_int8_drop: Fraction = Field(0.01, description="Largest drop of int8 against float; reported, not part of the verdict.")
    min_score: float | None = Field(
        None, gt=0, le=1, description="Lowest top1 that the shipped model may have, a fraction; part of the verdict."
    )
    seen_images: Literal["refuse", "drop", "accept"] = Field(
        "refuse", description="What to do with test images that a model has seen in training."
    )
    latency_runs: int = Field(50, ge=5, le=10_000, description="Timed runs of each model, one image on one thread.")
    batch_size: int = Field(32, ge=1, le=4096, description="Images per onnxruntime call.")
    thumbnails: int = Field(
        12, ge=0, le=50, description="Thumbnails in the report: wrong answers, and images on which int8 and float differ; 0: none."
    )


class PipelineSettings(Settings):
    """All stages; one table of a TOML file each."""

    data: DataSettings = DataSettings()
    finetune: FinetuneSettings = FinetuneSettings()
    distill: DistillSettings = DistillSettings()
    search: SearchSettings = SearchSettings()
    crossval: CrossvalSettings = CrossvalSettings()
    quantize: QuantizeSettings = QuantizeSettings()
    export: ExportSettings = ExportSettings()
    verify: VerifySettings = VerifySettings()

    @classmethod
    def from_tables(cls, tables: Mapping[str, Mapping[str, object]]) -> PipelineSettings:
        """Settings from nested tables, all problems of all tables in one SettingsError."""
        problems: list[str] = []
        built: dict[str, Settings] = {}
        for name, table in tables.items():
            field = cls.model_fields.get(name)
            if field is None:
                problems.append(f"[{name}]: unknown table{nearest(name, cls.model_fields)}; known: {', '.join(cls.model_fields)}")
                continue
            if not isinstance(table, Mapping):
                problems.append(f"{name}: expected a table [{name}], found {table!r}{nearest(name, cls.model_fields)}")
                continue
            try:
                built[name] = type(field.default)(**table)
            except SettingsError as error:
                problems.append(str(error))
        if problems:
            raise SettingsError("\n".join(problems))
        return cls(**built)
