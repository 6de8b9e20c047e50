"""Every kind of model that a recipe can name, as small as can be."""

from __future__ import annotations

from typing import Any, get_args

from lsseq.recipe.schema.model import recurrence_names
from lsseq.recipe.schema.stack import Stack

_NEEDED: dict[str, dict[str, Any]] = {"hm-lstm": {"layers": 3}}
"""What a recurrence needs to be more than a trivial one."""

_STACKS: dict[str, dict[str, Any]] = {
    "residual": {"layers": 2},
    "tied": {"stack": {"steps": 3, "injection": "learned", "difference_rank": 2}},
    "deep-transition": {"stack": {"steps": 3}},
    "fractal": {"stack": {"columns": 2}},
}

_OPTIONS: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": {"cell": 0.3, "hidden": 0.1}},
    "low rank": {"rank": 2, "diagonal": True, "input_rank": 2},
    "layer norm": {"norm": "layer", "layers": 2},
    "batch norm": {"norm": "batch", "norm_steps": 4},
    "sizes": {"layers": 2, "hidden": [6, 5]},
    "reset before": {"recurrence": "gru", "reset": "before"},
    "relu": {"recurrence": "rnn", "activation": "relu"},
    "soft boundaries": {"recurrence": "hm-lstm", "layers": 2, "boundary": {"detector": "soft"}, "norm": "layer"},
    "low-rank hierarchy": {"recurrence": "hm-lstm", "layers": 2, "rank": 2, "zoneout": {"cell": 0.3}},
    "tied rhn": {"recurrence": "rhn", "rhn": {"tied": True}, "norm": "layer", "rank": 2},
    "mogrifier of low rank": {"recurrence": "mogrifier-lstm", "mogrifier": {"rank": 2}},
    "learned state": {"learned_initial_state": True},
    "tied weights": {"tied": True, "embedding": 6},
    "one-hot": {"embedding": "one-hot"},
    "adaptive softmax": {"adaptive_softmax": [3]},
}


def _with_stack(kind: str) -> dict[str, Any]:
    keys = _STACKS.get(kind, {})
    return {**keys, "stack": {"kind": kind, **keys.get("stack", {})}}


KINDS: dict[str, dict[str, Any]] = {
    **{name: {"recurrence": name, **_NEEDED.get(name, {})} for name in recurrence_names()},
    **{f"{kind} stack": _with_stack(kind) for kind in get_args(Stack.model_fields["kind"].annotation)},
    **_OPTIONS,
}
"""The `model` section of each, but for sizes. A recurrence or a stack that is added joins by itself."""
