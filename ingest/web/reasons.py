"""Why a page could not be got: the names a document owner meets, beside those of parsing."""

from enum import StrEnum

from config.errors import HousevoiceError
from ingest.documents import Failure


class FetchReason(StrEnum):
    FORBIDDEN_ADDRESS = "forbidden_address"
    ROBOTS = "robots"
    UNREACHABLE = "unreachable"
    HTTP_ERROR = "http_error"
    REDIRECTS = "redirects"
    GONE = "gone"
    TOO_LARGE = "too_large"
    TOO_MANY = "too_many"
    TIMED_OUT = "timed_out"
    UNSUPPORTED = "unsupported"
    DAMAGED = "damaged"


class FetchError(HousevoiceError):
    """One address could not be got. `message` is the detail for a person; the address is named by the caller.

    status: HTTP's, 0 where it did not come to that.
    """

    def __init__(self, reason: FetchReason, detail: str, status: int = 0) -> None:
        super().__init__(detail)
        self.reason = reason
        self.status = status

    def failure(self, url: str) -> Failure:
        return Failure(url, str(self.reason), self.message)
