"""Configurations of Keras 1, and class names of any age, in the terms of Keras 2."""

from __future__ import annotations

from typing import Any

CLASS_NAMES = {
    "AtrousConvolution1D": "Conv1D",
    "AtrousConvolution2D": "Conv2D",
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "Convolution1D": "Conv1D",
    "Convolution2D": "Conv2D",
    "Convolution2DTranspose": "Conv2DTranspose",
    "Deconvolution2D": "Conv2DTranspose",
    "DepthwiseConvolution2D": "DepthwiseConv2D",
    "SeparableConvolution1D": "SeparableConv1D",
    "SeparableConvolution2D": "SeparableConv2D",
    "SyncBatchNormalization": "BatchNormalization",
    "TimeDistributedDense": "Dense",
}
"""Class names that mean the same layer."""

MERGE_MODES = {
    "sum": "Add",
    "ave": "Average",
    "concat": "Concatenate",
    "max": "Maximum",
    "mul": "Multiply",
}
"""What became of the modes of the ``Merge`` layer of Keras 1."""

KEYS = {
    "atrous_rate": "dilation_rate",
    "bias": "use_bias",
    "border_mode": "padding",
    "concat_axis": "axis",
    "dim_ordering": "data_format",
    "filter_length": "kernel_size",
    "length": "size",
    "nb_filter": "filters",
    "output_dim": "units",
    "p": "rate",
    "pool_length": "pool_size",
    "stride": "strides",
    "subsample": "strides",
    "subsample_length": "strides",
}
"""Keys of Keras 1 and what they are called since."""

DATA_FORMATS = {"tf": "channels_last", "th": "channels_first"}


def modernize(class_name: str, config: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Class name and configuration as Keras 2 would write them; new ones pass unchanged."""
    if class_name == "Merge":
        class_name = MERGE_MODES.get(str(config.get("mode")), class_name)
    modern = dict(config)
    for old, new in KEYS.items():
        if old in config and new not in config:
            modern[new] = modern.pop(old)
    if "nb_row" in config and "nb_col" in config:
        modern["kernel_size"] = [config["nb_row"], config["nb_col"]]
    layout = modern.get("data_format")
    if isinstance(layout, str):
        modern["data_format"] = DATA_FORMATS.get(layout, layout)
    return CLASS_NAMES.get(class_name, class_name), modern


def merge_branches(
    items: list[dict[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The layers of a Sequential, and the models that its first layer merges.

    Keras 1 let a Sequential begin with a ``Merge`` that holds whole models; there are none of
    these in any other file.
    """
    if items and items[0]["class_name"] == "Merge":
        return items, list(items[0]["config"].get("layers") or ())
    return items, []
