"""The results file of a job: losses by step as CSV, as OpenAI's jobs leave one behind."""

import csv
import hashlib
from pathlib import Path

from adapters.jobs.book import JobBook
from adapters.jobs.files import FileBook, Purpose, TrainingFile
from adapters.jobs.job import Job

COLUMNS = ("step", "train_loss", "valid_loss")
MAX_EVENTS = 10_000


def add_results(job: Job, folder: Path, jobs: JobBook, files: FileBook, now: int) -> str:
    """Write it and hand it to the owner of the job, in place of an earlier one. Returns its id. folder: to work in."""
    work = folder / "results.csv"
    with work.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for event in reversed(jobs.events(job.job_id, limit=MAX_EVENTS).items):
            if event.metrics and "step" in event.metrics:
                writer.writerow([event.metrics.get(name, "") for name in COLUMNS])
    data = work.read_bytes()
    made = TrainingFile(
        file_id=f"file-{job.job_id.partition('-')[2]}",
        key_id=job.key_id,
        purpose=Purpose.RESULTS,
        name=f"{job.job_id}-results.csv",
        num_bytes=len(data),
        num_rows=0,
        sha256=hashlib.sha256(data).hexdigest(),
        created_unix_seconds=now,
    )
    files.add(made, work)
    return made.file_id
