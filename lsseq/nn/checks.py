"""Checks of arguments that several modules take."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from lsseq.nn.kernels.followed import autocast_type

MaskOver = Literal["step", "sequence"]
"""How long a dropout mask lives: one step, or all steps of a call."""


def check_rate(name: str, rate: object) -> None:
    """Raises ValueError unless `rate` is a number in [0, 1]."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0.0 <= rate <= 1.0:
        raise ValueError(f"{name} should be a number in range [0, 1], got {rate!r}")


def check_rates(owner: object, *names: str) -> None:
    """Raises ValueError unless each attribute of these names is a number in [0, 1]."""
    for name in names:
        check_rate(name, getattr(owner, name))


def check_member(name: str, value: object, known: tuple[object, ...]) -> None:
    """Raises ValueError unless `value` is one of `known`."""
    if value not in known:
        raise ValueError(f"{name} should be one of {', '.join(map(repr, known))}, got {value!r}")


def check_dtype(x: Tensor, parameter: Tensor) -> None:
    """Raises ValueError unless an input has the dtype of a parameter, or autocast sees to it."""
    if x.dtype != parameter.dtype and autocast_type(x.device.type) is None:
        raise ValueError(f"expected an input and parameters of one dtype, got {x.dtype}, {parameter.dtype}")
