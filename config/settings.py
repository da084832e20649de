"""The settings tree: typed, frozen, loaded once, passed on by section. `default.toml` beside this file is the manual.

Later sources win: default.toml, then the file named by HOUSEVOICE_CONFIG (or given), then HOUSEVOICE_<SECTION>_<KEY>
environment variables. HOUSEVOICE_PORT, HOUSEVOICE_HOST and HOUSEVOICE_DATA_DIR are short for the keys people move most.
"""

import difflib
import json
import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.datadir import DataDirectory
from config.errors import ConfigError
from config.fact_layout import FactLayout

Weights = Literal["mapped", "locked", "loaded"]
"""How the model file is held in memory."""
WeightType = Literal["auto", "file", "q8_0"]
"""The model's weights as in its file, or a copy of them in eight bits; auto: where that is known to be quicker."""

SHORT_NAMES = {
    "HOUSEVOICE_PORT": ("server", "port"),
    "HOUSEVOICE_HOST": ("server", "host"),
    "HOUSEVOICE_DATA_DIR": ("storage", "data_dir"),
}
SAMPLE = Path(str(resources.files("config"))) / "sample"
"""The sample company's folder: documents, brands, examples and trained adapters."""
NOT_SETTINGS = {"HOUSEVOICE_CONFIG", "HOUSEVOICE_URL", "HOUSEVOICE_API_KEY"}

