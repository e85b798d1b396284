"""Published weights over the network: whole, checked, or not at all."""

from __future__ import annotations

import hashlib
import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import BinaryIO

import torch

from edgetl.core.files import MEBIBYTE, open_whole
from edgetl.core.progress import track

TIMEOUT_S = 10
DOWNLOAD_CHUNK_BYTES = 1 << 18
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")  # torchvision puts the first digits of the sha256 there


class Unreachable(Exception):
    """Why a file could not be had, in a few words."""


def fetch_published(url: str, cache: Path) -> Path:
    """The file at `url` in the folder `cache`, downloaded unless it lies there or in torch's own cache already.

    Raises:
        Unreachable: no network, no such file, or bytes that do not have the hash in the file's name.
    """
    name = url.rsplit("/", 1)[-1]
    for path in (cache / name, Path(torch.hub.get_dir()) / "checkpoints" / name):
        if path.is_file() and _sound(path, name):
            return path
    cache.mkdir(parents=True, exist_ok=True)
    with open_whole(cache / name) as stream:
        _download(url, stream)
        stream.flush()
        if not _sound(Path(stream.name), name):
            raise Unreachable("the downloaded file is damaged: its sha256 differs from that in its name")
    return cache / name


def _download(url: str, stream: BinaryIO) -> None:
    name = url.rsplit("/", 1)[-1]
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            with track(f"download {name}", max(total, 1) / MEBIBYTE, "MiB") as bar:
                while chunk := answer.read(DOWNLOAD_CHUNK_BYTES):
                    stream.write(chunk)
                    bar.advance(len(chunk) / MEBIBYTE)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise Unreachable(f"not reachable: {getattr(error, 'reason', None) or error or type(error).__name__}") from error


def _sound(path: Path, name: str) -> bool:
    """Whether the file's sha256 begins as its published name says."""
    expected = HASH_IN_NAME.search(name)
    if expected is None:
        return True
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest().startswith(expected.group(1))
