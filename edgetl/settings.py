"""Every stage's settings, side by side: frozen, keyword-only, validated once, defaults written once. No torch.

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
RESIZE_WORDS = "How photos become the network's square: the center (crop), both sides resized (squash), or bands beside the photo (pad)."
Fraction = Annotated[float, Field(ge=0.0, le=0.2)]
FEW_PIXELS = 160  # height and width of an input; up to here all of a network with installed weights has to adapt
Seed = Annotated[int, Field(ge=0, lt=2**32)]


def _epochs(wanted: int | None, images: int, *, views: int, least: int, most: int) -> int:
    """`wanted`, or so many epochs that `views` images are seen in all, within bounds."""
    return max(least, min(most, round(views / max(1, images)))) if wanted is None else wanted


class DataSettings(Settings):
    """How images become train, val and test parts."""

    val_share: float = Field(0.15, gt=0, lt=0.5, description="Share of each class that selects and decides (val).")
    test_share: float = Field(0.25, gt=0, lt=0.5, description="Share of each class that judges, once (test), where DATA brings none.")
    seed: Seed = Field(0, description="Seed of the split.")
    skip_bad_images: bool = Field(False, description="Go on without image files that cannot be decoded; they are named and counted.")


class FinetuneSettings(Settings):
    """The teacher: a pretrained network with a new head, which learns alone, or all of the network with it."""

    arch: str = Field("auto", description="Architecture: a torchvision name, cifar_resnet20, ..., or auto.")
    weights: str = Field("auto", description="Pretrained weights: auto, none, or a .safetensors or .pth file.")
    partial_weights: bool = Field(False, description="Take what fits of the weights by name and shape, also of another architecture.")
    image_size: int | None = Field(
        None, ge=16, le=512, description="Input height and width, pixels. Default: the pretrained network's own."
    )
    resize: Resize | None = Field(None, description=f"{RESIZE_WORDS} Default: as the pretrained network, which mostly means crop.")
    strategy: Literal["auto", "features", "staged", "full"] = Field(
        "auto",
        description="What learns: features (the head alone), staged (one block more after the other), full, or auto: validation decides.",
    )
    head: Literal["linear", "mlp"] = Field("linear", description="The new head: one layer, or two.")
    head_views: int = Field(
        2, ge=1, le=16, description="Views of each training image that the head is fitted on: the center, the others at random."
    )
    head_epochs: int = Field(100, ge=1, le=10_000, description="Epochs of an mlp head on frozen features (a linear one is fitted at once).")
    head_lr: float = Field(1e-3, gt=0, le=1, description="Peak learning rate of an mlp head on frozen features.")
    balance: Literal["auto", "none", "sampling", "loss"] = Field(
        "auto",
        description="Rare classes: shown more often (sampling), weighing more (loss), neither; auto: sampling if classes are unbalanced.",
    )
    baselines: bool = Field(True, description="Also a linear probe and the network from scratch, for the report.")
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
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the training in which the learning rate rises.")
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Share of the target spread over all classes.")
    augment: Literal["auto", "none"] = Field("auto", description="Random views fit to the image size, or none.")
    flip: bool | None = Field(None, description="Whether left and right may be exchanged. Default: the photos tell; digits: no.")
    patience: int | None = Field(
        None, ge=1, description="Epochs without a better val score before training stops. Default: 8 (pip's weights, up to 160 px: none)."
    )
    seed: Seed = Field(0, description="Seed of weights, order and views.")

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
        "auto", description="Student: pruned or same (the teacher, narrower or as it is), edge_tiny, ..., a torchvision name, or auto."
    )
    keep: float | None = Field(
        None, gt=0, lt=1, description="Share of its parameters that the student keeps when it is pruned. Default: 0.4 of pruned, else all."
    )
    weights: str = Field(
        "installed",
        description="Weights the student starts from: installed (what pip brought), none, auto, or a .safetensors or .pth file.",
    )
    partial_weights: bool = Field(False, description="Take what fits of the weights by name and shape, also of another architecture.")
    image_size: int | None = Field(None, ge=16, le=512, description="The student's input height and width, pixels. Default: the teacher's.")
    epochs: int | None = Field(
        None, ge=1, le=10_000, description="Epochs. Default: 15 to 100 (pruned: 5 to 20; pretrained: 8 to 80), fewer for more images."
    )
    lr: float | None = Field(
        None, gt=0, le=1, description="Peak learning rate. Default: 4e-3; pruned or pretrained: 5e-4, to keep what was learned before."
    )
    weight_decay: float = Field(0.02, ge=0, le=1, description="Decoupled weight decay (AdamW).")
    batch_size: int | None = Field(
        None, ge=2, le=4096, description="Images per step. Default: 64; with fewer than 5,000 images pruned: 16, pretrained: 32."
    )
    warmup: float = Field(0.1, ge=0, lt=1, description="Share of the training in which the learning rate rises.")
    temperature: float = Field(4.0, gt=0, le=100, description="Temperature of the soft targets.")
    hard_weight: float | None = Field(
        None, ge=0, le=1, description="Weight of the labels beside the teacher's answers. Default: 0.1; pretrained: 0."
    )
    features: float | None = Field(
        None, ge=0, le=100, description="Weight of the teacher's features, which the student's are to give. Default: 0; pretrained: 0.1."
    )
    mix: float | None = Field(
        None, ge=0, le=10, description="Views mixed in pairs, by shares from Beta(N, N); 0: none. Default: 0; pretrained: 1."
    )
    answers: int | None = Field(
        None,
        ge=0,
        le=10_000,
        description="Views of each image that the teacher answers; they come again. 0: ever new ones. Default: 0; pretrained: 24.",
    )
    balance: Literal["auto", "none", "sampling", "loss"] = Field(
        "auto",
        description="Rare classes: shown more often (sampling), weighing more (loss), neither; auto: sampling if classes are unbalanced.",
    )
    augment: Literal["auto", "none"] = Field("auto", description="Random views fit to the image size, or none.")
    flip: bool | None = Field(None, description="Whether left and right may be exchanged. Default: as in the teacher's training.")
    freeze: int | None = Field(
        None,
        ge=0,
        le=5,
        description="Blocks of the student, of about six from the input on, that do not learn. Default: 0; pretrained: 2 or 3.",
    )
    patience: int | None = Field(
        None, ge=1, description="Epochs without a better val score after which training stops. Default: 15; pretrained: none."
    )
    seed: Seed = Field(0, description="Seed of weights, order and views.")

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

    folds: int | None = Field(None, ge=2, le=100, description="Folds in which a head on the teacher's frozen features is judged.")


class SearchSettings(Settings):
    """The search for a student under a budget, where one is asked for."""

    max_kb: float | None = Field(None, gt=0, description="Largest int8 file of the student, in 1,000 bytes.")
    max_ms: float | None = Field(None, gt=0, description="Longest latency of it, ms per image at one thread.")
    epochs: int | None = Field(None, ge=1, le=10_000, description="Epochs of a trial. Default: an eighth of the student's.")

    @property
    def wanted(self) -> bool:
        """Whether there is a budget."""
        return self.max_kb is not None or self.max_ms is not None


class QuantizeSettings(Settings):
    """The int8 graph, and whether it or the float graph ships."""

    target: Target = Field("portable", description="CPU the int8 graph is for; portable gives the same answers on all.")
    calibration_images: int = Field(256, ge=1, le=100_000, description="Training images that set the activation ranges.")
    max_drop: Fraction = Field(0.01, description="Drop of int8 against float, on val, beyond which layers, or all, stay in float.")
    when_undecided: Literal["measured", "float", "int8"] = Field(
        "measured", description="What ships where val has too few images to decide; measured: int8 if the measured drop is within budget."
    )
    min_agreement: float | None = Field(
        None, ge=0, le=1, description="Share of images with the float model's answer that is enough; below it layers stay in float."
    )
    max_kb: float | None = Field(None, gt=0, description="Largest file, in 1,000 bytes, that leaving layers in float may make.")
    max_ms: float | None = Field(None, gt=0, description="Longest latency, ms per image at one thread, that this may make.")
    tune_images: int | None = Field(
        None, ge=0, le=1_000_000, description="Images that the last step looks at. Default: as many as have 60 million pixels; 0: none."
    )
    time_limit: float | None = Field(
        None,
        gt=0,
        description="Seconds for int8: by the clock, and the best so far is written. Default: about 5 minutes of counted work, which gives "
        "the same bytes every time.",
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Calibration images read at once; memory grows with it, not with the images.")
    seed: Seed = Field(0, description="Seed of the choice of calibration images.")


class ExportSettings(Settings):
    """The bundle: what the app embeds."""

    golden_images: int = Field(8, ge=1, le=64, description="Images whose inputs and outputs go into golden/.")
    min_precision: float = Field(
        0.95,
        ge=0.5,
        lt=1,
        description="Share of the given answers that shall be right, a fraction; the bundle says below which confidence to answer unknown.",
    )


class VerifySettings(Settings):
    """The verdict, on test images, under onnxruntime on the CPU."""

    max_drop: Fraction = Field(0.05, description="Largest drop of what ships against the teacher.")
    max_int8_drop: Fraction = Field(0.01, description="Largest drop of int8 against float (reported).")
    min_score: float | None = Field(None, gt=0, le=1, description="Score that what ships must have to be of use, a fraction; it counts.")
    seen_images: Literal["refuse", "drop", "accept"] = Field("refuse", description="What to do with test images that a model has seen.")
    latency_runs: int = Field(50, ge=5, le=10_000, description="Timed runs per model, one image at a time, one thread.")
    batch_size: int = Field(32, ge=1, le=4096, description="Images per onnxruntime call.")
    thumbnails: int = Field(12, ge=0, le=50, description="Photos in the report: mistakes, and where int8 and float differ; 0: none.")


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
