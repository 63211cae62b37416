"""One writer at a time in a folder, across processes."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT_SECONDS = 60.0
POLL_SECONDS = 0.02
# Some network file systems have no locks; an export there is as safe as its renames.
WITHOUT_LOCKS = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other writers out of ``folder`` while the context lasts.

    The lock is on the folder itself, so no file is left behind, and the kernel takes it from a
    process that is killed. Where the system has no such locks, this does nothing.

    Raises:
        OSError: the folder cannot be opened, or another process keeps it for a minute.
    """
    try:
        import fcntl  # noqa: PLC0415 -- not on Windows
    except ImportError:
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    end = time.monotonic() + WAIT_SECONDS
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno in WITHOUT_LOCKS:
                    break
                if time.monotonic() > end:
                    text = "another mcu-export has been writing there for a minute"
                    raise OSError(errno.EBUSY, text, str(folder)) from error
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
            time.sleep(POLL_SECONDS)
        yield
    finally:
        os.close(descriptor)
