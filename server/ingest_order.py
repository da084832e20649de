"""What a person orders to be ingested, and the source that it means. The API and the command line share it."""

from config.errors import BadRequestError
from config.settings import Settings
from ingest.origins import FolderOrigin, Origin
from ingest.patterns import Selection
from ingest.store import checked_name
from ingest.web.fetch import Fetcher
from ingest.web.origin import WebOrigin
from ingest.web.pages import PageStore
from server.api.schemas.admin import IngestBody


def origin_of(body: IngestBody, settings: Settings) -> Origin:
    """Raises BadRequestError for no source, or several, or what cannot be one."""
    checked_name(body.knowledge_base)
    if sum(map(bool, (body.path, body.urls, body.sitemap))) != 1:
        raise BadRequestError("Name one source: a path, a list of addresses, or a sitemap.", "path")
    if body.path is None:
        pages = PageStore(settings.data, body.knowledge_base)
        return WebOrigin(body.urls, body.sitemap, pages, Fetcher(settings.web), settings.web)
    if not body.path.exists():
        raise BadRequestError(f"{body.path} does not exist on the server's machine.", "path")
    include, exclude = settings.ingest.include, settings.ingest.exclude
    return FolderOrigin(body.path, Selection([*include, *body.include], [*exclude, *body.exclude]))
