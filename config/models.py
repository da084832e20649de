"""Where model files come from: an installed package, a path, or the Hugging Face hub.

`package:NAME` is found without importing the package. `hf:OWNER/REPO/PATTERN` is downloaded once into the data
directory (see `config.hub`); everything else works with no network at all.
"""

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from config.datadir import DataDirectory
from config.errors import ModelError
from config.settings import Settings

GGUF_MAGIC = b"GGUF"
INT8 = "int8:"
"""Before any other source of an embedder: run it in int8."""


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A base on disk. `sha256` is the file's own and names the base in adapter cards and cache keys."""

    name: str
    path: Path
    sha256: str
    num_bytes: int


@dataclass(frozen=True, slots=True)
class RecommendedBase:
    """A larger base for real work. Memory is the file, 8,192 cells of F16 KV cache and working space, in GB."""

    name: str
    source: str
    parameters: str
    memory_gb: float
    good_for: str


RECOMMENDED_BASES = (
    RecommendedBase(
        "qwen2.5-1.5b", "hf:Qwen/Qwen2.5-1.5B-Instruct-GGUF/*q4_0.gguf", "1.5 B", 2.0, "a laptop; short answers"
    ),
    RecommendedBase(
        "smollm2-1.7b",
        "hf:HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF/*q4_k_m.gguf",
        "1.7 B",
        3.3,
        "English, a laptop; same family as the default",
    ),
    RecommendedBase(
        "qwen2.5-3b", "hf:Qwen/Qwen2.5-3B-Instruct-GGUF/*q4_k_m.gguf", "3 B", 3.2, "8 cores, many languages"
    ),
    RecommendedBase(
        "mistral-7b", "hf:bartowski/Mistral-7B-Instruct-v0.3-GGUF/*Q4_K_M.gguf", "7 B", 6.5, "a GPU, or patience"
    ),
    RecommendedBase(
        "qwen2.5-7b", "hf:Qwen/Qwen2.5-7B-Instruct-GGUF/*q4_k_m*.gguf", "7 B", 6.2, "a GPU; long documents"
    ),
)


def resolve_base(settings: Settings) -> ModelFile:
    """Find (or download) the base. Raises ModelError with the setting, what was looked for and what to do."""
    path = locate(settings.models.base, settings.data, "models.base", _only_gguf)
    with path.open("rb") as file:
        if file.read(4) != GGUF_MAGIC:
            raise ModelError(f"models.base: {path} is not a GGUF file.", "Set models.base to a GGUF model.")
    return ModelFile(settings.models.base_name, path, file_sha256(path, settings.data), path.stat().st_size)


def resolve_embedder(settings: Settings) -> Path:
    """The folder of the sentence-transformers model, whatever it is run in."""
    return locate(settings.models.embedder.removeprefix(INT8), settings.data, "models.embedder", _only_embedder)


def locate(source: str, data: DataDirectory, setting: str, choose: Callable[[Path], Path | None]) -> Path:
    """Turn a model setting into a path. `choose` picks the file or folder within a directory, or returns None."""
    kind, _, name = source.partition(":")
    if kind == "package":
        root = _package_folder(name, setting)
    elif kind == "hf":
        root = download(name, data, setting)
    else:
        root = Path(source).expanduser()
    if not root.exists():
        raise ModelError(
            f"{setting} = {source!r}: {root.absolute()} does not exist.", "housevoice models lists choices."
        )
    found = choose(root) if root.is_dir() else root
    if found is None:
        raise ModelError(f"{setting} = {source!r}: no usable model lies in {root}.", "housevoice models lists choices.")
    return found.absolute()


def download(name: str, data: DataDirectory, setting: str) -> Path:
    """Fetch OWNER/REPO/PATTERN from the hub into the data directory, with progress, resuming, and checksums.

    Runs in a child process: it alone may look at the hub, while every other process has hub look-ups switched off.
    """
    parts = name.split("/", 2)
    if len(parts) < 2:
        raise ModelError(
            f"{setting} = 'hf:{name}' is not OWNER/REPO/FILE-PATTERN.", "Example: " + RECOMMENDED_BASES[0].source
        )
    repository, pattern = "/".join(parts[:2]), parts[2] if len(parts) == 3 else "*"
    target = data.models / repository.replace("/", "--")
    environment = os.environ | {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1"}
    command = [sys.executable, "-m", "config.hub", repository, pattern, str(target)]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ModelError(
            f"{setting} = 'hf:{name}' could not be downloaded: {reason}.",
            "Check the name and the network, or download it elsewhere and set a path.",
        )
    return target


def file_sha256(path: Path, data: DataDirectory) -> str:
    """The file's hash, remembered by path, size and modification time, so that large bases are read once."""
    stat = path.stat()
    key = f"{path}:{stat.st_size}:{stat.st_mtime_ns}"
    memory = data.models / "hashes.json"
    known = json.loads(memory.read_text(encoding="utf-8")) if memory.exists() else {}
    if key not in known:
        with path.open("rb") as file:
            known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        memory.parent.mkdir(parents=True, exist_ok=True)
        partial = memory.with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(memory)
    return str(known[key])


def _package_folder(name: str, setting: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(
            f"{setting} = 'package:{name}': no such package is installed.",
            f"pip install {name.replace('_', '-')}, or set another source.",
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _only_gguf(folder: Path) -> Path | None:
    return next(iter(sorted(folder.rglob("*.gguf"))), None)


def _only_embedder(folder: Path) -> Path | None:
    found = next(iter(sorted(folder.rglob("modules.json"))), None)
    return found.parent if found else None
