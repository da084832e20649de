"""One fine-tuning job: what was ordered, how far it is, and what it told."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from adapters.training.recipe import Recipe

Level = Literal["info", "warn", "error"]
Metrics = Mapping[str, float]


class JobState(StrEnum):
    """QUEUED -> RUNNING -> SUCCEEDED or FAILED; a job that has not ended can be PAUSED or CANCELLED. RUNNING goes back
    to QUEUED where the server stops, or the process dies.
    """

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
OPEN = (JobState.QUEUED, JobState.RUNNING, JobState.PAUSED)


@dataclass(frozen=True, slots=True)
class Plan:
    """What was ordered; it never changes. instructions: the brand's system prompt at that time.

    The rows themselves lie in the job's folder. learning_rate_multiplier: of the recipe's rate before it was applied.
    """

    brand: str
    instructions: str
    recipe: Recipe
    training_file: str
    validation_file: str | None
    num_rows: int
    num_validation_rows: int
    learning_rate_multiplier: float = 1.0
    suffix: str | None = None
    metadata: Mapping[str, str] | None = field(default=None, hash=False)

    @property
    def steps_per_epoch(self) -> int:
        return -(-self.num_rows // self.recipe.batch_rows)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a job failed. param: the parameter of its creation that was wrong, where it was one."""

    code: str
    message: str
    param: str | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """As it stands in the database. version: "brand@number" once it succeeded. expected_unix_seconds: of its end,
    while it runs. num_deaths: how often its process ended without a word. base_sha256: "" until it began.
    """

    job_id: str
    key_id: str
    state: JobState
    plan: Plan
    created_unix_seconds: int
    started_unix_seconds: int | None = None
    finished_unix_seconds: int | None = None
    expected_unix_seconds: int | None = None
    base_sha256: str = ""
    num_deaths: int = 0
    news_offset: int = 0
    num_tokens: int | None = None
    version: str = ""
    result_file: str = ""
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class JobEvent:
    """number: from 1 within its job. metrics: None for an event that is words only."""

    job_id: str
    number: int
    unix_seconds: int
    level: Level
    message: str
    metrics: Metrics | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The end of an epoch. Losses are means over answer tokens, in nats; None where there is none, or no number."""

    job_id: str
    epoch: int
    step: int
    training_loss: float | None
    validation_loss: float | None
    is_best: bool
    unix_seconds: int


@dataclass(frozen=True, slots=True)
class Said:
    """What an event is made of before it has a number."""

    message: str
    level: Level = "info"
    metrics: Metrics | None = field(default=None, hash=False)
