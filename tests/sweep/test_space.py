"""Spaces as a user writes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsseq.errors import RequestError, render
from lsseq.sweep.space import Choices, Range, check, combinations, finite, parse, read_spaces, split


@pytest.mark.parametrize(
    ("key", "text", "space"),
    [
        ("model.layers", "1,2,4", Choices(("1", "2", "4"))),
        ("model.layers", "2", Choices(("2",))),
        ("model.hidden", "[8, 16],[16,8],8", Choices(("[8, 16]", "[16,8]", "8"))),
        ("data.text", "'a,b',c", Choices(("'a,b'", "c"))),
        ("data.text", "../a.txt", Choices(("../a.txt",))),
        ("model.layers", "1..4", Range(1, 4, whole=True, log=False)),
        ("model.hidden", "log:16..256", Range(16, 256, whole=True, log=True)),
        ("training.lr", "log:1e-4..1e-2", Range(1e-4, 1e-2, whole=False, log=True)),
        ("model.zoneout.cell", "0..0.5", Range(0, 0.5, whole=False, log=False)),
        # A key that takes any number is no integer because its ends are.
        ("model.zoneout.cell", "0..1", Range(0, 1, whole=False, log=False)),
    ],
)
def test_spaces(key: str, text: str, space: object) -> None:
    assert parse(key, text) == space


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("4..1", "its end is not above its beginning"),
        ("2..2", "its end is not above its beginning"),
        ("log:0..1", "a logarithm needs numbers above 0"),
        ("log:a..b", "its ends are no numbers"),
        ("log:3", "it has no `..`"),
        ("1,,2", "a value is missing"),
        ("", "a value is missing"),
        ("nan..1", None),
    ],
)
def test_what_is_no_space(text: str, told: str | None) -> None:
    if told is None:
        assert parse("training.lr", text) == Choices((text,))
        return
    with pytest.raises(RequestError) as caught:
        parse("training.lr", text)
    assert render(caught.value).splitlines() == [
        f"error: the space `{text}` of `training.lr` cannot be read: {told}",
        "hint: a space is `a,b,c`, `1..4`, `0.1..0.5` or `log:1e-4..1e-2`",
    ]


@given(st.text(alphabet="a1.,:-[]{}'\" log", max_size=20))
def test_any_text_is_a_space_or_a_request_that_is_refused(text: str) -> None:
    try:
        space = parse("training.lr", text)
    except RequestError:
        return
    assert space.examples
    if isinstance(space, Range):
        assert space.low < space.high


@given(st.lists(st.from_regex(r"[a-z0-9._-]+", fullmatch=True), min_size=1, max_size=5, unique=True))
def test_choices_are_the_values_in_order(values: list[str]) -> None:
    assert parse("name", ", ".join(values)) in (Choices(tuple(values)), parse("name", ",".join(values)))
    assert parse("name", ",".join([*values, values[0], "x"])).examples == tuple(dict.fromkeys([*values, "x"]))


def test_a_file_and_the_command_line_over_it(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "training.lr: log:1e-4..1e-2\nmodel.hidden: [16, [8, 16]]\nmodel.recurrence: [lstm, gru]\ntraining.steps: 5\n"
        "data.text: ['a,b', c]\nmodel.layers: 1..2\n"
    )
    found = read_spaces(["model.layers=3"], file)
    assert found == {
        "training.lr": "log:1e-4..1e-2",
        "model.hidden": "16,[8, 16]",
        "model.recurrence": "lstm,gru",
        "training.steps": "5",
        "data.text": '"a,b",c',
        "model.layers": "3",
    }
    fixed, searched = split(found)
    assert fixed == {"training.steps": "5", "model.layers": "3"}
    assert searched.keys() == {"training.lr", "model.hidden", "model.recurrence", "data.text"}
    assert parse("data.text", found["data.text"]) == Choices(('"a,b"', "c"))
    for content, told in (("- 1\n", "must be a mapping"), ("model: {layers: 2}\n", "space of `model` is a mapping")):
        file.write_text(content)
        with pytest.raises(RequestError, match=told):
            read_spaces([], file)


def test_how_many_there_are() -> None:
    spaces = {"a": parse("model.layers", "1..3"), "b": parse("b", "x,y")}
    assert combinations(spaces) == 6
    assert [finite(space) for space in spaces.values()] == [[1, 2, 3], ["x", "y"]]
    assert combinations({**spaces, "c": parse("training.lr", "0..1")}) is None


@pytest.mark.parametrize(
    ("spaces", "told"),
    [
        ({"model.hiden": "1,2"}, "unknown key `model.hiden`"),
        ({"model.layers": "1,two"}, "model.layers must be an integer"),
        ({"model.zoneout.cell": "0..2"}, "model.zoneout.cell must be"),
        ({"training.lr": "log:1e-4..1e-2", "model.layers": "-1..2"}, "model.layers must be"),
    ],
)
def test_every_end_is_checked_before_anything_is_trained(spaces: dict[str, str], told: str) -> None:
    with pytest.raises(RequestError, match=told):
        check("quickstart", {key: parse(key, text) for key, text in spaces.items()}, {"training.steps": "5"})
    check("quickstart", {"model.layers": parse("model.layers", "1..2")}, {"training.steps": "5"})


def test_what_is_right_beside_another_value_is_not_refused() -> None:
    both = {"model.hidden": parse("model.hidden", "8,256"), "model.rank": parse("model.rank", "4,100")}
    check("quickstart", both, {})
    with pytest.raises(RequestError, match="more than the units of a layer"):
        check("quickstart", both | {"model.rank": parse("model.rank", "4,300")}, {})
