"""The systems under test, and how each is asked the same thing.

housevoice gets the question over its API and retrieves the documents that the question names, so search, prompt and
citations are in its times. The peers get the finished prompt as token ids: all that is left to them is to read it.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from benchmarks.bench.load import Call, Read, read_llama_server, read_openai
from benchmarks.bench.peers import Peers
from benchmarks.bench.processes import free_port, num_threads, running

CONTEXT_TOKENS, NUM_SLOTS = 16_384, 16
"""housevoice's defaults, and the same for the peers."""
HOUSEVOICE, LLAMA, LLAMA_PLAIN, EXAMPLE = "housevoice", "llama-server", "llama-server, no adapters", "example server"
BASE_NAME, KNOWLEDGE_BASE = "base", "bench"
MAX_REQUEST_TOKENS = 8_192
MOST_CHUNKS = 20


@dataclass(frozen=True, slots=True)
class Ask:
    """One question as every system can be asked it.

    tokens: the whole prompt, as housevoice renders it. documents: paths of its sources, none for a prompt without any.
    numbers: of the sources in it, in order. brand: its number, None for the base. runs_on: the answer does not end
    before max_tokens.
    """

    question: str
    tokens: tuple[int, ...]
    documents: tuple[str, ...]
    brand: int | None
    max_tokens: int
    runs_on: bool = False
    numbers: tuple[int, ...] = ()


class System(Protocol):
    """One that runs. `read` understands what `call` brings back."""

    @property
    def name(self) -> str: ...

    @property
    def read(self) -> Read: ...

    def call(self, ask: Ask) -> Call: ...


@dataclass(frozen=True, slots=True)
class Housevoice:
    """end_tokens: what it is kept from saying where an answer is to run on. process_id: of the server."""

    url: str
    key: str
    end_tokens: frozenset[int]
    name: str = HOUSEVOICE
    process_id: int = 0
    read: Read = field(default=read_openai, repr=False)

    def call(self, ask: Ask) -> Call:
        retrieval = {"filters": {"path": list(ask.documents)}} if ask.documents else {"enabled": False}
        body: dict[str, Any] = {
            "model": BASE_NAME if ask.brand is None else brand_name(ask.brand),
            "messages": [{"role": "user", "content": ask.question}],
            "temperature": 0,
            "repetition_penalty": 1.0,
            "max_tokens": ask.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            "retrieval": retrieval,
        }
        if ask.runs_on:
            body["logit_bias"] = {str(token): -100 for token in sorted(self.end_tokens)}
        return Call(f"{self.url}/v1/chat/completions", body, self.headers)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """has_adapters: the brands' adapters are loaded, by number; then it answers nothing without one of them."""

    url: str
    has_adapters: bool
    name: str = LLAMA
    read: Read = field(default=read_llama_server, repr=False)

    def call(self, ask: Ask) -> Call:
        body: dict[str, Any] = {
            "prompt": list(ask.tokens),
            "temperature": 0,
            "top_k": 1,
            "repeat_penalty": 1.0,
            "n_predict": ask.max_tokens,
            "stream": True,
            "cache_prompt": True,
            "ignore_eos": ask.runs_on,
        }
        if self.has_adapters and ask.brand is not None:
            body["lora"] = [{"id": ask.brand, "scale": 1.0}]
        return Call(f"{self.url}/completion", body)


@dataclass(frozen=True, slots=True)
class ExampleServer:
    """llama-cpp-python's. Its adapters are fixed when it loads, so it is asked without any."""

    url: str
    name: str = EXAMPLE
    read: Read = field(default=read_openai, repr=False)

    def call(self, ask: Ask) -> Call:
        body = {"prompt": list(ask.tokens), "max_tokens": ask.max_tokens, "temperature": 0.0, "stream": True}
        return Call(f"{self.url}/v1/completions", body)


def brand_name(number: int) -> str:
    return f"brand-{number + 1}"


def brand_prompt(number: int) -> str:
    return f"Reply as brand {number + 1}, briefly."


