"""The members of HDF5 groups, old and new: B-trees, symbol tables, link messages, fractal heaps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mcu_export.loaders.hdf5.reader import (
    ATTRIBUTE,
    ATTRIBUTE_INFO,
    LINK,
    LINK_INFO,
    SYMBOL_TABLE,
    Attribute,
    Hdf5File,
    Message,
)
from mcu_export.loaders.hdf5.types import UNDEFINED, Bytes, Hdf5Error

MAX_TREE_DEPTH = 16
MAX_NAME = 4096
HUGE_RECORD, LINK_RECORD, ATTRIBUTE_RECORD = 1, 5, 8  # types of version 2 B-trees
ELSEWHERE = "the file has a link to elsewhere; such links are not followed"


def is_group(messages: list[Message]) -> bool:
    """Whether the object with these messages is a group."""
    return any(message.kind in (SYMBOL_TABLE, LINK_INFO, LINK) for message in messages)


def links(file: Hdf5File, messages: list[Message]) -> Iterator[tuple[str, int]]:
    """Name and address of each member of a group; only hard links are followed."""
    for message in messages:
        if message.kind == SYMBOL_TABLE:
            cursor = message.open()
            yield from _old_members(file, cursor.u64(), cursor.u64())
        elif message.kind == LINK:
            yield _link(message.open())
        elif message.kind == LINK_INFO:
            cursor = message.open()
            cursor.skip(1)
            cursor.skip(8 if cursor.u8() & 1 else 0)
            for content in _dense(file, cursor.u64(), cursor.u64(), LINK_RECORD):
                yield _link(Bytes(content))


def attributes(file: Hdf5File, messages: list[Message]) -> Iterator[Attribute]:
    """All attributes of an object."""
    for message in messages:
        if message.kind == ATTRIBUTE:
            yield file.attribute(message)
        elif message.kind == ATTRIBUTE_INFO:
            cursor = message.open()
            cursor.skip(1)
            cursor.skip(2 if cursor.u8() & 1 else 0)
            for content in _dense(file, cursor.u64(), cursor.u64(), ATTRIBUTE_RECORD):
                yield file.attribute(Message(ATTRIBUTE, 0, content))


def _link(cursor: Bytes) -> tuple[str, int]:
    """A link message (IV.A.2.g)."""
    version, flags = cursor.u8(), cursor.u8()
    if version != 1:
        raise Hdf5Error("a link of this version is not supported")
    hard = not flags & 8 or cursor.u8() == 0
    cursor.skip((8 if flags & 4 else 0) + (1 if flags & 16 else 0))
    name = bytes(cursor.take(cursor.uint(1 << (flags & 3)))).decode("utf-8", "replace")
    if not hard:
        raise Hdf5Error(ELSEWHERE)
    return name, cursor.u64()


# --- groups of the first kind -----------------------------------------------------------------


def _old_members(file: Hdf5File, tree: int, heap: int) -> Iterator[tuple[str, int]]:
    """A version 1 B-tree of symbol tables (III.A.1, III.B) with names in a local heap (III.D)."""
    head = file.block(heap, 32, b"HEAP")
    head.skip(4)
    size = head.u64()
    head.skip(8)
    names = file.take(head.u64(), size)
    for address in _tree_leaves(file, tree):
        cursor = file.block(address, 8, b"SNOD")
        cursor.skip(2)
        entries = Bytes(file.take(address + 8, cursor.u16() * 40))
        while entries.left():
            start, header, cached = entries.u64(), entries.u64(), entries.u32()
            entries.skip(20)
            if cached == 2 or header == UNDEFINED:
                raise Hdf5Error(ELSEWHERE)
            name, end, _ = bytes(names[start : start + MAX_NAME]).partition(b"\0")
            if not end:
                raise Hdf5Error("the file is damaged: the name of an object is missing")
            yield name.decode("utf-8", "replace"), header


def _tree_leaves(file: Hdf5File, root: int) -> Iterator[int]:
    """Addresses of the symbol tables, each node of the tree once."""
    waiting, seen = [(root, MAX_TREE_DEPTH)], set()
    while waiting:
        address, depth = waiting.pop(0)
        if address in seen or depth < 0:
            raise Hdf5Error("the file is damaged: a group runs in a circle")
        seen.add(address)
        cursor = file.block(address, 8, b"TREE")
        kind, level, used = cursor.u8(), cursor.u8(), cursor.u16()
        if kind != 0:
            raise Hdf5Error("the file is damaged: a group has a tree of another kind")
        content = Bytes(file.take(address + 24, used * 16))
        for _ in range(used):
            file.step()
            content.skip(8)
            child = content.u64()
            if level:
                waiting.append((child, depth - 1))
            elif child in seen:
                raise Hdf5Error("the file is damaged: a group lists its members twice")
            else:
                seen.add(child)
                yield child


# --- groups of the second kind, with many members ---------------------------------------------


def _dense(file: Hdf5File, heap: int, tree: int, kind: int) -> Iterator[memoryview]:
    """The messages that a version 2 B-tree (III.A.2) finds in a fractal heap (III.G)."""
    if UNDEFINED in (heap, tree):
        return
    objects = _FractalHeap(file, heap)
    for record in _records(file, tree, kind):
        cursor = Bytes(record)
        cursor.skip(4 if kind == LINK_RECORD else 0)
        yield objects.get(cursor.take(objects.id_length))


def _records(file: Hdf5File, address: int, kind: int) -> Iterator[memoryview]:
    head = file.block(address, 38, b"BTHD")
    version, found = head.u8(), head.u8()
    node_size, size, depth = head.u32(), head.u16(), head.u16()
    head.skip(2)
    root, count = head.u64(), head.u16()
    if version != 0 or found != kind or size == 0 or depth > MAX_TREE_DEPTH:
        raise Hdf5Error("the file is damaged: a B-tree of another kind")
    sizes = _pointer_sizes(node_size, size, depth)
    waiting, seen = [(root, count, depth)] if count else [], set()
    while waiting:
        address, count, level = waiting.pop(0)
        if address in seen:
            raise Hdf5Error("the file is damaged: a B-tree runs in a circle")
        seen.add(address)
        node = file.block(address, node_size, b"BTIN" if level else b"BTLF")
        node.skip(2)
        file.step(count + 1)
        yield from [node.take(size) for _ in range(count)]
        for _ in range(count + 1 if level else 0):
            child, inside = node.u64(), node.uint(sizes[0])
            node.skip(sizes[level - 1] if level > 1 else 0)
            waiting.append((child, inside, level - 1))


def _pointer_sizes(node_size: int, size: int, depth: int) -> list[int]:
    """Bytes of the record counts in pointers to nodes of each level, leaves first.

    The first counts the records of one node, the others all records below.
    """
    most = max(node_size - 10, 0) // size
    sizes = [_bytes_for(most)]
    for level in range(1, depth + 1):
        pointer = 8 + sizes[0] + (sizes[level - 1] if level > 1 else 0)
        here = max(node_size - 10 - pointer, 0) // (size + pointer)
        most = (here + 1) * most + here
        sizes.append(_bytes_for(most))
    return sizes


def _bytes_for(number: int) -> int:
    return (max(number.bit_length(), 1) - 1) // 8 + 1


@dataclass(frozen=True)
class _Block:
    """A direct block: the part of the heap's own address space that it holds."""

    address: int
    start: int
    size: int


