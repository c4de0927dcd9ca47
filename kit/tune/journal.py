"""The journal of a study on one machine: optuna's own file, with a lock that a killed process cannot leave behind."""

import fcntl
import os
from pathlib import Path
from typing import IO

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock


class KernelLock(JournalFileOpenLock):
    """Held by the kernel for the process, and gone with it.

    Optuna's own locks are files that a killed process leaves; the others then wait for half a minute. Who has the lock
    also cuts off a last line that has no end: a full disk or a crash of the machine broke it off, and the next one
    would be glued to it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self._path = path
        self._file: IO[bytes] | None = None

    def acquire(self) -> bool:
        """Wait for it."""
        self._file = self._path.open("r+b")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        end = self._file.seek(0, os.SEEK_END)
        if end:
            self._file.seek(end - 1)
            if self._file.read(1) != b"\n":
                self._file.seek(0)
                self._file.truncate(self._file.read().rfind(b"\n") + 1)
        return True

    def release(self) -> None:
        """Let the next one."""
        assert self._file is not None
        self._file.close()
        self._file = None


def open_journal(path: Path) -> JournalStorage:
    """Return the storage in the file `path`, which is made where it is missing."""
    return JournalStorage(JournalFileBackend(str(path), lock_obj=KernelLock(path)))