PositiveInt = Annotated[int, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
PositiveSeconds = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StorageSettings(Section):
    data_dir: Path
    brands_dir: str
    store_text: bool


class ModelSettings(Section):
    base: str
    base_name: str
    embedder: str


class ServerSettings(Section):
    host: str
    port: Annotated[int, Field(ge=0, le=65535)]
    allowed_hosts: tuple[str, ...]
    max_body_bytes: PositiveInt
    max_messages: PositiveInt
    max_choices: PositiveInt
    shutdown_seconds: PositiveSeconds
    keep_alive_seconds: PositiveSeconds
    requests_per_minute_per_key: Count


class EngineSettings(Section):
    context_tokens: PositiveInt
    idle_tokens: Count
    max_request_tokens: PositiveInt
    max_sequences: Annotated[int, Field(gt=0, le=256)]
    max_running: PositiveInt
    max_queued: Count
    prefill_slice_tokens: PositiveInt
    turn_steps: PositiveInt
    max_token_gap_ms: PositiveInt
    drafts: Literal["auto", "off"]
    mix_brands: Literal["auto", "on", "off"]
    threads: Count
    gpu_layers: Annotated[int, Field(ge=-1)]
    weights: Weights
    weight_type: WeightType
    default_max_tokens: PositiveInt
    request_timeout_seconds: PositiveSeconds
    fact_layout: FactLayout
    base_fact_layout: FactLayout
    fact_memory_bytes: Count
    fact_disk_bytes: Count
    fact_ahead: bool
    restart_backoff_seconds: PositiveSeconds


class IngestSettings(Section):
    chunk_tokens: PositiveInt
    embed_batch: PositiveInt
    embed_threads: PositiveInt
    max_file_bytes: PositiveInt
    parse_workers: PositiveInt
    parse_seconds: PositiveSeconds
    parse_memory_bytes: PositiveInt
    ocr: Literal["off", "auto"]
    ocr_seconds: PositiveSeconds
    include: tuple[str, ...]
    exclude: tuple[str, ...]


class WebSettings(Section):
    allow: tuple[str, ...]
    max_pages: PositiveInt
    max_page_bytes: PositiveInt
    max_redirects: Count
    page_seconds: PositiveSeconds
    pause_seconds: Annotated[float, Field(ge=0)]


class IndexSettings(Section):
    questions: str
    max_recall_loss: Share
    keep: Count


class TrainingSettings(Section):
    recipe: str
    threads: Count
    niceness: Annotated[int, Field(ge=0, le=19)]
    min_rows: PositiveInt
    max_rows: PositiveInt
    max_file_bytes: PositiveInt
    max_queued: Count

    @property
    def num_threads(self) -> int:
        """`threads`, or half of the cores that this process may use."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // 2)


class RetrievalSettings(Section):
    candidates: PositiveInt
    dense_weight: Annotated[float, Field(ge=0)]
    lexical_weight: Annotated[float, Field(ge=0)]
    relevance_floor: Share
    max_chunks: PositiveInt
    max_tokens: PositiveInt
    merge_neighbours: bool
    max_chunks_per_document: PositiveInt
    duplicate_similarity: Annotated[float, Field(gt=0, le=1)]
    expand_neighbours: bool
    condense: Literal["off", "auto"]
    condense_seconds: PositiveSeconds
    reranker: str
    rerank_candidates: PositiveInt
    rerank_seconds: PositiveSeconds


class DriftSettings(Section):
    baseline_answers: PositiveInt
    window_days: PositiveInt
    min_answers: PositiveInt
    max_form_drop: Share
    max_citation_drop: Share
    max_refusal_change: Share


class Settings(Section):
    storage: StorageSettings
    models: ModelSettings
    server: ServerSettings
    engine: EngineSettings
    ingest: IngestSettings
    index: IndexSettings
    web: WebSettings
    retrieval: RetrievalSettings
    drift: DriftSettings
    training: TrainingSettings

    @property
    def data(self) -> DataDirectory:
        return DataDirectory(self.storage.data_dir.expanduser().absolute())

    @property
    def brands_dir(self) -> Path:
        chosen = self.storage.brands_dir
        return Path(chosen).expanduser().absolute() if chosen else SAMPLE / "brands"


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check all sources. Raises ConfigError that names the key, its value and the nearest known key."""
    environment = os.environ if environment is None else environment
    tree = tomllib.loads((resources.files("config") / "default.toml").read_text(encoding="utf-8"))
    chosen = path or (Path(environment["HOUSEVOICE_CONFIG"]) if environment.get("HOUSEVOICE_CONFIG") else None)
    if chosen is not None:
        _merge_file(tree, chosen)
    _merge_environment(tree, environment)
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        raise _explain(error) from error


def _merge_file(tree: dict[str, Any], path: Path) -> None:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"The settings file {path} cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {path} is not valid TOML: {error}.") from error
    for section, values in given.items():
        known = _known(section, tree, f"section [{section}] in {path}")
        if not isinstance(values, dict):
            raise ConfigError(f"{section} in {path} is not a section.", f"Write it as [{section}] with keys below.")
        for key, value in values.items():
            _known(key, known, f"key {section}.{key} in {path}")
            known[key] = value


def _merge_environment(tree: dict[str, Any], environment: Mapping[str, str]) -> None:
    long_names = {f"HOUSEVOICE_{s}_{k}".upper(): (s, k) for s, keys in tree.items() for k in keys}
    names = long_names | SHORT_NAMES
    for name, text in sorted(environment.items()):
        if not name.startswith("HOUSEVOICE_") or name in NOT_SETTINGS:
            continue
        section, key = _known(name, names, f"environment variable {name}")
        tree[section][key] = _parse(text, tree[section][key])


def _parse(text: str, default: object) -> object:
    """Read an environment value in the shape of its default; lists are JSON or comma-separated."""
    if isinstance(default, list):
        return json.loads(text) if text.startswith("[") else [part.strip() for part in text.split(",") if part.strip()]
    return text


def _known(key: str, known: Mapping[str, Any], what: str) -> Any:
    if key in known:
        return known[key]
    nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    raise ConfigError(f"Unknown {what}.", f"Did you mean {nearest[0]}?" if nearest else "")


def _explain(error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return ConfigError(
        f"The setting {where} = {first['input']!r} is not valid: {first['msg'].lower()}.",
        "config/default.toml explains each key.",
    )
