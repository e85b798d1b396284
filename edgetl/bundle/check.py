"""Check a bundle: checksums of all files, the schema of the manifest, and the golden vectors in each graph and client that can run here.

The check ends if a file has changed: the answers of a changed file show nothing about the bundle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from edgetl.bundle.client_runs import run_clients
from edgetl.bundle.finding import Finding
from edgetl.bundle.golden_check import check_golden
from edgetl.bundle.manifest import Manifest, seal_of
from edgetl.bundle.read import MANIFEST, Bundle, bundle_sha256, differences, is_bundle
from edgetl.bundle.schema import manifest_schema, mismatches
from edgetl.core.errors import InputError


def check_bundle(folder: Path, *, browser: bool = False) -> Iterator[Finding]:
    """Check the bundle in `folder`, part by part; `browser`: its web page in a browser, too.

    Raises:
        InputError: there is no bundle.
    """
    if not is_bundle(folder):
        raise InputError(f"expected a bundle (a folder with {MANIFEST}) at {folder}, found none. Give the folder of a bundle")
    intact = [_part("files", lambda: _files(folder)), _part("manifest", lambda: _manifest(folder))]
    yield from intact
    if any(finding.problems for finding in intact):
        reason = "the bundle is not as it was written"
        yield from (Finding(part=part, skipped=reason) for part in ("golden vectors", "clients"))
        return
    bundle = Bundle(path=folder, manifest=_read(folder), sha256=bundle_sha256(folder))
    yield _part("golden vectors", lambda: check_golden(bundle))
    yield from run_clients(folder, browser=browser)


def _part(name: str, work: Callable[[], list[str]]) -> Finding:
    """Run one part of the check; an error counts as a problem."""
    try:
        return Finding(part=name, problems=tuple(work()))
    except (InputError, OSError, ValueError) as error:
        return Finding(part=name, problems=(str(error),))


def _files(folder: Path) -> list[str]:
    """The files that differ from the manifest, and the manifest if it differs from its own seal."""
    text = (folder / MANIFEST).read_bytes()
    try:
        said = json.loads(text)
        expected, seal = {str(name): str(sha) for name, sha in said["files"].items()}, said.get("seal")
    except (ValueError, KeyError, TypeError, AttributeError):
        return [f"{MANIFEST}: changed (it cannot be read any more)"]
    sealed = seal is None if "models" not in said else isinstance(seal, str) and seal == seal_of(text, seal)
    return [*([] if sealed else [f"{MANIFEST}: changed"]), *differences(folder, expected)]


def _manifest(folder: Path) -> list[str]:
    said = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    found = list(mismatches(said, manifest_schema()))
    _read(folder)
    return found


def _read(folder: Path) -> Manifest:
    return Manifest.from_json((folder / MANIFEST).read_text(encoding="utf-8"))
