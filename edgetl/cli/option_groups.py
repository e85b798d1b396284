"""Options that come together: a command takes a group as one parameter (`with_settings` makes its options of it)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from edgetl.cli.options import Assign, Config, Device, LabelsOption, Output, PixelDisk, PixelMemory, PreprocessOption, Threads, running
from edgetl.cli.settings_options import OptionGroup, merged, parse_set, read_toml
from edgetl.core.machine import Runtime


@dataclass(frozen=True, kw_only=True)
class MachineOptions(OptionGroup):
    """The resources of the machine that a command for training may use."""

    device: Device = Runtime.device
    threads: Threads = None
    pixel_memory: PixelMemory = Runtime.pixel_memory_gib
    pixel_disk: PixelDisk = Runtime.pixel_disk_gib

    def running(self, recorded: int | None = None) -> AbstractContextManager[Runtime]:
        """`options.running` with these options; `recorded` is the thread count of the run that is continued."""
        return running(self.threads, recorded, device=self.device, pixel_memory=self.pixel_memory, pixel_disk=self.pixel_disk)


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OptionGroup):
    """Facts about a model that its file does not contain."""

    preprocess: PreprocessOption = None
    labels: LabelsOption = None
    output: Output = None


@dataclass(frozen=True, kw_only=True)
class TableOptions(OptionGroup):
    """Settings of all stages, from a file and one by one."""

    config: Config = None
    assign: Assign = None

    def tables(self, options: dict[str, Any]) -> dict[str, Any]:
        """Stage -> setting -> value: the file, over it --set, over it `options`.

        Raises:
            InputError: the file is not TOML.
            SettingsError: a --set of another form.
        """
        return merged(read_toml(self.config), parse_set(self.assign or []), options)
