from pathlib import Path

import pytest

from config.errors import ConfigError
from config.settings import load_settings


def test_defaults_need_nothing() -> None:
    settings = load_settings(environment={})
    assert settings.server.port == 8080
    assert settings.brands_dir.name == "brands"


def test_environment_wins_over_file_wins_over_defaults(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("[server]\nport = 9000\nmax_choices = 2\n[engine]\nthreads = 3\n")
    environment = {"HOUSEVOICE_CONFIG": str(file), "HOUSEVOICE_PORT": "9100", "HOUSEVOICE_ENGINE_MAX_RUNNING": "4"}
    settings = load_settings(environment=environment)
    assert (settings.server.port, settings.server.max_choices, settings.engine.threads) == (9100, 2, 3)
    assert settings.engine.max_running == 4


def test_lists_come_from_json_or_commas() -> None:
    settings = load_settings(environment={"HOUSEVOICE_SERVER_ALLOWED_HOSTS": "a.example, b.example"})
    assert settings.server.allowed_hosts == ("a.example", "b.example")


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HOUSEVOICE_PROT": "1"}, "Did you mean HOUSEVOICE_PORT?"),
        ({"HOUSEVOICE_ENGINE_THREAD": "1"}, "Did you mean HOUSEVOICE_ENGINE_THREADS?"),
        ({"HOUSEVOICE_PORT": "99999"}, "server.port = '99999' is not valid"),
        ({"HOUSEVOICE_RETRIEVAL_RELEVANCE_FLOOR": "often"}, "retrieval.relevance_floor = 'often'"),
        ({"HOUSEVOICE_CONFIG": "/nowhere.toml"}, "/nowhere.toml cannot be read"),
    ],
)
def test_wrong_environment_names_value_and_remedy(environment: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(environment=environment)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sever]\nport = 1\n", "Unknown section [sever]"),
        ("[server]\nprot = 1\n", "Did you mean port?"),
        ("server = 1\n", "server in"),
        ("[server\n", "not valid TOML"),
    ],
)
def test_wrong_file_names_key_and_nearest(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file, environment={})
    assert message in str(caught.value)
