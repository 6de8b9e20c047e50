"""The HM-LSTM: layers that update when the layer below has found a boundary, and copy their state else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lsseq.nn.cells.hmlstm import HMState, HMWeights
from lsseq.nn.checks import check_dtype, check_member, check_rate
from lsseq.nn.cost import weight_flops
from lsseq.nn.kernels.dispatch import Choice, Request, choose, describe, hm_kernel
from lsseq.nn.kernels.factors import Factors
from lsseq.nn.kernels.followed import followed, transformed
from lsseq.nn.kernels.hierarchy import Hierarchy, HMOutput, Tensors
from lsseq.nn.kernels.uncompiled import uncompiled
from lsseq.nn.parts.boundary import DetectorKind
from lsseq.nn.parts.transition import Dense, LowRank, Stacked, transition_of, weight_shapes
from lsseq.nn.random import draw_key


class HMLSTM(nn.Module):
    """Hierarchical multiscale LSTM (Chung, Ahn and Bengio 2017, section 2.2; `lsseq.nn.cells.hmlstm` has the step).

    Each layer but the top one finds boundaries. After one it starts anew from the layer above (FLUSH), at one below it
    reads (UPDATE), and else it keeps its state (COPY). The top layer has no detector and only updates or copies.

    Args:
        input_size: I.
        hidden_size: H of all layers, or a list with one a layer.
        num_layers: L. A model of one layer is a plain LSTM.
        norm: `layer` normalises each product over the 4H gates before it is gated, and the cell inside the output's
            tanh only. The paper does not say where it normalises. Gains are `norm_ih_l{k}`, `norm_hh_l{k}`,
            `norm_th_l{k}` (4H), `norm_c_l{k}` and `norm_c_bias_l{k}` (H).
        zoneout_cell, zoneout_hidden: probability that a unit of c, of h, that a step changes keeps its old value
            (Krueger et al. 2017); masks in training, the rate in evaluation.
        detector: how a boundary is made of its probability z̃: `step` (z̃ > 0.5), `sample` (drawn with probability z̃ in
            training, as `step` in evaluation) or `soft` (z̃ itself, for which `gradient` must be `product`).
        slope: a in z̃ = max(0, min(1, (a s + 1) / 2)); an attribute that a schedule may change between calls. It
            changes the gradient, and with `step` nothing else.
        gradient: `product`, in which the choice of the operation passes a gradient to the boundaries that make it, or
            `select`, in which it passes none. The paper does not say which it takes.
        on_copy: whether a detector may fire (`compute`) where its layer copies, as the equations have it, or not
            (`hold`).
        top_down: whether a layer that starts anew reads the layer above.
        flush: whether a layer forgets its cell after a boundary of its own.
        copy_top: whether the top layer's h is copied where its cell is; else it is made anew from the cell.
        nested: whether a layer finds boundaries only where the layer below has one.
        rank: each layer's matrices of the gates that multiply its own state are L R, of this rank (Miceli Barone 2016).
            What a layer reads from below and from above, and the detectors, stay whole.
        diagonal, tied_rank: adds diag(D) to each L R; the gates share R.
        backend: `fused` for this project's kernels, in which a layer works only when something changes; `reference` for
            a loop over steps and layers, which defines the result; `auto` for the first where it can serve the options
            (it has no soft boundaries, no `copy_top=False`, no model of one layer and no gradient of boundaries that
            are given). `explain()` says which and why.
            With a rank `reference` multiplies by the factors, and for `fused` the matrix is composed once a call.
        device, dtype: of the parameters.

    The rows of all weights are i, f, g, o as in `torch.nn.LSTM` (4H), and the boundary's, which the top layer has not:
    `weight_ih_l{k}` from below, `weight_hh_l{k}` from the layer itself, `weight_th_l{k}` from above, `bias_l{k}`.
    With a rank, in the place of `weight_hh_l{k}` are its factors `weight_hh_l{k}_left` (4H, r) and `_right` (4r, H), or
    (r, H) with `tied_rank`, with `diagonal` `_diag` (4H,), and the boundary's row `_boundary` (1, H).

    Raises:
        ValueError: sizes that do not fit, a rate outside [0, 1], a rank that a matrix cannot have, an unknown name, or
            a back end that cannot serve.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 3,
        *,
        norm: Literal["layer"] | None = None,
        zoneout_cell: float = 0.0,
        zoneout_hidden: float = 0.0,
        detector: DetectorKind = "step",
        slope: float = 1.0,
        gradient: Literal["product", "select"] = "product",
        on_copy: Literal["compute", "hold"] = "compute",
        top_down: bool = True,
        flush: bool = True,
        copy_top: bool = True,
        nested: bool = False,
        rank: int | None = None,
        diagonal: bool = False,
        tied_rank: bool = False,
        backend: Literal["auto", "fused", "reference"] = "auto",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        sizes = [hidden_size] * num_layers if isinstance(hidden_size, int) else list(hidden_size)
        if len(sizes) != num_layers or min(input_size, *sizes, num_layers) < 1:
            raise ValueError(
                f"expected positive sizes and one hidden size a layer, got input_size={input_size}, "
                f"hidden_size={hidden_size}, num_layers={num_layers}"
            )
        check_member("norm", norm, (None, "layer"))
        check_rate("zoneout_cell", zoneout_cell)
        check_rate("zoneout_hidden", zoneout_hidden)
        check_member("detector", detector, ("step", "sample", "soft"))
        check_member("gradient", gradient, ("product",) if detector == "soft" else ("product", "select"))
        check_member("on_copy", on_copy, ("compute", "hold"))
        check_member("backend", backend, ("auto", "fused", "reference"))
        self.backend = backend
        self.input_size, self.hidden_size, self.num_layers = input_size, tuple(sizes), num_layers
        self.norm, self.zoneout_cell, self.zoneout_hidden = norm, zoneout_cell, zoneout_hidden
        self.detector, self.slope, self.gradient, self.on_copy = detector, slope, gradient, on_copy
        self.top_down, self.flush, self.copy_top, self.nested = top_down, flush, copy_top, nested
        self.rank, self.diagonal, self.tied_rank = rank, diagonal, tied_rank
        for k in range(num_layers):
            for name, shape in self._shapes(k).items():
                self.register_parameter(name, nn.Parameter(torch.empty(shape, device=device, dtype=dtype)))
        self.reset_parameters()
        self.choose_backend(training=True)

    def _shapes(self, k: int) -> dict[str, tuple[int, ...]]:
        H, top = self.hidden_size[k], k == self.num_layers - 1
        rows = 4 * H + (0 if top else 1)
        above = self.top_down and not top
        hidden = f"weight_hh_l{k}"
        own = weight_shapes(hidden, 4, H, H, self.rank, diagonal=self.diagonal, tied=self.tied_rank)
        if not top:
            own[hidden if self.rank is None else f"{hidden}_boundary"] = (rows, H) if self.rank is None else (1, H)
        shapes: dict[str, tuple[int, ...]] = {
            f"weight_ih_l{k}": (rows, self.hidden_size[k - 1] if k > 0 else self.input_size),
            **own,
            **({f"weight_th_l{k}": (rows, self.hidden_size[k + 1])} if above else {}),
            f"bias_l{k}": (rows,),
        }
        if self.norm is not None:
            gains = ["norm_ih", "norm_hh", *(["norm_th"] if above else [])]
            shapes |= dict.fromkeys([f"{gain}_l{k}" for gain in gains], (4 * H,))
            shapes |= {f"norm_c_l{k}": (H,), f"norm_c_bias_l{k}": (H,)}
        return shapes

    def reset_parameters(self) -> None:
        """Weights uniform in ±1/√H of their layer as in `torch.nn`, biases 0, gains 1.

        Of a low-rank weight an entry of L R has that variance, and D is uniform in ±0.01.
        """
        for k, H in enumerate(self.hidden_size):
            for name in self._shapes(k):
                parameter = self.get_parameter(name)
                if name.startswith("weight"):
                    nn.init.uniform_(parameter, -((1 / H) ** 0.5), (1 / H) ** 0.5)
                else:
                    nn.init.constant_(parameter, 0.0 if "bias" in name else 1.0)
            if self.rank is not None:
                cast(LowRank, transition_of(self, f"weight_hh_l{k}")).initialise((1 / H) ** 0.5)

    @uncompiled
    def forward(
        self,
        x: Tensor,
        state: tuple[Tensors, Tensors, Tensors] | None = None,
        boundaries: Tensor | None = None,
        *,
        straight_through: bool = True,
    ) -> HMOutput:
        """Reads x (T, B, I) on from a state (h, c, z), by default zeros.

        Args:
            x: the input.
            state: what the call before gave as `state`; z is a part of it, of the top layer 0 whatever is given.
            boundaries: (T, B, L-1) of 0 and 1, taken in place of those that the detectors find; any numbers where
                these are `soft`.
            straight_through: whether the detectors learn through boundaries that are given as through their own.

        Raises:
            ValueError: an input, a state or boundaries of another shape or with other values, or an input of another
                dtype than the parameters.
        """
        self._check(x, boundaries)
        hierarchy = self._hierarchy(boundaries, straight_through)
        states = self._initial(x) if state is None else self._given(state, x.shape[1])
        learns = boundaries is not None and boundaries.requires_grad
        backend = self.choose_backend(self.training, x, boundaries_learn=learns).backend
        return hm_kernel(backend, x.device.type)(x, states, hierarchy)

    def explain(self) -> str:
        """Which back end computes this layer and why, in one line."""
        choice = self.choose_backend(self.training)
        what = describe(choice.backend, next(self.parameters()).device.type)
        return f"HMLSTM: {choice.backend} ({what}): {choice.reason}"

    def choose_backend(
        self,
        training: bool,  # noqa: ARG002 - that of every layer
        x: Tensor | None = None,
        *,
        boundaries_learn: bool = False,
    ) -> Choice:
        """The back end for an input, or for one like the parameters; in training and in evaluation it is the same.

        `boundaries_learn`: boundaries are given that require a gradient.
        """
        like = next(self.parameters()) if x is None else x
        beyond = {
            "num_layers=1": self.num_layers == 1,
            "detector='soft'": self.detector == "soft",
            "copy_top=False": not self.copy_top,
            "a gradient of boundaries that are given": boundaries_learn,
        }
        request = Request(
            "HMLSTM",
            self.backend,
            beyond_vendor=("an HM-LSTM",),
            vendor_only=(),
            beyond_fused=tuple(option for option, chosen in beyond.items() if chosen),
            device=like.device.type,
            dtype=like.dtype,
            traced=followed(like.device.type),
        )
        if self.rank is not None:
            factors = Factors(4, max(self.hidden_size), self.rank, self.tied_rank, known=False)
            request = replace(request, factors=factors)
        return choose(request)

    def flops(self, below: Sequence[float] | None = None, changes: Sequence[float] | None = None) -> float:
        """Floating point operations of the products with weights, for one row and step (`lsseq.nn.cost`).

        Without shares all products are counted at every step. With them that from below is counted where there is a
        boundary below, those with a layer's state where it has changed, as the kernels compute them; the few rows by
        which a detector may fire elsewhere are not.

        Args:
            below: of each layer, the share of steps with a boundary below it; 1 for the first.
            changes: of each layer, the share of steps at which it does not copy.
        """
        L = self.num_layers
        below, changes = below or [1.0] * L, changes or [1.0] * L
        shares = {"ih": below, "hh": changes, "th": [*changes[1:], 0.0]}
        return sum(
            share * weight_flops(self, f"weight_{of}_l{k}")
            for of, each in shares.items()
            for k, share in enumerate(each)
        )

    def _hierarchy(self, boundaries: Tensor | None, straight_through: bool) -> Hierarchy:
        draws_masks = max(self.zoneout_cell, self.zoneout_hidden) > 0.0
        samples = self.detector == "sample" and boundaries is None
        return Hierarchy(
            weights=[self._weights(k) for k in range(self.num_layers)],
            detector=self.detector,
            slope=self.slope,
            gradient=self.gradient,
            holds=self.on_copy == "hold",
            nested=self.nested,
            flushes=self.flush,
            copies_top=self.copy_top,
            zoneout_cell=self.zoneout_cell,
            zoneout_hidden=self.zoneout_hidden,
            key=draw_key() if self.training and (draws_masks or samples) else None,
            forced=boundaries,
            straight_through=straight_through,
        )

    def _weights(self, k: int) -> HMWeights:
        own = transition_of(self, f"weight_hh_l{k}")
        boundary = getattr(self, f"weight_hh_l{k}_boundary", None)
        above = getattr(self, f"weight_th_l{k}", None)
        gains = ("norm_ih", "norm_hh", "norm_th", "norm_c", "norm_c_bias")
        others: list[Any] = [getattr(self, f"{name}_l{k}", None) for name in ("bias", *gains)]
        return HMWeights(
            Dense(getattr(self, f"weight_ih_l{k}")),
            own if boundary is None else Stacked((own, Dense(boundary))),
            None if above is None else Dense(above),
            *others,
        )

    def _initial(self, x: Tensor) -> list[HMState]:
        B = x.shape[1]
        return [HMState(x.new_zeros(B, H), x.new_zeros(B, H), x.new_zeros(B, 1)) for H in self.hidden_size]

    def _given(self, state: tuple[Tensors, Tensors, Tensors], B: int) -> list[HMState]:
        if len(state) != 3 or any(len(part) != self.num_layers for part in state):
            raise ValueError(f"expected a state (h, c, z) of {self.num_layers} tensors each")
        states = [HMState(*layer) for layer in zip(*state, strict=True)]
        for layer, H in zip(states, self.hidden_size, strict=True):
            for name, tensor, size in zip("hcz", layer, (H, H, 1), strict=True):
                if tensor.shape != (B, size):
                    raise ValueError(f"expected {name} of shape {(B, size)}, got {tuple(tensor.shape)}")
        *others, top = states
        return [*others, top._replace(z=torch.zeros_like(top.z))]

    def _check(self, x: Tensor, boundaries: Tensor | None) -> None:
        if x.dim() != 3 or x.shape[0] == 0 or x.shape[2] != self.input_size:
            raise ValueError(f"expected an input (T, B, {self.input_size}) with T > 0, got {tuple(x.shape)}")
        check_dtype(x, next(self.parameters()))
        T, B, L = x.shape[0], x.shape[1], self.num_layers
        if boundaries is not None and boundaries.shape != (T, B, L - 1):
            raise ValueError(f"expected boundaries of shape {(T, B, L - 1)}, got {tuple(boundaries.shape)}")
        # A transform, such as vmap, does not let values be seen.
        if boundaries is not None and self.detector != "soft" and not (transformed() or boundaries.is_meta):
            others = boundaries[(boundaries != 0) & (boundaries != 1)]
            if len(others) > 0:
                raise ValueError(f"expected boundaries of 0 and 1, got {others[0].item()}")

    def extra_repr(self) -> str:
        """The sizes, and the options that differ from their default."""
        defaults = {
            "norm": None,
            "zoneout_cell": 0.0,
            "zoneout_hidden": 0.0,
            "detector": "step",
            "slope": 1.0,
            "gradient": "product",
            "on_copy": "compute",
            "top_down": True,
            "flush": True,
            "copy_top": True,
            "nested": False,
            "rank": None,
            "diagonal": False,
            "tied_rank": False,
            "backend": "auto",
        }
        shown = [
            f"{name}={getattr(self, name)}" for name, default in defaults.items() if getattr(self, name) != default
        ]
        return ", ".join([str(self.input_size), str(list(self.hidden_size)), *shown])
