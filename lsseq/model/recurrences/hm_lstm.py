"""HM-LSTM: layers that update where the layer below has found a boundary (`lsseq.nn.HMLSTM`)."""

from __future__ import annotations

import lsseq.nn as lnn
from lsseq.model.hierarchical import Hierarchical, OutputModule, Prior, binomial_prior, ratio_prior
from lsseq.model.initialisation import initialise_hierarchy
from lsseq.model.recurrence import Recurrence
from lsseq.model.served import serves
from lsseq.recipe import schema
from lsseq.recipe.faults import KeyFault


def build(model: schema.Model, input_size: int) -> Recurrence:
    """The HM-LSTM that a recipe describes."""
    serves(
        model,
        *("boundary", "hierarchy", "zoneout", "norm=layer", "rank", "diagonal", "tied_rank", "backend"),
        *("initialisation.weights", "initialisation.forget_bias"),
    )
    sizes = [model.hidden] * model.layers if isinstance(model.hidden, int) else model.hidden
    if model.boundary.target != "none" and len(sizes) == 1:
        raise KeyFault("model.boundary.target", "an HM-LSTM of one layer has no detector to be taught")
    if model.backend == "cudnn":
        raise KeyFault("model.backend", "PyTorch's own kernels cannot serve an HM-LSTM")
    try:
        hm = lnn.HMLSTM(
            input_size,
            sizes,
            model.layers,
            norm="layer" if model.norm == "layer" else None,
            zoneout_cell=model.zoneout.cell,
            zoneout_hidden=model.zoneout.hidden,
            detector=model.boundary.detector,
            gradient=model.boundary.gradient,
            on_copy=model.boundary.on_copy,
            nested=model.boundary.nested,
            top_down=model.hierarchy.top_down,
            flush=model.hierarchy.flush,
            copy_top=model.hierarchy.copy_top,
            rank=model.rank,
            diagonal=model.diagonal,
            tied_rank=model.tied_rank,
            backend=model.backend,
        )
    except ValueError as error:
        raise KeyFault("model.boundary.gradient", str(error)) from error
    initialise_hierarchy(hm, model.initialisation)
    output_size = model.hierarchy.output_size or sizes[-1]
    output = OutputModule(sizes, output_size, gated=model.hierarchy.output_gates)
    slope = model.boundary.slope
    if isinstance(slope, float):
        slope = schema.Slope(start=slope, per_epoch=0.0, limit=slope)
    return Hierarchical(hm, output, slope.at, _prior(model, len(sizes) - 1))


def _prior(model: schema.Model, detectors: int) -> Prior | None:
    prior = model.boundary.prior
    if prior is None:
        return None
    rates = [prior.rate] * detectors if isinstance(prior.rate, float) else prior.rate
    if len(rates) != detectors:
        raise KeyFault("model.boundary.prior.rate", f"expected one rate, or {detectors}: one a layer below the top")
    return {"binomial": binomial_prior, "ratio": ratio_prior}[prior.kind](rates, prior.weight)
