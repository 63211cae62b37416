"""Small networks made by TensorFlow's own converter, and what its interpreter computes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import tensorflow as tf

SHAPE = (20, 20, 4)


def weights(*shape: int) -> tf.Tensor:
    """Random weights that depend on the shape alone, whichever tests ran before."""
    drawn = np.random.default_rng(shape).standard_normal(shape) * 0.5
    return tf.constant(drawn.astype(np.float32))


def all_operators(x: tf.Tensor, hard_swish: bool) -> tf.Tensor:
    """A network with every operator that the loader takes, some in several forms."""
    y = tf.nn.relu6(tf.nn.conv2d(x, weights(3, 3, 4, 8), [1, 2, 2, 1], "SAME") + weights(8))
    a, b, c = tf.nn.leaky_relu(y, 0.2), tf.nn.tanh(y * 0.7), tf.sigmoid(y - 0.3)
    d = a + b
    f = tf.nn.relu(c - d) * a
    g = tf.pad(tf.concat([d, f, y], -1), [[0, 0], [1, 1], [0, 1], [0, 0]])
    h = tf.nn.depthwise_conv2d(g, weights(3, 2, 24, 1), [1, 1, 1, 1], "VALID") + weights(24)
    if hard_swish:
        h = h * tf.nn.relu6(h + 3.0) * (1 / 6)
    i, j = tf.nn.max_pool2d(h, 2, 2, "VALID"), tf.nn.avg_pool2d(h, 3, 2, "SAME")
    k = tf.image.resize(i, (i.shape[1] * 2, i.shape[2] * 2), method="nearest")
    s = tf.split(k, 3, -1)
    u = tf.transpose((s[0] - s[1] * s[2])[:, 1:9:2, ::-1, :], [0, 2, 1, 3])
    size = [1, u.shape[1] * 2, u.shape[2] * 2, 5]
    v = tf.nn.conv2d_transpose(u, weights(3, 3, 5, 8), size, [1, 2, 2, 1], "SAME") + weights(5)
    m, n = tf.reduce_mean(j, [1, 2]), tf.reduce_mean(v, [1, 2], keepdims=True)
    p = tf.concat([m, tf.reshape(n, [1, 5])], -1)
    return tf.nn.softmax(tf.matmul(p, weights(29, 7)) + weights(7))


def small(x: tf.Tensor) -> tf.Tensor:
    """A convolution and a dense layer."""
    y = tf.nn.relu(tf.nn.conv2d(x, weights(3, 3, 4, 6), [1, 3, 3, 1], "SAME") + weights(6))
    return tf.matmul(tf.reshape(y, [1, -1]), weights(7 * 7 * 6, 5)) + weights(5)


def convert(
    function, integers: str = "", shapes=(SHAPE,), owner=None, batch: int | None = 1, **settings
) -> bytes:
    """The .tflite file of a function; ``integers`` is ``int8``, ``int16`` or empty for float.

    ``shapes`` are those of the inputs, without the batch of 1, which may be left open; ``owner``
    holds the variables.
    """
    signature = [tf.TensorSpec([batch, *shape], tf.float32) for shape in shapes]
    made = tf.function(function, input_signature=signature)
    concrete = [made.get_concrete_function()]
    converter = tf.lite.TFLiteConverter.from_concrete_functions(concrete, owner)
    if integers:
        random = np.random.default_rng(5)
        samples = [
            [random.standard_normal((1, *shape)).astype(np.float32) for shape in shapes]
            for _ in range(30)
        ]
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: iter(samples)
        sets = tf.lite.OpsSet
        converter.target_spec.supported_ops = [
            sets.TFLITE_BUILTINS_INT8
            if integers == "int8"
            else sets.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        ]
        dtype = tf.int8 if integers == "int8" else tf.int16
        converter.inference_input_type = converter.inference_output_type = dtype
    for key, value in settings.items():
        setattr(converter, key, value)
    return converter.convert()


def interpret(
    content: bytes,
    inputs: np.ndarray,
    resolver=tf.lite.experimental.OpResolverType.BUILTIN_REF,
) -> dict[str, np.ndarray]:
    """Every tensor by name, (samples, *shape), from the reference kernels of the interpreter.

    Left out are tensors that share their name; ``""`` is the output.
    """
    interpreter = tf.lite.Interpreter(
        model_content=content,
        experimental_op_resolver_type=resolver,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    names = Counter(detail["name"] for detail in interpreter.get_tensor_details())
    places = {d["name"]: d["index"] for d in interpreter.get_tensor_details()}
    places = {name: index for name, index in places.items() if names[name] == 1}
    places[""] = interpreter.get_output_details()[0]["index"]
    seen: dict[str, list[np.ndarray]] = {}
    for sample in inputs:
        interpreter.set_tensor(
            entry["index"], sample.astype(entry["dtype"]).reshape(entry["shape"])
        )
        interpreter.invoke()
        for name, index in places.items():
            try:
                seen.setdefault(name, []).append(interpreter.get_tensor(index).copy())
            except ValueError:  # scratch memory of a kernel
                continue
    return {name: np.stack(values) for name, values in seen.items() if values}
