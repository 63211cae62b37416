"""What ``mcu-export init`` puts into an embedded repository; never over a file that is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcu_export.config import CONFIG_FILE
from mcu_export.errors import UsageError
from mcu_export.graph import Graph
from mcu_export.loaders import load_network
from mcu_export.names import model_name_from, network_names
from mcu_export.passes import run_passes
from mcu_export.quantgraph import QuantGraph
from mcu_export.render import render_template
from mcu_export.samples import load_samples
from mcu_export.write import WriteError

SUFFIXES = (".keras", ".h5", ".pb", ".tflite")
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")
MAIN, EXAMPLE = "main.c", "mcu_export_example.c"
MAKE_LINES = f"""\
MODEL_CONFIG = {CONFIG_FILE}
include $(shell mcu-export makefile)"""
COMPILE_LINE = "# compile $(MODEL_SOURCES) with $(addprefix -I,$(MODEL_DIRS))"


@dataclass(frozen=True)
class PortNames:
    """An input or output as C knows it: ``kws_input`` and ``KWS_INPUT``."""

    name: str

    @property
    def upper(self) -> str:
        """Prefix of its macros."""
        return self.name.upper()


@dataclass(frozen=True)
class StarterModel:
    """A model in the configuration and in the example; texts as they stand in TOML."""

    name: str
    file: str
    file_note: str
    samples: str
    inputs: tuple[PortNames, ...]
    output: PortNames


@dataclass(frozen=True)
class StarterView:
    """All that the templates of ``init`` see."""

    models: tuple[StarterModel, ...]
    main: str
    make_lines: str


@dataclass(frozen=True)
class Started:
    """File names by what happened to them; ``paste`` are lines for a Makefile that was kept."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    paste: str


def start(folder: Path, models: Sequence[Path], samples: str) -> Started:
    """Write a configuration, a Makefile and an example, where none is yet.

    Args:
        folder: the repository.
        models: model files; empty: those that lie in the repository.
        samples: calibration samples of all of them, ``FILE.npz[:KEY]``; empty: a placeholder.

    Raises:
        McuExportError: a model or the samples cannot be used; then nothing is written.
        WriteError: the folder cannot be written.
    """
    if not folder.is_dir():
        raise UsageError(
            "there is no such folder", where=str(folder), fix="make it, or git init it"
        )
    own_build = any((folder / name).exists() for name in MAKEFILES)
    paste = f"{MAKE_LINES}\n{COMPILE_LINE}" if own_build else ""
    if (folder / CONFIG_FILE).exists():
        return Started((), (CONFIG_FILE,), paste)
    main = EXAMPLE if own_build or (folder / MAIN).exists() else MAIN
    found = [_model(folder, path, samples) for path in models or find_models(folder)]
    view = StarterView(_unique(found) or (_placeholder(samples),), main, MAKE_LINES)
    files = {CONFIG_FILE: "init/mcu-export.toml.j2", main: "init/main.c.j2"}
    if not own_build:
        files["Makefile"] = "init/Makefile.j2"
    texts = {name: render_template(template, v=view) for name, template in files.items()}
    written = tuple(name for name, text in texts.items() if _write_new(folder / name, text))
    kept = tuple(name for name in texts if name not in written)
    return Started(written, kept, paste)


def find_models(folder: Path) -> list[Path]:
    """Model files in the repository; not in hidden folders or those of builds."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix in SUFFIXES
        and path.is_file()
        and not any(
            part.startswith(".") or part == "build" for part in path.relative_to(folder).parts
        )
    ]


def _model(folder: Path, path: Path, samples: str) -> StarterModel:
    """The model as the configuration names it, once it and its samples are seen to be usable."""
    network = load_network(path)
    graph = network.graph if isinstance(network, QuantGraph) else [*run_passes(network)][-1][1]
    if samples:
        load_samples(samples, graph.inputs)
    name = model_name_from(path.name.split(".")[0])
    text = samples and _relative(folder, samples)
    return StarterModel(
        name,
        json.dumps(_relative(folder, str(path))),
        "",
        json.dumps(text or "calibration.npz"),
        *_ports(graph, name),
    )


def _ports(graph: Graph, name: str) -> tuple[tuple[PortNames, ...], PortNames]:
    """The names that an export gives to inputs and the first output."""
    known = network_names(graph.shapes(), [t.name for t in graph.inputs], graph.outputs)
    inputs = tuple(PortNames(f"{name}_{identifier}") for identifier in known.inputs)
    return inputs, PortNames(f"{name}_{known.outputs[0]}")


def _unique(models: Sequence[StarterModel]) -> tuple[StarterModel, ...]:
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"several model files would be called {name!r}",
                where="MODEL",
                fix="name the files of one, and add the others to the configuration by hand",
            )
    return tuple(models)


def _placeholder(samples: str) -> StarterModel:
    note = " # put your network here: .keras, .h5, .pb"
    port = PortNames("net_input"), PortNames("net_output")
    return StarterModel(
        "net", '"net.keras"', note, json.dumps(samples or "calibration.npz"), port[:1], port[1]
    )


def _relative(folder: Path, path: str) -> str:
    """``path`` as seen from ``folder``, where it lies within; else absolute."""
    absolute = Path(path).resolve()
    root = folder.resolve()
    return str(absolute.relative_to(root) if absolute.is_relative_to(root) else absolute)


def _write_new(path: Path, text: str) -> bool:
    """Write the file unless something bears its name; whether it was written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    except OSError as error:
        raise WriteError(
            f"{error.strerror or error}", where=str(path), fix="check the permissions"
        ) from error
    return True
