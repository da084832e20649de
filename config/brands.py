"""Brands: what a client picks as `model`. One TOML file each; the file's name is the brand's name."""

import difflib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from config.errors import ConfigError
from config.gate import GateRules

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class SamplingDefaults(BaseModel):
    """What applies where the client names nothing. Temperature 0 is greedy.

    dry_multiplier: how strongly answers that run in a circle are led out of it (DRY); 0 is off, 0.8 is usual.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] = 1.0
    dry_multiplier: Annotated[float, Field(ge=0, le=10)] = 0.0
    max_tokens: Annotated[int, Field(gt=0)] | None = None


class FormatRules(BaseModel):
    """What code can check about an answer's form; see `adapters.format_rules`.

    lines: how each line must start, in order; blank lines are ignored. repeated_lines: those that may occur up to
    max_repeats times in a row. cited_lines: those that must carry a citation like [2] (a refusal carries none).
    sections: how sections begin, each once and in this order, with text of any number of lines behind each.
    labels: the taxonomy; the answer's label must be one of them. label_at: where it stands: a key of a JSON answer
    ("ticket.category" for a nested one), else the beginning of its line ("Category:"); empty: the answer is the label.
    With output = "json" the answer must also fit the brand's json_schema.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    lines: tuple[str, ...] = ()
    repeated_lines: tuple[str, ...] = ()
    max_repeats: Annotated[int, Field(gt=0)] = 1
    cited_lines: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    banned: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    label_at: str = ""
    min_words: Annotated[int, Field(ge=0)] = 0
    max_words: Annotated[int, Field(gt=0)] = 1_000


class Brand(BaseModel):
    """One brand's file.

    adapter: "active" follows the registry's active version, "brand@3" pins one, "none" uses the base with the prompt.
    knowledge_bases: where facts come from; empty means plain chat without retrieval.
    system_prompt: stands in front of the last question, behind the voice boundary, so that facts stay brand-neutral.
    untuned_prompt: stands there instead while the brand has no adapter; it spells out the whole format for the base.
    refusal: said word for word when no document is relevant.
    refusal_bias: logits added to the refusal's next token for as long as the answer is a beginning of it (negative:
    refuse less); training measures the balanced value on its validation rows. Only with an adapter.
    format, gate: what an answer's form must be, and what a version must reach to be promoted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    title: str = ""
    description: str = ""
    adapter: str = "active"
    knowledge_bases: tuple[str, ...] = ()
    system_prompt: str = ""
    untuned_prompt: str = ""
    refusal: str = "The documents do not answer this."
    refusal_bias: Annotated[float, Field(ge=-20, le=20)] = 0.0
    output: Literal["text", "json"] = "text"
    json_schema: dict[str, Any] | None = None
    sampling: SamplingDefaults = SamplingDefaults()
    format: FormatRules = FormatRules()
    gate: GateRules = GateRules()

    @field_validator("system_prompt", "untuned_prompt", "refusal")
    @classmethod
    def _strip(cls, text: str) -> str:
        return text.strip()


def load_brands(directory: Path) -> dict[str, Brand]:
    """All brands of the folder by name. Raises ConfigError naming file, key and the nearest known key."""
    if not directory.is_dir():
        raise ConfigError(f"The brands folder {directory} does not exist.", "Set storage.brands_dir.")
    return {path.stem: load_brand(path) for path in sorted(directory.glob("*.toml"))}


def load_brand(path: Path) -> Brand:
    if not NAME.fullmatch(path.stem):
        raise ConfigError(f"{path.name} is no brand name.", "Use lower-case letters, digits, '.', '_' and '-'.")
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"The brand file {path} cannot be read: {error}.") from error
    schema = given.get("json_schema")
    if isinstance(schema, str):
        given["json_schema"] = _read_schema(path, schema)
    try:
        return Brand.model_validate({"title": path.stem, **given, "name": path.stem})
    except ValidationError as error:
        raise _explain(path, error) from error


def _read_schema(brand: Path, text: str) -> Any:
    """A schema stands in the file as JSON text, or as the name of a .json file beside it."""
    try:
        return json.loads((brand.parent / text).read_text(encoding="utf-8") if text.endswith(".json") else text)
    except (OSError, json.JSONDecodeError) as error:
        raise ConfigError(f"json_schema in {brand} cannot be read: {error}.") from error


def _explain(path: Path, error: ValidationError) -> ConfigError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        nested = {
            "sampling": list(SamplingDefaults.model_fields),
            "format": list(FormatRules.model_fields),
            "gate": list(GateRules.model_fields),
        }
        fields = nested.get(key.rpartition(".")[0], list(Brand.model_fields))
        nearest = difflib.get_close_matches(key.rpartition(".")[2], fields, n=1, cutoff=0.0)
        return ConfigError(f"Unknown key {key} in {path}.", f"Did you mean {nearest[0]}?")
    return ConfigError(f"{key} = {first['input']!r} in {path} is not valid: {first['msg'].lower()}.")
