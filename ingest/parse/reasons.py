"""Why a file could not become text: the small set of reasons that a document owner meets."""

from enum import StrEnum

from config.errors import HousevoiceError


class Reason(StrEnum):
    ENCRYPTED = "encrypted"
    RIGHTS_MANAGED = "rights_managed"
    DAMAGED = "damaged"
    SCANNED = "scanned"
    NO_TEXT = "no_text"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    TIMED_OUT = "timed_out"
    EMPTY = "empty"
    UNREADABLE = "unreadable"


class ParseError(HousevoiceError):
    """One file was refused. `message` is the detail for a person; the file itself is named by the caller."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
