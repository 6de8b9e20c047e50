"""HM-LSTM whose boundaries are forced at given rates."""

from __future__ import annotations

import pytest
import torch

from lsseq.measure.forced import ForcedHMLSTM


def test_boundaries_come_at_their_rates_at_the_same_places_each_time() -> None:
    layer = ForcedHMLSTM(2, 3, 3, boundary_rates=[0.3, 0.1])
    x = torch.randn(200, 64, 2)
    found = layer(x).boundaries
    assert found.unique().tolist() == [0, 1]
    assert found.mean((0, 1)).tolist() == pytest.approx([0.3, 0.1], abs=0.02)
    assert torch.equal(layer(torch.randn(200, 64, 2)).boundaries, found)


def test_detectors_learn_through_them_and_it_reads_on_from_states() -> None:
    layer = ForcedHMLSTM(2, 3, 2, boundary_rates=[0.5])
    x, states = torch.randn(6, 4, 2), [torch.randn(4, 3) for _ in range(4)]
    result = layer(x, states)
    result.outputs[1].sum().backward()
    assert layer.weight_ih_l0.grad[-1].any()
    h, c = tuple(states[:2]), tuple(states[2:])
    again = super(ForcedHMLSTM, layer).forward(x, (h, c, (torch.zeros(4, 1),) * 2), result.boundaries.detach())
    assert torch.equal(again.outputs[1], result.outputs[1])


def test_a_rate_for_each_layer_but_the_top() -> None:
    with pytest.raises(
        ValueError, match=r"3 layer\(s\) need 2 boundary rate\(s\), one for each but the top one; got 1"
    ):
        ForcedHMLSTM(2, 3, 3, boundary_rates=[0.3])


def test_operations_are_those_of_what_changes() -> None:
    def columns(*rates: float) -> float:
        """Of the four gates; the rows of the detectors are left out."""
        layer = ForcedHMLSTM(5, 7, 3, boundary_rates=rates)
        for name, weight in layer.named_parameters():
            if name.startswith("weight"):
                setattr(layer, name, torch.nn.Parameter(weight[: 4 * 7]))
        return layer.flops() / (2 * 4 * 7)

    # No boundaries: the first layer alone. Boundaries everywhere: all products at all steps.
    assert columns(0.0, 0.0) == 5 + 7
    assert columns(1.0, 1.0) == 5 + 7 + 4 * 7 + 2 * 7
