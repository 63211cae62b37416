"""Make the demo keyword spotter from nothing: speak, extract features, train, write the files.

Run it as ``python firmware/models/kws/train.py``; README.md beside it says what comes out. It needs
espeak-ng, sox and tensorflow. Spoken words are cached, so a second run only trains.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from features import FloatArray, FrontEnd, Normalization, mfcc, save_parameters
from numpy.typing import NDArray
from speech import KEYWORDS, SpeechError, require_programs, write_wav
from synthesize import LABELS, SILENCE, UNKNOWN, Clips, synthesize

if TYPE_CHECKING:
    from tensorflow import keras

Labels = NDArray[np.int64]

HERE = Path(__file__).resolve().parent

COUNTS = {
    "train": dict.fromkeys(KEYWORDS, 720) | {UNKNOWN: 1200, SILENCE: 600},
    "validation": dict.fromkeys(LABELS, 40),
    "test": dict.fromkeys(LABELS, 100),
}
"""Clips of each label and split: 9000, 480 and 1200."""

COMMITTED_PER_LABEL = 17
"""Clips of each label in calibration.npz and in test.npz: 204."""

WAV_LABELS = ("yes", "no", "left", "stop", "go", UNKNOWN, SILENCE)
DECIMALS = 3
"""Committed features are rounded: 0.0005 is 1/32 of a step of their 8-bit format."""


@dataclass(frozen=True)
class Part:
    """One split with its normalized ``features`` (n, 49, 10, 1); labels are in ``clips``."""

    clips: Clips
    features: FloatArray

    @property
    def pair(self) -> tuple[FloatArray, Labels]:
        """Features and labels, as the network takes them."""
        return self.features, self.clips.labels


def main() -> int:
    """Parse the command line, run, and return the exit code: 0, or 1 with a message."""
    options = _parse()
    if importlib.util.find_spec("tensorflow") is None:
        return _fail("tensorflow not found: install it with 'pip install tensorflow'")
    try:
        require_programs()
        front_end = FrontEnd()
        clips = {split: _synthesize(split, options) for split in COUNTS}
    except SpeechError as error:
        return _fail(str(error))
    parts, normalization = _features(clips, front_end)
    network = _train(parts, front_end, options)
    _write(options.output, network, parts, options.seed)
    save_parameters(options.output / "front_end.json", front_end, normalization)
    _report(options.output, parts["test"])
    return 0


def _parse() -> argparse.Namespace:
    """Declare and read the command line's options."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--output", type=Path, default=HERE, help="default: this script's folder")
    parser.add_argument("--seed", type=int, default=1, help="of voices, noises and weights")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2, help="of tensorflow")
    cache = Path(tempfile.gettempdir()) / "kws" / "words"
    parser.add_argument("--cache", type=Path, default=cache, help="where spoken words are kept")
    return parser.parse_args()


def _fail(message: str) -> int:
    print(f"train.py: {message}", file=sys.stderr)
    return 1


def _synthesize(split: str, options: argparse.Namespace) -> Clips:
    """Make one split's clips, with a line of progress."""
    show = _progress(split, sum(COUNTS[split].values()))
    return synthesize(split, COUNTS[split], options.seed, options.cache, show)


def _progress(split: str, total: int) -> Callable[[int], None]:
    """Return a function that prints a line every 1000 clips and at the end."""

    def show(done: int) -> None:
        if done % 1000 == 0 or done == total:
            print(f"{split}: {done} of {total} clips", flush=True)

    return show


def _features(
    clips: dict[str, Clips], front_end: FrontEnd
) -> tuple[dict[str, Part], Normalization]:
    """Extract all features; the constants of normalization come from the training split alone."""
    raw = {split: mfcc(part.samples, front_end) for split, part in clips.items()}
    normalization = Normalization.fit(raw["train"])
    parts = {split: Part(clips[split], normalization.apply(raw[split])) for split in clips}
    return parts, normalization


def _train(
    parts: dict[str, Part], front_end: FrontEnd, options: argparse.Namespace
) -> keras.Sequential:
    """Train on the training split; return the network without its optimizer."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Here and below: tensorflow takes seconds to import, and may be what is missing.
    import network as net  # noqa: PLC0415
    import tensorflow as tf  # noqa: PLC0415

    tf.config.threading.set_intra_op_parallelism_threads(options.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    tf.keras.utils.set_random_seed(options.seed)
    network = net.build(front_end.shape, len(LABELS))
    rng = np.random.default_rng(options.seed)
    net.train(network, parts["train"].pair, parts["validation"].pair, options.epochs, rng)
    return net.without_optimizer(network, front_end.shape, len(LABELS))


def _write(folder: Path, network: keras.Sequential, parts: dict[str, Part], seed: int) -> None:
    """Write the network, the labels, both sample files and the wavs, over those of a former run."""
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / "kws.keras")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    for name, split in (("calibration", "train"), ("test", "test")):
        rows = _stratified(parts[split].clips.labels, np.random.default_rng(seed))
        features = np.round(parts[split].features[rows], DECIMALS)
        labels = parts[split].clips.labels[rows]
        np.savez_compressed(folder / f"{name}.npz", features=features, labels=labels)
    _write_wavs(folder / "wavs", parts["test"].clips, rows)


def _stratified(labels: Labels, rng: np.random.Generator) -> Labels:
    """Return row numbers, in random order, of COMMITTED_PER_LABEL random rows of each label."""
    chosen = [
        rng.choice(np.flatnonzero(labels == label), COMMITTED_PER_LABEL, replace=False)
        for label in range(len(LABELS))
    ]
    return rng.permutation(np.concatenate(chosen))


def _write_wavs(folder: Path, clips: Clips, rows: Labels) -> None:
    """Write the first clip of test.npz of each WAV_LABELS as <what is spoken>_<its row>.wav."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.wav"):
        old.unlink()
    for label in WAV_LABELS:
        row = int(np.flatnonzero(clips.labels[rows] == LABELS.index(label))[0])
        spoken = clips.words[rows[row]] or "silence"
        write_wav(folder / f"{spoken}_{row:03d}.wav", clips.samples[rows[row]])


def _report(folder: Path, test: Part) -> None:
    """Read the written files back and print the accuracy and the confusion matrix."""
    import network as net  # noqa: PLC0415
    from tensorflow import keras  # noqa: PLC0415

    saved = keras.models.load_model(folder / "kws.keras", compile=False)
    with np.load(folder / "test.npz", allow_pickle=False) as committed:
        correct = net.predict(saved, committed["features"]) == committed["labels"]
    print(f"test.npz: {correct.mean():.4f} of {len(correct)} correct")
    predicted = net.predict(saved, test.features)
    print(f"all test clips: {np.mean(predicted == test.clips.labels):.4f} of {len(predicted)}")
    confusion = np.zeros((len(LABELS), len(LABELS)), int)
    np.add.at(confusion, (test.clips.labels, predicted), 1)
    print(f"{'spoken as':>10} " + " ".join(f"{label[:5]:>5}" for label in LABELS))
    for label, row in zip(LABELS, confusion, strict=True):
        print(f"{label:>10} " + " ".join(f"{count:5d}" for count in row))


if __name__ == "__main__":
    sys.exit(main())
