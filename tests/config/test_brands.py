import re
import tomllib
from pathlib import Path

import pytest

from adapters.format_rules import violations
from config.brands import load_brand, load_brands
from config.errors import ConfigError
from config.gate import GateRules
from config.settings import SAMPLE


def test_the_sample_brands_load_and_their_refusals_keep_their_own_form() -> None:
    brands = load_brands(SAMPLE / "brands")
    assert set(brands) == {"halden", "pipkin"}
    for brand in brands.values():
        assert violations(brand.refusal, brand.format, is_refusal=True) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("refusel = 'no'", "Did you mean refusal?"),
        ("[sampling]\ntemprature = 1", "Did you mean temperature?"),
        ("[sampling]\ntemperature = 9", "sampling.temperature = 9"),
        ("title = ", "cannot be read"),
        ("json_schema = '{'", "json_schema in"),
    ],
)
def test_a_wrong_brand_file_names_file_key_and_remedy(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "acme.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_brand(path)
    assert message in str(caught.value)
    assert "acme.toml" in str(caught.value)


def test_a_schema_may_lie_beside_the_brand(tmp_path: Path) -> None:
    (tmp_path / "ticket.json").write_text('{"type": "object"}')
    (tmp_path / "acme.toml").write_text('output = "json"\njson_schema = "ticket.json"')
    assert load_brand(tmp_path / "acme.toml").json_schema == {"type": "object"}


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="brands_dir"):
        load_brands(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[gate]\nfrom = 0.9", "Unknown key gate.from"),
        ("[gate]\nform = 1.5", "gate.form = 1.5"),
        ('[gate]\nbetter_than_prompt = ["charm"]', "gate.better_than_prompt"),
        ("[format]\nsection = []", "Did you mean sections?"),
    ],
)
def test_a_gate_is_read_as_strictly_as_the_rest(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "acme.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_brands(tmp_path)
    assert message in str(error.value)


def test_the_gate_in_the_manual_is_the_default_one() -> None:
    page = (Path(__file__).parents[2] / "docs" / "voice-evaluation.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```toml\n(\[gate\].*?)```", page, re.DOTALL)
    shown = tomllib.loads(block)["gate"]
    assert GateRules.model_validate(shown) == GateRules()
    assert set(shown) == set(GateRules.model_fields)
