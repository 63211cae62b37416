"""The networks that are measured, what the best peers need for them, and our own limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Peer:
    """Best published or measured figures of others, Cortex-M4, gcc -O3; None: not known.

    ``flash`` is without the weights. ``per_mac``: instructions per MAC on other cores.
    """

    name: str
    instructions: float
    ram: int | None = None
    flash: int | None = None
    per_mac: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """The most that a network may need on a Cortex-M4; ``make bench`` fails above it.

    ``instructions`` by scheme; ``flash`` is without the weights.
    """

    instructions: Mapping[str, float]
    ram: int
    flash: int


@dataclass(frozen=True)
class Network:
    """A model file and calibration samples; ``random HxWxC`` draws them.

    ``quantized`` is a file of the same network in int8, which keeps its own integers.
    """

    name: str
    model: str
    samples: str
    peers: tuple[Peer, ...] = ()
    quantized: str = ""
    limits: Limits | None = None

    def in_data(self) -> bool:
        """Whether it is one of the real networks, which are not part of the project."""
        return not self.model.startswith("firmware/")


_OTHERS = ("M0", "M3", "M7", "M33", "M55")


def _direct(instructions: float, ram: int, flash: int, *per_mac: float) -> Peer:
    """CMSIS-NN called without an interpreter; ``per_mac`` on the other cores."""
    others = dict(zip(_OTHERS, per_mac, strict=True))
    return Peer("CMSIS-NN 7 direct", instructions, ram, flash, others)


def _interpreted(instructions: float, ram: int, flash: int) -> Peer:
    return Peer("TFLM + CMSIS-NN", instructions, ram, flash)


_SPEECH = "speech_commands/calibration_mfcc_"

NETWORKS = (
    Network(
        "kws demo", "firmware/models/kws/kws.keras", "firmware/models/kws/calibration.npz:features"
    ),
    Network(
        "DS_CNN_S",
        "mlkws/pretrained/DS_CNN_S.pb",
        f"{_SPEECH}20ms.npz:mfcc[:,:,:10]",
        (
            Peer("Arm's legacy code", 6.91e6, 18304, 7475),
            _direct(7.84e6, 16000, 30720, 10.92, 3.97, 2.92, 2.93, 0.67),
            _interpreted(7.85e6, 23272, 92672),
        ),
        "mlperf_tiny/keyword_spotting/kws_ref_model.tflite",
        Limits({"q7": 4.0e6, "int8": 4.6e6}, 9000, 9216),
    ),
    Network(
        "DNN_S",
        "mlkws/pretrained/DNN_S.pb",
        f"{_SPEECH}40ms.npz:mfcc",
        (Peer("Arm's legacy code", 0.18e6, 1364, 2355),),
    ),
    Network("CNN_S", "mlkws/pretrained/CNN_S.pb", f"{_SPEECH}20ms.npz:mfcc[:,:,:10]"),
    Network(
        "ResNet-8",
        "mlperf_tiny/image_classification/pretrainedResnet.h5",
        "mlperf_tiny/image_classification/cifar10_test_jpeg_1000.npz",
        (
            Peer("NNoM + legacy kernels", 23.24e6),
            _direct(29.87e6, 49728, 24678, 7.80, 3.34, 2.39, 2.39, 0.38),
            _interpreted(29.88e6, 55448, 81920),
        ),
        "mlperf_tiny/image_classification/pretrainedResnet_quant.tflite",
        Limits({"q7": 15.0e6, "int8": 16.5e6}, 36000, 9216),
    ),
    Network(
        "VWW",
        "mlperf_tiny/visual_wake_words/vww_96.h5",
        "random 96x96x3",
        (
            Peer("TinyEngine", 19.71e6),
            _direct(24.71e6, 64512, 53043, 11.60, 4.28, 3.27, 3.28, 0.86),
            _interpreted(24.72e6, 101160, 179302),
        ),
        "mlperf_tiny/visual_wake_words/vww_96_int8.tflite",
        Limits({"q7": 11.5e6, "int8": 13.0e6}, 30000, 20480),
    ),
    Network(
        "AD",
        "mlperf_tiny/anomaly_detection/ad01.h5",
        "random 640",
        (
            Peer("NNoM + legacy kernels", 0.522e6),
            _direct(0.579e6, 768, 6451, 6.66, 3.61, 2.19, 2.19, 0.56),
            _interpreted(0.582e6, 2852, 39014),
        ),
        "mlperf_tiny/anomaly_detection/ad01_int8.tflite",
        Limits({"q7": 0.37e6, "int8": 0.38e6}, 768, 3072),
    ),
)
