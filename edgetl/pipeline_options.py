"""The options of `edgetl pipeline`: each stands for settings of one or more stages. No torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgetl.settings import RESIZE_WORDS, Fraction, Resize, Seed, Settings, Target


class PipelineOptions(Settings):
    """The pipeline's own options; each stands for settings of one or more stages. What is None was not given."""

    teacher: str | None = Field(None, description="The network to fine-tune: ARCH or auto. [default: auto]")
    teacher_weights: str | None = Field(None, description="Its pretrained weights: auto, none or FILE. [default: auto]")
    partial_weights: bool | None = Field(None, description="Take what fits of them, also of another architecture. [default: no]")
    student: str | None = Field(
        None, description="The network that ships: NAME, auto, pruned or same (the teacher, narrower or as it is). [default: auto]"
    )
    image_size: int | None = Field(None, ge=16, le=512, description="Height and width of the input, pixels. [default: the weights' own]")
    max_kb: float | None = Field(
        None, gt=0, description="Largest int8 file, in 1,000 bytes: the student is sought under it, in minutes. [default: any]"
    )
    max_ms: float | None = Field(
        None, gt=0, description="Longest latency, ms per image at one thread here: the student is sought under it. [default: any]"
    )
    resize: Resize | None = Field(None, description=f"{RESIZE_WORDS} [default: crop]")
    flip: bool | None = Field(None, description="Whether left and right may be exchanged in training. [default: the photos tell]")
    folds: int | None = Field(
        None, ge=2, le=100, description="Also cross-validate a head on frozen features: mean and spread, for few photos. [default: no]"
    )
    max_drop: Fraction | None = Field(None, description="Budget on test: what ships against the teacher. [default: 0.05]")
    max_int8_drop: Fraction | None = Field(None, description="Budget on val: int8 against float; beyond it float ships. [default: 0.01]")
    when_undecided: Literal["measured", "float", "int8"] | None = Field(
        None,
        description="What ships where val has too few images to decide: int8 if the measured drop is within budget. [default: measured]",
    )
    min_score: float | None = Field(
        None, gt=0, le=1, description="Score on test that what ships must have, a fraction; it counts in the verdict. [default: any]"
    )
    min_precision: float | None = Field(
        None, ge=0.5, lt=1, description="Share of the given answers that shall be right; less sure ones are unknown. [default: 0.95]"
    )
    target: Target | None = Field(None, description="CPU the int8 graph is for. [default: portable]")
    seed: Seed | None = Field(None, description="Seed of everything random. [default: 0]")
    time_limit: float | None = Field(
        None, gt=0, description="Seconds for quantize, by the clock; training has --set finetune.epochs=N and distill.epochs=N instead."
    )
    skip_bad_images: bool | None = Field(
        None, description="Go on without image files that cannot be decoded; they are named and counted. [default: no]"
    )

    def tables(self) -> dict[str, dict[str, object]]:
        """The settings these options stand for, as tables."""
        places = {
            "teacher": [("finetune", "arch")],
            "teacher_weights": [("finetune", "weights")],
            "partial_weights": [("finetune", "partial_weights")],
            "student": [("distill", "arch")],
            "image_size": [("finetune", "image_size")],
            "resize": [("finetune", "resize")],
            "flip": [("finetune", "flip"), ("distill", "flip")],
            "max_kb": [("search", "max_kb")],
            "max_ms": [("search", "max_ms")],
            "folds": [("crossval", "folds")],
            "max_drop": [("verify", "max_drop")],
            "max_int8_drop": [("quantize", "max_drop"), ("verify", "max_int8_drop")],
            "when_undecided": [("quantize", "when_undecided")],
            "min_score": [("verify", "min_score")],
            "min_precision": [("export", "min_precision")],
            "target": [("quantize", "target")],
            "time_limit": [("quantize", "time_limit")],
            "skip_bad_images": [("data", "skip_bad_images")],
            "seed": [(stage, "seed") for stage in ("data", "finetune", "distill", "quantize")],
        }
        tables: dict[str, dict[str, object]] = {}
        for option, keys in places.items():
            for table, key in keys:
                if (value := getattr(self, option)) is not None:
                    tables.setdefault(table, {})[key] = value
        return tables
