"""Schemas become masks; broken and oversized ones are refused and never crash."""

import json
import random

import numpy as np
import pytest

from config.errors import BadRequestError
from server.engine.fake import END, fake_vocabulary
from server.engine.schema import MAX_SCHEMA_CHARACTERS, SchemaCompiler, SchemaMask

PERSON = (
    '{"type": "object", "properties": {"a": {"enum": ["x", "y"]}}, "required": ["a"], "additionalProperties": false}'
)


@pytest.fixture(scope="module")
def compiler() -> SchemaCompiler:
    return SchemaCompiler(fake_vocabulary())


def write(mask: SchemaMask, text: str) -> None:
    for byte in text.encode():
        assert mask.allowed()[byte], f"{chr(byte)!r} in {text!r}"
        mask.accept(byte)


def test_what_fits_is_allowed_to_its_end(compiler: SchemaCompiler) -> None:
    mask = compiler.compile(PERSON)
    write(mask, '{"a": "y"}')
    assert mask.is_complete
    assert np.flatnonzero(mask.allowed()).tolist() == [END]


def test_what_does_not_fit_is_not_allowed(compiler: SchemaCompiler) -> None:
    mask = compiler.compile(PERSON)
    write(mask, '{"a":"')
    assert {chr(token) for token in np.flatnonzero(mask.allowed())} == {"x", "y"}


def test_the_empty_schema_means_any_object(compiler: SchemaCompiler) -> None:
    mask = compiler.compile("{}")
    assert not mask.allowed()[ord("[")]
    write(mask, '{"free": [1, {"b": null}]}')
    assert mask.is_complete


def test_any_walk_through_the_masks_gives_valid_json(compiler: SchemaCompiler) -> None:
    chance = random.Random(5)
    for _ in range(20):
        mask, text = compiler.compile(PERSON), ""
        while not mask.is_complete:
            token = chance.choice(np.flatnonzero(mask.allowed()).tolist())
            text += chr(token)
            mask.accept(token)
        assert json.loads(text)["a"] in "xy"


def test_white_space_cannot_go_on_for_ever(compiler: SchemaCompiler) -> None:
    mask = compiler.compile(PERSON)
    write(mask, "{" + " " * 4)
    assert not mask.allowed()[ord(" ")]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ('{"type": "objekt"}', "objekt"),
        ("{nonsense", "cannot be read"),
        ("[" * 5_000, "cannot be read"),
        ("3", "cannot be read|not supported"),
        ('{"type": "string", "pattern": "("}', "not supported"),
        ('{"$ref": "#/nowhere"}', "not supported"),
        (json.dumps({"enum": ["x" * 100] * 300}), f"{MAX_SCHEMA_CHARACTERS} are allowed"),
    ],
)
def test_bad_schemas_are_refused_with_the_reason(compiler: SchemaCompiler, schema: str, message: str) -> None:
    with pytest.raises(BadRequestError, match=message) as refusal:
        compiler.compile(schema)
    assert refusal.value.param == "response_format"


def test_a_schema_that_explodes_while_it_is_followed_ends_in_an_error(compiler: SchemaCompiler) -> None:
    mask = compiler.compile('{"type": "string", "pattern": "^(a{1,5000}){1,5000}$"}')
    with pytest.raises(BadRequestError, match="cannot be followed"):
        write(mask, '"' + "a" * 5_000)
