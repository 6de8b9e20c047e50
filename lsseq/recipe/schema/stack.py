"""The keys `model.stack`, `model.rhn` and `model.mogrifier`: layers that are dropped, mixed or shared along the depth,
and transitions of more than one step."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from lsseq.recipe.schema.section import Count, Depth, NonNegative, Rate, Section, broken

Survival = Annotated[float, Field(gt=0.0, le=1.0)]


class StochasticDepth(Section):
    """Layers of a residual stack that are dropped as a whole in training (Huang et al. 2016); recurrent layers, what
    their states do and how far a coin reaches are this project's own."""

    survival: Survival = 0.5
    """Probability that the last layer is kept."""
    schedule: Literal["linear", "constant"] = "linear"
    """Linear from the input down to `survival` at the last layer, or the same for all."""
    over: Literal["batch", "sequence", "step"] = "sequence"
    """What shares a coin: the whole batch of a window, the window of a row, or one step of a row."""
    state: Literal["output", "freeze", "reset"] = "output"
    """A dropped layer computes and only its output is dropped; keeps its state; or its state becomes zero."""
    min_alive: Annotated[int, Field(ge=0)] = 0
    """Layers that are kept at least."""
    scaling: Literal["train", "test"] = "train"
    """What a layer adds is divided by the probability that it is kept, or multiplied by it in evaluation (test)."""


class Swapout(Section):
    """Units of a residual stack that are mixed in training, Θ₁ ⊙ u + Θ₂ ⊙ f(u) (Singh et al. 2016); recurrent layers
    are this project's own."""

    input: Rate = 0.5
    """Probability that a unit of u is kept, at the last layer."""
    branch: Rate = 0.5
    """The same of f(u), where the coins are independent."""
    schedule: Literal["linear", "constant"] = "linear"
    """Linear from 1 at the first layer down to these at the last, or the same for all."""
    coupling: Literal["independent", "complementary", "equal"] = "independent"
    """Θ₁ and Θ₂ by themselves; Θ₂ = 1 - Θ₁ (SkipForward); or Θ₂ = Θ₁ (dropout)."""
    over: Literal["sequence", "step"] = "sequence"
    """One mask for all steps of a window, or a new one a step."""


class DropPath(Section):
    """Columns of a fractal stack that are dropped in training (Larsson et al. 2017)."""

    rate: Rate = 0.15
    """Of a window that drops locally: probability that a column is dropped at a join."""
    global_share: Rate = 0.5
    """Share of windows that keep one column alone in the whole network."""
    over: Literal["batch", "sequence"] = "sequence"
    """What shares its coins: the whole batch of a window, or the window of a row."""
    state: Literal["output", "freeze"] = "output"
    """Layers that take no part compute for the sake of their states, or keep them."""


class RandomSteps(Section):
    """How many repetitions a window of training has: 1 + Poisson(λ), λ log-normal (Geiping et al. 2025)."""

    mean: Annotated[float, Field(ge=1.0)] = 4.0
    """Their mean."""
    most: Depth = 8
    """More count as these."""
    spread: NonNegative = 0.5
    """Standard deviation of log λ."""

    @model_validator(mode="after")
    def _mean_is_possible(self) -> RandomSteps:
        if self.mean > self.most:
            raise broken("mean", f"the mean of random_steps ({self.mean:g}) is above the largest number ({self.most})")
        return self


