"""Low-rank weights in kernels: multiplied factor by factor at every step, or composed once a call, as is cheaper."""

from __future__ import annotations

from dataclasses import dataclass

CHEAPER = 0.9
"""The relative cost (`Factors.cost`) up to which the CPU's kernels are faster factor by factor.

Measured with training steps on one thread, H 256 to 1024, B 4 to 128, T 30: the two were even at costs of 0.88 to 0.94.
For the input, H and I of 256 and 512, B 32: at 0.84 to 0.95. benchmarks/low_rank.py measures it anew.
"""

_LONG = 1 << 12
"""States of a call that counts as long: what it costs to compose is spread over many."""


@dataclass(frozen=True)
class Factors:
    """A product of low-rank weights with states or inputs, as far as its cost goes."""

    gates: int
    units: int
    rank: int
    tied: bool
    dropped: bool = False
    """Whether entries of the weights are dropped, which only the whole matrix has."""
    columns: int | None = None
    """I, where they multiply the input; None where it is the state."""
    called: str = "weights"
    """What they are, in a sentence."""
    known: bool = True
    """Whether the CPU's kernels of the recurrence can multiply factor by factor."""
    states: int = _LONG
    """T·B: how many states are multiplied in a call."""

    @property
    def cost(self) -> float:
        """Multiplications factor by factor, over those with the whole matrix and to compose it.

        For each state 2 G H r, or (1 + G) H r where the gates share R, over G H²; to compose, G H² r. For each input
        G r (4/3 I + H), or r (4/3 I + G H), over G H I; to compose, G H I r. R x is computed in the forward pass and
        once more in the backward pass, which makes a third more of it.
        """
        size = self.units if self.columns is None else self.columns
        sources = 1 if self.tied else self.gates
        reads = size if self.columns is None else 4 / 3 * size
        factored = self.states * (sources * reads + self.gates * self.units) * self.rank
        return factored / (self.gates * self.units * size * (self.states + self.rank))

    def composed(self, backend: str, device: str) -> tuple[bool, str]:
        """Whether a back end is given the whole matrix, composed once a call, and why."""
        composed = f"{self.called} of low rank are composed once a call, because"
        by_factor = f"{self.called} of low rank are multiplied factor by factor, which"
        if self.dropped:
            return True, f"{composed} weight_dropout drops entries of them"
        if backend == "reference":
            return False, f"{by_factor} defines the result"
        if backend == "cudnn" or device != "cpu" or not self.known:
            return True, f"{composed} these kernels know no factors"
        times = f"{self.cost:.2f} times the multiplications"
        if self.cost > CHEAPER:
            return True, f"{composed} factor by factor takes {times}"
        return False, f"{by_factor} takes {times} of whole ones"
