"""Open a bundle, after proving that every file is as it was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from edgetl.bundle.manifest import Manifest
from edgetl.core.canonical import file_sha256
from edgetl.core.errors import InputError, listing
from edgetl.core.foreign import visible
from edgetl.core.seen import SeenImages

MANIFEST, SEEN, LABELS, README = "manifest.json", "seen.json", "labels.txt", "README.md"
BUILT = "clients/"  # where compilers, Gradle, Xcode and npm leave what they build


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle: its folder, its manifest, and the sha256 of the manifest, which covers every other file."""

    path: Path
    manifest: Manifest
    sha256: str

    @property
    def model(self) -> Path:
        """The graph to ship."""
        return self.path / "model.onnx"

    @property
    def float_model(self) -> Path:
        """The float graph it came from."""
        return self.path / "model.float.onnx"

    @cached_property
    def seen(self) -> SeenImages:
        """The images the model was trained, selected or calibrated on."""
        return SeenImages.from_json((self.path / SEEN).read_text(encoding="utf-8"))


def is_bundle(path: Path) -> bool:
    """Whether `path` is a folder with a manifest."""
    return (path / MANIFEST).is_file()


def open_bundle(path: Path) -> Bundle:
    """The bundle in the folder `path`, after a check of every file against the manifest.

    Raises:
        InputError: no bundle, or files that changed, are missing or were added; each is named.
    """
    if not is_bundle(path):
        raise InputError(
            f"expected a bundle (a folder with {MANIFEST}) at {path}, found {'a folder without it' if path.is_dir() else 'none'}. "
            "Give a folder that edgetl export or edgetl pipeline wrote"
        )
    manifest = Manifest.from_json((path / MANIFEST).read_text(encoding="utf-8"))
    if problems := differences(path, manifest.files):
        raise InputError(
            f"expected the files of the bundle {path} to be unchanged, found:\n{listing(problems)}\nExport it again, or restore these files"
        )
    return Bundle(path=path, manifest=manifest, sha256=bundle_sha256(path))


def differences(path: Path, expected: Mapping[str, str]) -> list[str]:
    """The files below `path` that are missing, changed or added, by their sha256; a line each. Below `clients/`, builds may add files."""
    found = file_hashes(path)
    problems = [f"{name}: missing" for name in sorted(expected.keys() - found.keys())]
    problems += [f"{name}: changed" for name in sorted(expected.keys() & found.keys()) if expected[name] != found[name]]
    return problems + [f"{name}: not in the manifest" for name in sorted(found.keys() - expected.keys()) if not name.startswith(BUILT)]


def bundle_sha256(path: Path) -> str:
    """The bundle's name: the sha256 of its manifest.json, which holds that of every other file."""
    return file_sha256(path / MANIFEST)


def file_hashes(path: Path) -> dict[str, str]:
    """sha256 of every file below `path` but the manifest and what other tools left, by relative path with `/`, sorted."""
    inside = (file.relative_to(path) for file in path.rglob("*") if file.is_file())
    names = sorted(file.as_posix() for file in inside if all(map(visible, file.parts)))
    return {name: file_sha256(path / name) for name in names if name != MANIFEST}
