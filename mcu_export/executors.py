"""Where evaluations run side by side: ``--executor``, or any ``concurrent.futures`` executor."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from mcu_export.errors import UsageError

Task = TypeVar("Task")
Result = TypeVar("Result")

KINDS = ("threads[:N]", "processes[:N]", "dask[:ADDRESS]")


@contextmanager
def open_executor(given: Executor | str) -> Iterator[Executor | None]:
    """The executor that ``given`` names, or is; None, which means in turn, for an empty text.

    One that is made here is shut down at the end. ``dask`` starts workers on this machine;
    ``dask:ADDRESS`` uses the scheduler there.

    Raises:
        UsageError: no such kind, or its package is not installed.
    """
    if not isinstance(given, str) or not given:
        yield given or None
        return
    kind, _, rest = given.partition(":")
    pools: dict[str, Callable[[int | None], Executor]] = {
        "threads": ThreadPoolExecutor,
        "processes": ProcessPoolExecutor,
    }
    if kind in pools and (not rest or (rest.isdigit() and int(rest))):
        with pools[kind](int(rest) if rest else None) as pool:
            yield pool
    elif kind == "dask":
        with _dask_client(rest) as client:
            executor: Executor = client.get_executor()
            yield executor
    else:
        where, fix = f"--executor {given}", "use " + ", ".join(KINDS)
        raise UsageError("there is no such executor", where=where, fix=fix)


def _dask_client(address: str) -> Any:
    """A client of the scheduler at ``address``, or of workers that are started here."""
    try:
        from distributed import Client  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "dask is not installed", where="--executor dask", fix="pip install 'mcu-export[dask]'"
        ) from error
    try:
        return Client(address) if address else Client(dashboard_address=None)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"there is no scheduler: {error}",
            where=f"--executor dask:{address}",
            fix="give the address that dask-scheduler prints, such as tcp://host:8786",
        ) from error


def run_tasks(
    executor: Executor | None,
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Result]:
    """Results of all tasks in order; without an executor one after the other.

    Function and tasks must be picklable, as another process or machine may run them.
    """
    results = []
    found = map(function, tasks) if executor is None else executor.map(function, tasks)
    for result in found:
        results.append(result)
        progress(len(results))
    return results
