"""MFCC features of one-second clips, computed in numpy as the ML-KWS-for-MCU front end does.

A clip of 16000 samples becomes 49 frames of 10 coefficients: a periodic Hann window of 40 ms every
20 ms, the magnitude spectrum, 40 triangular mel filters between 20 and 4000 Hz, the logarithm, and
a type II cosine transform. The conventions (mel scale, triangles drawn in mel, no filter reaching
the DC bin, scale of the cosine transform) are those of TensorFlow's ``AudioSpectrogram`` and
``Mfcc`` kernels with ``magnitude_squared=True``, so networks trained on either front end agree.

:class:`Normalization` then brings every coefficient to mean 0 and deviation 1 with constants fixed
at training, and clips at a few deviations. Raw coefficient 0 is ten times larger than the others;
left alone it would take all the bits of a fixed-point input that has one format for all of it.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float32]

_CLIPS_AT_ONCE = 64
"""Clips whose spectra are in memory together (64 of them take about 50 MB)."""


@dataclass(frozen=True)
class FrontEnd:
    """Parameters of the front end. Lengths in samples, frequencies in hertz."""

    sample_rate: int = 16000
    clip: int = 16000
    window: int = 640
    stride: int = 320
    fft: int = 1024
    mel_bins: int = 40
    lower_hz: float = 20.0
    upper_hz: float = 4000.0
    coefficients: int = 10
    log_floor: float = 1e-12

    @property
    def frames(self) -> int:
        """Windows that fit into a clip: 49."""
        return 1 + (self.clip - self.window) // self.stride

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of one sample at the network's input: frames, coefficients, one channel."""
        return (self.frames, self.coefficients, 1)


@dataclass(frozen=True)
class Normalization:
    """Fixed affine map per coefficient: ``clip((x - mean) / deviation, -limit, limit)``."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    limit: float = 4.0

    @classmethod
    def fit(cls, raw: FloatArray) -> Normalization:
        """Take mean and deviation of each coefficient over clips and frames.

        ``raw`` is (clips, frames, coefficients). The constants are rounded to 4 decimals, so that
        the file that keeps them reproduces the features exactly.
        """
        mean = raw.mean(axis=(0, 1), dtype=np.float64)
        deviation = raw.std(axis=(0, 1), dtype=np.float64)
        return cls(
            tuple(round(float(m), 4) for m in mean),
            tuple(round(float(d), 4) for d in deviation),
        )

    def apply(self, raw: FloatArray) -> FloatArray:
        """Map (clips, frames, coefficients) to the network's (clips, frames, coefficients, 1)."""
        scaled = (raw - np.asarray(self.mean)) / np.asarray(self.deviation)
        clipped = np.clip(scaled, -self.limit, self.limit)
        return np.asarray(clipped[..., np.newaxis], np.float32)


def mfcc(clips: NDArray[np.int16], front_end: FrontEnd) -> FloatArray:
    """Return raw MFCCs, (clips, frames, coefficients), of int16 ``clips``, (clips, samples).

    Raises ValueError where the clips do not have the front end's length.
    """
    if clips.ndim != 2 or clips.shape[1] != front_end.clip:
        raise ValueError(f"clips must be (n, {front_end.clip}), not {clips.shape}")
    window = _periodic_hann(front_end.window)
    filters = _mel_filters(front_end)
    transform = _cosine_transform(front_end)
    result = np.empty((len(clips), front_end.frames, front_end.coefficients), np.float32)
    for start in range(0, len(clips), _CLIPS_AT_ONCE):
        part = slice(start, start + _CLIPS_AT_ONCE)
        signal = clips[part] / 32768.0
        frames = np.lib.stride_tricks.sliding_window_view(signal, front_end.window, axis=1)
        spectrum = np.abs(np.fft.rfft(frames[:, :: front_end.stride] * window, front_end.fft))
        log_mel = np.log(np.maximum(spectrum @ filters, front_end.log_floor))
        result[part] = log_mel @ transform
    return result


def save_parameters(path: Path, front_end: FrontEnd, normalization: Normalization) -> None:
    """Write both sets of parameters as JSON, for firmware that computes features itself."""
    content = {"front_end": asdict(front_end), "normalization": asdict(normalization)}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def load_parameters(path: Path) -> tuple[FrontEnd, Normalization]:
    """Read what :func:`save_parameters` wrote."""
    content = json.loads(path.read_text(encoding="utf-8"))
    constants = content["normalization"]
    normalization = Normalization(
        tuple(constants["mean"]), tuple(constants["deviation"]), constants["limit"]
    )
    return FrontEnd(**content["front_end"]), normalization


def _periodic_hann(length: int) -> NDArray[np.float64]:
    """Hann window whose period is ``length`` (numpy's own repeats after ``length - 1``)."""
    return np.asarray(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length))


def _mel(hertz: ArrayLike) -> NDArray[np.float64]:
    """Mel scale with the constants of HTK: 1127 ln(1 + f / 700)."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hertz) / 700.0))


def _mel_filters(front_end: FrontEnd) -> NDArray[np.float64]:
    """Weights, (fft bins, mel bins), of triangles of height 1, evenly spaced in mel.

    A bin's weight is interpolated in mel, not in hertz. Bins outside the band weigh nothing.
    """
    bins = np.fft.rfftfreq(front_end.fft, 1 / front_end.sample_rate)
    low, high = _mel([front_end.lower_hz, front_end.upper_hz])
    corners = np.linspace(low, high, front_end.mel_bins + 2)
    position = _mel(bins)[:, np.newaxis]
    rising = (position - corners[:-2]) / (corners[1:-1] - corners[:-2])
    falling = (corners[2:] - position) / (corners[2:] - corners[1:-1])
    return np.asarray(np.maximum(0.0, np.minimum(rising, falling)))


def _cosine_transform(front_end: FrontEnd) -> NDArray[np.float64]:
    """Matrix, (mel bins, coefficients), of the type II cosine transform, scaled sqrt(2 / bins)."""
    count = front_end.mel_bins
    angles = np.outer(np.arange(count) + 0.5, np.arange(front_end.coefficients)) * (np.pi / count)
    return np.asarray(np.sqrt(2.0 / count) * np.cos(angles))
