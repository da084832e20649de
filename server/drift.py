"""Does a version still answer as it did at first? Form, refusals and citations by day, counted without any text.

A version's first answers are its baseline. What came since, over the last days, is compared with it: an alert is a
change that is larger than the settings allow and larger than chance makes. Counting goes on where no text is kept.
"""

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from enum import StrEnum

from config.database import migrate, open_database
from config.datadir import DataDirectory
from config.settings import DriftSettings
from server.records import RequestRecord

MIGRATIONS = (
    """
    CREATE TABLE drift_day (
        name TEXT NOT NULL,
        day TEXT NOT NULL,
        is_baseline INTEGER NOT NULL,
        num_answers INTEGER NOT NULL,
        num_formed INTEGER NOT NULL,
        num_form_right INTEGER NOT NULL,
        num_refused INTEGER NOT NULL,
        num_citable INTEGER NOT NULL,
        num_cited INTEGER NOT NULL,
        PRIMARY KEY (name, day, is_baseline)
    )
    """,
)
DAY_SECONDS = 86_400
NUM_ERRORS = 2.0
"""Standard errors by which two shares must differ before the difference is more than chance."""

logger = logging.getLogger(__name__)


class Measure(StrEnum):
    FORM = "form"
    REFUSAL = "refusal"
    CITATION = "citation"


@dataclass(frozen=True, slots=True)
class Counts:
    """Of answers. num_formed: those whose form was judged; num_citable: those that were no refusals."""

    num_answers: int = 0
    num_formed: int = 0
    num_form_right: int = 0
    num_refused: int = 0
    num_citable: int = 0
    num_cited: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(getattr(self, item.name) + getattr(other, item.name) for item in fields(self)))

    def of(self, measure: Measure) -> tuple[int, int]:
        """(how many, of how many)."""
        match measure:
            case Measure.FORM:
                return self.num_form_right, self.num_formed
            case Measure.REFUSAL:
                return self.num_refused, self.num_answers
            case Measure.CITATION:
                return self.num_cited, self.num_citable

    def share(self, measure: Measure) -> float | None:
        """None where nothing was judged."""
        part, whole = self.of(measure)
        return part / whole if whole else None


@dataclass(frozen=True, slots=True)
class Day:
    """`name` is a version's (brand@number; 0 is the base under the brand's prompt); `day` is UTC, like 2026-01-31."""

    name: str
    day: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Drift:
    """alerts: the measures that left the baseline."""

    name: str
    baseline: Counts
    recent: Counts
    alerts: tuple[Measure, ...]


def counts_of(record: RequestRecord) -> Counts | None:
    """One answer's; None where it is no answer of a brand from its documents."""
    if record.is_refusal is None:
        return None
    is_cited = not record.is_refusal and record.num_citations > 0
    return Counts(
        num_answers=1,
        num_formed=record.is_form_right is not None,
        num_form_right=record.is_form_right is True,
        num_refused=record.is_refusal,
        num_citable=not record.is_refusal,
        num_cited=is_cited,
    )


def alerts_of(baseline: Counts, recent: Counts, settings: DriftSettings) -> tuple[Measure, ...]:
    """Form and citations may rise, refusals may do neither: one that refuses less may have begun to invent."""
    limits = {
        Measure.FORM: settings.max_form_drop,
        Measure.REFUSAL: settings.max_refusal_change,
        Measure.CITATION: settings.max_citation_drop,
    }
    return tuple(m for m, limit in limits.items() if _has_left(m, baseline, recent, limit, settings.min_answers))


def _has_left(measure: Measure, baseline: Counts, recent: Counts, limit: float, min_answers: int) -> bool:
    (before, num_before), (now, num_now) = baseline.of(measure), recent.of(measure)
    if min(num_before, num_now) < min_answers:
        return False
    change = now / num_now - before / num_before
    pooled = (before + now) / (num_before + num_now)
    error = math.sqrt(pooled * (1 - pooled) * (1 / num_before + 1 / num_now))
    counted = abs(change) if measure is Measure.REFUSAL else -change
    return counted > limit and counted > NUM_ERRORS * error


