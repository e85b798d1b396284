"""The options of `edgetl pipeline`: each sets settings of one or more stages, and takes its default from the first of them."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic.fields import FieldInfo

from edgetl.settings import (
    Fraction,
    ImageSize,
    MinPrecision,
    NumberOfFolds,
    PipelineSettings,
    Positive,
    Resize,
    Score,
    Seed,
    Settings,
    Target,
    WhenUndecided,
    default_words,
)


def setting(place: str) -> FieldInfo:
    """The field of `finetune.arch`."""
    stage, _, key = place.partition(".")
    found: FieldInfo = type(PipelineSettings.model_fields[stage].default).model_fields[key]
    return found


def _sets(*places: str, words: str | None = None, default: str | None = None) -> Any:
    """An option that sets the settings `places`, each STAGE.KEY.

    Its help is that of the first setting, or `words`; behind it stands the setting's default, or `default` where that is found later.
    """
    first = setting(places[0])
    usual = default_words(first) if default is None else f" [default: {default}]"
    return Field(None, description=f"{words or first.description}{usual}", json_schema_extra={"sets": list(places)})


class PipelineOptions(Settings):
    """The options of `edgetl pipeline`. Each sets settings of one or more stages; None means that it was not given."""

    teacher: str | None = _sets("finetune.arch", words="Network to fine-tune: an architecture, or auto.")
    teacher_weights: str | None = _sets("finetune.weights", words="Pretrained weights of the teacher: auto, none or FILE.")
    partial_weights: bool | None = _sets("finetune.partial_weights")
    student: str | None = _sets("distill.arch")
    image_size: ImageSize | None = _sets("finetune.image_size")
    max_kb: Positive | None = _sets(
        "search.max_kb",
        words="Largest int8 file, kB. Several students are tried for it; in case of doubt, no larger float model ships.",
        default="no limit",
    )
    max_ms: Positive | None = _sets(
        "search.max_ms",
        words="Highest latency on this CPU, ms per image on one thread. Several students are tried for it; in case of doubt, no slower "
        "float model ships.",
        default="no limit",
    )
    resize: Resize | None = _sets("finetune.resize")
    flip: bool | None = _sets("finetune.flip", "distill.flip")
    folds: NumberOfFolds | None = _sets(
        "crossval.folds",
        words="Also cross-validate a linear head on frozen features in N folds; useful with few photos.",
        default="no",
    )
    max_drop: Fraction | None = _sets("verify.max_drop", words="Largest drop in top1 against the teacher, on test; decides the verdict.")
    max_int8_drop: Fraction | None = _sets(
        "quantize.max_drop",
        "verify.max_int8_drop",
        words="Largest drop of int8 against float, on val; beyond it some layers, or all, stay in float.",
    )
    when_undecided: WhenUndecided | None = _sets("quantize.when_undecided")
    min_score: Score | None = _sets("verify.min_score", default="none")
    min_precision: MinPrecision | None = _sets("export.min_precision")
    target: Target | None = _sets("quantize.target")
    seed: Seed | None = _sets(
        "data.seed",
        "finetune.seed",
        "distill.seed",
        "quantize.seed",
        words="Random seed of the split, of training, and of the choice of calibration images.",
    )
    time_limit: Positive | None = _sets(
        "quantize.time_limit",
        words="Seconds for quantization. To shorten training, use --set finetune.epochs=N and distill.epochs=N.",
        default="about 5 minutes of counted work",
    )
    skip_bad_images: bool | None = _sets("data.skip_bad_images")

    @classmethod
    def places(cls, option: str) -> list[tuple[str, str]]:
        """The settings that an option sets, as (stage, key)."""
        extra = cls.model_fields[option].json_schema_extra
        assert isinstance(extra, dict) and isinstance(extra["sets"], list)
        return [(stage, key) for stage, _, key in (str(place).partition(".") for place in extra["sets"])]

    def tables(self) -> dict[str, dict[str, object]]:
        """The settings these options stand for, as tables."""
        tables: dict[str, dict[str, object]] = {}
        for option, value in self:
            for stage, key in self.places(option):
                if value is not None:
                    tables.setdefault(stage, {})[key] = value
        return tables
