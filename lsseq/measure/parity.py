"""Whether a back end computes what the reference defines: outputs, last states and every gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lsseq.errors import RunError
from lsseq.measure.case import Case, Layer
from lsseq.measure.machine import without_tf32
from lsseq.nn import HMOutput
from lsseq.nn.explain import use_reference

_WIDER = {
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
    torch.float32: torch.float64,
    torch.float64: torch.float64,
}
_TOLERANCES = {  # of outputs and states, of gradients
    torch.bfloat16: (2e-2, 5e-2),
    torch.float16: (2e-3, 1e-2),
    torch.float32: (1e-6, 1e-5),
    torch.float64: (1e-12, 1e-10),
}
_SLACK = 4.0
"""How many times as much as in the reference rounding errors may have grown in a back end."""
_CUDNN = 20.0
"""How many times as much cuDNN may be off in float32: it approximates the gates, 9e-6 was measured on an H200."""
_STEPS = 32
"""Steps that are compared: longer sequences go through the same code, and rounding errors may grow with every step."""
_ELEMENTS = 1 << 21
"""Most hidden values that are compared, as the reference keeps dozens of numbers for each."""


@dataclass(frozen=True)
class Deviation:
    """How far a tensor is off, and how far it may be."""

    tensor: str
    error: float
    """Largest difference from the reference, over the reference's largest absolute value."""
    tolerance: float

    @property
    def met(self) -> bool:
        return self.error <= self.tolerance

    def __str__(self) -> str:
        return f"{self.tensor} is off by {self.error:.1e} of its largest value, where {self.tolerance:.1e} is allowed"


def measure_deviation(case: Case) -> Deviation:
    """The tensor of a case that its back end has furthest off, at the case's shape but for its length.

    Both compute with the same weights, input and masks: in training, with the gradients of input, initial states and
    parameters, and in evaluation without gradients. The reference computes in the next wider format where there is
    one, and in the case's own. How far it is off there says how rounding errors grow in this layer, which layer
    normalisation can make them do; where 4 times that is more than the tolerance of the format, so much is allowed.

    Raises:
        RequestError: the back end cannot serve the case.
    """
    shape = case.shape
    steps = max(1, min(shape.steps, _STEPS, _ELEMENTS // (shape.batch * shape.hidden * shape.layers)))
    case = replace(case, shape=replace(shape, steps=steps))
    generators = [case.device] if case.device.type == "cuda" else []
    with torch.random.fork_rng(devices=generators), without_tf32():
        torch.manual_seed(0)
        layer, x, states = case.ours(), case.sequence(), case.states()
        same = copy.deepcopy(layer)
        use_reference(same)
        truth = copy.deepcopy(same).to(_WIDER[case.dtype])
        wanted, own, found = (_results(one, x, states) for one in (truth, same, layer))
    approximate = case.device.type == "cuda" and layer.choose_backend(training=True).backend == "cudnn"
    slack = _CUDNN if approximate and case.dtype == torch.float32 else 1.0
    allowed = {name: slack * _TOLERANCES[case.dtype]["gradient" in name] for name in found}
    growth = max(_error(own[name], wanted[name]) / allowed[name] for name in found)
    factor = max(1.0, _SLACK * growth)
    deviations = [Deviation(name, _error(found[name], wanted[name]), factor * allowed[name]) for name in found]
    return max(deviations, key=lambda one: one.error / one.tolerance)


def require_parity(case: Case) -> None:
    """Raises RunError where the back end of a case does not compute what the reference does."""
    found = measure_deviation(case)
    if not found.met:
        backend = case.ours().choose_backend(training=True).backend
        raise RunError(
            f"{case.name} is not timed: its back end `{backend}` deviates from the reference: {found}",
            hint="`lsseq doctor` checks every back end here",
        )


def _results(layer: Layer, x: Tensor, states: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """By name, all that a layer computes from an input and initial states, in the layer's own format."""
    format = next(layer.parameters()).dtype
    inputs = {name: tensor.detach().to(format).requires_grad_() for name, tensor in {"the input": x, **states}.items()}
    x, *given = inputs.values()
    torch.manual_seed(1)  # governs the masks
    results = _named(layer(x, _hidden(given)))
    # Upstream gradients of ±1 are exact in every format.
    upstream = [torch.randint(0, 2, tensor.shape).mul(2).sub(1).to(tensor) for tensor in results.values()]
    inputs |= dict(layer.named_parameters())
    gradients = torch.autograd.grad(list(results.values()), list(inputs.values()), upstream)
    found = {name: tensor.detach() for name, tensor in results.items()}
    found |= {f"the gradient of {name}": tensor for name, tensor in zip(inputs, gradients, strict=True)}
    layer.eval()
    with torch.no_grad():
        evaluated = _named(layer(x, _hidden(given)))
    return found | {f"{name} in evaluation": tensor for name, tensor in evaluated.items()}


def _hidden(states: Sequence[Tensor]) -> Any:
    """The states as a layer takes them; None for the usual ones."""
    return states[0] if len(states) == 1 else tuple(states) or None


def _named(result: Any) -> dict[str, Tensor]:
    """What a layer returns, by name."""
    if isinstance(result, HMOutput):
        by_layer = {"the output": result.outputs, "h_n": result.state[0], "c_n": result.state[1]}
        layers = {f"{name} of layer {k}": part for name, parts in by_layer.items() for k, part in enumerate(parts)}
        return layers | {"z": result.boundaries, "z̃": result.probabilities, "s": result.sums}
    output, last = result
    h, *c = (last,) if isinstance(last, Tensor) else last
    return {"the output": output, "h_n": h, **({"c_n": c[0]} if c else {})}


def _error(found: Tensor, wanted: Tensor) -> float:
    """The largest difference over the largest value wanted; infinite where something is not finite."""
    difference = (found.to(wanted.dtype) - wanted).abs().max().item()
    if difference == 0.0:
        return 0.0
    error = difference / max(wanted.abs().max().item(), torch.finfo(wanted.dtype).tiny)
    return error if math.isfinite(error) else math.inf
