"""What the operators of a ``.tflite`` file share while they become nodes of a graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mcu_export.errors import McuExportError, ModelFileError, UnsupportedLayerError
from mcu_export.loaders.base import GraphBuilder
from mcu_export.loaders.tflite.model import (
    TfliteModel,
    TfliteOperator,
    TfliteTensor,
)
from mcu_export.ops import Op, Shape
from mcu_export.ops.base import Array
from mcu_export.schemes.formats import Affine, Format

ON_ROWS = frozenset(
    (
        *("RESHAPE", "FULLY_CONNECTED", "ADD", "SUB", "MUL", "RELU", "RELU6", "RELU_N1_TO_1"),
        *("LOGISTIC", "TANH", "HARD_SWISH", "LEAKY_RELU", "ELU", "SOFTMAX", "QUANTIZE"),
    )
)
"""Operators that do the same whether the leading axis counts samples or steps."""

Constants = Mapping[str, tuple[Array, Format]]


@dataclass
class Importer:
    """A network while it is read: which value each tensor became, formats, integer constants.

    ``memories`` are values that the network remembers: the input, and the output that it becomes.
    """

    model: TfliteModel
    builder: GraphBuilder
    quantized: bool
    values: dict[int, str] = field(default_factory=dict)
    formats: dict[str, Affine] = field(default_factory=dict)
    constants: dict[str, Constants] = field(default_factory=dict)
    memories: list[tuple[str, str]] = field(default_factory=list)

    def where(self, operator: TfliteOperator) -> str:
        """File, operator and tensor, for error messages."""
        name = self.model.tensors[operator.outputs[0]].name
        return f"{self.model.source}: operator {operator.index} ({operator.name}), tensor {name!r}"

    def fail(self, operator: TfliteOperator, what: str, fix: str = "") -> UnsupportedLayerError:
        """The error that an operator cannot be taken over."""
        return UnsupportedLayerError(what, where=self.where(operator), fix=fix)

    def tensor(self, operator: TfliteOperator, position: int) -> TfliteTensor:
        """The input at a position, which must be there."""
        found = self.optional(operator, position)
        if found is None:
            raise ModelFileError(f"input {position} is missing", where=self.where(operator))
        return found

    def optional(self, operator: TfliteOperator, position: int) -> TfliteTensor | None:
        """The input at a position, or None."""
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            return None
        return self.model.tensors[operator.inputs[position]]

    def constant(self, operator: TfliteOperator, position: int) -> Array:
        """The data of an input that must be constant."""
        data = self.tensor(operator, position).data
        if data is None:
            raise self.fail(operator, f"input {position} is computed; it must be constant")
        return data

    def fold(self, number: int, data: Array) -> None:
        """Make a tensor a constant, because what computes it has only constant inputs."""
        tensors = list(self.model.tensors)
        tensors[number] = replace(tensors[number], data=data)
        self.model = replace(self.model, tensors=tuple(tensors))

    def resize(self, number: int, shape: Shape) -> None:
        """Say what the shape of a tensor is, batch included, where the file leaves it open."""
        tensors = list(self.model.tensors)
        tensors[number] = replace(tensors[number], shape=shape, dynamic=False)
        self.model = replace(self.model, tensors=tuple(tensors))

    def value(self, operator: TfliteOperator, position: int = 0) -> str:
        """Name of the value that an input is."""
        tensor = self.tensor(operator, position)
        if tensor.rows and operator.name not in ON_ROWS:
            raise self.batch_error(tensor, self.where(operator))
        name = self.values.get(operator.inputs[position])
        if name is None:
            what = "constant" if tensor.data is not None else "not computed before it is read"
            raise self.fail(operator, f"input {position}, {tensor.name!r}, is {what}")
        return name

    def batch_error(self, tensor: TfliteTensor, where: str) -> UnsupportedLayerError:
        """The error that a tensor has more than one sample where each is taken by itself."""
        return UnsupportedLayerError(
            f"tensor {tensor.name!r} has the shape {tensor.shape}: a batch of more than 1",
            where=where,
            fix="convert the network with batch size 1",
        )

    def shape(self, tensor: TfliteTensor) -> Shape:
        """The shape without the batch of 1; a scalar is one element, rows are as they are."""
        if tensor.rows:
            return tensor.shape
        return tensor.shape[1:] if len(tensor.shape) > 1 else (tensor.shape or (1,))

    def format(self, tensor: TfliteTensor) -> Affine:
        """The format of a quantized activation."""
        fmt = tensor.affine()
        if fmt is None:
            scales = len(tensor.scales)
            kind = f"with {scales} scales" if scales else "without scale"
            raise UnsupportedLayerError(
                f"tensor {tensor.name!r} is {tensor.type_name}, {kind}; in an integer network "
                "every activation must be int8 or int16 with one scale",
                where=self.model.source,
                fix="convert with full integer quantization and a representative dataset "
                "(uint8 networks are not run)",
            )
        return fmt

    def add(
        self,
        operator: TfliteOperator,
        op: Op,
        inputs: list[str],
        constants: Constants | None = None,
        output: int = 0,
        params: Mapping[str, Array] | None = None,
    ) -> str:
        """A node for an output of an operator; returns the name of its value.

        Args:
            operator: what it is made from.
            op: the layer.
            inputs: names of its inputs.
            constants: integers with their formats, of a quantized network.
            output: which output it is.
            params: float constants, of a float network.
        """
        number = operator.outputs[output]
        tensor = self.model.tensors[number]
        real = {role: fmt.dequantize(a) for role, (a, fmt) in (constants or {}).items()}
        try:
            name = self.builder.add(tensor.name or operator.name, op, inputs, params or real)
        except McuExportError as error:
            error.where = self.where(operator)
            raise
        self.bind(operator, number, name)
        if constants:
            self.constants[name] = constants
        return name

    def bind(self, operator: TfliteOperator, number: int, name: str) -> None:
        """Say which value a tensor is; shapes and formats must agree."""
        made = self.builder.shapes[name]
        if self.model.tensors[number].dynamic:
            on_rows = any(self.model.tensors[i].rows for i in operator.inputs if i in self.values)
            self.resize(number, made if on_rows else (1, *made))
        tensor = self.model.tensors[number]
        wanted = self.shape(tensor)
        if made != wanted:
            raise self.fail(operator, f"its output has the shape {made}, the file says {wanted}")
        self.values[number] = name
        if self.quantized:
            self.formats[name] = self.format(tensor)

    def between(
        self,
        name: str,
        op: Op,
        inputs: list[str],
        fmt: Affine | None,
        constants: Constants | None = None,
    ) -> str:
        """A node that no tensor of the file stands for, such as a reshape in front of a dense."""
        real = {role: fmt.dequantize(a) for role, (a, fmt) in (constants or {}).items()}
        made = self.builder.add(name, op, inputs, real)
        if fmt is not None:
            self.formats[made] = fmt
        if constants:
            self.constants[made] = constants
        return made
