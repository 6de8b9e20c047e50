"""Stochastic depth: residual layers that are dropped as a whole (Huang et al. 2016).

No result of it on recurrent networks was found published. What a dropped layer's state does (`StatePolicy`) and over
what a coin reaches are this project's own.

Shape letters: T time, B batch, H width, L layers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from lsseq.nn.checks import check_member, check_rate
from lsseq.nn.parts.choices import Choice, Outcome, settled
from lsseq.nn.parts.coins import (
    Over,
    of_the_batch,
    reaching,
    schedule,
    shape_of,
    survival_rates,
    survival_ways,
    survivals,
    survivors,
)
from lsseq.nn.random import Draws, Kind, Steps, draw_key
from lsseq.nn.stacks.parts import Read, require_one_step, run
from lsseq.nn.state import State, choose_rows, map_state

StatePolicy = Literal["output", "freeze", "reset"]
"""What a dropped layer does: it computes and only its output is dropped, so that its state goes on (`output`); it does
not compute and its state stays (`freeze`: zoneout of a whole layer); its state is zero afterwards (`reset`)."""


@dataclass(frozen=True)
class StochasticDepth:
    """How the layers of a residual stack are dropped in training: u + Θ_l ⊙ f_l(N(u)) with Θ_l one coin a layer.

    Args:
        survival: probability that the last layer is kept.
        schedule: `linear`, 1 - l / L · (1 - survival) for layer l of L, or `constant`, the same for all.
        over: how far a coin reaches: the `batch` of a call, as published, all steps of a `sequence` (a row) in a call,
            or one `step` of it. Steps that freeze or reset are computed one call a step, which is slow.
        state: what the state of a dropped layer does, see `StatePolicy`. Layers that freeze or reset over the whole
            batch are not computed.
        min_alive: layers that are kept at least: those that are missing are brought back at random.
        scaling: `train` divides by the probability of being kept in training, `test`, as published, multiplies by it in
            evaluation. Either way the mean of what one layer adds is the same.

    Raises:
        ValueError: a rate outside (0, 1], or an unknown name.
    """

    survival: float = 0.5
    schedule: Literal["linear", "constant"] = "linear"
    over: Over = "sequence"
    state: StatePolicy = "output"
    min_alive: int = 0
    scaling: Literal["train", "test"] = "train"

    def __post_init__(self) -> None:
        check_rate("survival", self.survival)
        if self.survival == 0:
            raise ValueError("survival should be above 0, got 0")
        check_member("schedule", self.schedule, ("linear", "constant"))
        check_member("over", self.over, get_args(Over))
        check_member("state", self.state, get_args(StatePolicy))
        check_member("scaling", self.scaling, ("train", "test"))

    def check(self, layers: Sequence[nn.Module]) -> None:
        """Raises ValueError unless these layers can keep `min_alive`, and be dropped for single rows."""
        if not 0 <= self.min_alive <= len(layers):
            most = len(layers)
            raise ValueError(f"min_alive should be in range [0, {most}], the number of layers, got {self.min_alive}")
        if self.random and self.state != "output" and self.over != "batch":
            require_one_step(layers, f"state={self.state!r} over a {self.over!r}")

    @property
    def random(self) -> bool:
        """Whether training draws coins."""
        return self.survival < 1.0

    def gates(self, x: Tensor, layers: int, training: bool) -> list[DepthGate]:
        """What each layer does with a sequence x (T, B, H) in one call; nothing is dropped in evaluation."""
        rates = schedule(self.survival, self.schedule, layers, first_is_safe=False)
        kept = survival_rates(tuple(rates), self.min_alive)
        if not training or not self.random:
            return [DepthGate(True, q if self.scaling == "test" else 1.0, self.state) for q in kept]
        scales = [1 / q if self.scaling == "train" else 1.0 for q in kept]
        return [DepthGate(a, scale, self.state) for a, scale in zip(self._alive(x, rates), scales, strict=True)]

    def _alive(self, x: Tensor, rates: list[float]) -> Sequence[Tensor | bool]:
        """Which layers are kept, as `DepthGate` has it."""
        if self.over != "step" and (alive := settled(partial(_choice, rates, self.min_alive))) is not None:
            return cast(Sequence[bool], alive)
        draws = reaching(Draws.here(draw_key()), self.over)
        found = survivors(draws, Kind.STOCHASTIC_DEPTH, rates, shape_of(x, self.over, 1), self.min_alive)
        return [bool(one) for one in found] if of_the_batch(self.over) else list(found.to(x.device))


def _choice(rates: list[float], least: int) -> Choice:
    """Which of so many layers are kept."""

    def outcomes() -> Iterator[Outcome]:
        for alive, p in survivals(rates, least):
            numbers = [str(l) for l, one in enumerate(alive, start=1) if one]
            which = f"layer{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}" if numbers else "no layer"
            yield Outcome(alive, p, f"{which} of {len(rates)}")

    return Choice(survival_ways(rates, least), outcomes)


@dataclass  # not frozen: torch.compile fails in the __init__ of a class that is
class DepthGate:
    """Whether one layer is kept in one call."""

    alive: Tensor | bool
    """For all, or (T, B, 1) with T = 1 where it holds for all steps."""
    scale: float
    """What the layer adds is multiplied by it."""
    policy: StatePolicy

    def __call__(self, u: Tensor, state: State, read: Read, layer: nn.Module) -> tuple[Tensor, State]:
        """u + Θ f(read(u)) for a sequence u (T, B, H), and the layer's state after it."""
        if isinstance(self.alive, bool):
            if not self.alive and self.policy != "output":
                return u, state if self.policy == "freeze" else map_state(torch.zeros_like, state)
            output, after = run(layer, read(u), state)
            return u + self._scaled(output) if self.alive else u, after
        if self.policy == "output":
            output, after = run(layer, read(u), state)
        elif len(self.alive) == 1:
            output, after = self._stopping(read(u), state, layer, self.alive[0])
        else:
            outputs, after, steps = [], state, Steps()
            for t, (x_t, alive) in enumerate(zip(torch.split(read(u), 1), self.alive.unbind(0), strict=True)):
                with steps.step(t):
                    output, after = self._stopping(x_t, after, layer, alive)
                outputs.append(output)
            output = torch.cat(outputs)
        return torch.addcmul(u, self.alive.to(u.dtype), output, value=self.scale), after

    def _stopping(self, x: Tensor, state: State, layer: nn.Module, alive: Tensor) -> tuple[Tensor, State]:
        """The layer's output, and its state where rows that are not alive (B, 1) froze or were reset."""
        output, after = run(layer, x, state)
        return output, choose_rows(
            alive, after, state if self.policy == "freeze" else map_state(torch.zeros_like, after)
        )

    def _scaled(self, output: Tensor) -> Tensor:
        return output if self.scale == 1.0 else output * self.scale
