"""Drift: what is counted, what an alert is, and that it lasts over restarts."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.brands import Brand, FormatRules
from config.datadir import DataDirectory
from config.settings import DriftSettings
from server.drift import Counts, Day, DriftStore, Measure, alerts_of, counts_of
from server.records import RequestRecord
from server.verdict import note_verdict

SETTINGS = DriftSettings(
    baseline_answers=20,
    window_days=7,
    min_answers=10,
    max_form_drop=0.1,
    max_citation_drop=0.1,
    max_refusal_change=0.15,
)
NOON = 1_800_014_400.0
DAY = 86_400
BRAND = Brand(
    name="halden",
    refusal="That is not documented.\nAsk us.",
    format=FormatRules(lines=("Answer:",), cited_lines=("Answer:",)),
)


def answered(answer: str, outcome: str = "stop", num_citations: int = 0) -> RequestRecord:
    return RequestRecord("r", "k", "halden", "halden", answer=answer, outcome=outcome, num_citations=num_citations)


@pytest.mark.parametrize(
    ("answer", "outcome", "is_refusal", "is_form_right"),
    [
        ("Answer: 7 weeks [1].", "stop", False, True),
        ("Answer: 7 weeks.", "stop", False, False),
        ("Seven.", "stop", False, False),
        ("Answer: it is", "length", False, None),
        ("That is not documented. Sorry!", "stop", True, False),
        ("That is not documented.\nAsk us.", "refused", True, None),
        ("Answer: 7", "cancelled", None, None),
        ("", "engine_unavailable", None, None),
    ],
)
def test_what_is_judged(answer: str, outcome: str, is_refusal: bool | None, is_form_right: bool | None) -> None:
    record = answered(answer, outcome)
    note_verdict(record, BRAND, is_json=False, has_own_instructions=False)
    assert (record.is_refusal, record.is_form_right) == (is_refusal, is_form_right)


def test_form_is_not_judged_where_the_client_says_how_to_answer() -> None:
    for is_json, has_own in ((True, False), (False, True)):
        record = answered("Seven.")
        note_verdict(record, BRAND, is_json=is_json, has_own_instructions=has_own)
        assert (record.is_refusal, record.is_form_right) == (False, None)


def test_counts_of_one_answer() -> None:
    record = answered("Answer: 7 [1].", num_citations=2)
    assert counts_of(record) is None
    record.is_refusal, record.is_form_right = False, True
    assert counts_of(record) == Counts(1, 1, 1, 0, 1, 1)
    record.is_refusal, record.is_form_right = True, None
    assert counts_of(record) == Counts(1, 0, 0, 1, 0, 0)


def test_an_alert_is_more_than_allowed_and_more_than_chance() -> None:
    base = Counts(100, 100, 90, 20, 80, 80)
    assert alerts_of(base, base, SETTINGS) == ()
    assert alerts_of(base, Counts(100, 100, 70, 20, 80, 80), SETTINGS) == (Measure.FORM,)
    assert alerts_of(base, Counts(100, 100, 100, 20, 80, 80), SETTINGS) == (), "better is no alert"
    assert alerts_of(base, Counts(100, 100, 85, 20, 80, 80), SETTINGS) == (), "within what is allowed"
    assert alerts_of(base, Counts(9, 9, 0, 0, 9, 0), SETTINGS) == (), "too few"
    assert alerts_of(base, Counts(12, 12, 9, 2, 10, 10), SETTINGS) == (), "may be chance"
    for refused in (0, 60):
        assert alerts_of(base, Counts(100, 100, 90, refused, 80, 80), SETTINGS) == (Measure.REFUSAL,)
    assert alerts_of(base, Counts(100, 100, 90, 20, 80, 40), SETTINGS) == (Measure.CITATION,)


class Time:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    directory = DataDirectory(tmp_path / "data")
    directory.create()
    return directory


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def store(data: DataDirectory, clock: Time) -> Iterator[DriftStore]:
    DriftStore.open(data, SETTINGS).close()
    opened = reopened(data, clock)
    yield opened
    opened.close()


def reopened(data: DataDirectory, clock: Time) -> DriftStore:
    from config.database import open_database

    return DriftStore(open_database(data.database), SETTINGS, clock)


def count(store: DriftStore, clock: Time, number: int, *, is_right: bool, adapter: str = "halden@2") -> None:
    for _ in range(number):
        record = answered("x", num_citations=1)
        record.adapter, record.is_refusal, record.is_form_right = adapter, False, is_right
        record.created_unix_seconds = clock.now
        counted = store.count(record)
        assert counted is not None
        counted.result(timeout=30)


def test_a_version_that_leaves_its_baseline_is_told_once_and_once_when_it_is_back(
    store: DriftStore, clock: Time, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    count(store, clock, 20, is_right=True)
    clock.now += 10 * DAY
    count(store, clock, 12, is_right=False)
    assert [drift.alerts for drift in store.latest()] == [(Measure.FORM,)]
    told = [record.message for record in caplog.records]
    assert told == ["halden@2: answers in the brand's form went from 100% (its first 20 answers) to 0% (the last 10)."]
    clock.now += 8 * DAY
    count(store, clock, 12, is_right=True)
    assert store.latest()[0].alerts == ()
    assert caplog.records[-1].message == "halden@2: form is back where it was at first."


def test_the_baseline_is_of_the_version_and_survives_a_restart(
    store: DriftStore, data: DataDirectory, clock: Time
) -> None:
    count(store, clock, 15, is_right=True)
    count(store, clock, 3, is_right=False, adapter="")
    again = reopened(data, clock)
    count(again, clock, 10, is_right=True)
    found = {drift.name: (drift.baseline.num_answers, drift.recent.num_answers) for drift in again.drifts("halden")}
    assert found == {"halden@0": (3, 0), "halden@2": (20, 5)}
    assert again.drifts("hal") == []
    again.close()


def test_days_add_up_the_latest_first(store: DriftStore, clock: Time) -> None:
    count(store, clock, 18, is_right=True)
    clock.now += DAY
    count(store, clock, 4, is_right=False)
    assert store.days("halden") == [
        Day("halden@2", "2027-01-16", Counts(4, 4, 0, 0, 4, 4)),
        Day("halden@2", "2027-01-15", Counts(18, 18, 18, 0, 18, 18)),
    ]
    assert [day.day for day in store.days("halden", 1)] == ["2027-01-16"]
    assert store.days("pipkin") == []


def test_no_text_is_kept(store: DriftStore, data: DataDirectory, clock: Time) -> None:
    record = answered("A secret answer.")
    record.question, record.is_refusal = "A secret question?", False
    counted = store.count(record)
    assert counted is not None
    counted.result(timeout=30)
    assert all(b"secret" not in path.read_bytes() for path in data.root.iterdir() if path.is_file())
