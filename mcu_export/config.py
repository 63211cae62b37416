"""``mcu-export.toml``: several models with their options, for ``mcu-export export --config``.

``[models.NAME]`` tables describe the models, ``[defaults]`` holds options for all of them. Keys
are the long options of ``mcu-export export`` without their dashes in front; paths are relative to
the folder of the file.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from mcu_export.api import Sources
from mcu_export.emit import emitted
from mcu_export.errors import McuExportError, UsageError
from mcu_export.options import Options, check_options
from mcu_export.toml_lines import line_of

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CONFIG_FILE = "mcu-export.toml"
MAX_BYTES = 256 * 1024
TABLES = ("defaults", "models")
# Files, relative to the folder of the configuration.
PATHS = ("model", "output", "samples", "test-samples", "labels")
# What an export writes, after the model's name.
OUTPUT_SUFFIXES = (".c", ".h", "_weights.h", "_test.h", "_reference.npz", ".json")
# Options that a table or a file gives instead.
NOT_KEYS = ("name", "labels", "executor")
TYPE_NAMES = {str: "a text in quotes", int: "an integer", float: "a number", bool: "true or false"}


class ConfigError(UsageError):
    """A configuration that cannot be read or means nothing."""

    title = "configuration"


@dataclass(frozen=True)
class ModelConfig:
    """One ``[models.NAME]``: what to export, to where, how; ``place`` is its file and line."""

    name: str
    sources: Sources
    folder: Path
    options: Mapping[str, Any]
    place: str

    @property
    def source(self) -> str:
        """The C file that the export writes."""
        return str(self.folder / f"{self.name}.c")

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files that the export writes."""
        names = [f"{self.name}{suffix}" for suffix in OUTPUT_SUFFIXES]
        return (*names, *emitted(self.options.get("emit", ()), self.name))

    @property
    def outputs(self) -> tuple[str, ...]:
        """All files that the export writes, with their folder."""
        return tuple(str(self.folder / name) for name in self.files)


@dataclass(frozen=True)
class Config:
    """A configuration file; its models in the order of the file."""

    path: Path
    models: tuple[ModelConfig, ...]

    @property
    def folders(self) -> tuple[str, ...]:
        """Where the models are written to, each once."""
        return tuple(dict.fromkeys(str(model.folder) for model in self.models))

    def select(self, names: Sequence[str]) -> tuple[ModelConfig, ...]:
        """The models called ``names``; all of them where none is named.

        Raises:
            ConfigError: there is no such model.
        """
        known = {model.name: model for model in self.models}
        for name in names:
            if name not in known:
                raise ConfigError(
                    f"there is no model {name!r}", where=str(self.path), fix=_hint(name, known)
                )
        return tuple(known[name] for name in dict.fromkeys(names)) if names else self.models


