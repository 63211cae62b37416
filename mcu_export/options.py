"""What a user can choose for an export, and whether it makes sense together."""

from __future__ import annotations

import math
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from mcu_export.backends import backend_of
from mcu_export.budgets import Budgets
from mcu_export.build import boards
from mcu_export.choose import OUTPUT
from mcu_export.efforts import EFFORTS
from mcu_export.emit import emitted
from mcu_export.errors import UsageError
from mcu_export.mix_costs import Limits
from mcu_export.names import check_model_name, model_name_from
from mcu_export.program import LEVELS
from mcu_export.quantize import ABOUT_SCHEMES, CALIBRATIONS
from mcu_export.samples import parse_source
from mcu_export.schemes.widths import MIXED


@dataclass(frozen=True)
class Options:
    """What a user can choose; every field is an option of ``mcu-export export``.

    An empty ``scheme`` is that of a quantized file, else q7. ``max_macs_cost``, ``max_drop`` and
    ``executor`` are for the search of ``mixed``; the last one is a text of ``--executor`` or any
    ``concurrent.futures`` executor. ``sample_labels`` are for ``max_drop`` and for ``q7``.
    """

    name: str = ""
    scheme: str = ""
    backend: str = "plain-c"
    cmsis_nn_version: str = ""
    calibration: str = ""
    effort: str = "fast"
    optimize: str = "speed"
    bn_epsilon: float | None = None
    labels: tuple[str, ...] = ()
    test_count: int = 4
    max_flash: int | None = None
    max_ram: int | None = None
    max_stack: int | None = None
    max_instructions: int | None = None
    board: str = ""
    templates: str = ""
    emit: tuple[str, ...] = ()
    max_macs_cost: int | None = None
    max_drop: float | None = None
    sample_labels: str = ""
    executor: Executor | str = ""

    @property
    def label_files(self) -> tuple[str, ...]:
        """The file of the sample labels, if there is one."""
        return (str(parse_source(self.sample_labels).path),) if self.sample_labels else ()

    @property
    def limits(self) -> Limits:
        """What a mix of widths may cost."""
        return Limits(self.max_flash, self.max_ram, self.max_macs_cost, self.max_drop)

    @property
    def budgets(self) -> Budgets:
        """The gates that the user set."""
        return Budgets(
            self.max_flash, self.max_ram, self.max_stack, self.max_instructions, self.board
        )


def check_options(options: Options, model: Path) -> Options:
    """The options, the name filled in from the model file where it is missing.

    Raises:
        UsageError: an unknown scheme, backend, release or calibration, an epsilon below 0, or a
            name that C cannot use.
    """
    for option, value, known in (
        ("--scheme", options.scheme or "q7", ABOUT_SCHEMES),
        ("--calibration", options.calibration or OUTPUT, (OUTPUT, *CALIBRATIONS)),
        ("--effort", options.effort, EFFORTS),
        ("--optimize", options.optimize, LEVELS),
    ):
        if value not in known:
            raise UsageError(f"{value!r} is unknown", where=option, fix="use " + ", ".join(known))
    _check_mix_options(options)
    backend_of(options.backend, options.cmsis_nn_version)
    if options.bn_epsilon is not None and not 0 <= options.bn_epsilon < math.inf:
        what = f"an epsilon of {options.bn_epsilon} has no root"
        raise UsageError(what, where="--bn-epsilon", fix="use one from 0 up, such as 0.001")
    emitted(options.emit, "")
    if options.board and options.board not in boards():
        fix = "use " + ", ".join(boards())
        raise UsageError(f"there is no board {options.board!r}", where="--board", fix=fix)
    name = options.name or model_name_from(model.name.split(".")[0])
    return Options(**{**vars(options), "name": check_model_name(name)})


def _check_mix_options(options: Options) -> None:
    """Whether options of the search for a mix of widths stand where there is one."""
    of_mix = {
        "--max-macs-cost": options.max_macs_cost is not None,
        "--max-drop": options.max_drop is not None,
        "--executor": bool(options.executor),
    }
    given = [option for option, is_given in of_mix.items() if is_given]
    if given and options.scheme != MIXED:
        what = "only the search for a mix of widths can use this"
        raise UsageError(what, where=given[0], fix=f"add --scheme {MIXED}")
    searched = (options.scheme or "q7") == "q7" and (options.calibration or OUTPUT) == OUTPUT
    if options.sample_labels and options.max_drop is None and not searched:
        what = "labels are for a limit on the lost accuracy, and for the inputs of q7"
        fix = f"add --scheme {MIXED} --max-drop POINTS, or use --scheme q7 --calibration {OUTPUT}"
        raise UsageError(what, where="--sample-labels", fix=fix)
