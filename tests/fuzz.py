"""``python -m tests.fuzz 10000``: damaged model files and configurations.

Every outcome is a network, or an error of ours that is the file's fault, within bounds of time and
memory. The files are those of ``MCU_EXPORT_DATA`` and the demo network; the same number of trials
makes the same files. CI runs a few; what ``hypothesis`` finds by structure is in tests/loaders.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mcu_export.config import ConfigError, parse_config
from mcu_export.errors import InternalError, McuExportError
from mcu_export.loaders import load_network

ROOT = Path(__file__).parents[1]
MAX_BYTES = 1_000_000  # larger files only take longer
MEMORY = 4 << 30
SECONDS = 20.0  # far more than any of these files takes on a busy machine
CONFIG = b"""\
[defaults]
samples = "samples.npz:x[:,:10]"
scheme = "q15"

[models.spotter]
model = "net/spotter.keras"
max-ram = 16000
bn-epsilon = 1.5
emit = ["cmake", "cpp"]

[models.other]
model = "other.h5"
output = "gen"
labels = "labels.txt"
"""
MODELS = ("*.pb", "*.tflite", "*.h5", "*.keras", "*.index")


def mutated_bytes(data: bytes, seed: int) -> bytes:
    """Some bits flipped, pieces cut out, doubled or overwritten."""
    generator, content = random.Random(seed), bytearray(data)
    for _ in range(generator.randint(1, 6)):
        start = generator.randrange(len(content) or 1)
        end = min(len(content), start + generator.choice((1, 2, 4, 30, 500)))
        piece = content[start:end]
        kind = generator.randrange(4)
        if kind == 0 and piece:
            content[start] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del content[start:end]
        elif kind == 2:
            content[start:start] = piece
        else:
            content[start:end] = generator.randbytes(len(piece))
    return bytes(content)


def model_files() -> list[Path]:
    """What is damaged: a checkpoint by its index, a SavedModel by its graph."""
    folder = os.environ.get("MCU_EXPORT_DATA")
    found = [ROOT / "firmware/models/kws/kws.keras"]
    for pattern in MODELS if folder else ():
        found += sorted(Path(str(folder)).rglob(pattern))
    return [path for path in found if path.stat().st_size < MAX_BYTES]


def damaged(path: Path, folder: Path, seed: int) -> Path:
    """A copy of a model in ``folder`` of which one file is damaged; returns what to load."""
    if path.suffix == ".index" and path.parent.name != "variables":
        for part in path.parent.glob(f"{path.stem}.*"):
            shutil.copy(part, folder)
        hit = random.Random(seed).choice(sorted(folder.glob(f"{path.stem}.*")))
        hit.write_bytes(mutated_bytes(hit.read_bytes(), seed))
        return folder / path.stem
    if path.name in ("saved_model.pb", "variables.index"):
        model = path.parent if path.name == "saved_model.pb" else path.parents[1]
        shutil.copytree(model, folder / "model")
        hit = folder / "model" / path.relative_to(model)
        hit.write_bytes(mutated_bytes(hit.read_bytes(), seed))
        return folder / "model"
    target = folder / path.name
    if path.suffix == ".keras" and seed % 2:
        _damage_member(path, target, seed)
    else:
        target.write_bytes(mutated_bytes(path.read_bytes(), seed))
    return target


def _damage_member(path: Path, target: Path, seed: int) -> None:
    """An archive that is whole, but one of its files is not."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as made:
        hit = random.Random(seed).choice(source.namelist())
        for name in source.namelist():
            data = source.read(name)
            made.writestr(name, mutated_bytes(data, seed) if name == hit else data)


def load_damaged(path: Path, seed: int) -> str:
    """One trial on a model file: ``loaded`` or ``refused``."""
    with tempfile.TemporaryDirectory() as folder:
        model = damaged(path, Path(folder), seed)
        try:
            load_network(model)
        except InternalError:
            raise
        except McuExportError as error:
            if error.exit_code not in (3, 4) or not error.what or not error.where:
                raise
            return "refused"
    return "loaded"


def read_damaged(seed: int) -> str:
    """One trial on a configuration."""
    try:
        parse_config(Path("mcu-export.toml"), mutated_bytes(CONFIG, seed))
    except ConfigError:
        return "refused"
    return "loaded"


def run(trials: int, say: Callable[[str], None]) -> int:
    """``trials`` files, one in five a configuration; returns how many ended as none may."""
    files, outcomes, bad, slowest = model_files(), Counter[str](), 0, 0.0
    for seed in range(trials):
        path = files[seed % len(files)]
        kind = "configuration" if seed % 5 == 4 else path.name.partition(".")[2] or path.name
        start = time.perf_counter()
        try:
            ended = read_damaged(seed) if seed % 5 == 4 else load_damaged(path, seed)
        except Exception:
            bad += 1
            say(f"trial {seed}, {path}:\n{traceback.format_exc()}")
            continue
        took = time.perf_counter() - start
        slowest = max(slowest, took)
        bad += took > SECONDS
        outcomes[f"{ended} {kind.rpartition('.')[2]}"] += 1
    for outcome, count in sorted(outcomes.items()):
        say(f"{count:6} {outcome}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    say(f"{trials} trials, {bad} bad; the slowest {slowest:.1f} s, memory {peak} MB")
    return bad


def main(arguments: Sequence[str]) -> int:
    """The command: the number of trials."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    return 1 if run(int(arguments[0]), print) else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or ["10000"]))
