"""Damaged and hostile TensorFlow files end in ModelFileError, quickly, whatever is in them."""

from __future__ import annotations

import random

import pytest
from tf_oracle import freeze, tf, weights

from mcu_export.errors import McuExportError, ModelFileError
from mcu_export.loaders.tf.graph import is_graph_def, load_frozen_graph
from mcu_export.loaders.tf.protos import new


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    def build(x):
        y = tf.nn.conv2d(x, weights(3, 3, 3, 4), 2, "SAME") + weights(4)
        return tf.nn.softmax(tf.matmul(tf.reshape(y, [-1, 80]), weights(80, 4)))

    return freeze(tmp_path_factory.mktemp("sound"), build).path.read_bytes()


def load(tmp_path, data):
    path = tmp_path / "network.pb"
    path.write_bytes(data)
    return load_frozen_graph(path)


def graph_of(*nodes):
    """A GraphDef of (name, op, inputs, attributes); an attribute is (field, value)."""
    graph = new("GraphDef")
    for name, op, inputs, attrs in nodes:
        node = graph.node.add(name=name, op=op, input=inputs)
        for key, (field, value) in attrs.items():
            if field == "tensor":
                node.attr[key].tensor.CopyFrom(value)
            elif field == "shape":
                node.attr[key].shape.SetInParent()
                for size in value:
                    node.attr[key].shape.dim.add(size=size)
            elif field == "list":
                node.attr[key].list.i.extend(value)
            else:
                setattr(node.attr[key], field, value)
    return graph.SerializeToString()


def constant(name, values, shape, dtype=1):
    tensor = new("TensorProto")
    tensor.dtype = dtype
    for size in shape:
        tensor.tensor_shape.dim.add(size=size)
    (tensor.float_val if dtype == 1 else tensor.int_val).extend(values)
    return (name, "Const", [], {"dtype": ("type", dtype), "value": ("tensor", tensor)})


def placeholder(*shape):
    return ("x", "Placeholder", [], {"dtype": ("type", 1), "shape": ("shape", shape)})


def test_a_sound_file_loads(tmp_path, content):
    assert is_graph_def(content)
    assert len(load(tmp_path, content).nodes) == 3


