"""Which weights are asked for; this imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lsseq.errors import RequestError
from lsseq.recipe.schema import Recipe
from lsseq.runs import RunFolder


@dataclass(frozen=True)
class Structure:
    """The structure of recurrent weights: `model.rank`, `model.diagonal` and `model.tied_rank` of a recipe."""

    rank: int
    diagonal: bool = False
    tied: bool = False

    def check(self, run: RunFolder, recipe: Recipe) -> None:
        """Refuse what cannot be had from a run.

        Raises:
            RequestError: the run is of low rank already, or the rank is not below its units.
        """
        model = recipe.model
        if model.rank is not None:
            raise RequestError(
                f"the weights of {run} are of low rank already (model.rank is {model.rank})",
                hint="compress the dense run that it comes from",
            )
        units = model.hidden if isinstance(model.hidden, int) else min(model.hidden)
        if self.rank >= units:
            raise RequestError(
                f"rank {self.rank} is not below the {units} units of a layer of {run}",
                hint=f"below {units / 2:g} the factors hold fewer numbers than the matrices",
            )

    def overrides(self) -> list[str]:
        """As `KEY=VALUE` of a recipe."""
        keys = {"rank": self.rank, "diagonal": self.diagonal, "tied_rank": self.tied}
        return [f"model.{key}={json.dumps(value)}" for key, value in keys.items()]

    def beside(self, run: Path) -> Path:
        """A run folder beside another, such as `NAME-rank-32-diagonal`."""
        name = f"{run.name}-rank-{self.rank}" + ("-diagonal" if self.diagonal else "") + ("-tied" if self.tied else "")
        return run.with_name(name)
