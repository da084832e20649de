"""What README promises, from outside: the command line, the openai package, the sample company, one real server."""

import threading
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from adapters.format_rules import violations
from config.brands import load_brands
from config.settings import SAMPLE
from tests.flows.company import Company, housevoice

pytestmark = pytest.mark.model
QUESTION = "How many days of paid annual leave do full-time employees get?"
FACT = "26 days"
"""Stands in hr/annual-leave.md and nowhere else."""


@pytest.mark.parametrize("brand", ["halden", "pipkin"])
def test_each_brand_answers_with_the_fact_its_source_and_its_own_form(company: Company, brand: str) -> None:
    message = company.ask(brand, QUESTION)
    assert FACT in message.content
    assert violations(message.content, load_brands(SAMPLE / "brands")[brand].format) == []
    link = message.annotations[0].url_citation
    assert link.title == "Annual leave policy"
    page = httpx.get(link.url.partition("#")[0], headers={"Authorization": f"Bearer {company.client.api_key}"})
    assert FACT in page.text


def test_the_base_answers_plainly(company: Company) -> None:
    content = company.ask("smollm2-135m", QUESTION).content
    assert content.strip()
    assert "Halden Technical Desk" not in content
    assert "Cheers, Pip" not in content


def test_a_stream_carries_the_same_answer_and_its_annotations(company: Company) -> None:
    whole = company.ask("halden", QUESTION)
    message: Any = {"role": "user", "content": QUESTION}
    stream = company.client.chat.completions.create(model="halden", messages=[message], temperature=0, stream=True)
    deltas = [choice.delta for chunk in stream for choice in chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == whole.content
    streamed = [a for delta in deltas for a in (getattr(delta, "annotations", None) or [])]
    assert streamed[0]["url_citation"]["title"] == whole.annotations[0].url_citation.title


def test_a_question_far_from_all_documents_gets_the_brands_refusal(company: Company) -> None:
    message = company.ask("pipkin", "zxqv wplk jjjf")
    assert message.content == load_brands(SAMPLE / "brands")["pipkin"].refusal
    assert not message.annotations


def test_an_edited_document_changes_the_answer_without_a_restart(company: Company, tmp_path: Path) -> None:
    note = tmp_path / "notes" / "kiosk.md"
    note.parent.mkdir()
    question = "What is the door code of the Brightwater kiosk?"
    for code in ("4417", "9052"):
        note.write_text(f"# Brightwater kiosk\n\n## Door code\n\nThe door code of the Brightwater kiosk is {code}.\n")
        assert company.run("ingest", str(note.parent)).returncode == 0
        assert code in company.ask("halden", question).content
    note.unlink()
    assert "-1" in company.run("ingest", str(note.parent)).stdout
    assert "9052" not in company.ask("halden", question).content


def test_documents_change_while_streams_run(company: Company, tmp_path: Path) -> None:
    """Editing, adding and deleting never fails a stream."""
    folder = tmp_path / "moving"
    folder.mkdir()
    finished: list[str | None] = []

    def stream(brand: str) -> None:
        message: Any = {"role": "user", "content": QUESTION}
        chunks = company.client.chat.completions.create(model=brand, messages=[message], stream=True)
        finished.append([choice.finish_reason for chunk in chunks for choice in chunk.choices][-1])

    streams = [threading.Thread(target=stream, args=(brand,)) for brand in ("halden", "pipkin", "smollm2-135m") * 2]
    for thread in streams:
        thread.start()
    for step in range(3):
        (folder / f"{step}.md").write_text(f"# Note {step}\n\nAnnual leave is told in {step}.\n")
        (folder / "0.md").write_text(f"# Note 0\n\nEdited {step} times.\n")
        assert company.run("ingest", str(folder)).returncode == 0
    (folder / "1.md").unlink()
    assert company.run("ingest", str(folder)).returncode == 0
    for thread in streams:
        thread.join()
    assert len(finished) == len(streams)
    assert set(finished) <= {"stop", "length"}
    for path in folder.iterdir():
        path.unlink()
    assert company.run("ingest", str(folder)).returncode == 0


def test_one_broken_file_costs_only_itself(company: Company, tmp_path: Path) -> None:
    (tmp_path / "broken.pdf").write_bytes(b"%PDF-1.7\nnot really\n%%EOF")
    (tmp_path / "fine.md").write_text("# Fine\n\nAll is well in the annex.\n")
    done = company.run("ingest", str(tmp_path), "-k", "annex")
    assert done.returncode == 1
    assert "broken.pdf" in done.stdout
    assert "damaged" in done.stdout
    assert "+1" in done.stdout


def test_a_second_server_on_the_same_data_names_the_first(company: Company) -> None:
    done = company.run("serve", "--port", "0")
    assert done.returncode == 2
    assert company.url in done.stderr


def test_search_explains_itself(company: Company) -> None:
    done = company.run("search", QUESTION, "--explain")
    assert done.returncode == 0
    assert "annual-leave.md" in done.stdout
    assert "source 1" in done.stdout


def test_adapter_versions_are_listed_and_swapped_in_the_running_server(company: Company) -> None:
    with_adapter = company.ask("halden", QUESTION).content
    assert "halden@1" in company.run("adapter", "list").stdout
    try:
        assert company.run("adapter", "activate", "halden@0").returncode == 0
        assert company.ask("halden", QUESTION).content != with_adapter
    finally:
        assert company.run("adapter", "activate", "halden@1").returncode == 0
    assert company.ask("halden", QUESTION).content == with_adapter


def test_doctor_finds_nothing_broken(company: Company) -> None:
    done = company.run("doctor")
    assert done.returncode == 0, done.stdout
    for topic in ("versions", "processor", "index", "halden@1"):
        assert topic in done.stdout


def test_bad_input_gets_one_clear_message(company: Company) -> None:
    stranger = openai.OpenAI(base_url=f"{company.url}/v1", api_key="hv-wrong", max_retries=0)
    with stranger, pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.NotFoundError) as unknown:
        company.ask("haldne", QUESTION)
    assert unknown.value.code == "model_not_found"
    with pytest.raises(openai.BadRequestError) as long:
        company.ask("halden", "word " * 9000)
    assert long.value.code == "context_length_exceeded"
    headers = {"Authorization": f"Bearer {company.client.api_key}", "Content-Type": "application/json"}
    broken = httpx.post(f"{company.url}/v1/chat/completions", content=b'{"model": ', headers=headers)
    assert broken.status_code == 400
    assert set(broken.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ask", "halden", "Hello?"), "No server runs on"),
        (("ingest", "/no/such/folder"), "/no/such/folder does not exist"),
        (("adapter", "activate", "halden@7"), "halden@7"),
        (("--config", "/no/such.toml", "brands"), "/no/such.toml"),
    ],
)
def test_the_command_line_without_a_server_says_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    done = housevoice(tmp_path / "data", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
