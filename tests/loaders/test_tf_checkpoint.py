"""Checkpoints, read and written as data; TensorFlow reads what is written, and the other way."""

from __future__ import annotations

import random
import subprocess
import sys

import numpy as np
import pytest
from tf_oracle import tf, tf1, weights

from mcu_export.errors import ModelFileError
from mcu_export.loaders.tf.checkpoint import (
    checkpoint_prefix,
    is_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from mcu_export.loaders.tf.crc32c import crc32c, masked_crc32c
from mcu_export.loaders.tf.sstable import read_table, write_table

TENSORS = {
    "conv/weights": weights(3, 3, 4, 5),
    "conv/biases": weights(5),
    "step": np.int64(1234),
    "flag": np.asarray(True),
    "half": weights(7).astype(np.float16),
    "wide": weights(2, 3).astype(np.float64),
    "small": np.arange(-3, 3, dtype=np.int8),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "empty": np.zeros((0, 4), np.float32),
    "name/with spaces and ümlauts": np.float32(2.5),
    "table": np.arange(300, dtype=np.int32),
}


def saved_by_tensorflow(folder, tensors):
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = {name: tf1.Variable(value) for name, value in tensors.items()}
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver(variables).save(session, str(folder / "model.ckpt"), 17)
    return folder / prefix.rpartition("/")[2]


@pytest.mark.parametrize(
    ("data", "expected"),
    [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43),
     (bytes(range(32)), 0x46DD794E)],
)  # fmt: skip
def test_crc32c_of_rfc_3720(data, expected):
    assert crc32c(data) == expected


def test_crc32c_of_any_length():
    """Against the plain definition, bit by bit."""
    generator = random.Random(1)
    for length in [*range(70), 255, 256, 1000, 4097]:
        data = generator.randbytes(length)
        register = 0xFFFFFFFF
        for byte in data:
            register ^= byte
            for _ in range(8):
                register = register >> 1 ^ (register & 1) * 0x82F63B78
        assert crc32c(data) == register ^ 0xFFFFFFFF
    assert masked_crc32c(b"") == 0xA282EAD8


def test_reads_what_tensorflow_writes(tmp_path):
    prefix = saved_by_tensorflow(tmp_path, TENSORS)
    assert is_checkpoint(prefix)
    read = read_checkpoint(prefix)
    assert read.keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        np.testing.assert_array_equal(read[name], expected)
        assert read[name].dtype == np.asarray(expected).dtype
        assert read[name].shape == np.shape(expected)


def test_any_file_of_the_checkpoint_names_it(tmp_path):
    prefix = saved_by_tensorflow(tmp_path, {"a": weights(3)})
    files = [path for path in tmp_path.iterdir() if path.name.startswith("model.ckpt-17.")]
    assert len(files) == 3
    for path in files:
        assert checkpoint_prefix(path) == prefix
        assert is_checkpoint(path)
        np.testing.assert_array_equal(read_checkpoint(path)["a"], weights(3))
    assert not is_checkpoint(tmp_path / "checkpoint")
    assert not is_checkpoint(tmp_path / "nothing")


def test_reads_an_index_of_many_blocks(tmp_path):
    tensors = {f"layer_{i:04d}/{'long_name_' * 5}{i}": np.float32(i) for i in range(250)}
    read = read_checkpoint(saved_by_tensorflow(tmp_path, tensors))
    assert {name: float(value) for name, value in read.items()} == {
        name: float(value) for name, value in tensors.items()
    }


def test_reads_a_checkpoint_of_tensorflow_2(tmp_path):
    path = tf.train.Checkpoint(v=tf.Variable(weights(4, 2))).save(str(tmp_path / "two"))
    read = read_checkpoint(tmp_path / path.rpartition("/")[2])
    np.testing.assert_array_equal(read["v/.ATTRIBUTES/VARIABLE_VALUE"], weights(4, 2))


def test_tensorflow_reads_what_is_written(tmp_path):
    written = write_checkpoint(tmp_path / "ours.ckpt-3", TENSORS)
    assert [path.name for path in written] == [
        "ours.ckpt-3.index",
        "ours.ckpt-3.data-00000-of-00001",
    ]
    reader = tf.train.load_checkpoint(str(tmp_path / "ours.ckpt-3"))
    assert reader.get_variable_to_shape_map().keys() == TENSORS.keys()
    for name, expected in TENSORS.items():
        value = reader.get_tensor(name)
        np.testing.assert_array_equal(value, expected)
        assert np.asarray(value).dtype == np.asarray(expected).dtype


def test_a_saver_restores_what_is_written(tmp_path):
    write_checkpoint(
        tmp_path / "ours", {"a": weights(40, 30), "b/c": weights(9), "unused": weights(1)}
    )
    with tf.Graph().as_default(), tf1.Session() as session:
        a = tf1.get_variable("a", (40, 30))
        c = tf1.get_variable("b/c", (9,))
        tf1.train.Saver().restore(session, str(tmp_path / "ours"))
        np.testing.assert_array_equal(session.run(a), weights(40, 30))
        np.testing.assert_array_equal(session.run(c), weights(9))


