"""A bundle as one file: the same bundle gives the same bytes, whoever packs it and when."""

from __future__ import annotations

import zipfile
from pathlib import Path

from edgetl.core.files import open_whole
from edgetl.core.foreign import visible

EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a ZIP file can say
MODE = 0o644 << 16


def write_zip(folder: Path, target: Path) -> Path:
    """Pack the files of `folder`, under its name, in sorted order and uncompressed: another zlib would give other bytes."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and all(map(visible, path.relative_to(folder).parts)))
    with open_whole(target) as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as packed:
        for path in files:
            entry = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", date_time=EARLIEST)
            entry.external_attr, entry.create_system = MODE, 3
            packed.writestr(entry, path.read_bytes())
    return target
