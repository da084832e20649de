"""Browser sessions: a cookie stands for a key, so that a document link can be opened without showing the key."""

import hashlib
import secrets
import threading
import time
from dataclasses import dataclass

from server.keys import ApiKey

COOKIE = "housevoice_session"
SECONDS = 12 * 3600
MAX_SESSIONS = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    key_id: str
    ends_at: float


class SessionBook:
    """Sessions live in memory only, by the hash of their token; the key behind one is checked at every use."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def open(self, key: ApiKey) -> str:
        """The token for the cookie. Beyond the largest number, the oldest session ends."""
        token = secrets.token_urlsafe(32)
        with self._lock:
            self._drop_old()
            self._sessions[_digest(token)] = Session(key.id, time.monotonic() + SECONDS)
        return token

    def key_id(self, token: str) -> str | None:
        session = self._sessions.get(_digest(token))
        return session.key_id if session and session.ends_at > time.monotonic() else None

    def close(self, token: str) -> None:
        with self._lock:
            self._sessions.pop(_digest(token), None)

    def _drop_old(self) -> None:
        now = time.monotonic()
        self._sessions = {digest: session for digest, session in self._sessions.items() if session.ends_at > now}
        while len(self._sessions) >= MAX_SESSIONS:
            self._sessions.pop(next(iter(self._sessions)))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
