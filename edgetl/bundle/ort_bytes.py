"""A file in onnxruntime's own format (.ort), in one order: onnxruntime writes one of its tables in the order of a hash that changes.

The file is a FlatBuffer (https://flatbuffers.dev/internals) with the root table InferenceSession: 0 version, 1 model, 3 the table of
kernels' types (onnxruntime's core/flatbuffers/schema/ort.fbs). The model is kept byte for byte; what stands before it is written anew.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgetl.core.errors import InputError

MARK = b"ORTM"
VERSION, MODEL, KERNELS = 0, 1, 3  # fields of the root
ALIGNMENT = 16  # of what the model holds, kept


@dataclass(frozen=True)
class Reader:
    """Reads tables of a FlatBuffer at places in it."""

    data: bytes

    def number(self, place: int, form: str = "<I") -> int:
        """The number at `place`, in the form of `struct`."""
        return int(struct.unpack_from(form, self.data, place)[0])

    def vtable(self, table: int) -> int:
        """The place of the list of a table's fields."""
        return table - self.number(table, "<i")

    def place(self, table: int, slot: int) -> int | None:
        """The place of a field of a table; None if it has its default."""
        listed = self.vtable(table)
        at = 4 + 2 * slot
        offset = self.number(listed + at, "<H") if at < self.number(listed, "<H") else 0
        return table + offset if offset else None

    def follow(self, table: int, slot: int) -> int:
        """The place that a field points to.

        Raises:
            InputError: the table has no such field.
        """
        place = self.place(table, slot)
        if place is None:
            raise InputError(f"expected field {slot} in a table of an .ort file, found none. Another onnxruntime may write another format")
        return place + self.number(place)

    def text(self, table: int, slot: int) -> bytes:
        """The string that a field points to."""
        place = self.follow(table, slot)
        return self.data[place + 4 : place + 4 + self.number(place)]

    def tables(self, table: int, slot: int) -> Iterator[int]:
        """The tables of a vector."""
        place = self.follow(table, slot)
        for index in range(self.number(place)):
            entry = place + 4 + 4 * index
            yield entry + self.number(entry)


@dataclass(frozen=True)
class Writer:
    """Writes tables, each before what it points to."""

    data: bytearray = field(default_factory=bytearray)

    def align(self, size: int, remainder: int = 0) -> None:
        """Zeros up to a place of that remainder."""
        self.data.extend(bytes((remainder - len(self.data)) % size))

    def table(self, *slots: int) -> list[int]:
        """A table with fields of four bytes in these slots; where each stands. The first of the places is the table's own."""
        self.align(4)
        count = max(slots) + 1
        offsets = [4 + 4 * slots.index(slot) if slot in slots else 0 for slot in range(count)]
        listed = struct.pack(f"<HH{count}H", 4 + 2 * count, 4 + 4 * len(slots), *offsets)
        self.data.extend(listed + bytes(-len(listed) % 4))
        start = len(self.data)
        self.data.extend(struct.pack("<i", len(listed) + -len(listed) % 4) + bytes(4 * len(slots)))
        return [start, *(start + 4 + 4 * index for index in range(len(slots)))]

    def vector(self, count: int) -> list[int]:
        """Where the vector stands, and where each of its entries does."""
        self.align(4)
        start = len(self.data)
        self.data.extend(struct.pack("<I", count) + bytes(4 * count))
        return [start, *(start + 4 + 4 * index for index in range(count))]

    def text(self, value: bytes) -> int:
        """A string; where it stands."""
        self.align(4)
        start = len(self.data)
        self.data.extend(struct.pack("<I", len(value)) + value + b"\0")
        return start

    def point(self, place: int, target: int) -> None:
        """Let the field at `place` point to `target`, which stands behind it."""
        struct.pack_into("<I", self.data, place, target - place)


Kernel = tuple[bytes, list[tuple[bytes, list[tuple[int, int]]]]]  # operator, then (name of a type, its arguments: kind and index)


def in_order(data: bytes) -> bytes:
    """The same file with its operators sorted by name.

    Raises:
        InputError: another format.
    """
    if data[4:8] != MARK:
        raise InputError(f"expected an .ort file, which has {MARK.decode()} in its first bytes, found {data[4:8]!r}")
    reader, writer = Reader(data), Writer()
    root = reader.number(0)
    model = reader.follow(root, MODEL)
    kept = min(model, reader.vtable(model))
    writer.data.extend(bytes(4) + MARK)
    place, version, to_model, to_kernels = writer.table(VERSION, MODEL, KERNELS)
    writer.point(0, place)
    writer.point(version, writer.text(reader.text(root, VERSION)))
    writer.point(to_kernels, _write_kernels(writer, sorted(_kernels(reader, reader.follow(root, KERNELS)))))
    writer.align(ALIGNMENT, kept % ALIGNMENT)
    writer.point(to_model, len(writer.data) + model - kept)
    return bytes(writer.data) + data[kept:]


def _kernels(reader: Reader, table: int) -> Iterator[Kernel]:
    for entry in reader.tables(table, 0):
        types = []
        for named in reader.tables(entry, 1):
            arguments = []
            for argument in reader.tables(named, 1):
                kind, index = reader.place(argument, 0), reader.place(argument, 1)
                arguments.append((reader.number(kind, "<b") if kind else 0, reader.number(index) if index else 0))
            types.append((reader.text(named, 0), arguments))
        yield reader.text(entry, 0), sorted(types)


def _write_kernels(writer: Writer, kernels: list[Kernel]) -> int:
    table, entries = writer.table(0)
    start, *places = writer.vector(len(kernels))
    writer.point(entries, start)
    for place, (name, types) in zip(places, kernels, strict=True):
        own, to_name, to_types = writer.table(0, 1)
        writer.point(place, own)
        writer.point(to_name, writer.text(name))
        first, *each = writer.vector(len(types))
        writer.point(to_types, first)
        for at, (kind, arguments) in zip(each, types, strict=True):
            _write_type(writer, at, kind, arguments)
    return table


def _write_type(writer: Writer, place: int, name: bytes, arguments: list[tuple[int, int]]) -> None:
    own, to_name, to_arguments = writer.table(0, 1)
    writer.point(place, own)
    writer.point(to_name, writer.text(name))
    first, *places = writer.vector(len(arguments))
    writer.point(to_arguments, first)
    for at, (kind, index) in zip(places, arguments, strict=True):
        argument, to_kind, to_index = writer.table(0, 1)
        writer.point(at, argument)
        struct.pack_into("<b", writer.data, to_kind, kind)
        struct.pack_into("<I", writer.data, to_index, index)
