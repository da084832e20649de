"""Jobs that really train, on a tiny base: to the end, one after the other, and interrupted in every way."""

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from adapters.jobs.order import Made, write_made
from tests.adapters.tiny import LoraFile, write_lora
from tests.server.api.finetuning import (
    job_at,
    messages_of,
    official_client,
    processes_of,
    rows,
    training_world,
    until,
    upload,
)
from tests.server.api.world import World

LONG: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 50, "batch_size": 1}}}
"""Thousands of steps: long enough to be interrupted."""


async def test_a_job_from_rows_to_a_version(tmp_path: Path) -> None:
    """The whole way with the official package; a second job waits meanwhile, and deleted files disturb nobody."""
    async with training_world(tmp_path) as world, official_client(world, world.admin) as client:
        training, validation = await upload(client), await upload(client, rows(10, first=90), "held.jsonl")
        job = await client.fine_tuning.jobs.create(
            model="halden",
            training_file=training,
            validation_file=validation,
            method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2, "batch_size": "auto"}}},
            suffix="summer",
            seed=7,
            metadata={"team": "desk"},
        )
        assert (job.status, job.seed, job.hyperparameters.n_epochs) == ("queued", 7, 2)
        second = await client.fine_tuning.jobs.create(model="pipkin", training_file=training)
        await client.files.delete(training)
        await client.files.delete(validation)
        assert (await job_at(client, job.id, "running")).status == "running"
        assert (await client.fine_tuning.jobs.retrieve(second.id)).status == "queued"
        assert len(processes_of(job.id)) == 1
        assert (await client.fine_tuning.jobs.cancel(second.id)).status == "cancelled"

        done = await job_at(client, job.id)
        assert (done.status, done.fine_tuned_model, done.error) == ("succeeded", "halden@1", None)
        assert done.trained_tokens
        assert done.finished_at
        assert world.services.registry.active("halden") is None
        version = world.services.registry.get("halden@1")
        assert (version.card["suffix"], version.card["job"], version.card["num_rows"]) == ("summer", job.id, 60)

        told = await messages_of(client, job.id)
        for expected in (
            "60 training and 10 validation rows",
            "16 steps",
            "Step 1/16",
            "Epoch 2 of 2",
            "Proved: llama.cpp",
            "halden@1 is",
        ):
            assert any(expected in message for message in told), (expected, told)
        checkpoints = [item async for item in client.fine_tuning.jobs.checkpoints.list(job.id)]
        assert [item.step_number for item in checkpoints] == [16, 8]
        assert "halden@1" in [item.fine_tuned_model_checkpoint for item in checkpoints]
        assert all(item.metrics.train_loss and item.metrics.full_valid_loss for item in checkpoints)
        results = (await client.files.content(done.result_files[0])).text.splitlines()
        assert results[0] == "step,train_loss,valid_loss"
        assert len(results) > 16
        answer = await client.chat.completions.create(model="halden@1", messages=[{"role": "user", "content": "Hi?"}])
        assert answer.choices[0].message.content
        folder = world.services.settings.data.training / "jobs" / job.id
        assert sorted(path.name for path in folder.iterdir()) == ["log.txt", "news.jsonl", "order.json"]


async def test_a_killed_process_is_started_again_and_a_paused_job_goes_on(tmp_path: Path) -> None:
    """From where it was: the first epoch, which had ended before the kill, is not trained again."""
    async with training_world(tmp_path) as world, official_client(world, world.admin) as client:
        job = await client.fine_tuning.jobs.create(
            model="halden", training_file=await upload(client), hyperparameters={"n_epochs": 6, "batch_size": 1}
        )
        book = world.app.state.training_jobs.jobs
        await until(lambda: bool(book.checkpoints(job.id).items))
        killed = processes_of(job.id)[0]
        killed.kill()
        await until(lambda: any(process.pid != killed.pid for process in processes_of(job.id)))

        paused: Any = await client.fine_tuning.jobs.pause(job.id)
        assert (paused.status, paused.housevoice["state"]) == ("queued", "paused")
        assert processes_of(job.id) == []
        with pytest.raises(openai.BadRequestError):
            await client.fine_tuning.jobs.pause(job.id)
        await client.fine_tuning.jobs.resume(job.id)

        assert (await job_at(client, job.id)).fine_tuned_model == "halden@1"
        told = " ".join(await messages_of(client, job.id))
        assert "ended by SIGKILL. It is started again" in told
        assert "Paused" in told
        assert "had been kept; it goes on from there" in told
        assert told.count("Epoch 1 of 6") == 1
        assert told.count("Epoch 6 of 6") == 1
        assert "Training goes on" in told
        with pytest.raises(openai.BadRequestError, match="succeeded"):
            await client.fine_tuning.jobs.resume(job.id)


async def test_a_running_job_is_cancelled_and_the_next_one_begins(tmp_path: Path) -> None:
    async with training_world(tmp_path) as world, official_client(world, world.admin) as client:
        file = await upload(client)
        first = await client.fine_tuning.jobs.create(model="halden", training_file=file, method=LONG)
        second = await client.fine_tuning.jobs.create(
            model="halden", training_file=file, hyperparameters={"n_epochs": 1}
        )
        await until(lambda: bool(processes_of(first.id)))
        assert (await client.fine_tuning.jobs.cancel(first.id)).status == "cancelled"
        assert processes_of(first.id) == []
        assert (await job_at(client, second.id, "running")).status == "running"
        with pytest.raises(openai.BadRequestError, match="cancelled"):
            await client.fine_tuning.jobs.cancel(first.id)
        await client.fine_tuning.jobs.cancel(second.id)
    assert world.services.settings.data.adapters.exists() is False


