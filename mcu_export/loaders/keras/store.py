"""The arrays and attributes of an HDF5 file by path, as much of them as a Keras model has."""

from __future__ import annotations

from collections.abc import Iterator

from mcu_export.errors import ModelFileError
from mcu_export.loaders.hdf5.groups import attributes, is_group, links
from mcu_export.loaders.hdf5.reader import Attribute, Hdf5File, Message
from mcu_export.loaders.hdf5.types import Hdf5Error
from mcu_export.loaders.keras.files import MAX_JSON_BYTES, SAVE_AGAIN, damage_reported
from mcu_export.ops import Array

MAX_WEIGHTS = 32 * 1024 * 1024
MAX_DEPTH = 64
MAX_OBJECTS = 100_000
MAX_NAMES = 10_000
MAX_NAME_BYTES = 4096


class Hdf5Store:
    """Groups and datasets by path, with ``/`` between the parts; the root is the empty path.

    Raises:
        ModelFileError: by every method; the file is damaged, or a link or a dataset leads to
            another file.
    """

    def __init__(self, content: bytes, where: str) -> None:
        self.where = where
        self._datasets: dict[str, list[Message]] = {}
        self._groups: dict[str, list[Message]] = {}
        self._implied: set[str] = set()
        self._children: dict[str, list[str]] = {}
        self._attributes: dict[str, dict[str, Attribute]] = {}
        self._cache: dict[str, Array] = {}
        self._elements = 0
        with damage_reported(where):
            self._file = Hdf5File(content)
            self._walk()

    def _walk(self) -> None:
        waiting = [("", self._file.root, 0)]
        while waiting:
            path, address, depth = waiting.pop()
            messages = self._file.messages(address)
            if not is_group(messages):
                self._datasets[path] = messages
                continue
            self._groups[path] = messages
            for name, child in links(self._file, messages):
                waiting.append((self._enter(path, name), child, depth + 1))
                objects = len(self._groups) + len(self._datasets) + len(waiting)
                if depth >= MAX_DEPTH or objects > MAX_OBJECTS:
                    raise Hdf5Error(f"the groups are nested too deeply or too many, at {path!r}")

    def _enter(self, path: str, name: str) -> str:
        """Register a member of a group; returns its path."""
        child = f"{path}/{name}".lstrip("/").replace("\\", "/")
        parent, _, tail = child.rpartition("/")
        self._children.setdefault(parent, []).append(tail)
        if parent != path:  # saved under Windows: ``a\\b`` is one name, not a path
            self._implied.add(parent)
        return child

    def error(self, what: str) -> ModelFileError:
        """A ``ModelFileError`` about this file."""
        return ModelFileError(what, where=self.where, fix=SAVE_AGAIN)

    def groups(self) -> Iterator[str]:
        """Paths of all groups."""
        return iter(self._groups)

    def has_group(self, path: str) -> bool:
        """Whether there is a group of that path."""
        return path in self._groups or path in self._implied

    def children(self, path: str) -> list[str]:
        """Names of the groups and datasets directly in a group."""
        return self._children.get(path, [])

    # --- attributes -------------------------------------------------------------------------

    def attribute(self, path: str, name: str, limit: int = MAX_NAME_BYTES) -> str | None:
        """A text attribute of a group, of at most ``limit`` bytes; None where there is none."""
        texts = self._texts(path, name, limit)
        if texts is not None and len(texts) != 1:
            raise self.error(f"the attribute {name!r} is not one text")
        return None if texts is None else texts[0]

    def configuration(self) -> str | None:
        """The model configuration of an ``.h5`` file."""
        return self.attribute("", "model_config", MAX_JSON_BYTES)

    def names(self, path: str, name: str) -> list[str]:
        """A list-of-texts attribute, which Keras splits into ``name0``, ``name1`` if it is long."""
        texts = self._texts(path, name)
        if texts is not None:
            return texts
        found: list[str] = []
        for number in range(MAX_NAMES):
            texts = self._texts(path, f"{name}{number}")
            if texts is None:
                break
            found += texts
        return found

    def _texts(self, path: str, name: str, limit: int = MAX_NAME_BYTES) -> list[str] | None:
        with damage_reported(self.where):
            if path not in self._attributes:
                found = attributes(self._file, self._groups.get(path, []))
                self._attributes[path] = {attribute.name: attribute for attribute in found}
            attribute = self._attributes[path].get(name)
            return None if attribute is None else list(self._decode(attribute, limit))

    def _decode(self, attribute: Attribute, limit: int) -> Iterator[str]:
        """The texts of an attribute; an empty list may be of any type."""
        count, datatype = attribute.dataspace.elements(), attribute.datatype
        if count and datatype.kind not in ("text", "variable text"):
            raise Hdf5Error(f"the attribute {attribute.name!r} is no text")
        if count > MAX_NAMES or (datatype.kind == "text" and datatype.size > limit):
            raise Hdf5Error(f"the attribute {attribute.name!r} is too long")
        size = datatype.size
        for start in range(0, count * size, size):
            element = attribute.raw[start : start + size]
            if datatype.kind == "text":
                text = bytes(element).rstrip(b"\0")
            else:
                text = self._file.variable(element, limit)
            yield text.decode("utf-8", "replace")

    # --- datasets ---------------------------------------------------------------------------

    def array(self, path: str) -> Array:
        """A dataset as float32; refused where it is too big or its values stand elsewhere."""
        if path in self._cache:
            return self._cache[path]
        if path not in self._datasets:
            raise self.error(f"the weights {path!r} are missing")
        with damage_reported(self.where):
            try:
                datatype, dataspace, raw = self._file.dataset(self._datasets[path])
            except Hdf5Error as error:
                raise Hdf5Error(f"the weights {path!r} cannot be read: {error}") from error
            if dataspace.shape is None:
                raise Hdf5Error(f"the weights {path!r} are empty")
            self._elements += dataspace.elements()
            if self._elements > MAX_WEIGHTS:
                raise Hdf5Error(f"more than {MAX_WEIGHTS} weights, at {path!r}")
            value = datatype.floats(raw, dataspace.shape)
        if value is None:
            raise self.error(f"the weights {path!r} are of the type {datatype.kind}, not float")
        self._cache[path] = value
        return value
