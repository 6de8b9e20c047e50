"""Recurrent states of any structure: mapped, cut from the graph, saved and read back."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lsseq.nn.state import detach_state, flatten_state, map_state, select_rows, unflatten_state


class Pair(NamedTuple):
    h: Tensor
    c: Tensor


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and torch.equal(a, b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(equal, a, b))
    return a is b


states = st.recursive(
    st.none() | st.integers(0, 9).map(lambda n: torch.full((1, 2, 3), float(n))),
    lambda inner: st.one_of(
        st.lists(inner, max_size=12),
        st.lists(inner, max_size=12).map(tuple),
        st.dictionaries(st.text("abc_1", min_size=1, max_size=3), inner, max_size=4),
    ),
    max_leaves=20,
)


@given(states, st.sampled_from(["state", "carried", "state.(0)"]))
def test_saved_and_read_back(state: Any, prefix: str) -> None:
    tensors = flatten_state(state, prefix)
    assert all(isinstance(tensor, Tensor) and name.startswith(prefix) for name, tensor in tensors.items())
    others = {"weight": torch.zeros(1), f"{prefix}s": torch.zeros(1), f"other.{prefix}": torch.zeros(1)}
    shuffled = dict(sorted((tensors | others).items(), key=lambda item: hash(item[0])))
    assert equal(with_sorted_keys(unflatten_state(shuffled, prefix)), with_sorted_keys(state))


def with_sorted_keys(state: Any) -> Any:
    """A file does not keep the order of names."""
    if isinstance(state, dict):
        return {key: with_sorted_keys(state[key]) for key in sorted(state)}
    return type(state)(map(with_sorted_keys, state)) if isinstance(state, (tuple, list)) else state


def test_names() -> None:
    state = {"lstm": (torch.zeros(1), torch.ones(1)), "rest": [None, ()]}
    assert list(flatten_state(state)) == ["state.lstm(0)", "state.lstm(1)", "state.rest[0]=None", "state.rest[1]=()"]
    assert flatten_state(None) == {}
    assert unflatten_state({}) is None
    assert list(flatten_state(torch.zeros(1), "carried")) == ["carried"]


def test_map_keeps_the_structure() -> None:
    pair = Pair(torch.zeros(1), torch.ones(1))
    mapped = map_state(lambda tensor: tensor + 1, [pair, None, {"z": torch.ones(2)}])
    assert isinstance(mapped[0], Pair)
    assert equal(mapped, [Pair(torch.ones(1), torch.full((1,), 2.0)), None, {"z": torch.full((2,), 2.0)}])


def test_detach() -> None:
    h = torch.ones(1, requires_grad=True) * 2
    detached = detach_state((h, None))
    assert not detached[0].requires_grad
    assert equal(detached, (h.detach(), None))


def test_select_rows() -> None:
    h = torch.arange(12.0).view(2, 3, 2)
    chosen = select_rows((h, [h[0]]), torch.tensor([2, 0]))
    assert equal(chosen, (h[:, [2, 0]], [h[0, [2, 0]]]))


def test_what_is_no_state() -> None:
    message = r"^a state is None, a tensor, or a tuple, list or dict of states, not float$"
    for run in (detach_state, flatten_state):
        with pytest.raises(TypeError, match=message):
            run((torch.zeros(1), 0.5))
    with pytest.raises(ValueError, match=r"^the keys of a state should be words, got 'a.b'$"):
        flatten_state({"a.b": torch.zeros(1)})
