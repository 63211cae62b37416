"""Mutated TensorFlow files of each format: a network or a clean error, within bounded time."""

from __future__ import annotations

import random
import shutil
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tf_oracle import freeze, tf, tf1, weights

from mcu_export.errors import InternalError, McuExportError
from mcu_export.graph import Graph
from mcu_export.loaders import load
from mcu_export.loaders.tf.protos import new
from mcu_export.loaders.tf.sstable import read_table, write_table
from tests.fuzz import mutated_bytes

SECONDS = 10  # far more than any of these files takes
NUMBERS = (0, 1, -1, 2, 3, 7, 255, 2**31 - 1, -(2**31), 2**62)
OPS = ("Conv2D", "MatMul", "Mul", "Reshape", "Transpose", "StridedSlice", "ConcatV2", "Split",
       "ResizeNearestNeighbor", "Conv2DBackpropInput", "FusedBatchNormV3", "Const", "Switch",
       "If", "Relu", "Placeholder", "Gather", "Slice", "Softmax", "Sigmoid")  # fmt: skip
seeds = st.integers(0, 2**32 - 1)
examples = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


def network(x):
    """Most ops that the loader knows, on (N, 9, 8, 3)."""
    y = tf.nn.conv2d(x, weights(3, 3, 3, 4), 2, "SAME") + weights(4)
    y = tf1.nn.fused_batch_norm(
        y, weights(4), weights(4), weights(4), np.abs(weights(4)) + 1, is_training=False
    )[0]
    y = tf.concat([y * tf.sigmoid(y), tf.nn.leaky_relu(y[:, ::-1, 1:, :], 0.3)[:, :, :2]], 2)
    one, two = tf.split(tf.transpose(y, [0, 2, 1, 3]), 2, 1)
    y = tf1.image.resize_nearest_neighbor(tf.maximum(one, two) - one, [6, 10])
    shape = tf.stack([tf.shape(y)[0], 12, 20, 2])
    y = tf.nn.conv2d_transpose(y, weights(3, 3, 2, 4), shape, 2, "SAME")
    y = tf.nn.avg_pool2d(tf.nn.elu(y), 2, 2, "VALID")
    return tf.matmul(tf.reshape(y, (-1, 120)), weights(120, 3))


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    return freeze(tmp_path_factory.mktemp("frozen"), network).path.read_bytes()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A folder with a checkpoint and the graph that it was trained in."""
    folder = tmp_path_factory.mktemp("checkpoint")
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, (None, 9, 8, 3), name="features")
        y = tf1.nn.bias_add(
            tf.nn.conv2d(x, tf1.Variable(weights(3, 3, 3, 4)), 2, "SAME"), tf1.Variable(weights(4))
        )
        y = tf.matmul(tf.reshape(tf.nn.relu(y), (-1, 80)), tf1.Variable(weights(80, 3)))
        tf1.nn.softmax(y)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(folder / "net.ckpt"))
    return folder


@pytest.fixture(scope="module")
def saved_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "model"
    module = tf.Module()
    module.w = tf.Variable(weights(72, 3))
    signature = tf.TensorSpec((None, 72), tf.float32, name="x")
    module.f = tf.function(lambda x: {"y": tf.nn.tanh(x @ module.w)}, input_signature=[signature])
    tf.saved_model.save(module, str(folder), signatures=module.f)
    return folder


def assert_clean(path):
    """The outcome of loading is a network, or an error that is the file's fault."""
    start = time.perf_counter()
    try:
        assert isinstance(load(path), Graph)
    except McuExportError as error:
        assert error.what and not isinstance(error, InternalError)
    assert time.perf_counter() - start < SECONDS


def mutate_graph(graph, seed: int) -> None:
    """Change nodes of a GraphDef in place: ops, inputs, attributes, constants."""
    generator = random.Random(seed)
    for _ in range(generator.randint(1, 4)):
        node, other = generator.choice(graph.node), generator.choice(graph.node)
        kind = generator.randrange(6)
        if kind == 0:
            node.op = generator.choice(OPS)
        elif kind == 1 and node.input:
            index = generator.randrange(len(node.input))
            node.input[index] = generator.choice((other.name, f"{other.name}:1", "^" + other.name))
        elif kind == 2 and node.input:
            del node.input[generator.randrange(len(node.input))]
        elif kind == 3:
            node.input.append(other.name)
        elif kind == 4 and node.attr:
            name = generator.choice(sorted(node.attr))
            mutate_attribute(node.attr[name], generator)
        else:
            for key in sorted(other.attr):
                node.attr[key].CopyFrom(other.attr[key])


