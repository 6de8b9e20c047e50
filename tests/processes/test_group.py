"""Two processes compute what one does, whatever the model draws, leaves out, averages and carries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from several import MODELS, STEPS, go_on, measure, recipe_of, start

from lsseq.processes.group import ALONE, Processes
from lsseq.recipe import KeyFault
from lsseq.runs import read_checkpoint

EXACT = {"rel": 1e-9, "abs": 1e-12}
"""In float64 nothing but the order of sums is left; some models magnify it from step to step."""


def approximately(values: dict[str, Any]) -> dict[str, Any]:
    return {name: pytest.approx(value, **EXACT) for name, value in values.items()}


@pytest.mark.parametrize("name", MODELS)
def test_two_train_as_one_does(name: str, trained_by_two: Path) -> None:
    two = json.loads((trained_by_two / f"{name}.json").read_text())
    state = start(name)
    one = go_on(name, state)
    assert len(one) == len(two["said"]) == STEPS
    for own, theirs in zip(one, two["said"], strict=True):
        assert theirs == approximately(own)
    assert one[-1]["error"] < one[0]["error"], "the model must have learned something for this test to say something"

    # The checkpoint does not show how many have written it, so that any number goes on from it.
    tensors, values = state.save()
    saved, said = read_checkpoint(trained_by_two / name, ["weights", "training"])
    for group, named in tensors.items():
        assert saved[group].keys() == named.keys()
        for key, tensor in named.items():
            torch.testing.assert_close(saved[group][key], tensor, rtol=1e-8, atol=1e-10, msg=key)
    for values_of in (values, said):
        del values_of["loop"]["clock"]
    for key in ("windows", "schedule", "averaging", "patience", "epoch_ended"):
        assert said["loop"][key] == values["loop"][key]
    assert {key: said[key] for key in ("step", "epoch", "tokens")} == {
        key: values[key] for key in ("step", "epoch", "tokens")
    }

    for own, theirs in zip(measure(name, state), two["figures"], strict=True):
        assert theirs == approximately(own)


@pytest.mark.parametrize("name", ["regularised", "hierarchical", "repeated"])
def test_one_goes_on_where_two_stopped(name: str, trained_by_two: Path) -> None:
    whole = start(name)
    expected = go_on(name, whole, STEPS + 6)[STEPS:]
    state = start(name)
    state.restore(*read_checkpoint(trained_by_two / name, ["weights", "training"]))
    assert state.step == STEPS
    for own, theirs in zip(expected, go_on(name, state, STEPS + 6), strict=True):
        assert theirs == approximately(own)


def test_uneven_batches_name_the_nearest_even_ones() -> None:
    assert [Processes(rank, 3).even_rows(12) for rank in range(3)] == [slice(0, 4), slice(4, 8), slice(8, 12)]
    with pytest.raises(KeyFault, match="a batch of 10 cannot be shared evenly by 4 processes") as caught:
        Processes(0, 4).even_rows(10)
    assert caught.value.hint == "the nearest that can: training.batch=8 or 12"
    with pytest.raises(KeyFault) as caught:
        Processes(1, 8).even_rows(3)
    assert caught.value.hint == "the nearest that can: training.batch=8"
    assert caught.value.key == "training.batch"


@pytest.mark.parametrize(("rows", "size"), [(10, 3), (2, 5), (8, 4), (0, 2)])
def test_every_row_is_one_process_s(rows: int, size: int) -> None:
    parts = [Processes(rank, size).rows(rows) for rank in range(size)]
    assert [row for part in parts for row in range(rows)[part]] == list(range(rows))
    lengths = [part.stop - part.start for part in parts]
    assert max(lengths) - min(lengths) <= 1


def test_who_is_alone_waits_for_nobody() -> None:
    values = torch.arange(3.0)
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.sum(values) is values
    assert ALONE.mean(values) is values
    assert ALONE.gather_rows(values) is values
    ALONE.add_up([values])
    assert values.tolist() == [0.0, 1.0, 2.0]
    with ALONE.lead_first():
        assert ALONE.lead
    assert recipe_of("adding").training.batch % 2 == 0


def test_the_threads_of_the_connection_end_with_it(trained_by_two: Path) -> None:
    """One that is left until the interpreter ends may abort the process then."""
    left = json.loads((trained_by_two / "threads.json").read_text())
    assert [name for name in left if "gloo" in name] == []
