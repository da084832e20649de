"""A fine-tuning job in a real server that is killed: the training ends with it, and goes on in the next one."""

import time
from pathlib import Path
from typing import Any

import openai
import psutil
import pytest

from tests.adapters.tiny_words import write_speaking_base
from tests.server.api.finetuning import ENDED, processes_of, rows
from tests.server.test_server_process import Running, free_port, start, wait_until_ready

pytestmark = [pytest.mark.model, pytest.mark.timeout(900)]  # two starts of a whole server
QUESTION: Any = {"role": "user", "content": "How long is part 3?"}


def open_server(folder: Path) -> Running:
    """With a brand and a base of its own, so that training takes seconds."""
    brands = folder / "brands"
    brands.mkdir(exist_ok=True)
    (brands / "halden.toml").write_text('system_prompt = "Reply as Halden."\n', encoding="utf-8")
    port = free_port()
    environment = {
        "HOUSEVOICE_MODELS_BASE": str(write_speaking_base(folder / "base.gguf")),
        "HOUSEVOICE_STORAGE_BRANDS_DIR": str(brands),
        "HOUSEVOICE_TRAINING_NICENESS": "0",
    }
    server = Running(start(folder / "data", port, **environment), f"http://127.0.0.1:{port}", folder / "data")
    wait_until_ready(server)
    return server


def client_of(server: Running) -> openai.OpenAI:
    key = server.headers["Authorization"].removeprefix("Bearer ")
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0)


def wait_for_end(client: openai.OpenAI, job_id: str) -> str:
    """The status; pytest's own limit bounds the waiting."""
    while (status := client.fine_tuning.jobs.retrieve(job_id).status) not in ENDED:
        time.sleep(0.2)
    return status


def test_a_killed_server_finds_its_job_again(tmp_path: Path) -> None:
    server = open_server(tmp_path)
    try:
        with client_of(server) as client:
            file = client.files.create(file=("rows.jsonl", rows()), purpose="fine-tune")
            job = client.fine_tuning.jobs.create(model="halden", training_file=file.id, hyperparameters={"n_epochs": 1})
            while not (training := processes_of(job.id)):
                time.sleep(0.2)
            before = client.models.retrieve("halden").to_dict()["root"]
    finally:
        server.process.kill()
        server.process.communicate()
    assert psutil.wait_procs(training, timeout=30)[1] == []  # nobody reads its news any more
    server = open_server(tmp_path)
    try:
        with client_of(server) as client:
            assert wait_for_end(client, job.id) == "succeeded"
            told = [event.message for event in client.fine_tuning.jobs.list_events(job.id, limit=100)]
            assert any("ended without warning" in message for message in told)
            assert client.models.retrieve("halden").to_dict()["root"] == before
            answer = client.chat.completions.create(model="halden@1", messages=[QUESTION], max_tokens=5)
            assert answer.choices[0].finish_reason in ("stop", "length")
    finally:
        server.process.terminate()
        _, complaint = server.process.communicate(timeout=60)
    assert server.process.returncode == 0, complaint
