"""The sha256 and the fingerprint of each image file, and whether it decodes; an index avoids reading unchanged files again."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from PIL import UnidentifiedImageError

from edgetl.core.errors import InputError
from edgetl.core.files import write_whole
from edgetl.core.imagefile import IMAGE_HEAD_BYTES, Depth, decode, depth_of, may_be_deep
from edgetl.core.progress import track
from edgetl.core.threads import in_threads
from edgetl.data.fingerprint import Fingerprint, look_of

SCHEMA = 5
DECODED_SIDE = 256  # a photo need not be decoded larger to see what it looks like, and whether it is whole
SAVE_EVERY = 5000  # files; what a killed run has read is then not read again
Stamp = tuple[str, int, int, int]


@dataclass(frozen=True, kw_only=True)
class Checked:
    """A file's sha256, look and, with 16 bits per channel, depth; or the reason why it is no image that can be used."""

    sha256: str = ""
    look: Fingerprint | None = None
    depth: Depth | None = None
    problem: str | None = None


@dataclass(kw_only=True)
class HashIndex:
    """Files known by (absolute path, size, mtime_ns, inode). An entry says: hashed, and decoded without error.

    On disk: a line with the sha256 of the rest, then one JSON line per file. An index that is damaged is ignored.
    """

    path: Path | None
    entries: dict[Stamp, Checked] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls, path: Path | None, *, rehash: bool = False) -> HashIndex:
        """The index at `path`; empty where there is none, where it is damaged, or where it is not to be trusted."""
        if path is None or rehash or not path.is_file():
            return cls(path=path, changed=rehash)
        try:
            header, body = path.read_bytes().split(b"\n", 1)
            if json.loads(header) != {"schema": SCHEMA, "sha256": hashlib.sha256(body).hexdigest()}:
                return cls(path=path)
            rows = [json.loads(line) for line in body.splitlines()]
            return cls(
                path=path,
                entries={
                    (name, size, mtime_ns, inode): Checked(
                        sha256=sha256,
                        look=Fingerprint(bits=bits, taken=taken, thumb=thumb),
                        depth=Depth(largest=deep[0], color=deep[1]) if deep else None,
                    )
                    for name, size, mtime_ns, inode, sha256, bits, taken, thumb, deep in rows
                },
            )
        except (OSError, ValueError, TypeError, LookupError):
            return cls(path=path)

    def get(self, stamp: Stamp) -> Checked | None:
        """The entry of the file with that stamp, if it is known."""
        return self.entries.get(stamp)

    def put(self, stamp: Stamp, checked: Checked) -> None:
        """Remember a file that was read and decoded; what was known of its path before is forgotten on `save`."""
        self.entries.pop(stamp, None)
        self.entries[stamp] = checked
        self.changed = True

    def save(self) -> None:
        """Write the index, whole or not at all; the latest entry of each path."""
        if self.path is None or not self.changed:
            return
        latest = {
            stamp[0]: [
                *stamp,
                found.sha256,
                found.look.bits,
                found.look.taken,
                found.look.thumb,
                found.depth and [found.depth.largest, found.depth.color],
            ]
            for stamp, found in self.entries.items()
            if found.look
        }
        body = "".join(json.dumps(latest[path], ensure_ascii=True) + "\n" for path in sorted(latest)).encode()
        header = json.dumps({"schema": SCHEMA, "sha256": hashlib.sha256(body).hexdigest()})
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, header.encode() + b"\n" + body)
        self.changed = False


def check_files(root: Path, wheres: Iterable[str], *, index: Path | None = None, rehash: bool = False) -> Mapping[str, Checked]:
    """Hash every file and decode it once, in threads; files that `index` knows unchanged are not read."""
    known = HashIndex.load(index, rehash=rehash)
    base = Path(os.path.abspath(root))
    todo: dict[str, Stamp | None] = {}
    done: dict[str, Checked] = {}
    for where in dict.fromkeys(wheres):
        stamp = stamp_of(base / where)
        remembered = known.get(stamp) if stamp else None
        if remembered is None:
            todo[where] = stamp
        else:
            done[where] = remembered
    try:
        with track("read images", total=len(todo), unit="image") as bar:
            results = in_threads(check_file, [base / where for where in todo])
            for count, ((where, stamp), checked) in enumerate(zip(todo.items(), results, strict=True), start=1):
                done[where] = checked
                if stamp and checked.problem is None:
                    known.put(stamp, checked)
                if count % SAVE_EVERY == 0:
                    known.save()
                bar.advance()
    finally:
        known.save()
    return done


def stamp_of(path: Path) -> Stamp | None:
    """Size, time of change and inode of a file, which differ after a change; None if there is no file."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return (str(path), stat.st_size, stat.st_mtime_ns, stat.st_ino)


def check_file(path: Path) -> Checked:
    """Read, hash and decode one file."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return Checked(problem=f"cannot be read ({error.strerror or type(error).__name__})")
    seen = look_or_problem(data)
    if not isinstance(seen, Fingerprint):
        return Checked(problem=seen)
    return Checked(
        sha256=hashlib.sha256(data).hexdigest(), look=seen, depth=depth_of(data) if may_be_deep(data[:IMAGE_HEAD_BYTES]) else None
    )


def look_or_problem(data: bytes) -> Fingerprint | str:
    """The look of the image, or, in a few words, why it cannot be decoded."""
    if not data:
        return "empty file"
    try:
        depth = depth_of(data) if may_be_deep(data[:IMAGE_HEAD_BYTES]) else None
        return look_of(decode(data, shorter=DECODED_SIDE, bits=depth.bits if depth else None))
    except InputError as error:
        cause = error.__cause__
        return (
            "no image, or of a kind that cannot be read"
            if isinstance(cause, UnidentifiedImageError)
            else str(cause or error) or type(cause).__name__
        )
