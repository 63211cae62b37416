"""Real networks with inputs, as the tests of this folder use them."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mcu_export.api import Sources, export_files
from mcu_export.exported import Exported, open_export


@dataclass(frozen=True)
class Network:
    """A model file below the data folder, its calibration samples and samples to check it on."""

    model: str
    calibration: str
    evaluation: str
    key: str = ""

    def samples(self, data: Path, scratch: Path, which: str) -> str:
        """The ``--samples`` text; files that the data does not have are drawn at random."""
        name = self.calibration if which == "calibration" else self.evaluation
        if not name.startswith("random"):
            return f"{data / name}{self.key}"
        shape = tuple(int(size) for size in name.split()[1].split("x"))
        path = scratch / f"{which}_{name.split()[1]}.npz"
        generator = np.random.default_rng(1 if which == "calibration" else 2)
        np.savez(path, x=generator.random((40, *shape), np.float32))
        return str(path)


SPEECH = "speech_commands"


def _speech(model: str, step: str, part: str = "") -> Network:
    return Network(
        f"mlkws/pretrained/{model}.pb",
        f"{SPEECH}/calibration_mfcc_{step}.npz",
        f"{SPEECH}/evaluation_mfcc_{step}.npz",
        f":mfcc{part}",
    )


CIFAR = "mlperf_tiny/image_classification/cifar10_test_jpeg_1000.npz"

NETWORKS = {
    "DNN_S": _speech("DNN_S", "40ms"),
    "CNN_S": _speech("CNN_S", "20ms", "[:,:,:10]"),
    "CNN_M": _speech("CNN_M", "20ms", "[:,:,:10]"),
    "DS_CNN_S": _speech("DS_CNN_S", "20ms", "[:,:,:10]"),
    "DS_CNN_L": _speech("DS_CNN_L", "20ms", "[:,:,:10]"),
    "ResNet-8": Network("mlperf_tiny/image_classification/pretrainedResnet.h5", CIFAR, CIFAR),
    "AD": Network("mlperf_tiny/anomaly_detection/ad01.h5", "random 640", "random 640"),
    "VWW": Network("mlperf_tiny/visual_wake_words/vww_96.h5", "random 96x96x3", "random 96x96x3"),
}
SPEECH_NETWORKS = ("DNN_S", "CNN_S", "CNN_M", "DS_CNN_S", "DS_CNN_L")

MakeExport = Callable[..., Exported]


@pytest.fixture(scope="session")
def exports_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this run's exports: one for all workers."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "exports"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def export_network(data_dir: Path, tmp_path: Path, exports_dir: Path) -> MakeExport:
    """A function (network, **options) that exports it, once in a run, and opens the export."""

    def make(name: str, **options: object) -> Exported:
        network = NETWORKS[name]
        options = {"name": "net", "scheme": "q7", "backend": "plain-c", **options}
        folder = exports_dir / "_".join((name, *map(str, options.values())))
        with Path(f"{folder}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not folder.exists():
                calibration = network.samples(data_dir, tmp_path, "calibration")
                evaluation = network.samples(data_dir, tmp_path, "evaluation")
                sources = Sources(data_dir / network.model, calibration, evaluation)
                export_files(sources, folder, options)
        return open_export(folder)

    return make


@pytest.fixture
def evaluation(data_dir: Path, tmp_path: Path) -> Callable[[str], str]:
    """The evaluation samples of a network."""
    return lambda name: NETWORKS[name].samples(data_dir, tmp_path, "evaluation")
