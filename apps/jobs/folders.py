"""Where a job keeps files on the machine that runs it: ``DATA/jobs/<code>/``, nothing that the site needs later."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from django.conf import settings

from apps.jobs.models import UNFINISHED, Job


def folder_of(code: uuid.UUID) -> Path:
    """Return the job's folder on this machine, which need not exist."""
    return Path(settings.DATA_DIR) / "jobs" / str(code)


def remove_folder(code: uuid.UUID) -> None:
    """Remove all that the job keeps on this machine; nothing there is no error."""
    shutil.rmtree(folder_of(code), ignore_errors=True)


def tidy() -> int:
    """Remove the folders of jobs that have ended or are gone, as a killed process leaves them; say how many."""
    root = Path(settings.DATA_DIR) / "jobs"
    if not root.is_dir():
        return 0
    found = {path.name: path for path in root.iterdir()}
    # Read after the folder, so that a job that began in between is among the living.
    alive = Job.objects.filter(status__in=UNFINISHED).values_list("code", flat=True)
    gone = set(found) - {str(code) for code in alive}
    for name in gone:
        shutil.rmtree(found[name], ignore_errors=True)
    return len(gone)