def mutate_attribute(value, generator: random.Random) -> None:
    number = generator.choice(NUMBERS)
    kind = value.WhichOneof("value")
    if kind == "tensor":
        tensor = value.tensor
        if tensor.tensor_shape.dim and generator.random() < 0.5:
            generator.choice(tensor.tensor_shape.dim).size = number
        elif tensor.tensor_content:
            size = len(tensor.tensor_content)
            tensor.tensor_content = generator.choice((bytes(size), b"\xff" * size, b""))
        else:
            tensor.int_val[:] = [max(min(number, 2**31 - 1), -(2**31))]
    elif kind == "list" and value.list.i:
        value.list.i[generator.randrange(len(value.list.i))] = number
    elif kind == "shape" and value.shape.dim:
        generator.choice(value.shape.dim).size = number
    elif generator.random() < 0.5:
        value.i = number
    else:
        value.f = generator.choice((float("nan"), float("inf"), -1.0, 0.0, 1e38))


@examples
@given(seeds)
def test_bytes_of_a_frozen_graph(frozen, tmp_path_factory, seed):
    path = tmp_path_factory.getbasetemp() / "bytes.pb"
    path.write_bytes(mutated_bytes(frozen, seed))
    assert_clean(path)


@settings(examples, max_examples=250)
@given(seeds)
@example(0)
def test_nodes_of_a_frozen_graph(frozen, tmp_path_factory, seed):
    graph = new("GraphDef")
    graph.ParseFromString(frozen)
    mutate_graph(graph, seed)
    path = tmp_path_factory.getbasetemp() / "nodes.pb"
    path.write_bytes(graph.SerializeToString())
    assert_clean(path)


@examples
@given(seeds)
def test_checkpoints(checkpoint, tmp_path_factory, seed):
    """The index with checksums that fit, the data, or the graph."""
    folder = tmp_path_factory.getbasetemp() / "mutated_checkpoint"
    shutil.copytree(checkpoint, folder, dirs_exist_ok=True)
    generator = random.Random(seed)
    part = generator.choice(("index", "data-00000-of-00001", "meta", "nodes", "entries"))
    if part == "entries":
        file = folder / "net.ckpt.index"
        entries = read_table(file.read_bytes(), "")
        key = generator.choice(sorted(entries))
        entries[key] = mutated_bytes(entries[key], seed)
        file.write_bytes(write_table(entries))
    elif part == "nodes":
        meta = new("MetaGraphDef")
        meta.ParseFromString((folder / "net.ckpt.meta").read_bytes())
        mutate_graph(meta.graph_def, seed)
        (folder / "net.ckpt.meta").write_bytes(meta.SerializeToString())
    else:
        file = folder / f"net.ckpt.{part}"
        file.write_bytes(mutated_bytes(file.read_bytes(), seed))
    assert_clean(folder / "net.ckpt")


@examples
@given(seeds)
def test_saved_models(saved_model, tmp_path_factory, seed):
    folder = tmp_path_factory.getbasetemp() / "mutated_model"
    shutil.copytree(saved_model, folder, dirs_exist_ok=True)
    file = folder / "saved_model.pb"
    if seed % 2:
        model = new("SavedModel")
        model.ParseFromString(file.read_bytes())
        mutate_graph(model.meta_graphs[0].graph_def, seed)
        file.write_bytes(model.SerializeToString())
    else:
        file.write_bytes(mutated_bytes(file.read_bytes(), seed))
    assert_clean(folder)


@pytest.mark.real
@settings(examples, max_examples=12)
@given(seeds)
def test_real_frozen_graphs(data_dir, tmp_path_factory, seed):
    names = ("DS_CNN_S", "CNN_S", "CRNN_S", "DNN_S")
    content = (data_dir / f"mlkws/pretrained/{names[seed % 4]}.pb").read_bytes()
    graph = new("GraphDef")
    graph.ParseFromString(content)
    mutate_graph(graph, seed)
    path = tmp_path_factory.getbasetemp() / "real.pb"
    path.write_bytes(graph.SerializeToString() if seed % 3 else mutated_bytes(content, seed))
    assert_clean(path)
