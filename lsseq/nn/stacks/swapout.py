"""Swapout: a coin a unit for what a layer reads, and another for what it adds (Singh, Hoiem and Forsyth 2016).

No result of it on recurrent networks was found published; that the coins hold for all steps is this project's own.

Shape letters: T time, B batch, H width, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from torch import Tensor, nn

from lsseq.nn.checks import MaskOver, check_member, check_rate
from lsseq.nn.parts.coins import Coin, Coupling, Pair, Theta, mix, schedule
from lsseq.nn.random import Draws, Kind, draw_key
from lsseq.nn.stacks.parts import Read, run
from lsseq.nn.state import State


@dataclass(frozen=True)
class Swapout:
    """How units of a residual stack are mixed in training: Θ₁ ⊙ u + Θ₂ ⊙ f_l(N(u)), each Θ a coin a unit.

    In evaluation the probabilities take the place of the coins. That is no exact mean over more than one layer, so
    that averages of several draws are better (the paper's stochastic inference).

    Args:
        input: probability of a 1 in Θ₁ at the last layer.
        branch: that of Θ₂; of no account unless the coins are independent.
        schedule: `linear` from 1 at the first layer to these at the last, the paper's best, or `constant`.
        coupling: `independent`; `complementary`, Θ₂ = 1 - Θ₁ (SkipForward, where Θ₁ ends at `input`); `equal`, Θ₂ = Θ₁
            (dropout of the layer's sum, not rescaled).
        over: `sequence`, one mask (B, H) for all steps of a call, or `step`, a new one each step.

    Raises:
        ValueError: a rate outside [0, 1], or an unknown name.
    """

    input: float = 0.5
    branch: float = 0.5
    schedule: Literal["linear", "constant"] = "linear"
    coupling: Coupling = "independent"
    over: MaskOver = "sequence"

    def __post_init__(self) -> None:
        check_rate("input", self.input)
        check_rate("branch", self.branch)
        check_member("schedule", self.schedule, ("linear", "constant"))
        check_member("coupling", self.coupling, get_args(Coupling))
        check_member("over", self.over, get_args(MaskOver))

    def check(self, layers: Sequence[nn.Module]) -> None:
        """Any layers will do."""

    @property
    def random(self) -> bool:
        """Whether training draws coins."""
        return self.input < 1.0 or (self.branch < 1.0 and self.coupling == "independent")

    def gates(self, x: Tensor, layers: int, training: bool) -> list[SwapoutGate]:
        """What each layer does with a sequence x (T, B, H) in one call; rates take the place of coins in evaluation."""
        draws = Draws.here(draw_key()) if training and self.random else None
        of_input = schedule(self.input, self.schedule, layers, first_is_safe=True)
        of_branch = schedule(self.branch, self.schedule, layers, first_is_safe=True)
        found = []
        for l, (first, second) in enumerate(zip(of_input, of_branch, strict=True)):
            coins = Coin(Kind.SWAPOUT_INPUT, first, self.over), Coin(Kind.SWAPOUT_BRANCH, second, self.over)
            own = None if draws is None else replace(draws, layer=draws.layer + l)
            found.append(SwapoutGate(*Pair(*coins, self.coupling).toss(own, x, x.shape[-1])))
        return found


@dataclass(frozen=True, eq=False)
class SwapoutGate:
    """The coins of one layer in one call, (T, B, H) each with T = 1 where they hold for all steps, or numbers."""

    first: Theta
    second: Theta

    def __call__(self, u: Tensor, state: State, read: Read, layer: nn.Module) -> tuple[Tensor, State]:
        """Θ₁ ⊙ u + Θ₂ ⊙ f(read(u)) for a sequence u (T, B, H), and the layer's state after it."""
        output, after = run(layer, read(u), state)
        return mix(self.first, u, self.second, output), after
