"""What the sections of a recipe are made of: types of values, and the base of every mapping."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
"""A probability, both ends allowed: zoneout at 1 never changes its state."""
DropRate = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A probability of dropping: what is kept is divided by one minus it."""
Count = Annotated[int, Field(ge=1)]
Depth = Annotated[int, Field(ge=1, le=1000)]
"""A number of parts that are made one by one, such as layers."""
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
OpenRate = Annotated[float, Field(gt=0.0, lt=1.0)]


class Section(BaseModel):
    """A mapping in a recipe. Unknown keys are errors, values are not coerced, and null stands for the default."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    alternatives: ClassVar[tuple[frozenset[str], ...]] = ()
    """Groups of keys of which one, given in a recipe, takes the place of the others in the recipes that it extends."""

    chooser: ClassVar[str] = "kind"
    readers: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Keys that only some values of the key `chooser` read; with another one they are refused, unless they have their
    default."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str) and "kind" in cls.model_fields:
            return {"kind": value}
        if isinstance(value, dict):
            return {key: inner for key, inner in value.items() if inner is not None or key not in cls.model_fields}
        return value

    @model_validator(mode="after")
    def _only_what_is_read(self) -> Section:
        for key, values in self.readers.items():
            chosen = getattr(self, self.chooser)
            if chosen not in values and getattr(self, key) != type(self).model_fields[key].default:
                known = " and ".join(f"`{value}`" for value in values)
                raise broken(key, f"`{key}` is for the {self.chooser} {known} (got `{chosen}`)")
        return self


def broken(key: str, message: str, suggestion: str | None = None) -> PydanticCustomError:
    """What a validator raises when values do not go together: `key`, dotted, is the one to point at."""
    return PydanticCustomError("broken_rule", "{message}", {"key": key, "message": message, "suggestion": suggestion})
