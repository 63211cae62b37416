"""Formats that a network was trained for, as ``finetune`` puts them into a ``.keras`` file.

The file stays an ordinary Keras archive; the formats are one more member of it. An export takes
them instead of choosing formats, and gives the integers that training saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mcu_export.errors import ModelFileError
from mcu_export.schemes.formats import PowerOfTwo

MEMBER = "mcu_export_formats.json"
VERSION = 1
# No sum of frac bits leaves 32 bits by far; what a file says beyond is damage.
MAX_FRAC_BITS = 1000
MAX_BITS = 16


@dataclass(frozen=True, eq=False)
class TrainedFormats:
    """Formats of every value and constant, by the names of the network after the passes.

    ``used_bits`` are those of :func:`mcu_export.quantize.quantize`.
    """

    scheme: str
    activations: Mapping[str, PowerOfTwo]
    params: Mapping[str, Mapping[str, PowerOfTwo]]
    used_bits: Mapping[str, int]


def formats_text(formats: TrainedFormats) -> str:
    """The member of the archive, as JSON."""
    content = {
        "version": VERSION,
        "scheme": formats.scheme,
        "activations": {name: _pair(fmt) for name, fmt in formats.activations.items()},
        "params": {
            name: {role: _pair(fmt) for role, fmt in roles.items()}
            for name, roles in formats.params.items()
        },
        "used_bits": dict(formats.used_bits),
    }
    return json.dumps(content, indent=1) + "\n"


def parse_formats(content: Mapping[str, Any], where: str) -> TrainedFormats:
    """The formats in a parsed member.

    Raises:
        ModelFileError: it is of another version, or damaged.
    """
    if content.get("version") != VERSION:
        raise ModelFileError(
            f"{MEMBER} is of version {content.get('version')!r}, this tool reads {VERSION}",
            where=where,
            fix="run finetune and export with the same mcu-export",
        )
    try:
        return TrainedFormats(
            str(content["scheme"]),
            {name: _format(pair) for name, pair in content["activations"].items()},
            {
                name: {role: _format(pair) for role, pair in roles.items()}
                for name, roles in content["params"].items()
            },
            {name: _used(bits) for name, bits in content["used_bits"].items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"{MEMBER} is damaged: {error}", where=where) from error


def _pair(fmt: PowerOfTwo) -> list[int]:
    return [fmt.bits, fmt.frac_bits]


def _used(bits: Any) -> int:
    if type(bits) is not int or not 1 <= bits <= MAX_BITS:
        raise ValueError(f"{bits!r} are no bits of an integer")
    return bits


def _format(pair: Any) -> PowerOfTwo:
    bits, frac_bits = pair
    if bits not in (8, 16) or type(frac_bits) is not int or abs(frac_bits) > MAX_FRAC_BITS:
        raise ValueError(f"{pair!r} are no bits and frac bits")
    return PowerOfTwo(bits, frac_bits)
