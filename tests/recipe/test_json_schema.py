"""The JSON schema and the keys in words."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from lsseq.errors import RequestError
from lsseq.recipe.json_schema import json_schema, readable
from lsseq.recipe.keys import described, every_key, section_in
from lsseq.recipe.schema import Recipe


def test_the_schema_is_that_of_a_file() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(schema["properties"]) == ["extends", *Recipe.model_fields]
    assert schema["additionalProperties"] is False
    assert "required" not in schema
    assert schema["$defs"]["Published"]["required"] == ["metric", "value", "source"]
    lr = schema["$defs"]["Training"]["properties"]["lr"]
    assert lr["anyOf"] == [{"exclusiveMinimum": 0.0, "type": "number"}, {"type": "null"}]
    assert lr["description"] == "Learning rate."
    schedule = schema["$defs"]["Training"]["properties"]["schedule"]["anyOf"]
    assert {"$ref": "#/$defs/Schedule/properties/kind"} in schedule


def test_every_reference_of_the_schema_leads_somewhere() -> None:
    schema = json_schema()

    def references(part: Any) -> list[str]:
        if isinstance(part, dict):
            own = [part["$ref"]] if "$ref" in part else []
            return own + [found for inner in part.values() for found in references(inner)]
        return [found for inner in part for found in references(inner)] if isinstance(part, list) else []

    found = references(schema)
    assert found
    for reference in found:
        target: Any = schema
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert isinstance(target, dict)


def test_the_schema_is_the_same_each_time() -> None:
    first, second = (hashlib.sha256(json.dumps(json_schema()).encode()).digest() for _ in range(2))
    assert first == second


def test_a_part_of_the_schema() -> None:
    assert list(json_schema("model.zoneout")["properties"]) == ["cell", "hidden"]
    assert json_schema("training.seed")["default"] == 1


def test_a_section_in_words() -> None:
    assert readable("model.zoneout") == (
        "model.zoneout: Probability that a unit keeps its old value at a step (Krueger et al. 2017).\n"
        "\n"
        "  cell: a number from 0 to 1; default 0.0\n"
        "      Rate for the cell state.\n"
        "  hidden: a number from 0 to 1; default 0.0\n"
        "      Rate for the hidden state."
    )
    assert readable("training.seed") == "  seed: an integer from 0 to below 9223372036854775808; default 1"
    assert "  value: a number; must be given" in readable("published")


def test_an_unknown_section() -> None:
    with pytest.raises(RequestError) as caught:
        readable("model.zonout")
    assert (caught.value.message, caught.value.suggestion) == (
        "unknown key `model.zonout`",
        "did you mean `model.zoneout`?",
    )


@pytest.mark.parametrize("key", list(every_key()), ids=lambda key: key.path)
def test_every_key_is_described(key: Any) -> None:
    words = described(key.annotation)
    assert words
    assert "typing" not in words
    if section_in(key.annotation) is None:
        assert key.path.rpartition(".")[2] + ":" in readable(key.path)
