"""What users said of answers: thumbs, reasons, edited answers, kept with what they were about.

Faults are split, because they are mended in different places: the wrong facts by documents and retrieval, the wrong
words by examples and training. An edit that a person has accepted becomes an example row.
"""

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from adapters.format_rules import numbers_in
from config.database import migrate, open_database
from config.datadir import DataDirectory
from config.errors import NotFoundError

MIGRATIONS = (
    """
    CREATE TABLE feedback (
        feedback_id TEXT PRIMARY KEY,
        request_id TEXT NOT NULL,
        brand TEXT NOT NULL,
        created_unix_seconds REAL NOT NULL,
        state TEXT NOT NULL,
        value TEXT NOT NULL
    );
    CREATE INDEX feedback_by_brand ON feedback (brand, created_unix_seconds)
    """,
)


class Rating(StrEnum):
    UP = "up"
    DOWN = "down"


class Fault(StrEnum):
    """RETRIEVAL: the facts or their sources are wrong. STYLE: the words or the form are."""

    RETRIEVAL = "retrieval"
    STYLE = "style"
    UNKNOWN = "unknown"
    NONE = ""


class State(StrEnum):
    NEW = "new"
    ACCEPTED = "accepted"
    DISMISSED = "dismissed"


@dataclass(frozen=True, slots=True)
class Feedback:
    """One statement about one answer. fault: as stated, or guessed. question, answer, chunk_ids: of the request's
    record at that time.
    """

    feedback_id: str
    request_id: str
    brand: str
    adapter: str
    rating: Rating
    fault: Fault
    comment: str
    edited_answer: str
    question: str
    answer: str
    chunk_ids: tuple[str, ...]
    state: State
    created_unix_seconds: float


def feedback_of(
    record: Mapping[str, Any], rating: Rating, fault: Fault | None, comment: str, edited_answer: str
) -> Feedback:
    """About the answer that this record is of."""
    stated = fault if fault is not None else guess_fault(record, rating, edited_answer)
    return Feedback(
        feedback_id=f"fb_{uuid.uuid4().hex[:16]}",
        request_id=str(record["request_id"]),
        brand=str(record["brand"]),
        adapter=str(record["adapter"]),
        rating=rating,
        fault=stated,
        comment=comment,
        edited_answer=edited_answer.strip(),
        question=str(record["question"]),
        answer=str(record["answer"]),
        chunk_ids=tuple(record["chunk_ids"]),
        state=State.NEW,
        created_unix_seconds=time.time(),
    )


def guess_fault(record: Mapping[str, Any], rating: Rating, edited_answer: str) -> Fault:
    """From what is known without reading: an edit that changes numbers corrects facts, one that keeps them all corrects
    words; a disliked answer without any citation had nothing to stand on. A guess, for sorting only.
    """
    if edited_answer.strip():
        return Fault.STYLE if numbers_in(edited_answer) == numbers_in(str(record["answer"])) else Fault.RETRIEVAL
    if rating is Rating.UP:
        return Fault.NONE
    return Fault.RETRIEVAL if record["outcome"] == "refused" or not record["num_citations"] else Fault.UNKNOWN


class FeedbackStore:
    """Thread-safe."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @staticmethod
    def open(data: DataDirectory) -> "FeedbackStore":
        connection = open_database(data.database)
        migrate(connection, "feedback", MIGRATIONS)
        return FeedbackStore(connection)

    def add(self, feedback: Feedback) -> None:
        value = json.dumps(asdict(feedback), ensure_ascii=False)
        with self._lock:
            self._connection.execute(
                "INSERT INTO feedback VALUES (?, ?, ?, ?, ?, ?)",
                (
                    *(feedback.feedback_id, feedback.request_id, feedback.brand, feedback.created_unix_seconds),
                    *(feedback.state, value),
                ),
            )

    def latest(self, brand: str | None = None, state: State | None = None, limit: int = 100) -> list[Feedback]:
        """The latest first."""
        with self._lock:
            rows = self._connection.execute(
                "SELECT state, value FROM feedback WHERE (?1 IS NULL OR brand = ?1) AND (?2 IS NULL OR state = ?2)"
                " ORDER BY created_unix_seconds DESC LIMIT ?3",
                (brand, state, limit),
            ).fetchall()
        return [_feedback(row) for row in rows]

    def review(self, feedback_id: str, state: State) -> Feedback:
        """Raises NotFoundError."""
        with self._lock:
            self._connection.execute("UPDATE feedback SET state = ? WHERE feedback_id = ?", (state, feedback_id))
            row = self._connection.execute(
                "SELECT state, value FROM feedback WHERE feedback_id = ?", (feedback_id,)
            ).fetchone()
        if row is None:
            raise NotFoundError(f"There is no feedback {feedback_id!r}.", hint="GET /api/feedback lists it.")
        return _feedback(row)

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def example_row(feedback: Feedback) -> dict[str, object]:
    """An accepted edit as chat-JSONL; `housevoice adapter curate` and people look at it before training does."""
    messages = [
        {"role": "user", "content": feedback.question},
        {"role": "assistant", "content": feedback.edited_answer},
    ]
    return {"id": feedback.feedback_id, "kind": "feedback", "messages": messages, "adapter": feedback.adapter}


def _feedback(row: sqlite3.Row) -> Feedback:
    value = json.loads(row["value"])
    return Feedback(
        **{
            **value,
            "rating": Rating(value["rating"]),
            "fault": Fault(value["fault"]),
            "chunk_ids": tuple(value["chunk_ids"]),
            "state": State(row["state"]),
        }
    )
