"""Which keys of a recipe's `model` section a recurrence serves."""

from __future__ import annotations

from collections.abc import Iterator

from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault

AROUND = (
    *("recurrence", "hidden", "layers", "stack", "learned_initial_state"),
    *("embedding", "tied", "adaptive_softmax", "regularisation"),
    *("dropout.embedding", "dropout.input", "dropout.output", "dropout.mask", "initialisation.range"),
)
"""Those that the model around a recurrence serves."""


def serves(model: schema.Model, *keys: str) -> None:
    """Refuse what a recurrence does not serve.

    Args:
        model: the section.
        keys: that the recurrence serves; the name of a section stands for all its keys, `KEY=VALUE` for one value.

    Raises:
        KeyFault: another key has another value than its default.
    """
    known = (*AROUND, *keys)
    for key, value in _changed(model, schema.Model()):
        if f"{key}={value}" in known or any(f"{key}.".startswith(f"{one}.") for one in known):
            continue
        refused = f"{key}: {value}" if any(one.startswith(f"{key}=") for one in known) else key
        raise KeyFault(f"model.{key}", f"the recurrence `{model.recurrence}` has no `{refused}`")


def _changed(section: schema.Section, usual: schema.Section) -> Iterator[tuple[str, object]]:
    """The keys whose values differ, with their values."""
    for name in type(section).model_fields:
        value, default = getattr(section, name), getattr(usual, name)
        if isinstance(value, schema.Section) and isinstance(default, schema.Section):
            yield from ((f"{name}.{key}", inner) for key, inner in _changed(value, default))
        elif value != default:
            yield name, value
