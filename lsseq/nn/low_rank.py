"""From dense recurrent weights to those of low rank: what their singular values are, and the nearest factors.

dense = lnn.LSTM(64, 256)                       # trained
small = lnn.LSTM(64, 256, rank=32)
low_rank.load_dense(small, dense.state_dict())  # the share of the weights' energy that is kept
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lsseq.nn.gru import GRU
from lsseq.nn.hmlstm import HMLSTM
from lsseq.nn.lstm import LSTM
from lsseq.nn.mogrifier import MogrifierLSTM
from lsseq.nn.parts.transition import LowRank
from lsseq.nn.parts.truncation import truncate
from lsseq.nn.rhn import RHN
from lsseq.nn.rnn import RNN

_GATES: tuple[tuple[type[nn.Module], str], ...] = (
    (LSTM, "ifgo"),
    (GRU, "rzn"),
    (RNN, "h"),
    (HMLSTM, "ifgo"),
    (RHN, "ht"),
    (MogrifierLSTM, "ifgo"),
)
"""The gates of a layer, one letter each, in the order of the rows of its weights."""
_BESIDE = ("_right", "_diag", "_boundary")
"""What the names of the parameters end with that stand beside NAME_left in the place of a weight NAME."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """The singular values of what a gate multiplies its state by."""

    layer: int
    """From 1, in the order of the model."""
    gate: str
    """A letter of `torch.nn`'s equations: i, f, g, o of an LSTM; r, z, n of a GRU; h of an RNN; candidate h and gate t
    of a recurrent highway network, each of whose micro-layers counts as a layer."""
    values: Tensor
    """(min(H, S),), falling, float64."""

    def energy(self, rank: int) -> float:
        """The share of the sum of squares that the best matrix of a rank keeps."""
        squares = self.values.square()
        return float(squares[:rank].sum() / squares.sum())

    def rank_for(self, energy: float) -> int:
        """The least rank that keeps such a share."""
        shares = self.values.square().cumsum(0) / self.values.square().sum()
        return min(len(shares), int((shares < energy).sum()) + 1)


@torch.no_grad()
def spectra(model: nn.Module) -> list[Spectrum]:
    """Those of each gate of each layer of `lsseq.nn` in a model, dense or of low rank; detectors are left out."""
    found = []
    for layer, (weight, gates) in enumerate(_recurrent_weights(model), start=1):
        units = len(weight) // len(gates)
        for gate, matrix in zip(gates, torch.split(weight[: units * len(gates)], units), strict=True):
            found.append(Spectrum(layer, gate, torch.linalg.svdvals(matrix.double()).cpu()))
    return found


@torch.no_grad()
def load_dense(model: nn.Module, dense: Mapping[str, Tensor]) -> float:
    """Give a model with weights of low rank the parameters of a dense one, its weights by the nearest factors.

    Args:
        model: has NAME_left, NAME_right, and maybe NAME_diag, for each weight NAME that is to be of low rank.
        dense: the state dict of the same model without a rank.

    Returns:
        The share of the energy (the sum of squares) of the replaced weights that is kept: 1 less the squared distance
        over the energy.

    Raises:
        ValueError: no weight is of low rank in the model and dense in the other.
        RuntimeError: they differ in more than that.
    """
    target, state = model.state_dict(), dict(dense)
    replaced = {name: weight for name, weight in dense.items() if f"{name}_left" in target}
    if not replaced:
        raise ValueError("the model has no weight of low rank that is dense in what is loaded")
    energy = lost = 0.0
    for name, weight in replaced.items():
        del state[name]
        left, right = target[f"{name}_left"], target[f"{name}_right"]
        # The row of a detector stays as it is.
        gates, rest = weight[: len(left)], weight[len(left) :]
        factors = truncate(
            gates,
            left.shape[1],
            tied=len(right) == left.shape[1],
            diagonal=f"{name}_diag" in target,
            gates=len(right) // left.shape[1],
        )
        state |= {f"{name}_left": factors.left, f"{name}_right": factors.right}
        if factors.diagonal is not None:
            state[f"{name}_diag"] = factors.diagonal
        if len(rest):
            state[f"{name}_boundary"] = rest
        energy += float(gates.double().square().sum())
        lost += float((gates - factors.compose()).double().square().sum())
    model.load_state_dict(state)
    return 1.0 - lost / energy if energy else 1.0


def _recurrent_weights(model: nn.Module) -> Iterator[tuple[Tensor, str]]:
    """The hidden-to-hidden weights (G·H, S), an HM-LSTM's with its detector's row behind, and their gates."""
    for part in model.modules():
        gates = next((gates for kind, gates in _GATES if isinstance(part, kind)), None)
        if gates is None:
            continue
        names = [name for name, _ in part.named_parameters(recurse=False) if name.startswith("weight_hh_")]
        for name in dict.fromkeys(name.removesuffix("_left") for name in names if not name.endswith(_BESIDE)):
            yield _composed(part, name), gates


def _composed(layer: nn.Module, name: str) -> Tensor:
    if hasattr(layer, name):
        return layer.get_parameter(name)
    diagonal = getattr(layer, f"{name}_diag", None)
    return LowRank(layer.get_parameter(f"{name}_left"), layer.get_parameter(f"{name}_right"), diagonal).compose()
