"""The whole recipe."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from lsseq.recipe.schema.data import Data
from lsseq.recipe.schema.evaluation import Evaluation
from lsseq.recipe.schema.figures import Expected, Published
from lsseq.recipe.schema.model import Model
from lsseq.recipe.schema.section import Section, broken
from lsseq.recipe.schema.training import Training


class Recipe(Section):
    """A whole recipe after all `extends` were merged."""

    name: str | None = None
    """Name of the run; the recipe's place in the catalogue where absent."""
    description: str | None = None
    """One line."""
    data: Data = Data()
    model: Model = Model()
    training: Training
    evaluation: Evaluation = Evaluation()
    published: list[Published] = Field(default_factory=list)
    expected: list[Expected] = Field(default_factory=list)

    @field_validator("name")
    @classmethod
    def _name_of_a_folder(cls, name: str | None) -> str | None:
        if name is not None and (name in ("", ".", "..") or any(symbol in name for symbol in "/\\\0")):
            raise broken("", f"name is that of a folder, and not a path (got `{name}`)")
        return name

    @field_validator("expected", "published", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    def expects(self, split: str, steps: int | None) -> list[Expected]:
        """The figures that are stated for a split after so many steps of training."""
        return [one for one in self.expected if one.split == split and one.steps in (None, steps)]

    @model_validator(mode="after")
    def _words_for_adaptive_softmax(self) -> Recipe:
        if self.model.adaptive_softmax is not None and self.data.unit != "word":
            message = f"model.adaptive_softmax is for data.unit `word`, ordered by frequency (got `{self.data.unit}`)"
            raise broken("model.adaptive_softmax", message)
        return self
