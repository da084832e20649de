"""A job's folder, with rows of its own: deleting an uploaded file disturbs no job that was ordered with it."""

import os
import shutil
from collections.abc import Collection
from pathlib import Path

from adapters.jobs.order import LOCK_FILE, MADE_FILE, OUTPUT_FOLDER, TRAINING_ROWS, VALIDATION_ROWS


class JobFolders:
    """All below one folder of the data directory, by job id."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, job_id: str) -> Path:
        return self._root / job_id

    def create(self, job_id: str, training: Path, validation: Path | None) -> None:
        """Before the job's row is written."""
        folder = self.path(job_id)
        folder.mkdir(parents=True, mode=0o700)
        _link(training, folder / TRAINING_ROWS)
        if validation is not None:
            _link(validation, folder / VALIDATION_ROWS)

    def clear(self, job_id: str) -> None:
        """What an ended job needs no longer: rows, checkpoints, weights. Order, news and log stay."""
        folder = self.path(job_id)
        shutil.rmtree(folder / OUTPUT_FOLDER, ignore_errors=True)
        for name in (TRAINING_ROWS, VALIDATION_ROWS, MADE_FILE, LOCK_FILE):
            (folder / name).unlink(missing_ok=True)

    def sweep(self, known: Collection[str]) -> None:
        """Delete what a killed server left without a row. Call it before jobs are ordered."""
        for folder in self._root.glob("*"):
            if folder.name not in known:
                shutil.rmtree(folder, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    """The same bytes under a second name; copied where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
