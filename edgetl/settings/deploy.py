"""The settings of the stages that need no training: `quantize`, `export`, `verify`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from edgetl.core.canonical import ADDED
from edgetl.core.validated import Settings
from edgetl.settings.values import Fraction, Seed, Target


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
    c: bool = Field(False, description="Write clients/c/, the int8 model in C99 for microcontrollers, too.", json_schema_extra=dict(ADDED))
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
