"""The version of the tool and of the C interface that it generates."""

from __future__ import annotations

__version__ = "0.1.0"

# Counted up whenever generated files of an older version no longer fit newer ones.
ABI = 1
