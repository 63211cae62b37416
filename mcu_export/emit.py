"""``export --emit``: files beside the C that make it part of another build, or of C++."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from mcu_export.errors import UsageError


@dataclass(frozen=True)
class Emitted:
    """A file that is made in addition: its name, in which ``{name}`` stands for the model's."""

    file: str
    template: str


# What --emit takes: a line on it, and its files.
EMITS: dict[str, tuple[str, tuple[Emitted, ...]]] = {
    "cpp": ("a C++11 header", (Emitted("{name}.hpp", "emit/model.hpp.j2"),)),
    "cmake": (
        "a library for add_subdirectory()",
        (Emitted("CMakeLists.txt", "emit/CMakeLists.txt.j2"),),
    ),
    "meson": ("a dependency for subdir()", (Emitted("meson.build", "emit/meson.build.j2"),)),
    "zephyr": (
        "a Zephyr module",
        (
            Emitted("zephyr/module.yml", "emit/zephyr_module.yml.j2"),
            Emitted("zephyr/CMakeLists.txt", "emit/zephyr_CMakeLists.txt.j2"),
            Emitted("zephyr/Kconfig", "emit/zephyr_Kconfig.j2"),
        ),
    ),
    "platformio": ("a PlatformIO library", (Emitted("library.json", "emit/library.json.j2"),)),
    "arduino": (
        "an Arduino library",
        (Emitted("library.properties", "emit/library.properties.j2"),),
    ),
    "cmsis-pack": (
        "a layer for a csolution",
        (Emitted("{name}.clayer.yml", "emit/model.clayer.yml.j2"),),
    ),
}


def emitted(kinds: Iterable[str], name: str) -> dict[str, str]:
    """Template by file name, for the kinds asked for.

    Raises:
        UsageError: there is no such kind.
    """
    files = {}
    for kind in kinds:
        if kind not in EMITS:
            raise UsageError(f"{kind!r} is unknown", where="--emit", fix="use " + ", ".join(EMITS))
        files.update({one.file.format(name=name): one.template for one in EMITS[kind][1]})
    return files
