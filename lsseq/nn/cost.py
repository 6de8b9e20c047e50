"""What a layer costs: the one rule by which floating point operations are counted.

A multiplication and an addition for each weight that a value is multiplied by, so two for each entry of a matrix, of a
factor or of a diagonal, for each row of the batch and each step of the forward pass. Gates, norms and biases, which are
element by element, are not counted.
"""

from __future__ import annotations

from torch import nn


def weight_flops(layer: nn.Module, name: str) -> int:
    """Of the weights that a layer itself has as NAME or NAME_…, such as a matrix, or its factors of low rank."""
    own = layer.named_parameters(recurse=False)
    return 2 * sum(weight.numel() for full, weight in own if f"{full}_".startswith(f"{name}_"))
