"""A reader of HDF5 files that trusts nothing: superblock, object headers, attributes, datasets.

The C library is not used, because a damaged file can crash it or make it take all memory. This
reads what Keras writes, with every address, size and count checked against the file. Source of
the layout: "HDF5 File Format Specification Version 3.0", The HDF Group; section numbers below are
those of it. Checksums are not verified: every field is checked for itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcu_export.loaders.hdf5.types import (
    UNDEFINED,
    Bytes,
    Dataspace,
    Datatype,
    Hdf5Error,
    decode_dataspace,
    decode_datatype,
)

MAGIC = b"\x89HDF\r\n\x1a\n"
OFFSETS = (0, 512, 1024, 2048)  # the superblock may follow a user block (II.A)

MAX_STEPS = 2_000_000  # messages, members, records and texts that are looked at in one file

# Types of header messages (IV.A.2).
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0x0C, 0x10, 0x11, 0x15
SHARED = 2  # flag of a message that stands elsewhere


@dataclass(frozen=True)
class Message:
    """One message of an object header."""

    kind: int
    flags: int
    data: memoryview

    def open(self) -> Bytes:
        """A cursor over the content, which must stand right here."""
        if self.flags & SHARED:
            raise Hdf5Error("shared header messages are not supported")
        return Bytes(self.data)


@dataclass(frozen=True)
class Attribute:
    """An attribute as stored: type, shape and the bytes of its value."""

    name: str
    datatype: Datatype
    dataspace: Dataspace
    raw: memoryview


class Hdf5File:
    """The bytes of a file, and its objects by address."""

    def __init__(self, data: bytes) -> None:
        self._data = memoryview(data)
        self._steps = 0
        self._texts: dict[int, dict[int, tuple[int, int]]] = {}
        self._base = next((at for at in OFFSETS if data[at : at + 8] == MAGIC), -1)
        if self._base < 0:
            raise Hdf5Error("the signature of HDF5 is missing")
        self.root = self._superblock()

    def step(self, count: int = 1) -> None:
        """Count what is looked at, so that no file can keep the reader busy for ever."""
        self._steps += count
        if self._steps > MAX_STEPS:
            raise Hdf5Error("the file is damaged: it has no end")

    def take(self, address: int, size: int) -> memoryview:
        """``size`` bytes at an address, which counts from the superblock."""
        start = self._base + address
        if size < 0 or address < 0 or start + size > len(self._data):
            raise Hdf5Error("the file is truncated or damaged: something points past its end")
        return self._data[start : start + size]

    def block(self, address: int, size: int, signature: bytes) -> Bytes:
        """A cursor behind the signature of a block of at most ``size`` bytes."""
        size = min(size, len(self._data) - self._base - address)
        cursor = Bytes(self.take(address, size))
        if cursor.take(4) != signature:
            raise Hdf5Error(f"the file is damaged: a {signature.decode()} block is missing")
        return cursor

    def _superblock(self) -> int:
        """Check the superblock (II.A); returns the address of the root group."""
        cursor = Bytes(self.take(0, min(128, len(self._data) - self._base)))
        cursor.skip(8)
        version = cursor.u8()
        if version in (0, 1):
            cursor.skip(4)
            widths = cursor.u8(), cursor.u8()
            cursor.skip(9 if version == 0 else 13)
            base = cursor.u64()
            cursor.skip(3 * 8 + 8)  # free space, end, driver; name of the root
        elif version in (2, 3):
            widths = cursor.u8(), cursor.u8()
            cursor.skip(1)
            base = cursor.u64()
            cursor.skip(2 * 8)
        else:
            raise Hdf5Error(f"superblock version {version} is not supported")
        if widths != (8, 8) or base not in (0, self._base):
            raise Hdf5Error("an HDF5 file of this kind is not supported")
        return cursor.u64()

    # --- object headers (IV.A.1) ------------------------------------------------------------

    def messages(self, address: int) -> list[Message]:
        """All messages of the object at an address."""
        first = Bytes(self.take(address, min(16, len(self._data) - self._base - address)))
        if first.peek(4) == b"OHDR":
            found = self._messages_2(address)
        elif first.u8() == 1:
            first.skip(7)
            size = first.u32()
            found = self._messages_1(address + 16, size)
        else:
            raise Hdf5Error("the file is damaged: an object header is missing")
        messages = []
        for message in found:
            self.step()
            messages.append(message)
        return messages

    def _messages_1(self, address: int, size: int) -> Iterator[Message]:
        waiting = [(address, size)]
        while waiting:
            cursor = Bytes(self.take(*waiting.pop(0)))
            while cursor.left() >= 8:
                kind, length, flags = cursor.u16(), cursor.u16(), cursor.u8()
                cursor.skip(3)
                message = Message(kind, flags, cursor.take(length))
                if kind == CONTINUATION:
                    waiting.append(_continuation(message))
                yield message

    def _messages_2(self, address: int) -> Iterator[Message]:
        head = self.block(address, 64, b"OHDR")
        if head.u8() != 2:
            raise Hdf5Error("an object header of this version is not supported")
        flags = head.u8()
        head.skip((16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0))
        size = head.uint(1 << (flags & 3))
        waiting = [(address + head.at, size)]
        while waiting:
            cursor = Bytes(self.take(*waiting.pop(0)))
            while cursor.left() >= 4:
                kind, length, own = cursor.u8(), cursor.u16(), cursor.u8()
                cursor.skip(2 if flags & 4 else 0)
                if length > cursor.left():
                    break  # the gap at the end of the block
                message = Message(kind, own, cursor.take(length))
                if kind == CONTINUATION:
                    start, total = _continuation(message)
                    self.block(start, total, b"OCHK")
                    waiting.append((start + 4, total - 8))  # less signature and checksum
                yield message

    # --- attributes and datasets ------------------------------------------------------------

    def attribute(self, message: Message) -> Attribute:
        """Decode an attribute message (IV.A.2.m)."""
        cursor = message.open()
        version, flags = cursor.u8(), cursor.u8()
        if version not in (1, 2, 3) or (version > 1 and flags):
            raise Hdf5Error("an attribute of this kind is not supported")
        sizes = cursor.u16(), cursor.u16(), cursor.u16()
        cursor.skip(1 if version == 3 else 0)
        parts = []
        for size in sizes:
            parts.append(cursor.take(size))
            cursor.skip(-size % 8 if version == 1 else 0)
        name = bytes(parts[0]).partition(b"\0")[0].decode("utf-8", "replace")
        datatype = decode_datatype(Bytes(parts[1]))
        return Attribute(name, datatype, decode_dataspace(Bytes(parts[2])), cursor.rest())

    def dataset(self, messages: list[Message]) -> tuple[Datatype, Dataspace, memoryview]:
        """Type, shape and the bytes of a dataset that is stored in one piece."""
        kinds = {message.kind: message for message in messages}
        if EXTERNAL in kinds:
            raise Hdf5Error("its values stand in another file")
        if not {DATATYPE, DATASPACE, LAYOUT} <= set(kinds):
            raise Hdf5Error("the file is damaged: a dataset is incomplete")
        datatype = decode_datatype(kinds[DATATYPE].open())
        dataspace = decode_dataspace(kinds[DATASPACE].open())
        size = datatype.size * dataspace.elements()
        return datatype, dataspace, self._values(kinds[LAYOUT].open(), size)

    def _values(self, layout: Bytes, size: int) -> memoryview:
        """The bytes of a dataset by its layout message (IV.A.2.i)."""
        version, kind = layout.u8(), layout.u8()
        if version not in (3, 4) or kind not in (0, 1):
            raise Hdf5Error(
                "its values are stored in chunks, compressed or in another file, which is not "
                "supported"
            )
        if size == 0:
            return memoryview(b"")
        if kind == 0:
            return Bytes(layout.take(layout.u16())).take(size)
        address = layout.u64()
        if address == UNDEFINED:
            raise Hdf5Error("it has no values")
        return self.take(address, size)

    def variable(self, element: memoryview, limit: int) -> bytes:
        """An element of variable length, which stands in a global heap collection (III.E)."""
        cursor = Bytes(element)
        length, address, index = cursor.u32(), cursor.u64(), cursor.u32()
        if length == 0:
            return b""
        if address not in self._texts:
            self._texts[address] = dict(self._collection(address))
        if index not in self._texts[address] or length > limit:
            raise Hdf5Error("the file is damaged: a text is missing or too long")
        start, size = self._texts[address][index]
        return bytes(self.take(start, min(size, length)))

    def _collection(self, address: int) -> Iterator[tuple[int, tuple[int, int]]]:
        """The objects of a collection: index, address and size."""
        head = self.block(address, 16, b"GCOL")
        head.skip(4)
        heap = Bytes(self.take(address, head.u64()))
        heap.skip(16)
        while heap.left() >= 16:
            self.step()
            index = heap.u16()
            heap.skip(6)
            size = heap.u64()
            if index == 0:
                return  # the free space
            yield index, (address + heap.at, size)
            heap.skip(min(size + -size % 8, heap.left()))


def _continuation(message: Message) -> tuple[int, int]:
    """Address and size of the next block of an object header."""
    cursor = message.open()
    address, size = cursor.u64(), cursor.u64()
    if size < 8:
        raise Hdf5Error("the file is damaged: an object header goes on nowhere")
    return address, size