class _FractalHeap:
    """The objects of a fractal heap, by their IDs."""

    def __init__(self, file: Hdf5File, address: int) -> None:
        self._file = file
        head = file.block(address, 146, b"FRHP")
        version, self.id_length, filters = head.u8(), head.u16(), head.u16()
        head.skip(1)
        largest = head.u32()
        head.skip(8)
        self._huge_tree = head.u64()
        head.skip(10 * 8)
        width, first, direct, bits = head.u16(), head.u64(), head.u64(), head.u16()
        head.skip(2)
        root, rows = head.u64(), head.u16()
        powers = all(n and n & (n - 1) == 0 for n in (first, direct))
        if version != 0 or filters or not powers or first > direct or bits > 64 or rows > 64:
            raise Hdf5Error("a heap of this kind is not supported")
        self._offset_size = (bits + 7) // 8
        self._length_size = min((direct.bit_length() + 6) // 8, _bytes_for(largest))
        self._blocks = [_Block(root, 0, first)]
        if rows:
            self._blocks = list(self._rows(root, rows, width, first, direct))

    def _rows(self, root: int, rows: int, width: int, first: int, direct: int) -> Iterator[_Block]:
        """The direct blocks of the root: two rows of the first size, then ever twice as large."""
        node = self._file.block(root, 13 + self._offset_size + rows * width * 8, b"FHIB")
        node.skip(9 + self._offset_size)
        start, size = 0, first
        self._file.step(rows * width)
        for row in range(rows):
            size = first << max(row - 1, 0)
            for _ in range(width):
                address = node.u64()
                if address != UNDEFINED:
                    if size > direct:
                        raise Hdf5Error("a heap of this size is not supported")
                    yield _Block(address, start, size)
                start += size

    def get(self, heap_id: memoryview) -> memoryview:
        """The object of an ID: inside of the heap's blocks, or a huge one beside them."""
        cursor = Bytes(heap_id)
        kind = cursor.u8() >> 4
        if kind == 1:
            return self._huge(cursor.uint(min(cursor.left(), 8)))
        if kind:
            raise Hdf5Error("an attribute or link of this kind is not supported")
        offset, length = cursor.uint(self._offset_size), cursor.uint(self._length_size)
        self._file.step(len(self._blocks))
        for block in self._blocks:
            if block.start <= offset and offset + length <= block.start + block.size:
                return self._file.take(block.address + offset - block.start, length)
        raise Hdf5Error("the file is damaged: an object is in no block of its heap")

    def _huge(self, number: int) -> memoryview:
        for record in _records(self._file, self._huge_tree, HUGE_RECORD):
            cursor = Bytes(record)
            address, length = cursor.u64(), cursor.u64()
            if cursor.u64() == number:
                return self._file.take(address, length)
        raise Hdf5Error("the file is damaged: a large attribute is missing")
