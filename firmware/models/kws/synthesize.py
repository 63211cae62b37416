"""Labelled one-second clips: a spoken word, or none, somewhere in noise.

Every clip has a random generator of its own, seeded with (seed, split, index of the clip), so a
clip does not depend on how many others are made. Levels are in dB relative to full scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from speech import (
    KEYWORDS,
    OTHER_WORDS,
    OTHER_WORDS_TEST_ONLY,
    SAMPLE_RATE,
    SPEAKERS,
    random_utterance,
    speak,
)

SILENCE, UNKNOWN = "_silence_", "_unknown_"
LABELS = (SILENCE, UNKNOWN, *KEYWORDS)
"""Classes in the order of the network's outputs (that of ML-KWS-for-MCU)."""

CLIP = SAMPLE_RATE
"""Samples of a clip: one second."""

SPEECH_LEVEL = (-34.0, -18.0)
SIGNAL_TO_NOISE = (8.0, 35.0)
SILENCE_LEVEL = (-70.0, -25.0)
MICROPHONE_LEVEL = -76.0
"""Noise under every clip. No recording is digital silence, whose logarithm would be the floor."""

MICROPHONE_BANDS = (0.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0)
MICROPHONE_RIPPLE = 6.0
"""Each clip's microphone has a random gain, up to 6 dB either way, at these frequencies (Hz)."""

NOISE_SLOPES = {"white": 0.0, "pink": 1.0, "brown": 2.0}
"""Exponent of 1/f in the power spectrum of each stationary noise."""

BABBLE = "babble"
BABBLE_POOL = 60
BABBLE_TALKERS = 8

Progress = Callable[[int], None]
Samples = NDArray[np.float64]


@dataclass(frozen=True)
class Clips:
    """``samples`` (n, 16000) int16, ``labels`` (n,) indices into LABELS, ``words`` as spoken."""

    samples: NDArray[np.int16]
    labels: NDArray[np.int64]
    words: tuple[str, ...]


def synthesize(
    split: str, counts: dict[str, int], seed: int, cache: Path, progress: Progress
) -> Clips:
    """Make ``counts[label]`` clips of each label with the speakers of ``split``.

    ``progress`` is told the number of clips after each. Raises SpeechError.
    """
    key = list(SPEAKERS).index(split)
    babble = _babble_pool(np.random.default_rng([seed, key]), split, cache)
    labels = [label for label in LABELS for _ in range(counts[label])]
    samples = np.empty((len(labels), CLIP), np.int16)
    words = []
    for index, label in enumerate(labels):
        rng = np.random.default_rng([seed, key, index])
        word = _choose_word(rng, label, split)
        if word:
            speech = speak(random_utterance(rng, word, split), cache)
            signal = _word_in_noise(rng, speech, babble)
        else:
            signal = _noise(rng, babble) * _gain(rng.uniform(*SILENCE_LEVEL))
        signal = signal + rng.standard_normal(CLIP) * _gain(MICROPHONE_LEVEL)
        samples[index] = np.clip(np.round(signal * 32768), -32768, 32767)
        words.append(word)
        progress(index + 1)
    indices = np.array([LABELS.index(label) for label in labels], np.int64)
    return Clips(samples, indices, tuple(words))


def _choose_word(rng: np.random.Generator, label: str, split: str) -> str:
    """Return what is spoken in a clip of ``label``; an empty string for silence."""
    if label == SILENCE:
        return ""
    if label != UNKNOWN:
        return label
    others = OTHER_WORDS + (OTHER_WORDS_TEST_ONLY if split == "test" else ())
    return str(rng.choice(others))


def _word_in_noise(rng: np.random.Generator, speech: Samples, babble: list[Samples]) -> Samples:
    """Place ``speech`` (RMS 1) at a random time and level, whole, and add noise under it."""
    level = rng.uniform(*SPEECH_LEVEL)
    speech = _microphone(rng, speech)
    clip = np.zeros(CLIP)
    start = int(rng.integers(0, CLIP - len(speech) + 1))
    clip[start : start + len(speech)] = speech * _gain(level)
    noise_level = level - rng.uniform(*SIGNAL_TO_NOISE)
    return np.asarray(clip + _noise(rng, babble) * _gain(noise_level))


def _microphone(rng: np.random.Generator, speech: Samples) -> Samples:
    """Filter ``speech`` (RMS 1, as is the result) with a random smooth frequency response."""
    spectrum = np.fft.rfft(speech)
    hertz = np.fft.rfftfreq(len(speech), 1 / SAMPLE_RATE)
    response = rng.uniform(-MICROPHONE_RIPPLE, MICROPHONE_RIPPLE, len(MICROPHONE_BANDS))
    decibels = np.interp(hertz, MICROPHONE_BANDS, response)
    filtered = np.fft.irfft(spectrum * 10.0 ** (decibels / 20.0), len(speech))
    return np.asarray(filtered / np.sqrt(np.mean(filtered**2)))


def _noise(rng: np.random.Generator, babble: list[Samples]) -> Samples:
    """Return a clip of noise of a random color, RMS 1."""
    color = str(rng.choice([*NOISE_SLOPES, BABBLE]))
    noise = _talkers(rng, babble) if color == BABBLE else _colored(rng, NOISE_SLOPES[color])
    return np.asarray(noise / np.sqrt(np.mean(noise**2)))


def _colored(rng: np.random.Generator, slope: float) -> Samples:
    """Return Gaussian noise whose power falls as 1/f**slope above 20 Hz."""
    spectrum = np.fft.rfft(rng.standard_normal(CLIP))
    hertz = np.fft.rfftfreq(CLIP, 1 / SAMPLE_RATE)
    return np.fft.irfft(spectrum * np.maximum(hertz, 20.0) ** (-slope / 2), CLIP)


def _talkers(rng: np.random.Generator, babble: list[Samples]) -> Samples:
    """Return several words at once, each wrapped around the clip at a random time."""
    noise = np.zeros(CLIP)
    for choice in rng.integers(0, len(babble), BABBLE_TALKERS):
        word = np.zeros(CLIP)
        word[: len(babble[choice])] = babble[choice]
        noise += np.roll(word, int(rng.integers(0, CLIP)))
    return noise


def _babble_pool(rng: np.random.Generator, split: str, cache: Path) -> list[Samples]:
    """Return words that are no keywords, by the speakers of ``split``, to mix babble from."""
    words = rng.choice(OTHER_WORDS, BABBLE_POOL)
    return [speak(random_utterance(rng, str(word), split), cache) for word in words]


def _gain(decibels: float) -> float:
    """Return the amplitude of a level."""
    return float(10.0 ** (decibels / 20.0))
