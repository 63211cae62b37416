"""TensorFlow and Keras, imported when they are needed, with an error that says what to install."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType

from mcu_export.errors import UsageError

INSTALL = "pip install 'mcu-export[tensorflow]'"


@contextmanager
def _native_code_is_silent() -> Iterator[None]:
    """TensorFlow's C++ code logs to descriptor 2 before it can be told not to."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@cache
def tensorflow() -> ModuleType:
    """The module ``tensorflow``.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _native_code_is_silent():
            import tensorflow as module  # noqa: PLC0415 -- takes seconds

            module.config.list_physical_devices()  # the first use looks for GPUs and says so
    except ImportError as error:
        raise UsageError(f"training needs TensorFlow: {error}", fix=INSTALL) from error
    found: ModuleType = module
    return found


@cache
def keras() -> ModuleType:
    """The module ``keras`` of version 3, on TensorFlow.

    Raises:
        UsageError: it is not installed, is of another version, or runs on another backend.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    tensorflow()
    import keras as module  # noqa: PLC0415

    found: ModuleType = module
    if not found.__version__.startswith("3."):
        raise UsageError(f"training needs Keras 3, not {found.__version__}", fix=INSTALL)
    if found.backend.backend() != "tensorflow":
        raise UsageError(
            f"Keras runs on {found.backend.backend()}", fix="set KERAS_BACKEND=tensorflow"
        )
    return found
