"""Stage 1: a model file becomes a :class:`~mcu_export.graph.Graph`, read as data only."""

from __future__ import annotations
