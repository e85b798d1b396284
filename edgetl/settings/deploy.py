"""The settings of the stages that need no training: `quantize`, `export`, `verify`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgetl.core.canonical import ADDED
from edgetl.core.validated import Settings
from edgetl.settings.values import Fraction, MinPrecision, Positive, Score, Seed, Target, WhenUndecided


class QuantizeSettings(Settings):
    """The int8 graph, and whether it or the float graph ships."""

    target: Target = Field(
        "portable",
        description="CPU that will run the int8 model; portable gives the same answers on all CPUs, unless layers stay in float.",
    )
    calibration_images: int = Field(256, ge=1, le=100_000, description="Training images that set the activation ranges.")
    max_drop: Fraction = Field(
        0.01, description="Largest drop of int8 against float on labelled images; beyond it some layers, or all, stay in float."
    )
    when_undecided: WhenUndecided = Field(
        "measured", description="What ships if there are too few images to decide; measured: int8 if its drop is within the budget."
    )
    min_agreement: float | None = Field(
        None, ge=0, le=1, description="Lowest share of images with the same answer as float; below it some layers stay in float."
    )
    max_kb: Positive | None = Field(
        None, description="Largest file, kB. Float layers must fit it, and so must the float model if it ships in case of doubt."
    )
    max_ms: Positive | None = Field(
        None,
        description="Highest latency, ms per image on one thread. Float layers must fit it, and so must the float model if it ships in "
        "case of doubt.",
    )
    tune_images: int | None = Field(
        None,
        ge=0,
        le=1_000_000,
        description="Images for the last step, which tunes all layers together; 0: skip it. Default: as many as hold 60 million pixels.",
    )
    time_limit: Positive | None = Field(
        None,
        description="Seconds for quantization; the best model so far is written. Default: about 5 minutes of counted work, which gives "
        "the same bytes every time.",
    )
    keep_names: bool = Field(
        False, description="Leave the network's long names in the int8 file; its answers are the same.", json_schema_extra=dict(ADDED)
    )
    batch_size: int = Field(32, ge=1, le=4096, description="Calibration images in memory at once.")
    seed: Seed = Field(0, description="Random seed of the choice of calibration images.")


class ExportSettings(Settings):
    """The bundle: what the app embeds."""

    golden_images: int = Field(7, ge=1, le=64, description="Number of golden vectors (input and output of one image each).")
    c: bool = Field(False, description="Write clients/c/, the int8 model in C99 for microcontrollers, too.", json_schema_extra=dict(ADDED))
    batch: Literal[1] | None = Field(
        None,
        description="1: batch size 1 and static shapes, for NNAPI, QNN and converters. Default: any number of images.",
        json_schema_extra=dict(ADDED),
    )
    min_precision: MinPrecision = Field(
        0.95,
        description="Wanted precision: share of the given answers that are right; below the confidence it needs, the answer is unknown.",
    )


class VerifySettings(Settings):
    """The verdict, on test images, under onnxruntime on the CPU."""

    max_drop: Fraction = Field(0.05, description="Largest drop of the shipped model against the teacher or reference; decides the verdict.")
    max_int8_drop: Fraction = Field(0.01, description="Largest drop of int8 against float; reported, not part of the verdict.")
    min_score: Score | None = Field(None, description="Lowest top1 that the shipped model may have, a fraction; part of the verdict.")
    seen_images: Literal["refuse", "drop", "accept"] = Field(
        "refuse", description="What to do with test images that a model has seen in training."
    )
    latency_runs: int = Field(50, ge=5, le=10_000, description="Timed runs of each model, one image on one thread.")
    batch_size: int = Field(32, ge=1, le=4096, description="Images per onnxruntime call.")
    thumbnails: int = Field(
        12, ge=0, le=50, description="Thumbnails in the report: wrong answers, and images on which int8 and float differ; 0: none."
    )
