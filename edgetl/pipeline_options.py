"""The options of `edgetl pipeline`: each sets settings of one or more stages."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgetl.settings import RESIZE_WORDS, Fraction, Resize, Seed, Settings, Target


class PipelineOptions(Settings):
    """The options of `edgetl pipeline`. Each sets settings of one or more stages; None means that it was not given."""

    teacher: str | None = Field(None, description="Network to fine-tune: an architecture, or auto. [default: auto]")
    teacher_weights: str | None = Field(None, description="Pretrained weights of the teacher: auto, none or FILE. [default: auto]")
    partial_weights: bool | None = Field(
        None, description="Load the tensors of FILE that fit, even if its architecture differs. [default: no]"
    )
    student: str | None = Field(
        None,
        description="Small network to train: an architecture, auto, pruned (a narrower teacher) or same (the teacher). [default: auto]",
    )
    image_size: int | None = Field(None, ge=16, le=512, description="Input height and width, pixels. [default: that of the weights]")
    max_kb: float | None = Field(
        None, gt=0, description="Largest int8 file, in 1,000 bytes; several students are tried for it. [default: no limit]"
    )
    max_ms: float | None = Field(
        None,
        gt=0,
        description="Highest latency on this CPU, ms per image on one thread; several students are tried for it. [default: no limit]",
    )
    resize: Resize | None = Field(None, description=f"{RESIZE_WORDS} [default: crop]")
    flip: bool | None = Field(None, description="Random horizontal flips in training. [default: decided by a test on the photos]")
    folds: int | None = Field(
        None,
        ge=2,
        le=100,
        description="Also cross-validate a linear head on frozen features in N folds; useful with few photos. [default: no]",
    )
    max_drop: Fraction | None = Field(
        None, description="Largest drop in top1 against the teacher, on test; decides the verdict. [default: 0.05]"
    )
    max_int8_drop: Fraction | None = Field(
        None, description="Largest drop of int8 against float, on val; beyond it the float model ships. [default: 0.01]"
    )
    when_undecided: Literal["measured", "float", "int8"] | None = Field(
        None,
        description="What ships if val has too few images to decide; measured: int8 if its drop is within the budget. [default: measured]",
    )
    min_score: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Lowest top1 that the shipped model may have on test, a fraction; part of the verdict. [default: none]",
    )
    min_precision: float | None = Field(
        None, ge=0.5, lt=1, description="Share of the given answers that shall be right; less sure ones are unknown. [default: 0.95]"
    )
    target: Target | None = Field(None, description="CPU that will run the int8 model. [default: portable]")
    seed: Seed | None = Field(None, description="Random seed of all stages. [default: 0]")
    time_limit: float | None = Field(
        None, gt=0, description="Seconds for quantization. To shorten training, use --set finetune.epochs=N and distill.epochs=N."
    )
    skip_bad_images: bool | None = Field(None, description="Skip image files that cannot be decoded, and list them. [default: no]")

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
