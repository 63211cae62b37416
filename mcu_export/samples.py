"""Samples from ``.npz`` and ``.npy`` files, shaped for the inputs of a network; never unpickled."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mcu_export.errors import SamplesError
from mcu_export.graph import Tensor, shape_text
from mcu_export.ops.base import Array, elements

SPEC = re.compile(r"(?P<path>.*?\.np[yz])(?::(?P<key>[^\[\]]+))?(?P<part>\[[^\[\]]*\])?", re.I)
SLICE = re.compile(r"(-?[0-9]{1,9})?:(-?[0-9]{1,9})?(?::(-?[0-9]{1,9})?)?")
NUMBERS = "fiu"  # kinds of numpy types: floats, integers
CHECKED = 256  # samples looked at together
SPEC_HELP = "FILE.npz, FILE.npz:KEY or FILE.npz:KEY[:,:,:10]"

# What numpy and zipfile raise for a file that is damaged or claims to be enormous.
DAMAGE = (
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    MemoryError,
    OverflowError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Source:
    """What ``--samples`` names: a file, perhaps one of its arrays, perhaps a part of that."""

    path: Path
    key: str
    part: tuple[slice, ...]
    text: str


def parse_source(text: str) -> Source:
    """``FILE.npz``, ``FILE.npz:KEY``, ``FILE.npz:KEY[:,:,:10]``, ``FILE.npy``.

    Raises:
        SamplesError: it reads otherwise.
    """
    match = SPEC.fullmatch(text)
    if not match:
        raise SamplesError("these samples are no .npz or .npy file", where=text, fix=SPEC_HELP)
    part = match["part"] or "[]"
    return Source(Path(match["path"]), match["key"] or "", _parse_part(part, text), text)


def _parse_part(part: str, text: str) -> tuple[slice, ...]:
    """The slices of ``[:,:,:10]``."""
    slices = []
    for piece in filter(None, part[1:-1].replace(" ", "").split(",")):
        match = SLICE.fullmatch(piece)
        start, stop, step = (int(n) if n else None for n in match.groups()) if match else (0, 0, 0)
        if step == 0:
            raise SamplesError(f"{piece!r} is not a slice", where=text, fix=SPEC_HELP)
        slices.append(slice(start, stop, step))
    return tuple(slices)


def read_arrays(source: Source) -> dict[str, Array]:
    """All numeric arrays of the file by key; a ``.npy`` has the key ``""``.

    Raises:
        SamplesError: the file cannot be read, or what is asked for is not in it.
    """
    try:
        arrays = _stored(source)
    except OSError as error:
        why = error.strerror or "not a file that numpy has written"
        raise SamplesError(f"cannot read the samples: {why}", where=source.text) from error
    except DAMAGE as error:
        raise SamplesError(
            "cannot read the samples: damaged, pickled, or not a numpy file",
            where=source.text,
            fix="write them with numpy.savez(file, samples=array of numbers)",
        ) from error
    try:
        return {key: array[source.part] for key, array in arrays.items() if array.ndim}
    except IndexError as error:
        raise SamplesError(f"the slice does not fit: {error}", where=source.text) from error


def _stored(source: Source) -> dict[str, Array]:
    """The arrays as numpy reads them; other files in an archive are passed over."""
    loaded = _mapped(source.path)
    if isinstance(loaded, np.ndarray):
        return {"": loaded}
    with loaded:
        if source.key and source.key not in loaded.files:
            raise SamplesError(
                f"there is no array {source.key!r}",
                where=source.text,
                fix="it has " + ", ".join(loaded.files),
            )
        arrays = {key: loaded[key] for key in ([source.key] if source.key else loaded.files)}
    return {key: array for key, array in arrays.items() if isinstance(array, np.ndarray)}


def _mapped(path: Path) -> Any:
    """A ``.npy`` file mapped into memory, so that only what is used is read; an open ``.npz``."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError:
        # An array without elements cannot be mapped; what is damaged fails again.
        return np.load(path, allow_pickle=False)


def load_samples(text: str, inputs: tuple[Tensor, ...]) -> dict[str, Array]:
    """For each network input an array (samples, *shape), as stored; not empty, finite.

    Arrays are matched by name where a network has several inputs, else by their number of
    elements.

    Raises:
        SamplesError: nothing fits, several do, or there are none at all, or NaN among them.
    """
    source = parse_source(text)
    arrays = read_arrays(source)
    if len(inputs) == 1:
        chosen = {inputs[0].name: _only_fitting(arrays, inputs[0], source)}
    else:
        missing = [tensor.name for tensor in inputs if tensor.name not in arrays]
        if missing:
            raise SamplesError(
                f"the network has {len(inputs)} inputs, and there is no array {missing[0]!r}",
                where=source.text,
                fix="name the arrays like the inputs: "
                + ", ".join(tensor.name for tensor in inputs),
            )
        chosen = {tensor.name: arrays[tensor.name] for tensor in inputs}
    shaped = {t.name: _shaped(chosen[t.name], t, source) for t in inputs}
    counts = {len(array) for array in shaped.values()}
    if len(counts) != 1:
        raise SamplesError("the inputs have different numbers of samples", where=source.text)
    return shaped


