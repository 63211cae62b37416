"""What the templates of cmsis-nn print: one wrapper per call that needs structs."""

from __future__ import annotations

from dataclasses import dataclass

from mcu_export.backends.plain_c.kernels import Window


@dataclass(frozen=True)
class LibraryKernel:
    """What all wrappers have.

    ``function`` is the library's; ``low`` and ``high`` are the limits of the activation.
    """

    function: str
    in_ctype: str
    ctype: str
    low: int
    high: int


@dataclass(frozen=True)
class ConvolveKernel(LibraryKernel):
    """Conv and depthwise.

    ``params`` names the struct of parameters; ``multiplier`` is what a depthwise has more in it.
    ``bias_argument`` is how the bias is passed.
    """

    window: Window
    acc_ctype: str
    params: str
    multiplier: str
    filters: int
    filter_channels: int
    input_offset: int
    output_offset: int
    scratch_bytes: int
    bias_argument: str


@dataclass(frozen=True)
class FullyConnectedKernel(LibraryKernel):
    """Dense.

    ``constants`` are the parameters between input and output. ``context`` fills the library's
    context; ``quant`` names the struct of multipliers and shifts, ``quant_values`` fills it.
    """

    constants: tuple[str, ...]
    rows: int
    in_size: int
    out_size: int
    input_offset: int
    output_offset: int
    context: str
    quant: str
    quant_values: str


@dataclass(frozen=True)
class PoolKernel(LibraryKernel):
    """Max and average pooling."""

    window: Window
    scratch_bytes: int


@dataclass(frozen=True)
class SoftmaxKernel:
    """Softmax with 16 bits."""

    rows: int
    row: int
    multiplier: int
    shift: int