class Stack(Section):
    """How the layers stand above each other. `residual`, `tied` and `fractal` stacks keep the width `hidden`, and a
    linear map without bias brings an input of another width to it."""

    readers: ClassVar = {
        "stochastic_depth": ("residual",),
        "swapout": ("residual",),
        "steps": ("tied", "deep-transition"),
        "random_steps": ("tied", "deep-transition"),
        "state": ("tied",),
        "pattern": ("tied",),
        "injection": ("tied", "deep-transition"),
        "difference_rank": ("tied",),
        "columns": ("fractal",),
        "sharing": ("fractal",),
        "drop_path": ("fractal",),
        "fast": ("fast-slow",),
        "slow": ("fast-slow",),
    }

    kind: Literal["plain", "residual", "tied", "deep-transition", "fractal", "fast-slow"] = "plain"
    """plain: each reads the one below. residual: each adds to what it reads, normalised. tied: residual, `steps`
    virtual layers made of `layers` cells. deep-transition: a step of the layers is made `steps` times a symbol.
    fractal: `layers` blocks of columns of different depths. fast-slow: cells that change one state in turns, and a slow
    one between the first two (Mujika et al. 2017)."""
    stochastic_depth: StochasticDepth | None = None
    """`residual`: layers are dropped."""
    swapout: Swapout | None = None
    """`residual`: units are mixed."""
    steps: Depth = 4
    """`tied`, `deep-transition`: how often the cells are run."""
    random_steps: RandomSteps | None = None
    """`tied`, `deep-transition`: training draws the number of steps for each window; evaluation takes `steps`."""
    state: Literal["output", "freeze"] = "output"
    """`tied`: whether layers above the drawn number compute for the sake of their states, or keep them."""
    pattern: Literal["cycle", "sequence", "middle"] = "cycle"
    """`tied`: A B A B; A A B B; or the first and the last layer by themselves and a cycle between them."""
    injection: Literal["none", "added", "learned"] = "added"
    """`tied`: whether virtual layers above the first read the input too, and whether with a learned weight.
    `deep-transition`: whether steps after the first read the symbol."""
    difference_rank: Count | None = None
    """`tied`: adds a matrix of this rank to each weight of each virtual layer (Bae et al. 2024)."""
    columns: Annotated[int, Field(ge=1, le=10)] = 3
    """`fractal`: columns of a block; the deepest has 2^(columns - 1) layers."""
    sharing: Literal["untied", "column", "all"] = "untied"
    """`fractal`: which layers have the same weights."""
    drop_path: DropPath | None = None
    """`fractal`: columns are dropped."""
    fast: Annotated[int, Field(ge=2, le=1000)] = 2
    """`fast-slow`: number of fast cells."""
    slow: Count | None = None
    """`fast-slow`: units of the slow cell; `hidden`, those of a fast one, where absent."""

    @model_validator(mode="after")
    def _goes_together(self) -> Stack:
        if self.stochastic_depth is not None and self.swapout is not None:
            raise broken("swapout", "model.stack.swapout and model.stack.stochastic_depth exclude each other")
        if self.kind == "deep-transition" and self.injection == "learned":
            raise broken("injection", "model.stack.injection is `none` or `added` in a `deep-transition`")
        return self

    @property
    def sets_rows_apart(self) -> str | None:
        """The key by which the states of some rows of a batch go on, and not those of others."""
        depth, paths = self.stochastic_depth, self.drop_path
        if depth is not None and depth.survival < 1 and depth.state != "output" and depth.over != "batch":
            return "stack.stochastic_depth.state"
        if paths is not None and paths.state == "freeze" and paths.over != "batch":
            return "stack.drop_path.state"
        return None

    def fits(self, layers: int) -> None:
        """Raises a broken rule of the model unless a stack of so many layers is possible."""
        least = 0 if self.stochastic_depth is None else self.stochastic_depth.min_alive
        if least > layers:
            key = "stack.stochastic_depth.min_alive"
            raise broken(key, f"model.{key} ({least}) is above the number of layers ({layers})")
        if self.kind == "tied" and self.steps < layers:
            raise broken("stack.steps", f"model.stack.steps ({self.steps}) is less than the cells, layers ({layers})")
        if self.kind == "fast-slow" and layers > 1:
            raise broken(
                "layers", f"model.layers of a `fast-slow` stack is 1: model.stack.fast has its cells (got {layers})"
            )
        if self.pattern == "middle" and layers < 3:
            raise broken("stack.pattern", f"model.stack.pattern `middle` needs 3 layers or more (got {layers})")


class Mogrifier(Section):
    """`mogrifier-lstm`: how input and state gate each other before a step (Melis et al. 2020)."""

    rounds: Annotated[int, Field(ge=0, le=1000)] = 5
    """How often, the input first."""
    rank: Count | None = None
    """Rank of the matrices of these gates; whole ones where absent."""


class RecurrentHighway(Section):
    """`rhn`: the highway layers within a step (Zilly et al. 2017)."""

    depth: Depth = 4
    """How many."""
    tied: bool = False
    """They share their weights."""
    random_steps: RandomSteps | None = None
    """With `tied`: training draws their number for each window; evaluation takes `depth`."""
    transform_bias: float = -2.0
    """Where the biases of their gates start; below 0 the state is carried."""

    @model_validator(mode="after")
    def _shared_or_fixed(self) -> RecurrentHighway:
        if self.random_steps is not None and not self.tied:
            raise broken("random_steps", "model.rhn.random_steps needs model.rhn.tied")
        return self
