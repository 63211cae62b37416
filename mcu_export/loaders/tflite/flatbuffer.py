"""A reader of FlatBuffers that checks every offset against the file.

Only what ``.tflite`` files need: tables, vectors, strings and scalars, all little-endian. Nothing
is allocated before it is known to lie in the file. Source: the FlatBuffers internals document.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np

from mcu_export.errors import ModelFileError
from mcu_export.ops.base import Array


@dataclass(frozen=True)
class Table:
    """A table of a FlatBuffer: fields by number, absent ones with a default."""

    data: bytes
    position: int
    source: str

    def damaged(self, what: str) -> ModelFileError:
        """The error that the file cannot be what it claims."""
        return ModelFileError(
            f"the .tflite file is damaged: {what}", where=self.source, fix="copy it again"
        )

    def _unpack(self, layout: str, position: int) -> int | float:
        if position < 0 or position + struct.calcsize(layout) > len(self.data):
            raise self.damaged("an offset points outside of it")
        value: int | float = struct.unpack_from(layout, self.data, position)[0]
        return value

    def _integer(self, layout: str, position: int) -> int:
        return int(self._unpack(layout, position))

    def _field(self, number: int) -> int:
        """Position of a field, or 0 where the table does not have it."""
        vtable = self.position - self._integer("<i", self.position)
        entry = 4 + 2 * number
        if entry + 2 > self._integer("<H", vtable):
            return 0
        offset = self._integer("<H", vtable + entry)
        return self.position + offset if offset else 0

    def scalar(self, number: int, layout: str, default: float = 0) -> int | float:
        """A number; ``layout`` is that of :mod:`struct`, without the byte order."""
        position = self._field(number)
        return self._unpack("<" + layout, position) if position else default

    def integer(self, number: int, layout: str = "i", default: int = 0) -> int:
        """An integer field."""
        return int(self.scalar(number, layout, default))

    def table(self, number: int) -> Table | None:
        """A table, or None."""
        position = self._field(number)
        if not position:
            return None
        return Table(self.data, position + self._integer("<I", position), self.source)

    def _vector(self, number: int, element_bytes: int) -> tuple[int, int] | None:
        """(position of the first element, count), or None."""
        position = self._field(number)
        if not position:
            return None
        start = position + self._integer("<I", position)
        count = self._integer("<I", start)
        if start + 4 + count * element_bytes > len(self.data):
            raise self.damaged("a list is longer than the file")
        return start + 4, count

    def array(self, number: int, dtype: str) -> Array | None:
        """A vector of numbers of a little-endian numpy type, or None."""
        found = self._vector(number, np.dtype(dtype).itemsize)
        if found is None:
            return None
        start, count = found
        return np.frombuffer(self.data, np.dtype(dtype), count, start)

    def integers(self, number: int) -> tuple[int, ...]:
        """A vector of int32 as a tuple; empty where there is none."""
        found = self.array(number, "<i4")
        return () if found is None else tuple(int(v) for v in found)

    def text(self, number: int) -> str:
        """A string; empty where there is none."""
        found = self.array(number, "u1")
        return "" if found is None else found.tobytes().decode("utf-8", "replace")

    def tables(self, number: int, most: int) -> list[Table]:
        """A vector of tables, at most ``most`` of them."""
        found = self._vector(number, 4)
        if found is None:
            return []
        start, count = found
        if count > most:
            raise self.damaged(f"it claims {count} parts of one kind")
        positions = (start + 4 * index for index in range(count))
        return [Table(self.data, p + self._integer("<I", p), self.source) for p in positions]


def root(data: bytes, source: str) -> Table:
    """The root table of a FlatBuffer."""
    return Table(data, Table(data, 0, source)._integer("<I", 0), source)
