"""What recurrences have in common that PyTorch does not know: one layer, time first, kernels of this project or none.

Shape letters: T time, B batch, I input, H units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lsseq.nn.checks import check_dtype, check_member
from lsseq.nn.kernels.dispatch import Choice, Request, choose, describe
from lsseq.nn.kernels.factors import Factors
from lsseq.nn.kernels.followed import followed

Backend = Literal["auto", "fused", "reference"]


class SingleLayer(nn.Module, ABC):
    """Base of these recurrences; they read x (T, B, I)."""

    recurrence: ClassVar[str]
    """Name of the recurrence in the table of kernels."""
    num_layers = 1
    input_size: int
    """I."""
    hidden_size: int
    """H."""
    backend: Backend = "auto"

    def _register(
        self, shapes: dict[str, tuple[int, ...]], device: torch.device | str | None, dtype: torch.dtype | None
    ) -> None:
        """Parameters of these names and shapes, without values yet."""
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))

    def _take_backend(self, backend: Backend) -> None:
        """The back end that is asked for; options and parameters should be there.

        Raises:
            ValueError: there is none of this name, or it cannot serve the options.
        """
        check_member("backend", backend, ("auto", "fused", "reference"))
        self.backend = backend
        self.choose_backend(training=True)

    def _of(self, name: str) -> Tensor:
        """The parameter of a name."""
        found: Tensor = getattr(self, name)
        return found

    def _check(self, x: Tensor, *states: Tensor) -> None:
        """Raises ValueError unless an input is (T, B, I), T > 0, of the parameters' dtype, and each state (1, B, H)."""
        name = type(self).__name__
        if x.dim() != 3 or len(x) == 0 or x.shape[-1] != self.input_size:
            raise ValueError(f"{name}: expected an input (T, B, {self.input_size}) with T > 0, got {tuple(x.shape)}")
        shape = (1, x.shape[1], self.hidden_size)
        if (own := next(self.parameters(recurse=False), None)) is not None:
            check_dtype(x, own)
        for state in states:
            if state.shape != shape:
                raise ValueError(f"{name}: expected a state {shape}, got {tuple(state.shape)}")

    def choose_backend(self, training: bool, x: Tensor | None = None) -> Choice:  # noqa: ARG002 - that of every layer
        """The back end for an input, or for a long one like the parameters; training and evaluation have the same."""
        like = next(self.parameters()) if x is None else x
        traced = followed(like.device.type)
        # While a compiler follows, sizes may be symbols.
        states = None if x is None or traced else x.numel() // self.input_size
        request = Request(
            self.recurrence,
            self.backend,
            beyond_vendor=(self.recurrence,),
            vendor_only=(),
            beyond_fused=self._beyond_fused(),
            device=like.device.type,
            dtype=like.dtype,
            traced=traced,
            factors=self._factors(states),
        )
        return choose(request)

    def _beyond_fused(self) -> tuple[str, ...]:
        """What the fused kernels cannot serve of it."""
        return ()

    def _factors(self, states: int | None) -> Factors | None:  # noqa: ARG002 - for layers that have any
        """Hidden-to-hidden weights of low rank, for a call with so many states (T·B)."""
        return None

    @abstractmethod
    def flops(self) -> float:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`)."""

    def explain(self) -> str:
        """Which back end computes this layer and why, in one line."""
        choice = self.choose_backend(self.training)
        what = describe(choice.backend, next(self.parameters()).device.type)
        return f"{self.recurrence}: {choice.backend} ({what}): {choice.reason}"
