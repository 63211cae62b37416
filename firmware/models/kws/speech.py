"""Single spoken words from espeak-ng and sox, kept in a cache of small wav files.

espeak-ng speaks, sox varies the vocal tract (playing a voice 10 % faster raises pitch and formants
together), resamples to 16 kHz and adds the echo of a room. Neither uses random numbers here: an
:class:`Utterance` always sounds the same with the same versions of the two programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


KEYWORDS = _words("yes no up down left right on off stop go")

OTHER_WORDS = _words(
    "bed bird cat dog eight five four happy house marvin nine one seven sheila six three tree two "
    "wow zero water table open close light music home phone garden window paper morning yellow "
    "green hello thanks please finger mountain river"
)
"""Words that training and test label ``_unknown_``."""

OTHER_WORDS_TEST_ONLY = _words("kitchen summer market pencil planet winter button coffee")
"""Words that only the test labels ``_unknown_``: the network has never heard them."""

ACCENTS = (
    "en-us",
    "en-gb",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
)

SPEAKERS = {
    "train": _words(
        "m1 m3 m4 m5 m7 m8 f1 f2 f4 f5 adam Alicia Andy anika Annie aunty belinda benjamin boris "
        "caleb croak david Denis Diogo ed edward edward2 Gene Gene2 grandma grandpa gustave "
        "Henrique Hugo iven iven2 iven4 john kaukovalta klatt2 klatt3 klatt4 klatt5 Lee linda "
        "Marco Mario max Michael michel Nguyen norbert pablo pedro RicishayMax2 robert robosoft "
        "sandro steph steph2 Tweaky victor zac"
    ),
    "validation": _words("Alex Jacky marcelo rob travis"),
    "test": _words("m2 m6 f3 Andrea antonio paul quincy shelby"),
}
"""espeak-ng voice variants of each split.

No speaker is in two splits, and neither are variants derived from each other (several of
espeak-ng's differ in one line): a family is in one split.
"""

_PCM = ["-t", "raw", "-e", "signed", "-b", "16", "-c", "1", "-r", str(SAMPLE_RATE), "-"]

_AUDIBLE = 0.02
"""Silence around a word is cut where the signal stays under this part of its peak."""


@dataclass(frozen=True)
class Utterance:
    """One word in one voice.

    ``accent`` and ``speaker`` are espeak-ng's language and variant, ``speed`` is in words per
    minute, ``pitch`` is espeak-ng's 0..99, ``warp`` the percent of the playing speed, and
    ``room`` sox's reverberance in percent (0: none).
    """

    word: str
    accent: str
    speaker: str
    speed: int
    pitch: int
    warp: int
    room: int

    @property
    def file_name(self) -> str:
        """Name in the cache: all that the sound depends on."""
        voice = f"{self.accent}+{self.speaker}"
        return f"{voice}_{self.speed}_{self.pitch}_{self.warp}_{self.room}_{self.word}.wav"


class SpeechError(Exception):
    """espeak-ng or sox is missing, or failed."""


def require_programs() -> None:
    """Raise SpeechError unless espeak-ng and sox can be found."""
    missing = [name for name in ("espeak-ng", "sox") if shutil.which(name) is None]
    if missing:
        raise SpeechError(
            f"{' and '.join(missing)} not found: install with 'apt install {' '.join(missing)}'"
        )


def random_utterance(rng: np.random.Generator, word: str, split: str) -> Utterance:
    """Draw a voice of ``split``, and its speed, pitch, vocal tract and room, for ``word``."""
    return Utterance(
        word=word,
        accent=str(rng.choice(ACCENTS)),
        speaker=str(rng.choice(SPEAKERS[split])),
        speed=int(rng.integers(120, 221)),
        pitch=int(rng.integers(20, 81)),
        warp=int(rng.integers(88, 113)),
        room=int(rng.choice([0, 0, 0, 15, 30])),
    )


def speak(utterance: Utterance, cache: Path) -> NDArray[np.float64]:
    """Return the word's samples at 16 kHz, cut to the word, at most one second, RMS 1.

    Raises SpeechError where a program fails or says nothing.
    """
    path = cache / utterance.file_name
    if not path.exists():
        _write_atomically(path, _synthesize(utterance))
    samples = read_wav(path).astype(np.float64)
    audible = np.flatnonzero(np.abs(samples) > _AUDIBLE * np.abs(samples).max(initial=0.0))
    if audible.size == 0:
        raise SpeechError(f"{path.name}: espeak-ng spoke nothing; remove the file and try again")
    word = samples[audible[0] : audible[-1] + 1][:SAMPLE_RATE]
    return np.asarray(word / np.sqrt(np.mean(word**2)))


def read_wav(path: Path) -> NDArray[np.int16]:
    """Read a mono wav of 16 bits at 16 kHz, as :func:`write_wav` writes it."""
    with wave.open(str(path), "rb") as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)


def write_wav(path: Path, samples: NDArray[np.int16]) -> None:
    """Write int16 ``samples`` as a mono wav at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.astype("<i2").tobytes())


def _synthesize(utterance: Utterance) -> NDArray[np.int16]:
    """Run the two programs."""
    voice = f"{utterance.accent}+{utterance.speaker}"
    speed, pitch = str(utterance.speed), str(utterance.pitch)
    spoken = _run(
        ["espeak-ng", "-v", voice, "-s", speed, "-p", pitch, "--stdout", utterance.word], b""
    )
    effects = ["speed", f"{utterance.warp / 100:.2f}", "rate", str(SAMPLE_RATE)]
    if utterance.room:
        effects += ["pad", "0", "0.15", "reverb", str(utterance.room)]
    # -D: dither is noise, and would differ from run to run. The header that espeak-ng writes to a
    # pipe cannot know the length. 6 dB of headroom keep resampling and echo from clipping.
    source = ["-t", "wav", "--ignore-length", "-v", "0.5", "-"]
    pcm = _run(["sox", "-D", *source, *_PCM, *effects], spoken)
    return np.frombuffer(pcm, "<i2").astype(np.int16)


def _run(command: list[str], data: bytes) -> bytes:
    """Run ``command`` on ``data``; return its output or raise SpeechError with its complaint."""
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        complaint = done.stderr.decode(errors="replace").strip()
        raise SpeechError(f"'{' '.join(command)}' failed ({done.returncode}): {complaint}")
    return done.stdout


def _write_atomically(path: Path, samples: NDArray[np.int16]) -> None:
    """Write so that an interrupted run leaves no half file in the cache."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    write_wav(partial, samples)
    partial.replace(path)
