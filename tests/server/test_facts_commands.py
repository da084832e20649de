"""What the command line does about computed sources: doctor says how they are read, and ingest lets old ones go."""

from dataclasses import asdict
from pathlib import Path

import pytest

from config.settings import load_settings
from server.api.schemas.admin import IngestBody
from server.cli.doctor import Verdict, facts_finding
from server.cli.ingest_once import ingest_once
from server.engine.messages import FactStatus

BLOCKS = FactStatus(layout="blocks", num_context_hits=2, num_disk_hits=1, num_misses=4, num_memory_bytes=3_000_000)


@pytest.mark.parametrize(
    ("asked", "found", "verdict", "text"),
    [
        ("exact", FactStatus(), Verdict.FINE, "in one piece"),
        ("blocks", BLOCKS, Verdict.FINE, "3 reused, 4 computed, 3 MB in memory"),
        ("blocks", FactStatus(note="this model looks back"), Verdict.LOOK, "this model looks back"),
        ("blocks", FactStatus(), Verdict.LOOK, "other settings"),
        ("exact", BLOCKS, Verdict.LOOK, "other settings"),
    ],
)
def test_doctor_says_how_sources_are_read(asked: str, found: FactStatus, verdict: Verdict, text: str) -> None:
    settings = load_settings(environment={"HOUSEVOICE_ENGINE_FACT_LAYOUT": asked})
    finding = facts_finding(settings, asdict(found))
    assert finding.verdict is verdict
    assert text in finding.text


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(Exception, match="fact_layout"):
        load_settings(environment={"HOUSEVOICE_ENGINE_FACT_LAYOUT": "bloks"})


@pytest.mark.model
def test_an_ingest_without_a_server_lets_go_of_what_changed_only(tmp_path: Path) -> None:
    settings = load_settings(environment={"HOUSEVOICE_DATA_DIR": str(tmp_path / "data")})
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "a.md").write_text("# Parking\nGuests park behind hall 3.")
    body = IngestBody(path=documents, knowledge_base="kb")
    ingest_once(settings, body)
    saved = settings.data.facts / "a.facts"
    saved.parent.mkdir()
    saved.write_bytes(b"cells")
    (documents / "b.md").write_text("# Lunch\nAt noon.")
    assert ingest_once(settings, body).num_added == 1
    assert saved.exists(), "a new document makes nothing out of date"
    (documents / "a.md").unlink()
    ingest_once(settings, body)
    assert not saved.exists()
