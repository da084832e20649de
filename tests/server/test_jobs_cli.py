"""`housevoice jobs` beside a server that does not run: what the database says, and what may be changed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from server.cli.main import app
from tests.server.api.finetuning import official_client, upload
from tests.server.api.world import open_world


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--data-dir", str(folder / "data"), "jobs", *arguments])


@pytest.fixture
async def job(tmp_path: Path) -> str:
    """Queued by a server that has been stopped."""
    async with open_world(tmp_path) as world, official_client(world, world.admin) as client:
        made = await client.fine_tuning.jobs.create(
            model="halden", training_file=await upload(client), suffix="\x1b[31mred", seed=5
        )
        return made.id


async def test_list_and_show(tmp_path: Path, job: str) -> None:
    listed = run(tmp_path, "list")
    assert listed.exit_code == 0, listed.output
    for expected in (job, "halden", "queued", "admin", "60"):
        assert expected in listed.output
    shown = run(tmp_path, "show", job)
    assert "Created for halden: 60 training" in shown.output
    assert "seed 5" in shown.output
    assert "[31mred" in shown.output
    assert "\x1b[31mred" not in shown.output


async def test_pause_resume_cancel(tmp_path: Path, job: str) -> None:
    for command, state in (("pause", "paused"), ("resume", "queued"), ("cancel", "cancelled")):
        assert run(tmp_path, command, job).exit_code == 0
        assert state in run(tmp_path, "list").output
    assert "Cancelled." in run(tmp_path, "show", job, "--follow").output
    for command in ("pause", "resume", "cancel"):
        refused = run(tmp_path, command, job)
        assert refused.exit_code == 2
    assert not (tmp_path / "data" / "training" / "jobs" / job / "train.jsonl").exists()


def test_nothing_is_a_short_list_and_an_unknown_job_a_clear_message(tmp_path: Path) -> None:
    assert run(tmp_path, "list").exit_code == 0
    assert not (tmp_path / "data").exists()
    unknown = run(tmp_path, "show", "ftjob-none")
    assert unknown.exit_code == 2
    assert "ftjob-none" in unknown.output
