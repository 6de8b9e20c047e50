"""JSON that anyone may have written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.json_text import parse_json

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**128), 2**128) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(values)
def test_values_come_back(value: object) -> None:
    assert parse_json(json.dumps(value)) == value
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ("[1" + "0" * 50 + "]", "an integer of 51 digits"),
        ('["\\ud83d"]', "half of a character"),
        ('{"a\\uDE00": 1}', "half of a character"),
        (b'["\\udfff"]', "half of a character"),
        ("9" * 10_000, "an integer of 10000 digits"),
        ("{", "Expecting"),
        (b"\xff\xfe\x00", "codec"),
    ],
)
def test_what_cannot_be_read_is_a_value_error(text: str | bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)
