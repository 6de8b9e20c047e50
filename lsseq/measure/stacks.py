"""Stacks whose layers are dropped or mixed, over the same stacks without: what such noise costs or saves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

import lsseq.nn as lnn
from lsseq.measure.case import Case, Shape
from lsseq.nn.stacks.parts import Stack

Make = Callable[[], nn.Module]
"""Makes a layer, each time a new one."""


def _residual(make: Make, layers: int, **noise: Any) -> Stack:
    return lnn.ResidualStack([make() for _ in range(layers)], **noise)


def _fractal(make: Make, layers: int, **noise: Any) -> Stack:
    return lnn.FractalStack(make, columns=3, blocks=layers, **noise)


@dataclass(frozen=True)
class Comparison:
    """A kind of stack with noise."""

    build: Callable[..., Stack]
    """(make, layers, **noise) -> the stack."""
    noise: Callable[[], Mapping[str, Any]]
    layers: int
    """By default; of a fractal stack the blocks, of seven layers each."""


COMPARISONS: dict[str, Comparison] = {
    "stochastic-depth": Comparison(
        _residual, lambda: {"stochastic_depth": lnn.StochasticDepth(0.5, over="batch", state="freeze")}, 8
    ),
    "swapout": Comparison(_residual, lambda: {"swapout": lnn.Swapout()}, 4),
    "swapout-step": Comparison(_residual, lambda: {"swapout": lnn.Swapout(over="step")}, 4),
    "drop-path": Comparison(_fractal, lambda: {"drop_path": lnn.DropPath()}, 1),
    "locked-dropout": Comparison(_residual, lambda: {"dropout": lnn.Dropout(0.25)}, 4),
}
"""By the names that `lsseq bench --stack` knows."""


@dataclass(frozen=True)
class StackCase:
    """A stack at one shape, with its noise and without."""

    stack: str
    """A name of `COMPARISONS`."""
    layer: Case
    """Each of its layers, which reads as many units as it has."""
    layers: int

    @property
    def name(self) -> str:
        """As `Case.name`, after the kind of stack."""
        return f"{self.stack}: {self.layer.name}"

    @property
    def shape(self) -> Shape:
        """That of the layers, and how many there are."""
        return replace(self.layer.shape, layers=self.layers)

    def what(self) -> dict[str, Any]:
        """The stack and its layers, as keys of a row."""
        return {"stack": self.stack, **self.layer.what()}

    def ours(self) -> Stack:
        """The stack with its noise.

        Raises:
            RequestError: as `Case.ours`.
        """
        return self._comparison.build(self.layer.ours, self.layers, **self._comparison.noise())

    def theirs(self) -> Stack:
        """The same stack without."""
        return self._comparison.build(self.layer.ours, self.layers)

    def sequence(self) -> Tensor:
        """See `Case.sequence`."""
        return self.layer.sequence()

    @property
    def products(self) -> int:
        """See `Case.products`; of all layers."""
        layer = replace(self.layer, backend="auto", device=torch.device("meta"))
        return round(self.shape.steps * self.shape.batch * replace(self, layer=layer).theirs().flops())

    @property
    def _comparison(self) -> Comparison:
        return COMPARISONS[self.stack]


class Calls:
    """Counts how often the recurrent layers of a module are computed, in each call of the module."""

    def __init__(self, module: nn.Module) -> None:
        self.of_each: list[int] = []
        module.register_forward_pre_hook(lambda *_: self.of_each.append(0))
        for layer in dict.fromkeys(_layers(module)):
            layer.register_forward_hook(self._computed)

    def _computed(self, *_: object) -> None:
        self.of_each[-1] += 1

    def take(self, first: int) -> float:
        """The mean over the calls from the first that counts on; counting begins anew."""
        counted, self.of_each = self.of_each[first:], []
        return sum(counted) / len(counted)


def _layers(module: nn.Module) -> Iterator[nn.Module]:
    """The recurrent layers of a module, which may have others inside: kernels that compute these call none of them."""
    if hasattr(module, "choose_backend"):
        yield module
        return
    for part in module.children():
        yield from _layers(part)