class DriftStore:
    """Thread-safe. Written from one thread of its own, as request records are."""

    def __init__(
        self, connection: sqlite3.Connection, settings: DriftSettings, clock: Callable[[], float] = time.time
    ) -> None:
        self._connection = connection
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._writer = ThreadPoolExecutor(1, "drift")
        self._drifts = {drift.name: drift for drift in self._read_drifts()}

    @staticmethod
    def open(data: DataDirectory, settings: DriftSettings) -> "DriftStore":
        connection = open_database(data.database)
        migrate(connection, "drift", MIGRATIONS)
        return DriftStore(connection, settings)

    def count(self, record: RequestRecord) -> Future[None] | None:
        """Returns at once; counted, and told where it is an alert, when the future is done."""
        counts = counts_of(record)
        if counts is None:
            return None
        return self._writer.submit(self._count, record.version, record.created_unix_seconds, counts)

    def latest(self) -> list[Drift]:
        """As of each version's last answer, without looking into the file."""
        return list(self._drifts.values())

    def drifts(self, brand: str = "") -> list[Drift]:
        """As of now."""
        return [drift for drift in self._read_drifts() if not brand or drift.name.startswith(f"{brand}@")]

    def days(self, brand: str = "", num_days: int = 30) -> list[Day]:
        """The latest first."""
        found: dict[tuple[str, str], Counts] = {}
        first_day = _day(self._clock() - (num_days - 1) * DAY_SECONDS)
        for row in self._select("day >= ?", first_day):
            if not brand or row["name"].startswith(f"{brand}@"):
                place = (row["day"], row["name"])
                found[place] = found.get(place, Counts()) + _counts(row)
        return [Day(name, day, counts) for (day, name), counts in sorted(found.items(), reverse=True)]

    def close(self) -> None:
        self._writer.shutdown()
        self._connection.close()

    def _count(self, name: str, unix_seconds: float, counts: Counts) -> None:
        known = self._drifts.get(name)
        is_baseline = known is None or known.baseline.num_answers < self._settings.baseline_answers
        columns = [item.name for item in fields(Counts)]
        with self._lock:
            self._connection.execute(
                f"INSERT INTO drift_day (name, day, is_baseline, {', '.join(columns)})"
                f" VALUES (?, ?, ?, {', '.join('?' * len(columns))}) ON CONFLICT (name, day, is_baseline) DO UPDATE SET"
                f" {', '.join(f'{column} = {column} + excluded.{column}' for column in columns)}",
                (name, _day(unix_seconds), is_baseline, *(int(getattr(counts, column)) for column in columns)),
            )
        self._tell(next(drift for drift in self._read_drifts(name)))

    def _tell(self, drift: Drift) -> None:
        """A line where an alert begins, and one where it ends."""
        before = self._drifts.get(drift.name)
        known = before.alerts if before else ()
        self._drifts[drift.name] = drift
        for measure in drift.alerts:
            if measure not in known:
                logger.warning("%s", describe(drift, measure))
        for measure in known:
            if measure not in drift.alerts:
                logger.warning("%s: %s is back where it was at first.", drift.name, measure)

    def _read_drifts(self, only: str = "") -> list[Drift]:
        baselines: dict[str, Counts] = {}
        recent: dict[str, Counts] = {}
        first_day = _day(self._clock() - (self._settings.window_days - 1) * DAY_SECONDS)
        for row in self._select("(is_baseline OR day >= ?1) AND (?2 = '' OR name = ?2)", first_day, only):
            chosen = baselines if row["is_baseline"] else recent
            chosen[row["name"]] = chosen.get(row["name"], Counts()) + _counts(row)
        return [self._drift(name, baselines[name], recent.get(name, Counts())) for name in sorted(baselines)]

    def _drift(self, name: str, baseline: Counts, recent: Counts) -> Drift:
        return Drift(name, baseline, recent, alerts_of(baseline, recent, self._settings))

    def _select(self, condition: str, *values: str) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(f"SELECT * FROM drift_day WHERE {condition}", values).fetchall()


def describe(drift: Drift, measure: Measure) -> str:
    """One sentence for a person."""
    before, now = drift.baseline.share(measure) or 0.0, drift.recent.share(measure) or 0.0
    what = {
        Measure.FORM: "answers in the brand's form",
        Measure.REFUSAL: "refusals",
        Measure.CITATION: "answers with a citation",
    }[measure]
    return (
        f"{drift.name}: {what} went from {before:.0%} (its first {drift.baseline.num_answers} answers) to {now:.0%}"
        f" (the last {drift.recent.num_answers})."
    )


def _counts(row: sqlite3.Row) -> Counts:
    return Counts(*(row[item.name] for item in fields(Counts)))


def _day(unix_seconds: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(unix_seconds))


def drift_tables(store: DriftStore, brand: str = "", num_days: int = 30) -> dict[str, list[dict[str, object]]]:
    """What the API answers and `housevoice adapter drift` shows: `versions` compared, and `days`, the latest first."""
    days = store.days(brand, num_days)
    return {
        "versions": drift_rows(store.drifts(brand)),
        "days": [{"name": day.name, "day": day.day, **shares_of(day.counts)} for day in days],
    }


def shares_of(counts: Counts) -> dict[str, float | int | None]:
    """For the API and tables."""
    return {"answers": counts.num_answers, **{measure.value: counts.share(measure) for measure in Measure}}


def drift_rows(drifts: Iterable[Drift]) -> list[dict[str, object]]:
    """For the API and tables; `alerts` in words."""
    return [
        {
            "name": drift.name,
            "baseline": shares_of(drift.baseline),
            "recent": shares_of(drift.recent),
            "alerts": {measure.value: describe(drift, measure) for measure in drift.alerts},
        }
        for drift in drifts
    ]
