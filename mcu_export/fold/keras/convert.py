"""The configuration of a file of Keras 1 or 2 in the terms of Keras 3.

Only what decides the function of the network is kept: initializers, regularizers, constraints and
numeric policies belong to the training.
"""

from __future__ import annotations

from typing import Any

from mcu_export.errors import UnsupportedLayerError
from mcu_export.loaders.keras.config import LayerSpec, ModelSpec, Ref, Use
from mcu_export.loaders.keras.files import Json
from mcu_export.loaders.keras.model import KerasFile

_ACTIVE = ("activation", "use_bias")
_WINDOW = ("strides", "padding", "data_format")
_CONV = ("kernel_size", *_WINDOW, "dilation_rate", *_ACTIVE)
_MEAN_MAX, _ND = ("Average", "Max"), ("1D", "2D")

KEYS: dict[str, tuple[str, ...]] = {
    "Activation": ("activation",),
    "BatchNormalization": ("axis", "epsilon", "center", "scale"),
    "Concatenate": ("axis",),
    "Dense": ("units", *_ACTIVE),
    "ELU": ("alpha",),
    "Flatten": ("data_format",),
    "GaussianDropout": ("rate",),
    "GaussianNoise": ("stddev",),
    "LeakyReLU": ("negative_slope",),
    "Normalization": ("axis", "mean", "variance", "invert"),
    "PReLU": ("shared_axes",),
    "Permute": ("dims",),
    "ReLU": ("max_value", "negative_slope", "threshold"),
    "RepeatVector": ("n",),
    "Rescaling": ("scale", "offset"),
    "Reshape": ("target_shape",),
    "Softmax": ("axis",),
    "UpSampling1D": ("size",),
    "UpSampling2D": ("size", "data_format", "interpolation"),
    **{f"Conv{d}": ("filters", "groups", *_CONV) for d in _ND},
    **{f"Conv{d}Transpose": ("filters", "output_padding", *_CONV) for d in _ND},
    **{f"Cropping{d}": ("cropping",) for d in _ND},
    **{f"DepthwiseConv{d}": ("depth_multiplier", *_CONV) for d in _ND},
    **{f"Global{k}Pooling{d}": ("data_format", "keepdims") for k in _MEAN_MAX for d in _ND},
    **{f"SeparableConv{d}": ("filters", "depth_multiplier", *_CONV) for d in _ND},
    **{f"ZeroPadding{d}": ("padding",) for d in _ND},
    **{f"{k}Pooling{d}": ("pool_size", *_WINDOW) for k in _MEAN_MAX for d in _ND},
    **dict.fromkeys(("Add", "Average", "Maximum", "Minimum", "Multiply", "Subtract"), ()),
    **dict.fromkeys(("AlphaDropout", "Dropout", "SpatialDropout1D", "SpatialDropout2D"), ("rate",)),
}
"""What Keras 3 has to know of each class beside the name: the arguments of its constructor."""


def as_keras_3(file: KerasFile) -> Json:
    """The configuration of the file as Keras 3 serializes a model.

    Raises:
        UnsupportedLayerError: Keras 3 does not have a layer, or computes something else.
    """
    if str(file.details["keras_version"]).startswith("3") and "module" in file.config:
        return {key: value for key, value in file.config.items() if key != "compile_config"}
    plain = file.config["class_name"] == "Sequential" and _is_chain(file.model)
    return _Converter(file.where).model(file.model, file.model.name, plain)


def _is_chain(model: ModelSpec) -> bool:
    """Whether it is a Sequential, and none of Keras 1 that begins with a Merge."""
    return all(len(use.inputs) <= 1 for layer in model.layers for use in layer.uses)


