"""The settings of a whole run: one table for each stage, and for the data."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field

from edgetl.core.errors import SettingsError, nearest
from edgetl.core.validated import Settings
from edgetl.settings.deploy import ExportSettings, QuantizeSettings, VerifySettings
from edgetl.settings.distill import DistillSettings, SearchSettings
from edgetl.settings.finetune import FinetuneSettings
from edgetl.settings.values import NumberOfFolds, Seed


class DataSettings(Settings):
    """How images become train, val and test parts."""

    val_share: float = Field(0.15, gt=0, lt=0.5, description="Share of each class for validation (val).")
    test_share: float = Field(0.25, gt=0, lt=0.5, description="Share of each class for the final test (test), if DATA has no test part.")
    seed: Seed = Field(0, description="Seed of the split.")
    skip_bad_images: bool = Field(False, description="Skip image files that cannot be decoded, and list them.")


class CrossvalSettings(Settings):
    """Cross-validation beside the run, where it is asked for."""

    folds: NumberOfFolds | None = Field(
        None, description="Folds of the cross-validation of a linear head on the teacher's frozen features."
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
        """Settings from nested tables, all problems of all tables in one SettingsError.

        Raises:
            SettingsError: an unknown table or key, or a value out of range; a line for each.
        """
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
