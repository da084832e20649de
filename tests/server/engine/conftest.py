"""What the engine's tests share: small settings, a bench, and the model files."""

from collections.abc import Callable
from pathlib import Path

import pytest

from config.models import resolve_base
from config.settings import EngineSettings, load_settings
from server.engine.backend import BackendShape
from server.engine.fake import DEFAULT_SHAPE
from tests.server.engine.bench import Bench

STORIES = Path(__file__).parents[4] / "shared/data/models/stories260K.gguf"


@pytest.fixture
def settings() -> EngineSettings:
    return load_settings(environment={}).engine.model_copy(
        update={
            "context_tokens": 256,
            "max_request_tokens": 120,
            "max_sequences": 8,
            "max_running": 4,
            "max_queued": 8,
            "prefill_slice_tokens": 16,
            "turn_steps": 3,
            "mix_brands": "off",
            "drafts": "auto",
        }
    )


@pytest.fixture
def make_bench(settings: EngineSettings) -> Callable[..., Bench]:
    def make(shape: BackendShape = DEFAULT_SHAPE, **changes: object) -> Bench:
        return Bench(settings.model_copy(update=changes), shape)

    return make


@pytest.fixture(scope="session")
def base_path() -> Path:
    """The default base."""
    return resolve_base(load_settings(environment={})).path


@pytest.fixture(scope="session")
def stories_path() -> Path:
    if not STORIES.exists():
        pytest.skip(f"{STORIES} is not there; it is test material that is not part of the project")
    return STORIES
