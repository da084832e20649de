"""What the fine-tuning routes accept, refuse and answer, without training: the queue stands still here."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.server.api.finetuning import jsonl, official_client, row, rows, upload
from tests.server.api.test_openai_client import SCHEMA, check
from tests.server.api.test_readers_api import routes_with_ids, send
from tests.server.api.world import World, open_world


@pytest.fixture
async def official(world: World) -> AsyncIterator[openai.AsyncOpenAI]:
    async with official_client(world, world.admin) as client:
        yield client


@pytest.fixture
async def file(official: openai.AsyncOpenAI) -> str:
    return await upload(official)


def supervised(**hyperparameters: object) -> dict[str, Any]:
    return {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", "invalid_value"),
        ({"model": "tiny-base"}, "model", "invalid_value"),
        ({"model": "halden@1"}, "model", "invalid_value"),
        ({"training_file": None}, "training_file", "invalid_value"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"n_epochs": 51}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"n_epochs": "many"}}, "hyperparameters.n_epochs", "invalid_value"),
        ({"hyperparameters": {"batch_size": 257}}, "hyperparameters.batch_size", "invalid_value"),
        (
            {"hyperparameters": {"learning_rate_multiplier": 0}},
            "hyperparameters.learning_rate_multiplier",
            "invalid_value",
        ),
        ({"hyperparameters": {"beta": 0.1}}, "hyperparameters.beta", "unknown_parameter"),
        ({"method": supervised(rank=8)}, "method.supervised.hyperparameters.rank", "unknown_parameter"),
        ({"method": {"type": "dpo"}}, "method.type", "invalid_value"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "method.type", "invalid_value"),
        ({"method": {"type": "supervised", "dpo": {}}}, "method.dpo", "invalid_value"),
        ({"method": {"supervised": {}}}, "method.type", "missing_required_parameter"),
        (
            {"hyperparameters": {"n_epochs": 1}, "method": supervised(n_epochs=1)},
            "hyperparameters",
            "invalid_value",
        ),
        ({"suffix": ""}, "suffix", "invalid_value"),
        ({"suffix": "x" * 65}, "suffix", "invalid_value"),
        ({"seed": -1}, "seed", "invalid_value"),
        ({"seed": 2**31}, "seed", "invalid_value"),
        ({"integrations": [{"type": "wandb", "wandb": {"project": "x"}}]}, "integrations", "invalid_value"),
        ({"metadata": {"k": "v" * 513}}, "metadata.k", "invalid_value"),
        ({"metadata": {str(number): "v" for number in range(17)}}, "metadata", "invalid_value"),
        ({"colour": "red"}, "colour", "unknown_parameter"),
    ],
    ids=lambda value: str(value)[:40],
)
async def test_a_wrong_parameter_is_named(
    client: httpx.AsyncClient, file: str, change: dict[str, Any], param: str, code: str
) -> None:
    response = await client.post("/v1/fine_tuning/jobs", json={"model": "halden", "training_file": file, **change})
    assert response.status_code == 400, response.text
    assert (response.json()["error"]["param"], response.json()["error"]["code"]) == (param, code)
    assert (await client.get("/v1/fine_tuning/jobs")).json()["data"] == []


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": "nobody"}, None, "model_not_found"),
        ({"training_file": "file-none"}, "training_file", "not_found"),
        ({"validation_file": "../x"}, "validation_file", "not_found"),
    ],
)
async def test_what_does_not_exist_is_404(
    client: httpx.AsyncClient, file: str, change: dict[str, Any], param: str | None, code: str
) -> None:
    response = await client.post("/v1/fine_tuning/jobs", json={"model": "halden", "training_file": file, **change})
    assert response.status_code == 404
    assert (response.json()["error"]["param"], response.json()["error"]["code"]) == (param, code)


ACCEPTED: list[tuple[dict[str, Any], tuple[int, int, float]]] = [
    ({}, (3, 8, 1.0)),
    ({"hyperparameters": {"n_epochs": "auto", "batch_size": 4}}, (3, 4, 1.0)),
    ({"method": supervised(n_epochs=5, learning_rate_multiplier=0.5)}, (5, 8, 0.5)),
    ({"method": {"type": "supervised"}, "integrations": [], "metadata": None, "suffix": None}, (3, 8, 1.0)),
]


@pytest.mark.parametrize(("change", "expected"), ACCEPTED, ids=lambda value: str(value)[:40])
async def test_what_is_accepted_is_what_will_be_trained(
    world: World, official: openai.AsyncOpenAI, file: str, change: dict[str, Any], expected: tuple[int, int, float]
) -> None:
    job = await official.fine_tuning.jobs.create(model="halden", training_file=file, seed=3, **change)
    recipe = world.app.state.training_jobs.jobs.get(job.id).plan.recipe
    epochs, batch, multiplier = expected
    assert (recipe.num_epochs, recipe.batch_rows, recipe.seed) == (epochs, batch, 3)
    assert recipe.learning_rate == pytest.approx(1e-3 * multiplier)
    chosen = job.hyperparameters
    assert (chosen.n_epochs, chosen.batch_size, chosen.learning_rate_multiplier) == expected


async def test_a_seed_is_made_where_none_is_sent(official: openai.AsyncOpenAI, file: str) -> None:
    seeds = {(await official.fine_tuning.jobs.create(model="halden", training_file=file)).seed for _ in range(3)}
    assert len(seeds) == 3


async def test_the_operators_recipe_is_where_jobs_start_from(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("rank = 4\nnum_epochs = 9\n")
    async with (
        open_world(tmp_path, training={"recipe": str(recipe)}) as world,
        official_client(world, world.admin) as client,
    ):
        job = await client.fine_tuning.jobs.create(model="halden", training_file=await upload(client))
        planned = world.app.state.training_jobs.jobs.get(job.id).plan.recipe
    assert (planned.rank, planned.num_epochs, planned.threads > 0) == (4, 9, True)


async def test_too_few_rows_and_rows_that_are_held_out_from_themselves(official: openai.AsyncOpenAI, file: str) -> None:
    with pytest.raises(openai.BadRequestError, match="49 rows") as few:
        await official.fine_tuning.jobs.create(model="halden", training_file=await upload(official, rows(49)))
    assert (few.value.param, few.value.code) == ("training_file", "too_few_rows")
    with pytest.raises(openai.BadRequestError) as same:
        await official.fine_tuning.jobs.create(
            model="halden", training_file=file, validation_file=await upload(official)
        )
    assert same.value.param == "validation_file"


async def test_no_more_wait_than_may(tmp_path: Path) -> None:
    async with open_world(tmp_path, training={"max_queued": 1}) as world, official_client(world, world.admin) as client:
        file = await upload(client)
        for _ in range(2):
            await client.fine_tuning.jobs.create(model="halden", training_file=file)
        with pytest.raises(openai.RateLimitError) as caught:
            await client.fine_tuning.jobs.create(model="halden", training_file=file)
    assert int(caught.value.response.headers["retry-after"]) > 0


async def test_jobs_are_listed_in_parts_and_by_metadata(official: openai.AsyncOpenAI, file: str) -> None:
    made = []
    for number in range(5):
        given: Any = {"team": "desk", "number": str(number)} if number % 2 else None
        made.append((await official.fine_tuning.jobs.create(model="halden", training_file=file, metadata=given)).id)
    assert [job.id async for job in official.fine_tuning.jobs.list(limit=2)] == made[::-1]
    assert [job.id async for job in official.fine_tuning.jobs.list(limit=1, metadata={"team": "desk"})] == [
        made[3],
        made[1],
    ]
    only: Any = {"metadata": "null"}
    assert [job.id async for job in official.fine_tuning.jobs.list(extra_query=only)] == [made[4], made[2], made[0]]
    part = await official.fine_tuning.jobs.list(limit=2, after=made[1])
    assert ([job.id for job in part.data], part.has_more) == ([made[0]], False)


async def test_personal_data_and_repeated_rows_are_told_before_training(official: openai.AsyncOpenAI) -> None:
    doubtful = jsonl([row("Who?", "Ask ann.lee@example.com."), row("Who?", "Ask ann.lee@example.com.")])
    file = await upload(official, rows(50) + doubtful)
    job = await official.fine_tuning.jobs.create(model="halden", training_file=file)
    told = [(event.level, event.message) async for event in official.fine_tuning.jobs.list_events(job.id)]
    assert [level for level, _ in told] == ["warn", "warn", "info"]
    assert told[1][1].startswith("2 rows hold what looks like personal data")
    assert told[0][1].startswith("1 rows repeat")
    assert not any("ann.lee" in message for _, message in told)


async def test_events_are_listed_in_parts(world: World, official: openai.AsyncOpenAI, file: str) -> None:
    jobs = official.fine_tuning.jobs
    job = await jobs.create(model="halden", training_file=file)
    for _ in range(2):
        await jobs.pause(job.id)
        await jobs.resume(job.id)
    await jobs.cancel(job.id)
    told = [event.message async for event in jobs.list_events(job.id, limit=2)]
    assert told[0] == "Cancelled."
    assert told[-1] == "Created for halden: 60 training and no validation rows accepted."
    assert len(told) == 6
    assert [item async for item in jobs.checkpoints.list(job.id)] == []


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("", {"limit": 0}, "limit"),
        ("", {"limit": "many"}, "limit"),
        ("", {"after": "ftjob-none"}, "after"),
        ("", {"colour": "red"}, "colour"),
        ("", {"metadata[x": "1"}, "metadata[x"),
        ("", {"metadata": "x"}, "metadata"),
        ("/{job}/events", {"after": "ftevent-none"}, "after"),
        ("/{job}/events", {"order": "asc"}, "order"),
        ("/{job}/checkpoints", {"after": "ftckpt-1-x"}, "after"),
        ("/{job}/checkpoints", {"limit": 1_001}, "limit"),
    ],
)
async def test_wrong_queries_are_named(
    client: httpx.AsyncClient, official: openai.AsyncOpenAI, file: str, path: str, query: dict[str, Any], param: str
) -> None:
    job = await official.fine_tuning.jobs.create(model="halden", training_file=file)
    response = await client.get("/v1/fine_tuning/jobs" + path.format(job=job.id), params=query)
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)


async def test_another_admins_files_and_jobs_do_not_exist(
    world: World, official: openai.AsyncOpenAI, file: str
) -> None:
    """On every route of the application's own schema that takes an id, and where a body or a query names one."""
    job = (await official.fine_tuning.jobs.create(model="halden", training_file=file)).id
    other = world.services.keys.create("other", "admin")
    routes = [route for route in routes_with_ids(world.app) if route[1].startswith(("/v1/files", "/v1/fine_tuning"))]
    assert {("GET", "/v1/files/{file_id}/content"), ("POST", "/v1/fine_tuning/jobs/{job_id}/cancel")} <= set(routes)
    async with world.client(other) as client:
        for method, path in routes:
            for foreign in (file, job):
                response, absent = await send(client, method, path, foreign), await send(client, method, path, "absent")
                assert response.status_code == absent.status_code == 404, (method, path)
                assert response.text.replace(foreign, "absent") == absent.text
        assert (await client.get("/v1/files")).json()["data"] == []
        assert (await client.get("/v1/fine_tuning/jobs")).json()["data"] == []
        assert (await client.get("/v1/files", params={"after": file})).status_code == 400
        assert (await client.get("/v1/fine_tuning/jobs", params={"after": job})).status_code == 400
        for body in ({"training_file": file}, {"training_file": file, "validation_file": file}):
            response = await client.post("/v1/fine_tuning/jobs", json={"model": "halden", **body})
            assert response.status_code == 404
    assert (await official.fine_tuning.jobs.retrieve(job)).status == "queued"
    assert (await official.files.retrieve(file)).id == file


