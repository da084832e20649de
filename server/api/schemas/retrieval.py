"""`retrieval` of a chat request, an extension of ours: which documents an answer may come from.

    "retrieval": {"filters": {"path": ["hr", "*/2026-*.pdf"], "type": "pdf", "tag": "travel",
                              "after": "2026-01-01", "before": "2026-07-01"}}

Each field takes one value or a list, of which any may fit; all fields must fit. Documents that do not pass are not
searched at all, so an answer may become the brand's refusal. The OpenAI client sends it with `extra_body`.

"enabled": false answers without documents, in the brand's voice all the same: what an adapter says by itself.
"include_text": true adds heading and text to each source under `housevoice`: what the model was given.
"""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import BeforeValidator, Field

from ingest.access.reader import ADMIN, Reader
from ingest.filters import EVERYTHING, SearchFilter
from server.api.schemas.common import Body

MAX_VALUES = 20
MAX_GROUPS = 100
LAST_UNIX_SECONDS = 9_000_000_000
"""In the year 2255; as nanoseconds it still fits a database's integer."""


def as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def unix_seconds(value: object) -> int:
    """A date, or a date and time, in ISO 8601; without a zone it is UTC. Raises ValueError."""
    if not isinstance(value, str):
        raise ValueError("it must be a date such as 2026-01-31")
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError("it must be a date such as 2026-01-31") from None
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return min(max(int(seconds), 0), LAST_UNIX_SECONDS)


Pattern = Annotated[str, Field(min_length=1, max_length=200)]
TypeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.+/_-]{1,100}$")]
Tag = Annotated[str, Field(min_length=1, max_length=200)]
Moment = Annotated[int, BeforeValidator(unix_seconds, json_schema_input_type=str)]
Patterns = Annotated[tuple[Pattern, ...], Field(max_length=MAX_VALUES), BeforeValidator(as_list)]
TypeNames = Annotated[tuple[TypeName, ...], Field(max_length=MAX_VALUES), BeforeValidator(as_list)]
Tags = Annotated[tuple[Tag, ...], Field(max_length=MAX_VALUES), BeforeValidator(as_list)]


class FilterBody(Body):
    """path: a folder, a file or a glob. type: a suffix or a media type. tag: from front matter.

    after, before: the document's own date, else its file's time; from the first on and before the second.
    """

    path: Patterns = ()
    type: TypeNames = ()
    tag: Tags = ()
    after: Moment | None = None
    before: Moment | None = None

    @property
    def search_filter(self) -> SearchFilter:
        return SearchFilter(self.path, self.type, self.tag, self.after, self.before)


class RetrievalBody(Body):
    filters: FilterBody | None = None
    enabled: bool = True
    include_text: bool = False

    @property
    def search_filter(self) -> SearchFilter:
        return self.filters.search_filter if self.filters else EVERYTHING


class SearchParameters(FilterBody):
    """The query string of GET /api/search: q, knowledge_base, and filters, each of which may be repeated.

    as_group: for somebody in just these groups (an empty name for somebody in none), else for an admin.
    """

    q: Annotated[str, Field(min_length=1, max_length=10_000)]
    knowledge_base: Annotated[str, Field(max_length=200)] = ""
    as_group: Annotated[tuple[str, ...], Field(max_length=MAX_GROUPS)] | None = None

    @property
    def reader(self) -> Reader:
        return ADMIN if self.as_group is None else Reader(frozenset(filter(None, self.as_group)))
