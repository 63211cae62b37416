"""The networks that are measured, and what the best peers need for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Peer:
    """Best published or measured figures of others, Cortex-M4, gcc -O3; None: not known.

    ``flash`` is without the weights.
    """

    name: str
    instructions: float
    ram: int | None = None
    flash: int | None = None


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

    def in_data(self) -> bool:
        """Whether it is one of the real networks, which are not part of the project."""
        return not self.model.startswith("firmware/")


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
            Peer("CMSIS-NN 7 direct", 7.84e6, 16000, 30720),
        ),
        "mlperf_tiny/keyword_spotting/kws_ref_model.tflite",
    ),
    Network("DNN_S", "mlkws/pretrained/DNN_S.pb", f"{_SPEECH}40ms.npz:mfcc"),
    Network("CNN_S", "mlkws/pretrained/CNN_S.pb", f"{_SPEECH}20ms.npz:mfcc[:,:,:10]"),
    Network(
        "ResNet-8",
        "mlperf_tiny/image_classification/pretrainedResnet.h5",
        "mlperf_tiny/image_classification/cifar10_test_jpeg_1000.npz",
        (
            Peer("NNoM + legacy kernels", 23.24e6),
            Peer("CMSIS-NN 7 direct", 29.87e6, 49728, 24678),
        ),
        "mlperf_tiny/image_classification/pretrainedResnet_quant.tflite",
    ),
    Network(
        "VWW",
        "mlperf_tiny/visual_wake_words/vww_96.h5",
        "random 96x96x3",
        (Peer("TinyEngine", 19.71e6), Peer("CMSIS-NN 7 direct", 24.71e6, 64512, 53043)),
        "mlperf_tiny/visual_wake_words/vww_96_int8.tflite",
    ),
    Network(
        "AD",
        "mlperf_tiny/anomaly_detection/ad01.h5",
        "random 640",
        (
            Peer("NNoM + legacy kernels", 0.522e6),
            Peer("CMSIS-NN 7 direct", 0.579e6, 768, 6451),
        ),
        "mlperf_tiny/anomaly_detection/ad01_int8.tflite",
    ),
)