async def test_a_brand_that_the_key_may_not_use_does_not_exist(world: World) -> None:
    limited = world.services.keys.create("limited", "admin", ("pipkin",))
    async with official_client(world, limited) as client:
        with pytest.raises(openai.NotFoundError) as caught:
            await client.fine_tuning.jobs.create(model="halden", training_file=await upload(client))
    assert caught.value.code == "model_not_found"


async def test_a_reader_trains_nothing(world: World) -> None:
    async with world.client(world.reader) as client:
        for method, path in [("GET", "/v1/fine_tuning/jobs"), ("POST", "/v1/fine_tuning/jobs"), ("GET", "/api/jobs")]:
            assert (await client.request(method, path, json={})).status_code == 403


@pytest.mark.skipif(not SCHEMA.exists(), reason="OpenAI's specification is not beside this checkout")
async def test_answers_are_valid_by_openais_schema(world: World, client: httpx.AsyncClient, file: str) -> None:
    check("ListFilesResponse", (await client.get("/v1/files")).json())
    check("OpenAIFile", (await client.get(f"/v1/files/{file}")).json())
    body = {"model": "halden", "training_file": file, "metadata": {"a": "b"}, "suffix": "x"}
    job = (await client.post("/v1/fine_tuning/jobs", json=body)).json()
    check("FineTuningJob", job)
    tell_everything(world, job["id"])
    jobs = f"/v1/fine_tuning/jobs/{job['id']}"
    for action in ("pause", "resume", "cancel"):
        check("FineTuningJob", (await client.post(f"{jobs}/{action}")).json())
    check("ListPaginatedFineTuningJobsResponse", (await client.get("/v1/fine_tuning/jobs")).json())
    events = (await client.get(f"{jobs}/events")).json()
    check("ListFineTuningJobEventsResponse", events)
    assert {event["type"] for event in events["data"]} == {"message", "metrics"}
    check("ListFineTuningJobCheckpointsResponse", (await client.get(f"{jobs}/checkpoints")).json())
    check("DeleteFileResponse", (await client.delete(f"/v1/files/{file}")).json())
    check("ListFilesResponse", (await client.get("/v1/files")).json())
    check("ErrorResponse", (await client.get("/v1/files/file-none")).json())