async def test_a_process_that_dies_again_and_again_is_given_up(tmp_path: Path) -> None:
    async with training_world(tmp_path) as world, official_client(world, world.admin) as client:
        job = await client.fine_tuning.jobs.create(model="halden", training_file=await upload(client), method=LONG)
        killed: set[int] = set()
        while (await client.fine_tuning.jobs.retrieve(job.id)).status not in ("failed", "succeeded"):
            for process in processes_of(job.id):
                killed.add(process.pid)
                process.kill()
            await asyncio.sleep(0.05)
        failed = await client.fine_tuning.jobs.retrieve(job.id)
        assert len(killed) == 3
        assert failed.error is not None
        assert (failed.error.code, failed.fine_tuned_model) == ("process_killed", None)
        assert "SIGKILL" in failed.error.message


async def test_jobs_outlive_the_server(tmp_path: Path) -> None:
    """What ran is queued first, what waited stays behind it; nobody but the operator has changed."""
    async with training_world(tmp_path) as world, official_client(world, world.admin) as client:
        file = await upload(client)
        running = await client.fine_tuning.jobs.create(model="halden", training_file=file, method=LONG)
        queued = await client.fine_tuning.jobs.create(model="pipkin", training_file=file)
        await until(lambda: bool(processes_of(running.id)))
    assert processes_of(running.id) == []
    async with training_world(tmp_path, is_training=False) as world, world.client(world.admin) as operator:
        listed = (await operator.get("/api/jobs")).json()["data"]
        assert [(item["id"], item["status"]) for item in listed] == [(queued.id, "queued"), (running.id, "queued")]
        world.app.state.training_jobs.start()
        await until(lambda: bool(processes_of(running.id)))
        assert (await operator.get(f"/api/jobs/{queued.id}")).json()["status"] == "queued"
        for job in (queued, running):
            assert (await operator.post(f"/api/jobs/{job.id}/cancel")).json()["status"] == "cancelled"
        shown = (await operator.get(f"/api/jobs/{running.id}")).json()
    assert shown["owner"] == "admin"
    expected = ["The server stops. The job goes on when it starts again.", "Training goes on.", "Cancelled."]
    told = [event["message"] for event in reversed(shown["events"])]
    assert [message for message in told if message in expected] == expected


async def test_a_row_that_is_too_long_fails_the_job_with_its_line(tmp_path: Path) -> None:
    data = (
        rows(50)
        + json.dumps(
            {"messages": [{"role": "user", "content": "x" * 9_000}, {"role": "assistant", "content": "y"}]}
        ).encode()
    )
    async with training_world(tmp_path) as world, official_client(world, world.admin) as client:
        job = await client.fine_tuning.jobs.create(model="halden", training_file=await upload(client, data))
        failed = await job_at(client, job.id)
    assert (failed.status, failed.error.param) == ("failed", "training_file")
    assert "line 51" in failed.error.message
    assert world.engine.requests == []


async def finished_before_the_server_noticed(world: World, client: openai.AsyncOpenAI) -> str:
    """A queued job whose process wrote its adapter in an earlier server's time."""
    job = await client.fine_tuning.jobs.create(model="halden", training_file=await upload(client))
    folder = world.services.settings.data.training / "jobs" / job.id
    write_lora(folder / "adapter.gguf", LoraFile(base_sha256=world.services.base.sha256))
    write_made(folder, Made("adapter.gguf", {"num_rows": 60}, num_tokens=600, best_epoch=1))
    return job.id


async def test_what_was_made_is_registered_without_training_again(tmp_path: Path) -> None:
    async with training_world(tmp_path, is_training=False) as world, official_client(world, world.admin) as client:
        job_id = await finished_before_the_server_noticed(world, client)
        world.app.state.training_jobs.start()
        assert (await job_at(client, job_id)).fine_tuned_model == "halden@1"
        assert "step" not in " ".join(await messages_of(client, job_id)).lower()


async def test_what_the_engine_refuses_does_not_become_a_version(tmp_path: Path) -> None:
    async with training_world(tmp_path, is_training=False) as world, official_client(world, world.admin) as client:
        world.engine.bad_adapters.add("adapter.gguf")
        job_id = await finished_before_the_server_noticed(world, client)
        world.app.state.training_jobs.start()
        failed = await job_at(client, job_id)
        assert (failed.status, failed.error.code) == ("failed", "bad_adapter")
        assert world.services.registry.versions() == []


async def test_the_process_gives_way(tmp_path: Path) -> None:
    async with training_world(tmp_path, niceness=15) as world, official_client(world, world.admin) as client:
        job = await client.fine_tuning.jobs.create(model="halden", training_file=await upload(client), method=LONG)
        await until(lambda: any(process.nice() >= 15 for process in processes_of(job.id)))
        threads = processes_of(job.id)[0].environ()["OMP_NUM_THREADS"]
        assert threads == str(world.services.settings.training.num_threads)


async def test_a_job_of_another_base_says_so(tmp_path: Path) -> None:
    async with training_world(tmp_path) as world, official_client(world, world.admin) as client:
        job = await client.fine_tuning.jobs.create(model="halden", training_file=await upload(client), method=LONG)
        await until(lambda: bool(processes_of(job.id)))
    async with training_world(tmp_path, is_training=False) as world:
        object.__setattr__(world.services.base, "sha256", "0" * 64)
        world.app.state.training_jobs.start()
        jobs = world.app.state.training_jobs.jobs
        await until(lambda: jobs.get(job.id).fault is not None)
        assert jobs.get(job.id).fault.code == "base_changed"