def read_config(path: Path) -> Config:
    """Read and validate a configuration.

    Raises:
        ConfigError: it cannot be read, or says something that makes no sense; names the file,
            the line and the key.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        fix = "make one with `mcu-export init`"
        raise ConfigError(
            f"cannot read it: {error.strerror or error}", where=str(path), fix=fix
        ) from error
    return parse_config(path, data)


def parse_config(path: Path, data: bytes) -> Config:
    """The configuration in ``data``, as if it stood in the file ``path``.

    Raises:
        ConfigError: as :func:`read_config`.
    """
    return _Reader(path, _text(path, data)).config()


def _text(path: Path, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise ConfigError(
            f"it has {len(data)} bytes, {MAX_BYTES} are enough for any", where=str(path)
        )
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigError("this is not UTF-8 text", where=f"{path}:{line}") from error


class _Reader:
    """One configuration while it is validated."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.types = {"model": str, "output": str, "samples": str, "test-samples": str}
        self.types["labels"] = str
        self.types |= _option_types()

    def config(self) -> Config:
        """The whole file."""
        content = self._parse()
        for key in content:
            if key not in TABLES:
                raise self.error(f"there is no table [{key}]", (key,), _hint(key, TABLES))
        defaults = self._table(content.get("defaults", {}), ("defaults",))
        tables = self._table(content.get("models", {}), ("models",))
        self._check_keys(defaults, ("defaults",), [k for k in self.types if k != "model"])
        if not tables:
            raise ConfigError(
                "there is no model in it", where=str(self.path), fix="add a table [models.NAME]"
            )
        models = tuple(self._model(name, table, defaults) for name, table in tables.items())
        self._check_outputs(models)
        return Config(self.path, models)

    def error(self, what: str, key: Sequence[str], fix: str = "") -> ConfigError:
        """An error that names the file, the line and the key."""
        return ConfigError(what, where=f"{self.place(key)}, {'.'.join(key)}", fix=fix)

    def place(self, key: Sequence[str]) -> str:
        """``FILE:LINE`` of a key."""
        return f"{self.path}:{line_of(self.text, key)}"

    def _parse(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            line = _line_in(str(error), self.text)
            raise ConfigError(
                f"this is not TOML: {error}", where=f"{self.path}:{line}", fix="see https://toml.io"
            ) from error
        except RecursionError as error:
            raise ConfigError("it is nested too deeply", where=str(self.path)) from error

    def _table(self, value: Any, key: Sequence[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error("this has to be a table", key, f"write [{'.'.join(key)}]")
        return value

    def _check_keys(
        self, table: Mapping[str, Any], where: Sequence[str], known: Iterable[str]
    ) -> None:
        known = list(known)
        for key, value in table.items():
            if key not in known:
                raise self.error(f"there is no key {key!r}", (*where, key), _hint(key, known))
            wanted = self.types[key]
            if not _fits(value, wanted):
                raise self.error(
                    f"{value!r} is not {_type_name(wanted)}",
                    (*where, key),
                    f"write {_example(wanted)}",
                )

    def _model(self, name: str, value: Any, defaults: Mapping[str, Any]) -> ModelConfig:
        key = ("models", name)
        table = self._table(value, key)
        self._check_keys(table, key, self.types)
        if "model" not in table:
            raise self.error("the model file is missing", key, 'add model = "net.keras"')
        given = {**defaults, **table}
        options: dict[str, Any] = {
            option.replace("-", "_"): tuple(value) if isinstance(value, list) else value
            for option, value in given.items()
            if option not in PATHS
        }
        if options.get("sample_labels"):
            options["sample_labels"] = self._samples(options["sample_labels"])
        if options.get("templates"):
            options["templates"] = str(self._file(options["templates"]))
        try:
            checked = check_options(Options(**{**options, "name": name}), Path(given["model"]))
        except UsageError as error:
            option = error.where.removeprefix("--")
            within = table if option in table else defaults
            place = (*key, option) if within is table else ("defaults", option)
            raise self.error(error.what, key if option == "name" else place, error.fix) from error
        return ModelConfig(
            name=checked.name,
            sources=Sources(
                self._file(given["model"]),
                self._samples(given.get("samples", "")),
                self._samples(given.get("test-samples", "")),
                self._file(given["labels"]) if given.get("labels") else None,
            ),
            folder=self._file(given.get("output", f"build/{name}")),
            options={**options, "name": name},
            place=f"{self.place(key)}, {'.'.join(key)}",
        )

    def _file(self, text: str) -> Path:
        return self.path.parent / text

    def _samples(self, text: str) -> str:
        return str(self.path.parent / text) if text else ""

    def _check_outputs(self, models: Sequence[ModelConfig]) -> None:
        """Two models in one folder are fine as long as their files differ on every disk."""
        seen: dict[str, str] = {}
        for model in models:
            folder = model.folder.resolve()
            for file in model.files:
                key = str(folder / file).lower()
                if key in seen:
                    raise self.error(
                        f"it would write {file}, as {seen[key]!r} does",
                        ("models", model.name),
                        "use another name or another output",
                    )
                seen[key] = model.name


@lru_cache(maxsize=1)
def _option_types() -> dict[str, Any]:
    """The options of an export by their spelling on the command line, with their types."""
    hints = get_type_hints(Options)
    return {name.replace("_", "-"): hint for name, hint in hints.items() if name not in NOT_KEYS}


def _members(wanted: Any) -> tuple[Any, ...]:
    """``int | None`` as (int,)."""
    if isinstance(wanted, UnionType):
        return tuple(kind for kind in get_args(wanted) if kind is not type(None))
    return (wanted,)


def _fits(value: Any, wanted: Any) -> bool:
    for kind in _members(wanted):
        if get_origin(kind) is tuple:
            if isinstance(value, list) and all(isinstance(item, str) for item in value):
                return True
        elif isinstance(value, bool):
            if kind is bool:
                return True
        elif isinstance(value, kind) or (kind is float and isinstance(value, int)):
            return True
    return False


def _type_name(wanted: Any) -> str:
    return " or ".join(TYPE_NAMES.get(kind, "a list of texts") for kind in _members(wanted))


def _example(wanted: Any) -> str:
    examples = {str: '"text"', int: "16000", float: "0.001", bool: "true"}
    return examples.get(_members(wanted)[0], '["text"]')


def _hint(name: str, known: Iterable[str]) -> str:
    listed = list(known)
    close = difflib.get_close_matches(name, listed, 1)
    return f"do you mean {close[0]!r}?" if close else "known are " + ", ".join(listed)


def _line_in(message: str, text: str) -> int:
    """The line that a message of the parser names; the last one for "at end of document"."""
    _, found, rest = message.partition("at line ")
    digits = rest.split(",")[0]
    return int(digits) if found and digits.isdigit() else len(text.splitlines()) or 1


def located(error: McuExportError, place: str) -> McuExportError:
    """The error with the configuration's place in front of its own."""
    where = f"{place}: {error.where}" if error.where else place
    return type(error)(error.what, where=where, fix=error.fix)
