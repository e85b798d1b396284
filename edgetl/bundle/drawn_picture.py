"""A picture that edgetl draws for golden vectors: colored, not square, larger than the network's input, with detail down to a pixel.

It is a PNG of four colors whose compressed data are stored, not compressed: the same bytes with every version of zlib.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from edgetl.core.preprocess import Preprocess
from edgetl.core.preprocess_rules import pair

COLORS = ((0, 0, 0), (225, 40, 30), (20, 60, 205), (250, 230, 70))  # the first one is transparent: what lies below it shows
TALLER, WIDER = (5, 4), (3, 2)  # times the rectangle that pictures are resized to: its height and its width
STORED_BYTES = 65535  # of one block (RFC 1951, section 3.2.4)


def draw(preprocess: Preprocess) -> bytes:
    """The bytes of the PNG for a network with that Preprocess."""
    rows, columns = pair(preprocess.resize)
    height, width = -(-rows * TALLER[0] // TALLER[1]), -(-columns * WIDER[0] // WIDER[1])
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    rings = (3 * x * x + 2 * y * y + x * y) // (4 * width)  # wide at one corner, a pixel wide at the other
    return _png(((rings + 3 * y // height) % len(COLORS)).astype(np.uint8))


def _png(indices: NDArray[np.uint8]) -> bytes:
    """Indices into COLORS [height, width] as a PNG with two bits a pixel (PNG specification, 3rd edition, sections 5 and 11)."""
    height, width = indices.shape
    padded = np.pad(indices, ((0, 0), (0, -width % 4))).reshape(height, -1, 4)
    packed = (padded << np.array([6, 4, 2, 0], np.uint8)).sum(axis=2).astype(np.uint8)
    lines = np.pad(packed, ((0, 0), (1, 0))).tobytes()  # each row begins with its filter, 0: none
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 2, 3, 0, 0, 0)),
        (b"PLTE", bytes(level for color in COLORS for level in color)),
        (b"tRNS", b"\0"),
        (b"IDAT", b"\x78\x01" + b"".join(_stored(lines)) + struct.pack(">I", zlib.adler32(lines))),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def _stored(data: bytes) -> Iterator[bytes]:
    """`data` as deflate blocks without compression."""
    for start in range(0, len(data), STORED_BYTES):
        block = data[start : start + STORED_BYTES]
        last = start + STORED_BYTES >= len(data)
        yield struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF) + block
