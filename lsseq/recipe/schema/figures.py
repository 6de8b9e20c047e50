"""Figures beside a recipe: published ones, and those that this project measured."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lsseq.recipe.schema.section import Count, NonNegative, Section, broken

Metric = Literal["nll", "perplexity", "bpc", "bpb", "accuracy", "mse"]
SplitName = Literal["train", "valid", "test"]


class Published(Section):
    """A figure from the literature."""

    metric: Metric
    split: SplitName = "test"
    value: float
    source: str
    """Paper and table."""
    protocol: str | None = None
    """How it was evaluated, where that is not the whole split with carried state."""
    parameters: Count | None = None
    """Number of parameters that the source states."""
    difference: str | None = None
    """Why the recipe's model has another number, where it is more than 2 % away."""

    @model_validator(mode="after")
    def _difference_of_what(self) -> Published:
        if self.difference is not None and self.parameters is None:
            raise broken("difference", "a `difference` explains `parameters`, and there are none beside it")
        return self


class Expected(Section):
    """A figure that this project measured with the recipe, against which `lsseq eval` compares."""

    metric: Metric
    split: SplitName = "test"
    value: float
    tolerance: NonNegative
    """Largest difference that counts as the same result."""
    seeds: list[int] | None = None
    steps: int | None = None
    minutes: float | None = None
    machine: str | None = None
    torch: str | None = None