def _only_fitting(arrays: Mapping[str, Array], tensor: Tensor, source: Source) -> Array:
    fitting = [key for key, array in arrays.items() if _fits(array, tensor)]
    if tensor.name in fitting or len(arrays) == 1:
        return arrays[tensor.name] if tensor.name in fitting else next(iter(arrays.values()))
    if len(fitting) == 1:
        return arrays[fitting[0]]
    shapes = ", ".join(f"{key} {shape_text(array.shape)}" for key, array in arrays.items())
    raise SamplesError(
        f"{'several arrays fit' if fitting else 'no array fits'} the input {tensor.name!r} of "
        f"shape {shape_text(tensor.shape)}",
        where=f"{source.text}, which has {shapes or 'no arrays'}",
        fix="name one, and a part of it if need be: " + SPEC_HELP,
    )


def _fits(array: Array, tensor: Tensor) -> bool:
    return elements(array.shape[1:]) == elements(tensor.shape) and array.dtype.kind in NUMBERS


def _shaped(array: Array, tensor: Tensor, source: Source) -> Array:
    """``array`` in the shape of the input, once its content is seen to be usable."""
    where = f"{source.text}, input {tensor.name!r}"
    if array.dtype.kind not in NUMBERS:
        raise SamplesError(f"the samples are {array.dtype}, not numbers", where=where)
    if not _fits(array, tensor):
        raise SamplesError(
            f"a sample has the shape {shape_text(array.shape[1:])}, the input takes "
            f"{shape_text(tensor.shape)}",
            where=where,
            fix="the first axis counts samples; a part is taken as in FILE.npz:KEY[:,:,:10]",
        )
    if not len(array):
        raise SamplesError("there are no samples", where=where, fix="give at least one")
    bad = _not_finite(array)
    if bad.size:
        raise SamplesError(
            f"{bad.size} samples hold NaN or infinity, the first is number {bad[0]}",
            where=where,
            fix="leave them out",
        )
    return array.reshape(len(array), *tensor.shape)


def _not_finite(array: Array) -> Array:
    """Indices of samples that hold NaN or infinity; looks at a part of them at a time."""
    parts = [np.zeros(0, np.int64)]
    for start in range(0, len(array), CHECKED):
        part = array[start : start + CHECKED]
        fine = np.isfinite(part.reshape(len(part), -1)).all(axis=1)
        parts.append(start + np.flatnonzero(~fine))
    return np.concatenate(parts)


def spread(count: int, wanted: int) -> Array:
    """Indices of at most ``wanted`` of ``count`` samples, evenly spread, in order."""
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).round().astype(np.int64))


def load_labels(text: str, count: int, classes: int) -> Array:
    """``count`` class numbers, int64; one-hot rows and rows of shares are accepted.

    Args:
        text: ``FILE.npz:KEY``.
        count: how many there must be.
        classes: outputs of the network, the length of a one-hot row.

    Raises:
        SamplesError: there are none, several arrays, another number of them, or no class numbers.
    """
    source = parse_source(text)
    arrays = read_arrays(source)
    numbers = {k: a for k, a in arrays.items() if a.dtype.kind in NUMBERS}
    fitting = {k: a for k, a in numbers.items() if len(a) == count and a.ndim <= 2}
    numbered = {k: a for k, a in fitting.items() if a.ndim == 1 and a.dtype.kind in "iu"}
    chosen = numbered if len(numbered) == 1 else fitting
    if len(chosen) != 1:
        raise _no_labels(arrays, count, bool(chosen), source)
    (labels,) = chosen.values()
    if labels.ndim == 2 and labels.shape[1] > 1:
        labels = _from_one_hot(labels, classes, source)
    labels = labels.reshape(-1)
    if not np.all((labels >= 0) & (labels == np.floor(labels)) & (labels < 2**31)):
        raise SamplesError(
            "labels must be class numbers: 0, 1, 2 ...", where=source.text, fix="check the key"
        )
    check_classes(labels, classes, source.text)
    return labels.astype(np.int64)


def check_classes(labels: Array, classes: int, where: str) -> None:
    """Whether all labels are classes of the network.

    Raises:
        SamplesError: there is one that is not.
    """
    if labels.max(initial=0) >= classes:
        raise SamplesError(
            f"there is a label {labels.max():.0f}, and the network has {classes} classes",
            where=where,
            fix="labels are numbers of outputs, counted from 0",
        )


def _no_labels(
    arrays: Mapping[str, Array], count: int, several: bool, source: Source
) -> SamplesError:
    """Why none of the arrays serves, or which of them does not follow."""
    shapes = ", ".join(f"{key} {shape_text(array.shape)}" for key, array in arrays.items())
    texts = [key for key, array in arrays.items() if array.dtype.kind in "SU"]
    fix = "one class number per sample, given as FILE.npz:KEY"
    if texts and not several:
        fix = f"{texts[0]!r} holds texts: give each its number among the outputs, from 0"
    return SamplesError(
        f"{'several arrays' if several else 'no array'} of {count} labels",
        where=f"{source.text}, which has {shapes or 'no arrays'}",
        fix=fix,
    )


def _from_one_hot(rows: Array, classes: int, source: Source) -> Array:
    """The column of each row's largest share, of which there must be one."""
    if rows.shape[1] != classes:
        raise SamplesError(
            f"one-hot labels of {rows.shape[1]} classes for {classes} outputs",
            where=source.text,
            fix="one column per output",
        )
    largest = rows.max(axis=1, keepdims=True)
    bad = np.flatnonzero((rows == largest).sum(axis=1) != 1)
    if bad.size:
        raise SamplesError(
            f"{bad.size} rows of labels name no class or several, the first is number {bad[0]}",
            where=source.text,
            fix="one-hot rows have one 1 and else zeros; or give class numbers",
        )
    numbers: Array = rows.argmax(axis=1)
    return numbers
