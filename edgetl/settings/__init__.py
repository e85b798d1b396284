"""The settings of every stage, validated once, with defaults written once. No torch.

The command line's options and its help, the tables of a TOML file and the keys of stages all come from here.
"""

from edgetl.core.machine import Runtime
from edgetl.core.validated import Settings
from edgetl.settings.deploy import ExportSettings, QuantizeSettings, VerifySettings
from edgetl.settings.distill import PATIENT_SIDE, DistillSettings, SearchSettings
from edgetl.settings.finetune import ADAPTED_SIDE, FinetuneSettings
from edgetl.settings.pipeline import CrossvalSettings, DataSettings, PipelineSettings
from edgetl.settings.values import (
    Fraction,
    ImageSize,
    MinPrecision,
    NumberOfFolds,
    Positive,
    Resize,
    Score,
    Seed,
    Target,
    WhenUndecided,
    default_words,
)

__all__ = [
    "ADAPTED_SIDE",
    "PATIENT_SIDE",
    "CrossvalSettings",
    "DataSettings",
    "DistillSettings",
    "ExportSettings",
    "FinetuneSettings",
    "Fraction",
    "ImageSize",
    "MinPrecision",
    "NumberOfFolds",
    "PipelineSettings",
    "Positive",
    "QuantizeSettings",
    "Resize",
    "Runtime",
    "Score",
    "SearchSettings",
    "Seed",
    "Settings",
    "Target",
    "VerifySettings",
    "WhenUndecided",
    "default_words",
]
