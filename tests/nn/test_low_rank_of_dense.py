"""From dense layers to layers of low rank."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import lsseq.nn as lnn
from lsseq.nn.low_rank import load_dense, spectra

I, H = 3, 8

Make = Callable[..., Any]
LAYERS: list[tuple[Make, str, dict[str, Any]]] = [
    (lnn.LSTM, "ifgo", {"num_layers": 2, "norm": "layer"}),
    (lnn.LSTM, "ifgo", {"bidirectional": True}),
    (lnn.GRU, "rzn", {"reset": "before"}),
    (lnn.GRU, "rzn", {}),
    (lnn.RNN, "h", {}),
    (lnn.RHN, "ht", {"depth": 3}),
]


@pytest.mark.parametrize(("make", "gates", "options"), LAYERS)
def test_the_full_rank_computes_the_same(make: Make, gates: str, options: dict[str, Any]) -> None:
    dense = make(I, H, dtype=torch.float64, **options)
    x = torch.randn(7, 2, I, dtype=torch.float64)
    for variant in ({}, {"diagonal": True}):
        same = make(I, H, dtype=torch.float64, rank=H, **variant, **options)
        assert load_dense(same, dense.state_dict()) == pytest.approx(1.0, abs=1e-12)
        torch.testing.assert_close(same(x)[0], dense(x)[0], rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("make", "gates", "options"), LAYERS)
def test_spectra(make: Make, gates: str, options: dict[str, Any]) -> None:
    dense = make(I, H, **options)
    found = spectra(nn.Sequential(nn.Linear(2, 2), dense))
    names = [name for name, _ in dense.named_parameters() if name.startswith("weight_hh")]
    assert [(one.layer, one.gate) for one in found] == [(k, g) for k in range(1, len(names) + 1) for g in gates]
    last = getattr(dense, names[-1])[-H:]
    torch.testing.assert_close(found[-1].values.float(), torch.linalg.svdvals(last), rtol=1e-4, atol=1e-5)


def test_energy_and_the_rank_for_it() -> None:
    layer = lnn.RNN(1, 4)
    with torch.no_grad():
        layer.weight_hh_l0.copy_(torch.diag(torch.tensor([1.0, 3.0, 0.0, 2.0])))
    (one,) = spectra(layer)
    assert one.values.tolist() == pytest.approx([3.0, 2.0, 1.0, 0.0])
    assert [one.energy(rank) for rank in (1, 2, 3, 4)] == pytest.approx([9 / 14, 13 / 14, 1.0, 1.0])
    assert [one.rank_for(share) for share in (0.5, 0.7, 0.95, 1.0)] == [1, 2, 3, 3]


@torch.no_grad()
@pytest.mark.parametrize("variant", [{}, {"tied_rank": True}, {"diagonal": True}])
def test_what_is_kept_of_the_energy(variant: dict[str, bool]) -> None:
    dense = lnn.LSTM(I, H, num_layers=2, dtype=torch.float64)
    small = lnn.LSTM(I, H, num_layers=2, rank=3, dtype=torch.float64, **variant)
    kept = load_dense(small, dense.state_dict())
    whole = composed = 0.0
    for k in range(2):
        weight = getattr(dense, f"weight_hh_l{k}")
        left, right = getattr(small, f"weight_hh_l{k}_left"), getattr(small, f"weight_hh_l{k}_right")
        rights = [right] * 4 if "tied_rank" in variant else right.chunk(4)
        approximation = torch.cat([L @ R for L, R in zip(left.chunk(4), rights, strict=True)])
        if "diagonal" in variant:
            diagonals = getattr(small, f"weight_hh_l{k}_diag").chunk(4)
            approximation = approximation + torch.cat([torch.diag(d) for d in diagonals])
        whole += float(weight.square().sum())
        composed += float((weight - approximation).square().sum())
    assert kept == pytest.approx(1 - composed / whole, rel=1e-10)
    assert torch.equal(small.weight_ih_l1, dense.weight_ih_l1)


def test_spectra_of_factors_are_those_of_their_product() -> None:
    small = lnn.GRU(I, H, rank=2, diagonal=True)
    values = spectra(small)[1].values
    product = small.weight_hh_l0_left[H : 2 * H] @ small.weight_hh_l0_right[2:4]
    whole = product + torch.diag(small.weight_hh_l0_diag[H : 2 * H])
    torch.testing.assert_close(values.float(), torch.linalg.svdvals(whole), rtol=1e-4, atol=1e-6)


def test_the_row_of_a_detector_is_left_out_and_stays_as_it_is() -> None:
    hm = lnn.HMLSTM(I, [H, 5], 2)
    found = spectra(hm)
    assert [(one.layer, one.gate, len(one.values)) for one in found[:5]] == [
        *((1, gate, H) for gate in "ifgo"),
        (2, "i", 5),
    ]
    torch.testing.assert_close(
        found[3].values.float(), torch.linalg.svdvals(hm.weight_hh_l0[3 * H : 4 * H]), rtol=1e-4, atol=1e-5
    )

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            for part, shape in {"left": (4 * H, 2), "right": (8, H), "boundary": (1, H)}.items():
                self.register_parameter(f"weight_hh_l0_{part}", nn.Parameter(torch.empty(shape)))

    layer = Layer()
    load_dense(layer, {"weight_hh_l0": hm.weight_hh_l0.detach()})
    assert torch.equal(layer.weight_hh_l0_boundary, hm.weight_hh_l0[-1:])


def test_models_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="no weight of low rank that is dense in what is loaded"):
        load_dense(lnn.LSTM(I, H), lnn.LSTM(I, H).state_dict())
    with pytest.raises(RuntimeError, match="size mismatch for weight_ih_l0"):
        load_dense(lnn.LSTM(I, H, rank=2), lnn.LSTM(I + 1, H).state_dict())
