"""Training graphs of TensorFlow 1 with batch norms of several kinds, saved with their Saver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

tf1 = tf.compat.v1
random = np.random.default_rng(3)


def variable(name: str, *shape: int, low: float = -0.5, high: float = 0.5) -> Any:
    value = random.uniform(low, high, shape).astype(np.float32)
    return tf1.get_variable(name, initializer=value)


def batch_norm(
    x: Any, scope: str, training: bool, *, center: bool = True, scale: bool = True, epsilon=1e-3
) -> Any:
    """As tf.layers and slim write it: fused on images, otherwise from primitives."""
    channels = x.shape[-1]
    with tf1.variable_scope(scope):
        gamma = variable("gamma", channels, low=-1.5, high=1.5) if scale else tf.ones(channels)
        beta = variable("beta", channels) if center else tf.zeros(channels)
        mean = variable("moving_mean", channels)
        variance = variable("moving_variance", channels, low=0.1, high=2)
        if len(x.shape) == 4:
            y, m, v = tf1.nn.fused_batch_norm(
                x, gamma, beta, None if training else mean, None if training else variance,
                epsilon=epsilon, is_training=training,
            )  # fmt: skip
            if training:
                tf1.assign_sub(mean, (mean - m) * 0.01)
                tf1.assign_sub(variance, (variance - v) * 0.01)
            return y
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, epsilon)


def conv(x: Any, scope: str, filters: int, *, bias: bool = True) -> Any:
    with tf1.variable_scope(scope):
        w = variable("weights", 3, 3, x.shape[-1], filters)
        y = tf.nn.conv2d(x, w, [1, 2, 1, 1], "SAME")
        return tf.nn.bias_add(y, variable("biases", filters)) if bias else y


def depthwise(x: Any, scope: str, multiplier: int, *, bias: bool = True) -> Any:
    with tf1.variable_scope(scope):
        channels = x.shape[-1]
        w = variable("depthwise_weights", 3, 3, channels, multiplier)
        y = tf.nn.depthwise_conv2d(x, w, [1, 1, 1, 1], "VALID")
        return y + variable("biases", channels * multiplier) if bias else y


def dense(x: Any, scope: str, units: int, *, bias: bool = True) -> Any:
    with tf1.variable_scope(scope):
        y = tf.matmul(x, variable("weights", x.shape[-1], units))
        return y + variable("biases", units) if bias else y


def saved(folder: Path, build: Callable[[Any, bool], Any], training: bool = False) -> Path:
    """A checkpoint with .meta of ``build(x, training)``, an optimizer and a counter included."""
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, (None, 9, 8, 3), name="features")
        logits = build(x, training)
        loss = tf.reduce_mean(
            tf1.nn.softmax_cross_entropy_with_logits_v2(labels=tf.zeros_like(logits), logits=logits)
        )
        step = tf1.train.get_or_create_global_step()
        tf1.train.AdamOptimizer().minimize(loss, step)
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(session, str(folder / "net.ckpt"), 7)
    return folder / Path(prefix).name


def restored(prefix: Path, build: Callable[[Any, bool], Any], samples: np.ndarray) -> np.ndarray:
    """What TensorFlow computes with the checkpoint in a graph for inference."""
    with tf.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, (None, 9, 8, 3), name="features")
        logits = build(x, False)
        tf1.train.Saver().restore(session, str(prefix))
        return session.run(logits, {x: samples})
