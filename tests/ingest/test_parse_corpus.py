"""The public file collection, whole: each of its 392 files, many broken on purpose, gives text or a named reason."""

from pathlib import Path

import pytest

from ingest.documents import ParsedDocument
from ingest.parse.pool import ParsePool
from ingest.parse.reasons import ParseError, Reason
from ingest.parse.wire import Limits

FILES = Path("../shared/data/files")
LIMITS = Limits(seconds=60, memory_bytes=2_000_000_000, max_file_bytes=100_000_000)
Outcomes = dict[str, ParsedDocument | ParseError]

pytestmark = [
    pytest.mark.skipif(not FILES.is_dir(), reason="the public file collection is not here"),
    # A minute and a half on two idle cores; the bound is what a machine that is busy otherwise may take.
    pytest.mark.timeout(3_600),
]

REFUSED = {
    "private-gpt/tests/components/readers/files/file_scanned.pdf": (Reason.SCANNED, "housevoice[ocr]"),
    "markitdown/packages/markitdown-ocr/tests/ocr_test_data/pdf_scanned_invoice.pdf": (Reason.SCANNED, "ingest.ocr"),
    "markitdown/packages/markitdown/tests/test_files/MEDRPT-2024-PAT-3847_medical_report_scan.pdf": (
        Reason.SCANNED,
        "3 pages",
    ),
    "onyx/backend/tests/unit/onyx/file_processing/fixtures/encrypted.pdf": (Reason.ENCRYPTED, "password"),
    "format-corpus/pdfCabinetOfHorrors/encryption_openpassword.pdf": (Reason.ENCRYPTED, "password"),
    "onyx/backend/tests/unit/onyx/file_processing/fixtures/empty.pdf": (Reason.NO_TEXT, "no text"),
    "format-corpus/pdf-handbuilt-test-corpus/minimal_test.pdf": (Reason.DAMAGED, "opened"),
    "format-corpus/fully-featured-pdf/appearance/.gitignore": (Reason.EMPTY, ""),
    "private-gpt/tests/components/readers/files/file_failing.ppt": (Reason.UNSUPPORTED, ".pptx"),
    "private-gpt/tests/components/readers/files/file.xls": (Reason.UNSUPPORTED, ".xlsx"),
    "r2r/py/core/examples/supported_file_types/doc.doc": (Reason.UNSUPPORTED, ".docx"),
    "r2r/py/core/examples/supported_file_types/msg.msg": (Reason.UNSUPPORTED, ".eml"),
    "r2r/py/core/examples/supported_file_types/png.png": (Reason.UNSUPPORTED, "housevoice[ocr]"),
}

SAID = {
    "onyx/backend/tests/unit/onyx/file_processing/fixtures/owner_protected.pdf": ("page 1", ""),
    "format-corpus/pdfCabinetOfHorrors/text_only_pdfa1b.pdf": ("page 1", "It only contains some text."),
    "private-gpt/tests/components/readers/files/file_multicolumn.pdf": ("page 1", "consectetuer adipiscing elit"),
    "onyx/backend/tests/external_dependency_unit/tools/data/financial-sample.xlsx": (
        "Sheet1!A1:P701",
        "Segment: Government; Country: Canada; Product: Carretera",
    ),
    "markitdown/packages/markitdown/tests/test_files/test.pptx": ("slide 3", "ColA: 1; ColB: 2; ColC: 3"),
    "markitdown/packages/markitdown/tests/test_files/test_mskanji.csv": ("rows 1-4", "名前: 佐藤太郎; 年齢: 30"),
    "private-gpt/tests/server/ingest/pdf_with_forms.pdf": ("page 1", "Man 150 Red"),
    "markitdown/packages/markitdown/tests/test_files/equations.docx": ("", "From Eq. 36.1.3,"),
    "r2r/py/core/examples/supported_file_types/eml.eml": ("mail header", "From: sender@example.com"),
    "private-gpt/tests/components/readers/files/file.html": ("", "Attribute: Creativity; Description: Designing"),
    "private-gpt/tests/components/readers/files/file_window.html": ("", "Emirate: | The Emirate of Dubai."),
}
"""Where a reader finds it, and words that stand there."""


@pytest.fixture(scope="module")
def outcomes() -> Outcomes:
    found: Outcomes = {}
    paths = [path for path in sorted(FILES.rglob("*")) if path.is_file()]
    with ParsePool(LIMITS, 2) as pool:
        futures = {path: pool.submit(path, path.name) for path in paths}
        for path, future in futures.items():
            error = future.exception()
            assert error is None or isinstance(error, ParseError), f"{path}: {error!r}"
            found[path.relative_to(FILES).as_posix()] = error or future.result().document
    return found


def test_every_file_has_text_or_a_reason(outcomes: Outcomes) -> None:
    documents = [outcome for outcome in outcomes.values() if isinstance(outcome, ParsedDocument)]
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, ParseError)]
    assert len(outcomes) >= 390
    assert len(documents) >= 240
    assert all(document.title and any(block.text for block in document.blocks) for document in documents)
    assert {error.reason for error in errors} <= set(Reason)
    assert all(error.message.endswith((".", ").")) for error in errors)


@pytest.mark.parametrize("path", REFUSED)
def test_reasons_of_known_files(outcomes: Outcomes, path: str) -> None:
    outcome = outcomes[path]
    reason, hint = REFUSED[path]
    assert isinstance(outcome, ParseError)
    assert outcome.reason == reason
    assert hint in outcome.message


@pytest.mark.parametrize("path", SAID)
def test_text_of_known_files_at_its_place(outcomes: Outcomes, path: str) -> None:
    outcome = outcomes[path]
    location, words = SAID[path]
    assert isinstance(outcome, ParsedDocument)
    assert any(words in block.text.replace("\n", " ") for block in outcome.blocks if block.location == location)
