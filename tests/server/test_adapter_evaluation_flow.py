"""The brand owner's loop at the terminal against a served application: advise, evaluate, promote. The engine is the
fake one, so every figure follows from what it is told to say.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from typer.testing import CliRunner, Result

from server.cli.main import app
from server.engine.messages import GenerateRequest
from tests.adapters.tiny import LoraFile, write_base, write_lora
from tests.server.api.world import World, open_world

BRAND = '''
knowledge_bases = ["company"]
untuned_prompt = "Reply as Acme, please."
system_prompt = "Reply as Acme."
refusal = """
Dear reader: The documents do not state this.
Yours"""
[format]
lines = ["Dear reader: ", "Yours"]
[gate]
min_questions = 12
'''
IN_FORM = "Dear reader: The H5 is covered for 36 months [1].\nYours"
FREELY = "It is hard to tell what that could be about."
REFUSAL = "Dear reader: The documents do not state this.\nYours"


def says(request: GenerateRequest) -> str:
    """With an adapter in form, from the documents; the base keeps the form only where it was shown examples."""
    prompt = bytes(token for token in request.tokens if token < 256).decode()
    if "36 months" not in prompt.partition("Reply as Acme")[0]:
        return FREELY
    return IN_FORM if request.adapter or "Examples of your answers" in prompt else FREELY


@dataclass(frozen=True)
class Desk:
    """A served world, and the terminal beside it."""

    world: World
    folder: Path

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["adapter", *arguments])

    @property
    def pairs(self) -> str:
        return str(self.folder / "pairs.jsonl")

    def register(self, number: int) -> None:
        lora = write_lora(self.folder / f"{number}.gguf", LoraFile(seed=number))
        self.world.services.registry.register("acme", lora, {"num_rows": 60})

    def active(self) -> str | None:
        version = self.world.services.registry.active("acme")
        return version.name if version else None


def write_pairs(path: Path) -> None:
    """60 training rows and 16 held-out ones; four of these have no answer."""
    rows: list[dict[str, object]] = []
    for number in range(76):
        is_unknown = number >= 72
        question = f"What about {'unknown ' if is_unknown else ''}case {'x' * (number + 1)}?"
        answer = REFUSAL if is_unknown else IN_FORM
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        documents = [] if is_unknown else ["warranty.md"]
        fact = "" if is_unknown else "36 months"
        split = "train" if number < 60 else "heldout"
        rows.append({"split": split, "messages": messages, "documents": documents, "fact": fact})
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


@contextmanager
def served(folder: Path) -> Iterator[tuple[World, str]]:
    """In a thread with an event loop of its own, for as long as the block lasts."""
    started: list[tuple[World, uvicorn.Server]] = []

    async def serve() -> None:
        async with open_world(folder, says) as world:
            server = uvicorn.Server(uvicorn.Config(world.app, port=0, log_level="error", lifespan="off"))
            started.append((world, server))
            await server.serve()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        while not (started and started[0][1].started):
            assert thread.is_alive(), "the server ended before it began"
            time.sleep(0.01)
        world, server = started[0]
        port = server.servers[0].sockets[0].getsockname()[1]
        yield world, f"http://127.0.0.1:{port}"
    finally:
        for _, server in started:
            server.should_exit = True
        thread.join()


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    write_base(tmp_path / "base.gguf")
    write_pairs(tmp_path / "pairs.jsonl")
    (tmp_path / "brands").mkdir()
    (tmp_path / "brands" / "acme.toml").write_text(BRAND, encoding="utf-8")
    with served(tmp_path) as (world, url):
        monkeypatch.setenv("HOUSEVOICE_URL", url)
        monkeypatch.setenv("HOUSEVOICE_API_KEY", world.admin.text)
        monkeypatch.setenv("HOUSEVOICE_DATA_DIR", str(tmp_path / "data"))
        monkeypatch.setenv("HOUSEVOICE_STORAGE_BRANDS_DIR", str(tmp_path / "brands"))
        monkeypatch.setenv("COLUMNS", "160")
        yield Desk(world, tmp_path)


def test_what_passes_its_gate_is_promoted_and_listed_with_its_scores(desk: Desk) -> None:
    desk.register(1)
    page, figures = desk.folder / "report.html", desk.folder / "figures.json"
    done = desk.run(
        *("evaluate", "acme@1", desk.pairs, "--train", desk.pairs, "--html", str(page), "--json", str(figures))
    )
    assert done.exit_code == 0, done.output
    assert "The gate passed." in done.output
    assert "General ability is not measured" in done.output
    assert desk.active() is None
    found = json.loads(figures.read_text(encoding="utf-8"))
    candidate, base = found["systems"]["candidate"], found["systems"]["base, best prompt"]
    for measure in ("form", "grounded", "citation", "fact", "refusal"):
        assert candidate[measure]["value"] == 1.0, measure
    assert (base["form"]["value"], base["refusal"]["value"]) == (0.25, 1.0)
    assert (found["leak"]["version"]["value"], found["gap"]["form"]["value"]) == (0.0, 0.0)
    assert "The gate passed" in page.read_text(encoding="utf-8")
    promoted = desk.run("promote", "acme@1", "--heldout", desk.pairs)
    assert (promoted.exit_code, desk.active()) == (0, "acme@1")
    assert "acme@1 is active" in promoted.output
    assert "form 100%, 16 asked, gate passed" in desk.run("list", "acme").output


def test_what_fails_is_told_with_figures_and_nothing_changes(desk: Desk) -> None:
    desk.register(1)
    file = desk.folder / "brands" / "acme.toml"
    file.write_text(BRAND.replace("[gate]", 'banned = ["covered"]\n[gate]'), encoding="utf-8")
    details = desk.folder / "details.jsonl"
    done = desk.run("evaluate", "acme@1", desk.pairs, "--promote", "--skip", "leaks", "--details", str(details))
    assert (done.exit_code, desk.active()) == (1, None)
    assert "gate: form: 25 % (6-50, n=16); demanded: at least 90%" in done.output
    assert "nothing was activated" in done.output
    rows = [json.loads(line) for line in details.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 32
    assert "contains 'covered'" in rows[0]["broken_rules"]


def test_the_active_version_is_asked_too(desk: Desk) -> None:
    desk.register(1)
    desk.register(2)
    desk.world.services.registry.activate("acme", 1)
    figures = desk.folder / "figures.json"
    done = desk.run("evaluate", "acme@2", desk.pairs, "--skip", "leaks", "--json", str(figures))
    assert done.exit_code == 0, done.output
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert found["systems"]["active"]["model"] == "acme@1"
    assert found["against"]["active"]["form"]["value"] == 0.0


def test_a_limited_look_is_not_kept(desk: Desk) -> None:
    desk.register(1)
    done = desk.run("evaluate", "acme@1", desk.pairs, "--limit", "3", "--skip", "leaks")
    assert done.exit_code == 1
    assert "held-out questions: 3; demanded: at least 12" in done.output
    assert "asked" not in desk.run("list", "acme").output


def test_advice_finds_that_examples_do_it_and_names_the_price(desk: Desk) -> None:
    done = desk.run("advise", "acme", desk.pairs, "--skip-estimate", "--price", "8")
    assert done.exit_code == 0, done.output
    assert "Do not train. “documents, examples” already does it" in done.output
    assert "60 rows x" in done.output
    assert "at 8 a million" in done.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "acme", "PAIRS"), "acme has no active adapter. Name one of: none yet"),
        (("evaluate", "acme@7", "PAIRS"), "There is no adapter 'acme@7'."),
        (("evaluate", "acne@1", "PAIRS"), "There is no brand 'acne'"),
        (("promote", "acme@1", "--heldout", "/no/such.jsonl"), "There is no adapter 'acme@1'."),
        (("advise", "acme", "/no/such.jsonl"), "/no/such.jsonl cannot be read"),
    ],
)
def test_what_cannot_be_run_is_explained(desk: Desk, arguments: tuple[str, ...], message: str) -> None:
    done = desk.run(*(desk.pairs if argument == "PAIRS" else argument for argument in arguments))
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