@contextmanager
def housevoice(
    folder: Path, end_tokens: frozenset[int], settings: Mapping[str, str], *options: str, name: str = HOUSEVOICE
) -> Iterator[Housevoice]:
    """`housevoice serve` on a new data directory below `folder`.

    settings: HOUSEVOICE_<SECTION>_<KEY>; everything else as shipped. options: of the command.
    """
    port, data = free_port(), folder / "data"
    own = {
        "HOUSEVOICE_DATA_DIR": str(data),
        "HOUSEVOICE_PORT": str(port),
        "HOUSEVOICE_ENGINE_THREADS": str(num_threads()),
    }
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "server.cli.main", "serve", *options]
    with running(command, {**own, **settings}, f"{url}/readyz", folder / "housevoice.log") as process:
        yield Housevoice(url, (data / "local.key").read_text(encoding="utf-8").strip(), end_tokens, name, process.pid)


def brands_in(folder: Path, count: int) -> Path:
    """A folder of brands that have no adapters yet."""
    brands = folder / "brands"
    brands.mkdir(parents=True)
    for number in range(count):
        text = f'knowledge_bases = ["{KNOWLEDGE_BASE}"]\nsystem_prompt = "{brand_prompt(number)}"\n'
        (brands / f"{brand_name(number)}.toml").write_text(text, encoding="utf-8")
    return brands


def settings_for(base: Path, brands: Path) -> dict[str, str]:
    """What workloads of many chunks in one prompt need beyond the defaults: room, and no choice among the chunks.
    Nothing is computed ahead of use, which would make cold chunks warm, and take the processors while peers answer.
    """
    return {
        "HOUSEVOICE_STORAGE_BRANDS_DIR": str(brands),
        "HOUSEVOICE_MODELS_BASE": str(base),
        "HOUSEVOICE_MODELS_BASE_NAME": BASE_NAME,
        "HOUSEVOICE_ENGINE_CONTEXT_TOKENS": str(CONTEXT_TOKENS),
        "HOUSEVOICE_ENGINE_MAX_RUNNING": str(NUM_SLOTS),
        "HOUSEVOICE_ENGINE_MAX_REQUEST_TOKENS": str(MAX_REQUEST_TOKENS),
        "HOUSEVOICE_ENGINE_FACT_AHEAD": "false",
        "HOUSEVOICE_INGEST_CHUNK_TOKENS": "250",
        "HOUSEVOICE_RETRIEVAL_RELEVANCE_FLOOR": "0",
        "HOUSEVOICE_RETRIEVAL_MAX_CHUNKS": str(MOST_CHUNKS),
        "HOUSEVOICE_RETRIEVAL_MAX_TOKENS": str(MAX_REQUEST_TOKENS),
        "HOUSEVOICE_RETRIEVAL_MERGE_NEIGHBOURS": "false",
        "HOUSEVOICE_RETRIEVAL_DUPLICATE_SIMILARITY": "1.0",
    }


@contextmanager
def llama_server(folder: Path, peers: Peers, base: Path, adapters: Sequence[Path] = ()) -> Iterator[LlamaServer]:
    """With the options that serve it best for this: one pool of cells, flash attention, reuse by shifting, and a cache
    of prompts in memory.
    """
    port, name = free_port(), LLAMA if adapters else LLAMA_PLAIN
    options = {
        "--model": str(base),
        "--port": str(port),
        "--threads": str(num_threads()),
        "--ctx-size": str(CONTEXT_TOKENS),
        "--parallel": str(NUM_SLOTS),
        "--flash-attn": "on",
        "--cache-reuse": "32",
        "--cache-ram": "4096",
    }
    command = [str(peers.llama_server), "--kv-unified", *(part for item in options.items() for part in item)]
    if adapters:
        command += ["--lora", ",".join(map(str, adapters)), "--lora-init-without-apply"]
    url = f"http://127.0.0.1:{port}"
    with running(command, {}, f"{url}/health", folder / f"{name}.log"):
        yield LlamaServer(url, bool(adapters), name)


@contextmanager
def example_server(folder: Path, peers: Peers, base: Path) -> Iterator[ExampleServer]:
    port = free_port()
    model = {
        "path": str(base),
        "alias": BASE_NAME,
        "n_ctx": CONTEXT_TOKENS,
        "n_seq_max": NUM_SLOTS,
        "threads": num_threads(),
        "threads_batch": num_threads(),
        "flash_attn": True,
        "store_logits": False,
    }
    config = folder / "example-server.json"
    config.write_text(json.dumps({"server": {"port": port}, "model": model}), encoding="utf-8")
    command = [sys.executable, str(peers.example_server), "--config-file", str(config)]
    url = f"http://127.0.0.1:{port}"
    settings = {"PYTHONPATH": str(peers.source)}
    with running(command, settings, f"{url}/healthz", folder / "example-server.log"):
        yield ExampleServer(url)
