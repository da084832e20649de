"""robots.txt of each site that is fetched from, read once a run (RFC 9309, with urllib's parser).

Not covered: wildcards inside paths, which urllib reads literally.
"""

from collections.abc import Callable
from urllib.robotparser import RobotFileParser

from ingest.web.reasons import FetchError

AGENT = "housevoice"
MAX_DELAY_SECONDS = 10.0
"""A site that asks for longer pauses gets this one."""

NOTHING_ALLOWED = ["User-agent: *", "Disallow: /"]


class RobotsBook:
    """`fetch` gives (status, text) of an address, status 0 for what makes no sense. Where it raises FetchError, since
    nobody answers, all pages of that site fail by the same error.
    """

    def __init__(self, fetch: Callable[[str], tuple[int, str]]) -> None:
        self._fetch = fetch
        self._rules: dict[str, RobotFileParser | FetchError] = {}

    def allows(self, origin: str, url: str) -> bool:
        """origin: scheme, host and port of the URL."""
        return self._of(origin).can_fetch(AGENT, url)

    def delay_seconds(self, origin: str) -> float:
        """Between two pages, as the site asks; 0 where it does not."""
        asked = self._of(origin).crawl_delay(AGENT)
        return min(float(asked), MAX_DELAY_SECONDS) if asked else 0.0

    def _of(self, origin: str) -> RobotFileParser:
        if origin not in self._rules:
            self._rules[origin] = self._read(origin)
        rules = self._rules[origin]
        if isinstance(rules, FetchError):
            raise rules
        return rules

    def _read(self, origin: str) -> RobotFileParser | FetchError:
        try:
            return _rules(*self._fetch(f"{origin}/robots.txt"))
        except FetchError as error:
            return error


def _rules(status: int, text: str) -> RobotFileParser:
    """Absent (4xx): everything is allowed. Out of order (5xx, no answer): nothing is, until it can be read again."""
    lines = text.splitlines() if 200 <= status < 300 else [] if 400 <= status < 500 else NOTHING_ALLOWED
    rules = RobotFileParser()
    rules.parse(lines)
    return rules
