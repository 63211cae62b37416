"""TensorFlow and Keras, imported when they are needed, with an error that says what to install."""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType

from mcu_export.errors import UsageError

INSTALL = "pip install 'mcu-export[tensorflow]'"


@cache
def tensorflow() -> ModuleType:
    """The module ``tensorflow``.

    Raises:
        UsageError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as module  # noqa: PLC0415 -- takes seconds
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
