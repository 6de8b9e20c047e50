"""Recurrent states: None, a tensor, or a tuple, list or dict of states, to any depth.

The rows of the batch are dimension -2 of every tensor, as in (layers, B, H).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

State = Any
"""None, a tensor, or a tuple, list or dict (with names as keys) of states."""


def map_state(fn: Callable[[Tensor], Tensor], state: State) -> State:
    """The state with `fn` applied to every tensor; its structure stays, named tuples included.

    Raises:
        TypeError: something in it is no state.
    """
    if state is None:
        return None
    if isinstance(state, Tensor):
        return fn(state)
    if isinstance(state, Mapping):
        return {key: map_state(fn, value) for key, value in state.items()}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*(map_state(fn, value) for value in state))
    if isinstance(state, (tuple, list)):
        return type(state)(map_state(fn, value) for value in state)
    raise _not_a_state(state)


def detach_state(state: State) -> State:
    """The state cut off from the graph, for truncated backpropagation through time."""
    return map_state(Tensor.detach, state)


def select_rows(state: State, rows: Tensor) -> State:
    """The state of some rows of the batch, (…, len(rows), H) each; `rows` is an int64 tensor of indices."""
    return map_state(lambda tensor: tensor.index_select(-2, rows.to(tensor.device)), state)


def choose_rows(rows: Tensor, yes: State, no: State) -> State:
    """The rows of one state where `rows` (B, 1) is True, of another one of the same structure where it is False."""
    others = iter(flatten_state(no).values())
    return map_state(lambda tensor: torch.where(rows, tensor, next(others)), yes)


def flatten_state(state: State, prefix: str = "state") -> dict[str, Tensor]:
    """The tensors of a state by name, to be saved; `unflatten_state` gives the state back.

    The names say the structure: `state(0)` is the first item of a tuple, `state[0]` of a list, `state.h` the item `h`
    of a dict, and so on inwards, `state(1).h`. What has no tensor inside, such as None, is an empty tensor named
    `state(1)=None`. The state None as a whole has no names. Named tuples come back as plain ones.

    Raises:
        ValueError: a dict key that is not a word.
        TypeError: something in it is no state.
    """
    return {} if state is None else dict(_flatten(state, prefix))


def unflatten_state(tensors: Mapping[str, Tensor], prefix: str = "state") -> State:
    """The state whose tensors `flatten_state` named with this prefix; other names are passed over."""
    inner: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = _NAME.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if match:
            if match["empty"]:
                return _EMPTY[match["empty"]]
            inner.setdefault(match["item"] or "", {})[name] = tensor
    if not inner:
        return None
    first = next(iter(inner))
    if first == "":
        return inner[first][prefix]
    if first.startswith("."):
        return {item[1:]: unflatten_state(part, prefix + item) for item, part in inner.items()}
    # The order of names is lost in a file: (10) must not come before (2).
    items = sorted(inner, key=lambda item: int(item[1:-1]))
    values = [unflatten_state(inner[item], prefix + item) for item in items]
    return tuple(values) if first.startswith("(") else values


_EMPTY: dict[str, State] = {"None": None, "()": (), "[]": [], "{}": {}}
_NAME = re.compile(r"(?P<item>\(\d+\)|\[\d+\]|\.\w+)(?P<rest>.*)|=(?P<empty>.*)|")


def _flatten(state: State, at: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(state, Tensor):
        yield at, state
    elif state is None or (isinstance(state, (Mapping, tuple, list)) and not state):
        yield f"{at}={state}", torch.empty(0)
    else:
        for name, value in _items(state):
            yield from _flatten(value, at + name)


def _items(state: State) -> list[tuple[str, State]]:
    if isinstance(state, Mapping):
        wrong = [key for key in state if not re.fullmatch(r"\w+", str(key))]
        if wrong:
            raise ValueError(f"the keys of a state should be words, got {wrong[0]!r}")
        return [(f".{key}", value) for key, value in state.items()]
    if not isinstance(state, (tuple, list)):
        raise _not_a_state(state)
    left, right = "()" if isinstance(state, tuple) else "[]"
    return [(f"{left}{i}{right}", value) for i, value in enumerate(state)]


def _not_a_state(value: object) -> TypeError:
    return TypeError(f"a state is None, a tensor, or a tuple, list or dict of states, not {type(value).__name__}")