class _Converter:
    def __init__(self, where: str) -> None:
        self.where = where

    def model(self, model: ModelSpec, name: str, sequential: bool) -> Json:
        """A model; a Sequential is a list of layers, a Functional tells the uses of each."""
        config: Json = {"name": name, "trainable": True}
        nested = {layer.name for layer in model.layers if _is_functional(layer)}
        layers = [self._item(layer) for layer in model.layers]
        if not sequential:
            for item, layer in zip(layers, model.layers, strict=True):
                uses = layer.uses if layer.class_name != "InputLayer" else ()
                item |= {"name": layer.name, "inbound_nodes": [_inbound(use) for use in uses]}
            config["input_layers"] = [[ref.layer, ref.use, ref.tensor] for ref in model.inputs]
            config["output_layers"] = [_outbound(ref, nested) for ref in model.outputs]
        config["layers"] = layers
        if sequential:
            return _object("keras", "Sequential", config)
        made = _object("keras.src.models.functional", "Functional", config)
        return {**made, "registered_name": "Functional"}

    def _item(self, layer: LayerSpec) -> Json:
        if layer.model is not None:
            return self.model(layer.model, layer.name, not _is_functional(layer))
        return self._layer(layer)

    def _layer(self, layer: LayerSpec) -> Json:
        name, config = layer.class_name, layer.config
        if name == "InputLayer":
            shape = config.get("batch_shape") or config.get("batch_input_shape")
            return self._made(layer, {"batch_shape": shape})
        if layer.wrapped is not None:
            return self._made(layer, {"layer": self._layer(layer.wrapped)})
        if name not in KEYS:
            raise self._error(layer, f"Keras 3 has no layer {name[:60]} of these settings")
        kept = {key: config[key] for key in KEYS[name] if config.get(key) is not None}
        if name == "LeakyReLU" and config.get("alpha") is not None:
            kept["negative_slope"] = config["alpha"]
        if name == "BatchNormalization" and isinstance(kept.get("axis"), list):
            (kept["axis"],) = kept["axis"]
        if "activation" in kept:
            kept["activation"] = self._activation(layer, kept["activation"])
        if name == "ZeroPadding2D" and isinstance(kept["padding"], list):
            kept["padding"] = _both_sides(kept["padding"])
        return self._made(layer, {key: _plain(value) for key, value in kept.items()})

    def _made(self, layer: LayerSpec, config: Json) -> Json:
        return _object("keras.layers", layer.class_name, {"name": layer.name, **config})

    def _activation(self, layer: LayerSpec, value: Any) -> Any:
        """The name of an activation, or the layer that is one."""
        if isinstance(value, dict):
            inside = value.get("config")
            if isinstance(inside, dict):
                config = {"name": str(value.get("class_name")).lower(), **inside}
                return self._layer(LayerSpec(str(value["class_name"]), config["name"], config, ()))
            value = inside if isinstance(inside, str) else value.get("class_name")
        if value == "hard_sigmoid":
            raise self._error(layer, "hard_sigmoid is another function since Keras 3")
        return value

    def _error(self, layer: LayerSpec, what: str) -> UnsupportedLayerError:
        return UnsupportedLayerError(
            what,
            where=f"{self.where}: layer {layer.name!r} ({layer.class_name})",
            fix="use another layer, or export the file to C as it is: that folds, too",
        )


def _object(module: str, class_name: str, config: Json) -> Json:
    return {"module": module, "class_name": class_name, "config": config, "registered_name": None}


def _is_functional(layer: LayerSpec) -> bool:
    return layer.model is not None and (
        layer.class_name != "Sequential" or not _is_chain(layer.model)
    )


def _inbound(use: Use) -> Json:
    """One call: a tensor, or a list of them."""
    tensors = [_tensor(ref) for ref in use.inputs]
    options = {key: value for key, value in use.options.items() if key == "training"}
    return {"args": tensors if len(tensors) == 1 else [tensors], "kwargs": options}


def _tensor(ref: Ref) -> Json:
    """A reference to a tensor; Keras reads nothing but the place from it."""
    place = [ref.layer, ref.use, ref.tensor]
    config = {"shape": [None], "dtype": "float32", "keras_history": place}
    return {"class_name": "__keras_tensor__", "config": config}


def _outbound(ref: Ref, nested: set[str]) -> list[Any]:
    """Keras counts the uses of a nested Functional from 1 where the outputs are named."""
    return [ref.layer, ref.use + (ref.layer in nested), ref.tensor]


def _both_sides(padding: list[Any]) -> list[Any]:
    """Top, bottom, left, right, as Keras 1 had it, in pairs."""
    return [padding[:2], padding[2:]] if len(padding) == 4 else padding


def _plain(value: Any) -> Any:
    """A number where Keras 2 wrote one of numpy."""
    return value["value"] if isinstance(value, dict) and "value" in value else value
