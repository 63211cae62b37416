"""``mcu-export.toml``: what is accepted, and how an error names file, line and key."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from mcu_export.config import ConfigError, parse_config, read_config
from mcu_export.options import Options
from mcu_export.toml_lines import line_of

GOOD = """\
# networks
[defaults]
samples = "samples.npz:x[:,:10]"
scheme = "q15"

[models.spotter]
model = "net/spotter.keras"
max-ram = 16000
bn-epsilon = 1

[models.other]
model = "other.h5"
output = "gen"
samples = "own.npy"
labels = "labels.txt"
scheme = "q7"
test-samples = "test.npz"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "mcu-export.toml"
    path.write_text(text)
    return path


def test_a_configuration_is_read(tmp_path: Path) -> None:
    config = read_config(write(tmp_path, GOOD))
    spotter, other = config.models
    assert (spotter.name, other.name) == ("spotter", "other")
    assert spotter.sources.model == tmp_path / "net/spotter.keras"
    assert spotter.sources.samples == str(tmp_path / "samples.npz:x[:,:10]")
    assert spotter.folder == tmp_path / "build/spotter"
    options = Options(**spotter.options)
    assert (options.scheme, options.max_ram, options.bn_epsilon) == ("q15", 16000, 1)
    assert other.options == {"scheme": "q7", "name": "other"}
    assert other.sources.labels_file == tmp_path / "labels.txt"
    assert other.sources.test_samples == str(tmp_path / "test.npz")
    assert (other.folder, other.source) == (tmp_path / "gen", str(tmp_path / "gen/other.c"))
    assert config.select(["other"]) == (other,)
    assert config.select([]) == (spotter, other)


@pytest.mark.parametrize(
    ("change", "line", "key", "says"),
    [
        (('"q7"', '"q9"'), 16, "models.other.scheme", "'q9' is unknown"),
        (('"q15"', '"q9"'), 4, "defaults.scheme", "'q9' is unknown"),
        (("max-ram", "max-rum"), 8, "models.spotter.max-rum", "max-ram"),
        (("16000", '"16000"'), 8, "models.spotter.max-ram", "an integer"),
        (("16000", "true"), 8, "models.spotter.max-ram", "an integer"),
        (("16000", "[\n 1,\n 2 ]"), 8, "models.spotter.max-ram", "an integer"),
        (("bn-epsilon = 1", 'bn-epsilon = "x"'), 9, "models.spotter.bn-epsilon", "a number"),
        (('model = "other.h5"\n', ""), 11, "models.other", "model file is missing"),
        (("[models.other]", '[models."1x"]'), 11, "models.1x", "C model"),
        (("[models.other]", "[models.while]"), 11, "models.while", "C model"),
        (("[defaults]", "[default]"), 2, "default", "defaults"),
        (('samples = "samples.npz:x[:,:10]"', 'model = "x"'), 3, "defaults.model", "no key"),
        (("[models.other]", "[models]\nother = 5\n[models.x]"), 12, "models.other", "a table"),
        (('output = "gen"', 'output = "gen"\nname = "x"'), 14, "models.other.name", "no key"),
    ],
)
def test_an_error_names_file_line_and_key(
    tmp_path: Path, change: tuple[str, str], line: int, key: str, says: str
) -> None:
    assert change[0] in GOOD
    path = write(tmp_path, GOOD.replace(*change, 1))
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert caught.value.where == f"{path}:{line}, {key}"
    assert says in str(caught.value)
    assert caught.value.exit_code == 2


def test_broken_syntax_names_the_line(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD.replace("[models.other]", "[models.other"))
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    assert caught.value.where == f"{path}:11"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"[models]", b"a = " + b"[" * 5000])
def test_unusable_files(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mcu-export.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"mcu-export\.toml"):
        read_config(path)


def test_missing_and_oversized_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="mcu-export init"):
        read_config(tmp_path / "none.toml")
    path = write(tmp_path, "#" * 300_000)
    with pytest.raises(ConfigError, match="300000 bytes"):
        read_config(path)


def test_two_models_cannot_write_the_same_files(tmp_path: Path) -> None:
    text = '[models.net]\nmodel="a"\noutput="x"\n[models.NET]\nmodel="b"\noutput="./x"\n'
    with pytest.raises(ConfigError, match="as 'net' does"):
        read_config(write(tmp_path, text))


def test_an_unknown_name_gets_a_hint(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="do you mean 'spotter'"):
        read_config(write(tmp_path, GOOD)).select(["spoter"])


def test_lines_of_keys() -> None:
    text = 'a = """\nb = 1\n"""\n[t]\n"x y" = 1\nu.v = 2\n[t.w]\nb = [\n 1 ]\n'
    places = {("a",): 1, ("t",): 4, ("t", "x y"): 5, ("t", "u", "v"): 6, ("t", "w", "b"): 8}
    assert {path: line_of(text, path) for path in places} == places
    assert line_of(text, ("t", "missing")) == 4


def test_mutated_configurations_are_read_or_refused(tmp_path: Path) -> None:
    """Ten thousand damaged files: each is either valid or a ConfigError, nothing else."""
    generator = random.Random(7)
    path = tmp_path / "mcu-export.toml"
    refused = 0
    for _ in range(10_000):
        data = bytearray(GOOD.encode())
        for _ in range(generator.randint(1, 3)):
            at = generator.randrange(len(data))
            kind = generator.randrange(4)
            if kind == 0:
                data[at] = generator.randrange(256)
            elif kind == 1:
                del data[at : at + generator.randint(1, 40)]
            elif kind == 2:
                data[at:at] = generator.choice([b'"', b"[", b"\n", b"=", b"'''", b"1", b".", b"\0"])
            else:
                data[at:at] = data[generator.randrange(len(data)) :][:40]
        try:
            parse_config(path, bytes(data))
        except ConfigError as error:
            refused += 1
            assert error.where.startswith(str(path))
    assert 1_000 < refused < 10_000