def tell_everything(world: World, job_id: str) -> None:
    """As if a process had told it; one loss is no number."""
    from adapters.jobs.order import Told
    from adapters.training.progress import EpochResult
    from server.finetuning.telling import telling_of

    jobs = world.app.state.training_jobs.jobs
    told = [Told(1, EpochResult(number, float("nan"), 1.5, None, 1.0, True)) for number in (1, 2)]
    telling = telling_of(jobs.get(job_id), told)
    jobs.tell(job_id, telling.said, telling.checkpoints)


async def test_metrics_count_what_waits_and_what_ended(
    client: httpx.AsyncClient, official: openai.AsyncOpenAI, file: str
) -> None:
    first, second, _ = [await official.fine_tuning.jobs.create(model="halden", training_file=file) for _ in range(3)]
    await official.fine_tuning.jobs.cancel(first.id)
    await official.fine_tuning.jobs.pause(second.id)
    lines = set((await client.get("/metrics")).text.splitlines())
    assert {
        "housevoice_training_running 0.0",
        'housevoice_training_waiting{state="queued"} 1.0',
        'housevoice_training_waiting{state="paused"} 1.0',
        'housevoice_training_jobs_total{outcome="cancelled"} 1.0',
        'housevoice_training_jobs_total{outcome="succeeded"} 0.0',
    } <= lines
