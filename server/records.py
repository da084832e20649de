"""What is kept of each request: ids, versions, chunk ids and timings; its text only if the operator turned that on."""

import json
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from config.database import migrate, open_database
from config.datadir import DataDirectory
from config.errors import NotFoundError

MIGRATIONS = (
    """
    CREATE TABLE request (
        request_id TEXT PRIMARY KEY,
        created_unix_seconds REAL NOT NULL,
        record TEXT NOT NULL
    );
    CREATE INDEX request_created ON request (created_unix_seconds)
    """,
    """
    ALTER TABLE request ADD COLUMN generation INTEGER;
    CREATE INDEX request_generation ON request (generation)
    """,
)


@dataclass(slots=True)
class RequestRecord:
    """One answered request. Filled while it runs, written when it ends; seconds count from its arrival.

    outcome: "stop", "length", "refused", "cancelled", or the error's code. query_method: how the search query was made,
    see `server.condense`. reranking: what became of it. `question`, `query`, `search_filter` and `answer` stay empty
    unless storage.store_text is on. is_refusal, is_form_right: None where not judged, see `server.verdict`.
    `generation`: of the index that was searched, None where none was.
    """

    request_id: str
    key_id: str
    model: str
    brand: str
    adapter: str = ""
    base_sha256: str = ""
    prompt_version: int = 0
    chunk_ids: list[str] = field(default_factory=list)
    best_similarity: float | None = None
    query_method: str = ""
    query_seconds: float = 0.0
    reranking: str = ""
    num_citations: int = 0
    num_prompt_tokens: int = 0
    num_cached_tokens: int = 0
    num_answer_tokens: int = 0
    retrieval_seconds: float = 0.0
    first_token_seconds: float | None = None
    total_seconds: float = 0.0
    outcome: str = "cancelled"
    is_refusal: bool | None = None
    is_form_right: bool | None = None
    question: str = ""
    query: str = ""
    search_filter: dict[str, object] = field(default_factory=dict)
    answer: str = ""
    user: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    generation: int | None = None
    created_unix_seconds: float = field(default_factory=time.time)

    @property
    def version(self) -> str:
        """brand@number, where 0 is the brand without an adapter."""
        return self.adapter or f"{self.brand}@0"


class RecordStore:
    """Written from one thread of its own, because the database may be busy with an ingest."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, "records")

    @staticmethod
    def open(data: DataDirectory) -> "RecordStore":
        connection = open_database(data.database)
        migrate(connection, "requests", MIGRATIONS)
        return RecordStore(connection)

    def write(self, record: RequestRecord) -> Future[None]:
        """Returns at once; the row is there when the future is done."""
        fields = {name: getattr(record, name) for name in RequestRecord.__slots__}
        return self._writer.submit(self._insert, record, json.dumps(fields, ensure_ascii=False))

    def read(self, request_id: str) -> dict[str, object]:
        """Raises NotFoundError."""
        with self._lock:
            row = self._connection.execute("SELECT record FROM request WHERE request_id = ?", (request_id,)).fetchone()
        if row is None:
            raise NotFoundError(f"No request {request_id!r} is recorded.")
        record: dict[str, object] = json.loads(row["record"])
        return record

    def popular_chunks(self, num_requests: int, limit: int) -> list[str]:
        """Ids of the chunks that the newest requests were answered from, the most frequent first."""
        newest = "SELECT record FROM request ORDER BY created_unix_seconds DESC LIMIT ?"
        with self._lock:
            rows = self._connection.execute(
                f"SELECT value FROM ({newest}), json_each(record, '$.chunk_ids')"
                " GROUP BY value ORDER BY count(*) DESC, value LIMIT ?",
                (num_requests, limit),
            ).fetchall()
        return [str(row["value"]) for row in rows]

    def close(self) -> None:
        self._writer.shutdown()
        self._connection.close()

    def _insert(self, record: RequestRecord, text: str) -> None:
        with self._lock:
            self._connection.execute(
                "INSERT OR REPLACE INTO request (request_id, created_unix_seconds, record, generation)"
                " VALUES (?, ?, ?, ?)",
                (record.request_id, record.created_unix_seconds, text, record.generation),
            )
