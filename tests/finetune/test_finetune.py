"""Training in integers: what it prints is what the export of its file computes."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import mcu_export
from mcu_export.calibrate import calibrate
from mcu_export.exported import open_export
from mcu_export.finetune.archive import save_keras
from mcu_export.finetune.network import constants
from mcu_export.finetune.train import Training, finetune, requantize
from mcu_export.options import Options
from mcu_export.pipeline import quantize_model
from mcu_export.quantgraph import QuantGraph
from mcu_export.quantize import quantize, quantize_network
from mcu_export.reference import quantize_inputs, run_reference
from mcu_export.trained_formats import MEMBER
from tests.cli.tool import CALIBRATION, MODEL, TEST, Result, assert_error
from tests.helpers import KWS, after_passes, draw, toy

TRAINING_LABELS = f"{KWS / 'calibration.npz'}:labels"
COUNT = 70  # samples: enough to see that it works, too few to learn from


def _toy(scheme: str) -> tuple[QuantGraph, dict[str, np.ndarray]]:
    graph = after_passes(toy())
    samples = draw(graph, 60)
    return quantize_network(graph, calibrate(graph, samples), scheme, "mse"), samples


def _same_integers(first: QuantGraph, second: QuantGraph) -> None:
    for a, b in zip(first.nodes, second.nodes, strict=True):
        assert (a.format, a.arithmetic) == (b.format, b.arithmetic)
        for role, integers in a.params.items():
            np.testing.assert_array_equal(integers, b.params[role])


@pytest.mark.parametrize("scheme", ["q7", "q15", "q15x7"])
def test_training_starts_from_the_integers_of_the_export(scheme: str) -> None:
    quant, _ = _toy(scheme)
    _same_integers(requantize(quant, constants(quant)), quant)


def test_activations_that_use_fewer_bits_keep_their_limits(tf, tmp_path: Path) -> None:
    """As the search makes them in q15; behind them weights may have more bits."""
    wide, samples = _toy("q15")
    wanted = {layer.name: layer.param_formats for layer in wide.nodes}
    used = {layer.name: 13 for layer in wide.nodes}
    quant = quantize(wide.graph, "q15", wide.formats(), wanted, used_bits=used)
    assert any(a.arithmetic != b.arithmetic for a, b in zip(quant.nodes, wide.nodes, strict=True))
    _same_integers(requantize(quant, constants(quant)), quant)
    labels = np.random.default_rng(1).integers(0, 5, 60)
    made = finetune(quant, samples, labels, Training(epochs=1, batch=60, learning_rate=1e-3))
    save_keras(made, tmp_path / "net.keras")
    x = {tensor.name: samples[tensor.name] for tensor in wide.graph.inputs}
    np.savez(tmp_path / "x.npz", **x)
    again, _ = quantize_model(
        tmp_path / "net.keras", str(tmp_path / "x.npz"), Options(scheme="q15")
    )
    _same_integers(again, made.quant)


def test_training_lowers_the_loss_and_depends_on_the_seed_alone(tf) -> None:
    quant, samples = _toy("q7")
    labels = np.random.default_rng(1).integers(0, 5, 60)
    how = Training(epochs=4, batch=16, learning_rate=5e-3)
    first, second = (finetune(quant, samples, labels, how) for _ in range(2))
    losses = [epoch.loss for epoch in first.epochs if epoch.loss is not None]
    assert losses[-1] < 0.8 * losses[0]
    assert first.epochs == second.epochs
    _same_integers(first.quant, second.quant)
    assert first.best.accuracy == max(epoch.accuracy for epoch in first.epochs)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tf) -> tuple[Path, dict]:
    """The keyword spotter after an epoch, and what the command printed."""
    from mcu_export.cli import main  # noqa: PLC0415

    path = tmp_path_factory.mktemp("trained") / "trained.keras"
    few = path.with_name("few.npz")
    features, labels = np.load(KWS / "calibration.npz").values()
    np.savez(few, features=features[:COUNT], labels=labels[:COUNT])
    given = ["finetune", MODEL, "--samples", f"{few}:features", "--labels", f"{few}:labels"]
    given += ["-o", str(path), "--epochs", "1", "--learning-rate", "0.001", "--json"]
    printed: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("click.echo", lambda text="", **_: printed.append(text))
        with pytest.raises(SystemExit) as stopped:
            main(given)
    assert stopped.value.code in (None, 0)
    return path, json.loads(printed[-1])


def test_the_export_has_the_accuracy_that_training_printed(
    trained: tuple[Path, dict], cli, tmp_path: Path
) -> None:
    path, said = trained
    mcu_export.export(path, tmp_path, samples=CALIBRATION)
    samples, labels = np.load(KWS / "calibration.npz").values()
    order = np.random.default_rng(0).permutation(COUNT)
    held = np.sort(order[: round(0.2 * COUNT)])  # as --validation and --seed say
    np.savez(tmp_path / "held.npz", features=samples[held], labels=labels[held])
    source = f"{tmp_path / 'held.npz'}"
    found = cli(
        "evaluate",
        *(tmp_path, "--samples", f"{source}:features", "--labels", f"{source}:labels", "--json"),
    ).json()
    assert found["accuracy"] == said["best"]["accuracy"]
    assert found["agreement"] > 0.9  # weights are on the grid already, activations are not


def test_keras_loads_the_file(trained: tuple[Path, dict], tf, tmp_path: Path) -> None:
    import keras  # noqa: PLC0415

    path, _ = trained
    model = keras.saving.load_model(path)
    mcu_export.export(path, tmp_path, samples=CALIBRATION)
    features = np.load(KWS / "test.npz")["features"]
    quant = open_export(tmp_path).quant
    (name,) = (tensor.name for tensor in quant.graph.inputs)
    integers = run_reference(quant, quantize_inputs(quant, {name: features}))
    same = integers[quant.graph.outputs[0]].argmax(1) == model.predict(features, verbose=0).argmax(
        1
    )
    assert same.mean() > 0.9


def test_another_calibration_chooses_formats_anew(trained: tuple[Path, dict], tmp_path) -> None:
    path, _ = trained
    own = mcu_export.export(path, tmp_path / "own", samples=CALIBRATION)
    minmax = mcu_export.export(path, tmp_path / "minmax", samples=CALIBRATION, calibration="minmax")
    wide = mcu_export.export(path, tmp_path / "wide", samples=CALIBRATION, scheme="q15")
    frac_bits = [
        [layer["output_frac_bits"] for layer in manifest["layers"]] for manifest in (own, minmax)
    ]
    assert frac_bits[0] != frac_bits[1]
    assert wide["scheme"] == "q15"


def test_a_damaged_member_is_a_clear_error(trained: tuple[Path, dict], cli, tmp_path: Path) -> None:
    path, _ = trained
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = json.loads(members[MEMBER])
    name = next(iter(content["activations"]))
    broken = {
        "version": {**content, "version": 99},
        "bits": {**content, "activations": {**content["activations"], name: [9, 3]}},
        "keys": {"version": 1, "scheme": "q7"},
        "layers": {**content, "activations": {}},
    }
    for case, changed in broken.items():
        draft = tmp_path / f"{case}.keras"
        with zipfile.ZipFile(draft, "w") as archive:
            for member, data in members.items():
                archive.writestr(member, json.dumps(changed) if member == MEMBER else data)
        done: Result = cli("export", draft, "-o", tmp_path / "out", "--samples", CALIBRATION)
        assert_error(done, 3, "model file")


def test_bad_use_is_a_clear_error(cli, tmp_path: Path) -> None:
    given = ["finetune", MODEL, "--samples", CALIBRATION, "--labels", TRAINING_LABELS]
    assert_error(cli(*given, "-o", tmp_path / "net.h5"), 2, "usage")
    assert_error(cli(*given, "-o", tmp_path / "n.keras", "--scheme", "int8"), 2, "usage")
    wrong = ["finetune", MODEL, "--samples", TEST, "--labels", f"{KWS / 'test.npz'}:features"]
    assert_error(cli(*wrong, "-o", tmp_path / "n.keras"), 5, "samples")
    few = tmp_path / "few.npz"
    np.savez(few, features=np.load(KWS / "test.npz")["features"][:2], labels=[0, 1])
    small = ["--samples", f"{few}:features", "--labels", f"{few}:labels", "--validation", "0.1"]
    assert_error(cli("finetune", MODEL, *small, "-o", tmp_path / "n.keras"), 5, "samples")