def test_no_file(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_frozen_graph(tmp_path / "nothing.pb")
    assert not is_graph_def(tmp_path / "nothing.pb")


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x0a", b"hello world", b"\xff" * 100])
def test_no_graph(data, tmp_path):
    assert not is_graph_def(data)
    with pytest.raises(ModelFileError):
        load(tmp_path, data)


def test_cut_off_anywhere(tmp_path, content):
    for length in range(0, len(content), 37):
        with pytest.raises(McuExportError):
            load(tmp_path, content[:length])


def test_random_bytes(tmp_path):
    generator = random.Random(3)
    for length in (1, 10, 100, 1000, 10_000):
        with pytest.raises(ModelFileError):
            load(tmp_path, generator.randbytes(length))


def test_flipped_bits_never_crash(tmp_path, content):
    generator = random.Random(5)
    for _ in range(300):
        data = bytearray(content)
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
        try:
            load(tmp_path, bytes(data))
        except McuExportError as error:
            assert error.what and error.where


HUGE = 2**62
SAME = {"strides": ("list", [1, 1, 1, 1]), "padding": ("s", b"SAME")}
HOSTILE = {
    "huge constant": [placeholder(1, 4), constant("c", [1.0], [HUGE, 4]), ("y", "Add", "xc", {})],
    "negative size": [placeholder(1, 4), constant("c", [1.0], [-4]), ("y", "Add", "xc", {})],
    "huge input": [placeholder(1, HUGE), ("y", "Relu", "x", {})],
    "input of size 0": [placeholder(1, 0), ("y", "Relu", "x", {})],
    "too many values": [placeholder(1, 4), constant("c", [1.0] * 5, [4]), ("y", "Add", "xc", {})],
    "missing input": [placeholder(1, 4), ("y", "Add", ["x", "nothing"], {})],
    "no weights": [placeholder(1, 4, 4, 1), ("y", "Conv2D", "x", SAME)],
    "a circle": [placeholder(1, 4), ("a", "Add", "xb", {}), ("b", "Relu", "a", {}),
                 ("y", "Relu", "b", {})],
    "its own input": [placeholder(1, 4), ("y", "Add", "xy", {}), ("z", "Relu", "y", {})],
    "twice the same name": [placeholder(1, 4), placeholder(1, 4), ("y", "Relu", "x", {})],
    "weights of rank 1": [placeholder(1, 4, 4, 1), constant("c", [1.0], [9]),
                          ("y", "Conv2D", "xc", SAME)],
    "strides of 0": [placeholder(1, 4, 4, 1), constant("c", [1.0], [3, 3, 1, 1]),
                     ("y", "Conv2D", "xc", {**SAME, "strides": ("list", [1, 0, 0, 1])})],
    "strides of the wrong type": [placeholder(1, 4, 4, 1), constant("c", [1.0], [3, 3, 1, 1]),
                                  ("y", "Conv2D", "xc", {**SAME, "strides": ("f", 1.0)})],
    "huge padding": [placeholder(1, 4, 4, 1), constant("c", [0, 0, *[2**30] * 4, 0, 0], [4, 2], 3),
                     ("y", "Pad", "xc", {})],
    "reshape to other size": [placeholder(1, 4), constant("c", [1, 5], [2], 3),
                              ("y", "Reshape", "xc", {})],
    "reshape to a huge size": [placeholder(1, 4), constant("c", [2**30, 2**30, 2**30], [3], 3),
                               ("y", "Reshape", "xc", {})],
    "not finite": [placeholder(1, 4), constant("c", [float("nan")], [4, 4]),
                   ("y", "MatMul", "xc", {})],
    "huge fill": [placeholder(1, 4), constant("d", [2**30, 2**30], [2], 3),
                  constant("v", [1.0], []), ("c", "Fill", "dv", {}), ("y", "Add", "xc", {})],
    "endless range": [placeholder(1, 4), constant("a", [0.0], []), constant("b", [1.0], []),
                      constant("d", [0.0], []), ("c", "Range", "abd", {}), ("y", "Add", "xc", {})],
    "only an input": [placeholder(1, 4)],
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_graph(name, tmp_path):
    with pytest.raises(ModelFileError) as caught:
        load(tmp_path, graph_of(*HOSTILE[name]))
    assert caught.value.where


def test_exponential_products_are_not_expanded(tmp_path):
    nodes = [placeholder(1, 4), constant("m0", [1.0001], [4])]
    nodes += [(f"m{i}", "Mul", [f"m{i - 1}", f"m{i - 1}"], {}) for i in range(1, 60)]
    nodes += [("y", "Mul", ["x", "m9"], {}), ("z", "Add", ["y", "m3"], {})]
    load(tmp_path, graph_of(*nodes))


def test_a_function_that_calls_itself(tmp_path):
    graph = new("GraphDef")
    graph.ParseFromString(graph_of(placeholder(1, 4), ("y", "again", ["x"], {})))
    function = graph.library.function.add()
    function.signature.name = "again"
    function.signature.input_arg.add(name="a", type=1)
    function.signature.output_arg.add(name="b", type=1)
    function.node_def.add(name="inner", op="again", input=["a"])
    function.node_def.add(name="other", op="again", input=["a"])
    function.ret["b"] = "inner:b:0"
    with pytest.raises(ModelFileError, match="functions call each other"):
        load(tmp_path, graph.SerializeToString())


def test_branches_that_take_themselves(tmp_path):
    graph = new("GraphDef")
    graph.ParseFromString(graph_of(placeholder(1, 4), constant("c", [1.0], [])))
    for owner, name in ((graph.node, "y"), (graph.library.function.add().node_def, "y")):
        branch = owner.add(name=name, op="If", input=["c", "x"])
        branch.attr["then_branch"].func.name = branch.attr["else_branch"].func.name = "again"
    (function,) = graph.library.function
    function.signature.name = "again"
    function.signature.input_arg.add(name="x", type=1)
    function.signature.output_arg.add(name="b", type=1)
    function.node_def[0].input[0] = "one:output:0"
    function.node_def.add().CopyFrom(graph.node[1])
    function.node_def[1].name = "one"
    function.ret["b"] = "y:output:0"
    with pytest.raises(ModelFileError, match="without end"):
        load(tmp_path, graph.SerializeToString())


def test_variables_without_values(tmp_path):
    nodes = [placeholder(1, 4), ("v", "VariableV2", [], {}), ("y", "MatMul", "xv", {})]
    with pytest.raises(ModelFileError, match="no value for this variable") as caught:
        load(tmp_path, graph_of(*nodes))
    assert "freeze" in caught.value.fix
