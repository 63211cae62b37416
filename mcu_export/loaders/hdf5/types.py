"""The small parts of HDF5: bounded reading, datatypes, dataspaces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mcu_export.ops import Array, Shape

UNDEFINED = (1 << 64) - 1  # an address that points nowhere
MAX_RANK = 32


class Hdf5Error(Exception):
    """What is wrong with a file, or which part of the format is not supported."""


class Bytes:
    """A cursor over bytes that never runs past their end. Integers are little-endian."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)  # parts of it are no copies
        self.at = 0

    def left(self) -> int:
        """Number of bytes behind the cursor."""
        return len(self._data) - self.at

    def take(self, size: int) -> memoryview:
        """The next ``size`` bytes."""
        if not 0 <= size <= self.left():
            raise Hdf5Error("the file is truncated or damaged: a block is too short")
        self.at += size
        return self._data[self.at - size : self.at]

    def peek(self, size: int) -> bytes:
        """The next bytes, without moving."""
        return bytes(self._data[self.at : self.at + size])

    def skip(self, size: int) -> None:
        """Move forward."""
        self.take(size)

    def rest(self) -> memoryview:
        """All that is left."""
        return self.take(self.left())

    def uint(self, size: int) -> int:
        """An unsigned integer of ``size`` bytes."""
        return int.from_bytes(self.take(size), "little")

    def u8(self) -> int:
        """An unsigned integer of 8 bits."""
        return self.uint(1)

    def u16(self) -> int:
        """An unsigned integer of 16 bits."""
        return self.uint(2)

    def u32(self) -> int:
        """An unsigned integer of 32 bits."""
        return self.uint(4)

    def u64(self) -> int:
        """An unsigned integer of 64 bits."""
        return self.uint(8)


@dataclass(frozen=True)
class Dataspace:
    """A shape; None where there is no value at all."""

    shape: Shape | None

    def elements(self) -> int:
        """Number of elements."""
        return 0 if self.shape is None else math.prod(self.shape)


def decode_dataspace(cursor: Bytes) -> Dataspace:
    """A dataspace message (IV.A.2.b)."""
    version, rank, _ = cursor.u8(), cursor.u8(), cursor.u8()
    if version not in (1, 2) or rank > MAX_RANK:
        raise Hdf5Error("a shape of this kind is not supported")
    if version == 1:
        cursor.skip(5)
    elif cursor.u8() == 2:
        return Dataspace(None)
    return Dataspace(tuple(cursor.u64() for _ in range(rank)))


@dataclass(frozen=True)
class Datatype:
    """A type of elements.

    Attributes:
        kind: ``float``, ``bfloat``, ``text``, ``variable text``, or else what it is called.
        size: bytes of an element as it stands in the file.
        big_endian: order of the bytes.
    """

    kind: str
    size: int
    big_endian: bool = False

    def floats(self, raw: memoryview, shape: Shape) -> Array | None:
        """The elements as float32; None where they are no floats."""
        order = ">" if self.big_endian else "<"
        if self.kind == "bfloat":  # the upper half of a float32
            upper = np.frombuffer(raw, f"{order}u2").astype(np.uint32)
            return (upper << 16).view(np.float32).reshape(shape)
        if self.kind != "float":
            return None
        with np.errstate(over="ignore"):  # an overflow becomes infinite, which is refused later
            return np.frombuffer(raw, f"{order}f{self.size}").astype(np.float32).reshape(shape)


CLASSES = (
    "integer",
    "float",
    "time",
    "text",
    "bits",
    "opaque",
    "compound",
    "reference",
    "enumeration",
    "variable",
    "array",
)
# Exponent and mantissa bits of the floats by their size; bfloat16 has those of the last line.
FLOATS = {2: (5, 10), 4: (8, 23), 8: (11, 52)}
BFLOAT = (8, 7)


def decode_datatype(cursor: Bytes) -> Datatype:
    """A datatype message (IV.A.2.d)."""
    first, bits = cursor.u8(), cursor.uint(3)
    size = cursor.u32()
    version, number = first >> 4, first & 15
    if version not in (1, 2, 3, 4) or number >= len(CLASSES) or size == 0:
        raise Hdf5Error("a type of elements of this kind is not supported")
    kind = CLASSES[number]
    if kind == "float":
        return _float(cursor, size, bool(bits & 1))
    if kind == "opaque" and size == 2:  # what h5py makes of a bfloat16
        return Datatype("bfloat", size)
    if kind == "variable" and size == 16:
        of_texts = bits & 15 == 1
        return Datatype("variable text" if of_texts else "variable sequence", size)
    return Datatype(kind, size)


def _float(cursor: Bytes, size: int, big_endian: bool) -> Datatype:
    cursor.skip(4)
    _, exponent, _, mantissa = cursor.u8(), cursor.u8(), cursor.u8(), cursor.u8()
    if size == 2 and (exponent, mantissa) == BFLOAT:
        return Datatype("bfloat", size, big_endian)
    if FLOATS.get(size) != (exponent, mantissa):
        return Datatype(f"float of {exponent} and {mantissa} bits", size)
    return Datatype("float", size, big_endian)