def test_reads_what_it_writes(tmp_path):
    many = {f"variable/{i}": weights(i % 5 + 1, seed=i) for i in range(400)}
    write_checkpoint(tmp_path / "ours", many)
    read = read_checkpoint(tmp_path / "ours")
    assert list(read) == sorted(many)
    for name, expected in many.items():
        np.testing.assert_array_equal(read[name], expected)


def test_writing_is_deterministic(tmp_path):
    reordered = dict(reversed(TENSORS.items()))
    first, second = (
        write_checkpoint(tmp_path / "a", TENSORS),
        write_checkpoint(tmp_path / "b", reordered),
    )
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_big_endian_arrays_are_written_little_endian(tmp_path):
    write_checkpoint(tmp_path / "ours", {"a": weights(5).astype(">f4")})
    np.testing.assert_array_equal(read_checkpoint(tmp_path / "ours")["a"], weights(5))


def test_a_type_that_cannot_be_written(tmp_path):
    with pytest.raises(ModelFileError, match="complex"):
        write_checkpoint(tmp_path / "ours", {"a": np.zeros(2, np.complex64)})


@pytest.mark.parametrize("part", ["index", "data-00000-of-00001"])
def test_cut_off_and_damaged(part, tmp_path):
    write_checkpoint(tmp_path / "ours", TENSORS)
    file = tmp_path / f"ours.{part}"
    content = file.read_bytes()
    for length in range(0, len(content), max(1, len(content) // 60)):
        file.write_bytes(content[:length])
        with pytest.raises(ModelFileError):
            read_checkpoint(tmp_path / "ours")
    for position in range(0, len(content), max(1, len(content) // 60)):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        file.write_bytes(damaged)
        if part == "index" and position >= len(content) - 48:
            continue  # the padding of the footer is not checked by anybody
        with pytest.raises(ModelFileError):
            read_checkpoint(tmp_path / "ours")
    file.unlink()
    with pytest.raises(ModelFileError, match="cannot be read"):
        read_checkpoint(tmp_path / "ours")


def test_random_index(tmp_path):
    generator = random.Random(2)
    for length in (0, 1, 47, 48, 100, 1000):
        for ending in (b"", write_table({})[-8:]):
            (tmp_path / "bad.index").write_bytes(generator.randbytes(length) + ending)
            with pytest.raises(ModelFileError):
                read_checkpoint(tmp_path / "bad")


def hostile_entry(**fields):
    from mcu_export.loaders.tf.protos import new  # noqa: PLC0415

    entry = new("BundleEntryProto")
    entry.dtype = fields.pop("dtype", 1)
    for size in fields.pop("shape", ()):
        entry.shape.dim.add(size=size)
    for name, value in fields.items():
        setattr(entry, name, value)
    return entry.SerializeToString()


@pytest.mark.parametrize(
    "fields",
    [
        {"shape": (2**40, 2**40), "size": 16},
        {"shape": (-1, -16), "size": 64},
        {"shape": (4,), "size": 2**60},
        {"shape": (4,), "size": 16, "offset": -16},
        {"shape": (4,), "size": 16, "offset": 2**62},
        {"shape": (4,), "size": 16, "shard_id": 7},
        {"shape": (4,), "size": -16},
    ],
)
def test_hostile_entries(fields, tmp_path):
    header = hostile_entry(dtype=1)  # num_shards = 1 has the same field number and type
    (tmp_path / "bad.index").write_bytes(write_table({b"": header, b"a": hostile_entry(**fields)}))
    (tmp_path / "bad.data-00000-of-00001").write_bytes(bytes(64))
    with pytest.raises(ModelFileError) as caught:
        read_checkpoint(tmp_path / "bad")
    assert "bad" in caught.value.where


def test_tables_with_shared_prefixes_are_read():
    entries = {f"prefix/{i:03d}".encode(): bytes([i % 256]) * i for i in range(300)}
    assert read_table(write_table(entries), "table") == entries


@pytest.mark.real
def test_real_checkpoints_equal_tensorflow(data_dir):
    indexes = sorted(data_dir.glob("forks/*/*.index"))
    assert len(indexes) == 6
    for index in indexes:
        prefix = checkpoint_prefix(index)
        read = read_checkpoint(prefix)
        reader = tf.train.load_checkpoint(str(prefix))
        assert read.keys() == reader.get_variable_to_shape_map().keys()
        for name, value in read.items():
            np.testing.assert_array_equal(value, reader.get_tensor(name))


@pytest.mark.real
def test_a_real_checkpoint_written_again(data_dir, tmp_path):
    (index,) = data_dir.glob("forks/purice93_cnn/*.index")
    read = read_checkpoint(index)
    _, data = write_checkpoint(tmp_path / "again", read)
    assert data.read_bytes() == next(index.parent.glob("*.data-*")).read_bytes()
    reader = tf.train.load_checkpoint(str(tmp_path / "again"))
    assert reader.get_variable_to_shape_map().keys() == read.keys()


@pytest.mark.real
def test_tensorflow_is_not_imported(data_dir):
    (index,) = data_dir.glob("forks/purice93_dnn/*.index")
    code = (
        "import sys; from pathlib import Path; from mcu_export.loaders.tf.meta_graph import *;"
        f"load_meta_graph(Path({str(index)!r}));"
        "print(sorted(m for m in sys.modules if m.partition('.')[0] in ('tensorflow', 'keras')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
