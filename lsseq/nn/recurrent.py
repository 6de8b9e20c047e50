"""What the recurrent layers share: options and their checks, choice of back end, layers, packed and unbatched input."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils.checkpoint import checkpoint

from lsseq.nn.checks import MaskOver, check_member, check_rate
from lsseq.nn.kernels import vendor
from lsseq.nn.kernels.dispatch import BACKENDS, Choice, Request, choose, describe, kernel
from lsseq.nn.kernels.followed import followed, transformed
from lsseq.nn.kernels.layer import Layer, States, Weights
from lsseq.nn.kernels.uncompiled import uncompiled
from lsseq.nn.parts.coins import reaching
from lsseq.nn.parts.statistics import step_norms
from lsseq.nn.random import Draws, Kind, draw_key, keep_scale
from lsseq.nn.shards import has_other_parts
from lsseq.nn.weights import Parameters

Backend = Literal["auto", "cudnn", "fused", "reference"]


_RunLayer = Callable[[Tensor, States, list[Weights]], tuple[Tensor, States]]
"""(x, states of the layer (directions, B, H) each, weights of each direction) -> output, states."""


class Recurrent(Parameters):
    """Base of `LSTM`, `GRU` and `RNN`, between them and their namesake of `torch.nn`.

    The namesake holds the parameters and, while no option is active, does the work. This class adds the options:
    attributes that may be changed between calls, as a schedule of rates does. What an option is, the subclasses
    document.
    """

    zoneout_cell: float = 0.0
    zoneout_hidden: float = 0.0
    recurrent_dropout: float = 0.0
    dropout_mask: MaskOver = "step"
    norms: ClassVar[tuple[str | None, ...]] = (None, "layer")
    """What `norm` may be."""
    recompute: bool = False
    backend: Backend = "auto"

    @property
    def variant(self) -> str:
        """Which of the recurrences of its name this is: the reset of a GRU, the nonlinearity of an RNN."""
        return ""

    def _set_options(self, device: torch.device | str | None, **options: Any) -> None:
        """Takes the options of a subclass, checks them, and adds the parameters that they need, on a device."""
        for name, value in options.items():
            if name.startswith(("zoneout", "recurrent_dropout", "weight_dropout")):
                check_rate(name, value)
            setattr(self, name, value)
        check_member("dropout_mask", self.dropout_mask, ("step", "sequence"))
        check_member("norm", self.norm, self.norms)
        check_member("backend", self.backend, BACKENDS)
        if self.norm == "batch" and self.recompute:
            raise ValueError("recompute=True would take the statistics of norm='batch' twice")
        self._add_parameters(device)
        self.choose_backend(training=True)

    # --------------------------------------------------------------------------------------------------- back end

    def _beyond_vendor(self, training: bool) -> list[str]:
        """The options in force that PyTorch's kernels cannot serve, as a user writes them."""
        rates = {"zoneout_cell": self.zoneout_cell, "zoneout_hidden": self.zoneout_hidden}
        if training:
            rates["recurrent_dropout"] = self.recurrent_dropout
        options = [f"{name}={rate}" for name, rate in rates.items() if rate > 0.0]
        if self.norm is not None:
            options.append(f"norm='{self.norm}'")
        if self.variant == "before":
            options.append("reset='before'")
        return options

    def beyond_torch(self) -> list[str]:
        """What evaluation has that the namesake in `torch.nn` has not, as a user writes it; without it state dicts load
        both ways."""
        ranks = {"rank": self.rank, "input_rank": self.input_rank}
        return [*self._beyond_vendor(False), *(f"{name}={r}" for name, r in ranks.items() if r is not None)]

    def _vendor_only(self, packed: bool) -> list[str]:
        """What is asked for that only PyTorch's kernels serve."""
        only = ["bidirectional=True"] if self.bidirectional else []
        only += [f"proj_size={self.proj_size}"] if self.proj_size > 0 else []
        return [*only, "PackedSequence"] if packed else only

    def choose_backend(
        self, training: bool, x: Tensor | None = None, packed: bool = False, every_step: bool = False
    ) -> Choice:
        """The back end for an input; without one, for a long one like the parameters."""
        like = self._first if x is None else x
        traced = followed(like.device.type)
        # While a compiler follows, sizes may be symbols.
        states = None if x is None or traced else x.numel() // self.input_size
        factors, input_factors = self._factors(training, states)
        request = Request(
            self.recurrence,
            self.backend,
            (*self._beyond_vendor(training), *(("states of every step",) if every_step else ())),
            tuple(self._vendor_only(packed)),
            beyond_fused=("statistics of several processes",) if self._asks_others() else (),
            device=like.device.type,
            dtype=like.dtype,
            traced=traced,
            transformed=transformed(),
            factors=factors,
            input_factors=input_factors,
        )
        return choose(request)

    def _asks_others(self) -> bool:
        """Whether each step takes statistics of rows that other processes have."""
        return self.norm == "batch" and has_other_parts() and any(norm.of_batch for norm in step_norms(self))

    def explain(self) -> str:
        """Which back end computes this layer and why: one line, or two where training and evaluation differ."""
        lines = []
        for training in (True, False):
            choice = self.choose_backend(training)
            what = describe(choice.backend, self._first.device.type)
            lines.append(f"{choice.backend} ({what}): {choice.reason}")
        if lines[0] == lines[1]:
            return f"{self.recurrence}: {lines[0]}"
        return f"{self.recurrence} in training: {lines[0]}\n{self.recurrence} in evaluation: {lines[1]}"

    def _draws_masks(self) -> bool:
        """Whether a call draws random masks now."""
        if not self.training:
            return False
        between = self.dropout > 0.0 and self.num_layers > 1
        return between or max(self.zoneout_cell, self.zoneout_hidden, self.recurrent_dropout, self.weight_dropout) > 0.0

    # ---------------------------------------------------------------------------------------------------- forward

    @uncompiled
    def forward(self, input: Any, hx: Any = None) -> Any:
        """Runs the layers over a sequence; input, state and results as for the namesake in `torch.nn`.

        Raises RuntimeError, TypeError or ValueError for shapes and types that do not fit, and ValueError for a
        PackedSequence together with an option that PyTorch's kernels cannot serve.
        """
        packed = isinstance(input, PackedSequence)
        choice = self.choose_backend(self.training, input.data if packed else input, packed)
        if choice.backend == "cudnn" and not self._factored and not self._draws_masks() and not self.recompute:
            return super().forward(input, None if hx is None else self._hidden(self._states(input, hx)))
        if packed:
            return self._forward_packed(input, hx, choice)
        return self._forward_tensor(input, hx, choice)

    def states_of_every_step(self, input: Tensor, hx: Any = None) -> States:
        """The states after every step of every layer, (layers, T, B, H) each: h, and of an LSTM c.

        Args:
            input: (T, B, I), or (B, T, I) with `batch_first`.
            hx: the initial state, as for a call of the layer.

        Raises:
            ValueError: the input has no batch, or an option or `backend` is served by PyTorch's own kernels only, which
                do not tell.
        """
        if input.dim() != 3:
            raise ValueError(f"{self.recurrence}: Expected input to be 3D, got {input.dim()}D instead")
        choice = self.choose_backend(self.training, input, every_step=True)
        x, states = input.transpose(0, 1) if self.batch_first else input, self._states(input, hx)
        self._check(x, states)
        return self._run_layers(x, states, choice, every_step=True)[1]

    def _forward_tensor(self, input: Tensor, hx: Any, choice: Choice) -> tuple[Tensor, Any]:
        """Batched or unbatched input, brought to (T, B, I) and back."""
        if input.dim() not in (2, 3):
            raise ValueError(f"{self.recurrence}: Expected input to be 2D or 3D, got {input.dim()}D instead")
        batched = input.dim() == 3
        time_first = not (batched and self.batch_first)
        states = self._states(input, hx)
        if any(state.dim() != input.dim() for state in states):
            shapes = ", ".join(f"{state.dim()}-D" for state in states)
            raise RuntimeError(f"For {input.dim()}-D input, the state should also be {input.dim()}-D but got {shapes}")
        x = input if time_first else input.transpose(0, 1)
        if not batched:
            x, states = x.unsqueeze(1), tuple(state.unsqueeze(1) for state in states)
        self._check(x, states)
        output, states = self._run_layers(x, states, choice)
        if not batched:
            output, states = output.squeeze(1), tuple(state.squeeze(1) for state in states)
        return output if time_first else output.transpose(0, 1), self._hidden(states)

    def _forward_packed(self, input: PackedSequence, hx: Any, choice: Choice) -> tuple[PackedSequence, Any]:
        """A PackedSequence where `torch.nn` cannot serve it as a whole; states are in the caller's order."""
        states = self._states(input, hx)
        order, back = input.sorted_indices, input.unsorted_indices
        if order is not None and hx is not None:
            states = tuple(state.index_select(1, order) for state in states)
        self.check_forward_args(input.data, self._hidden(states), input.batch_sizes)
        output, states = self._run_layers(input.data, states, choice, input)
        if back is not None:
            states = tuple(state.index_select(1, back) for state in states)
        return PackedSequence(output, input.batch_sizes, order, back), self._hidden(states)

    def _run_layers(
        self,
        x: Tensor,
        states: States,
        choice: Choice,
        packed: PackedSequence | None = None,
        *,
        every_step: bool = False,
    ) -> tuple[Tensor, States]:
        """All layers, one after the other: x (T, B, I) or packed data, states (layers·directions, B, H) each.

        Gives the last output and states; with `every_step` the states after each, (layers, T, B, H).
        """
        key = draw_key() if self._draws_masks() else None
        found = []
        for k in range(self.num_layers):
            own = tuple(state.narrow(0, k * self._directions, self._directions) for state in states)
            if k > 0 and key is not None and self.dropout > 0.0:
                x = x * self._layer_dropout(x, Draws.here(key, k - 1), packed)
            if choice.backend == "cudnn":
                run = self._vendor_layer(packed)
            else:
                run = self._own_layer(k, key, choice.backend, every_step)
            weights = self._weights(k, key, choice)
            if self.recompute and torch.is_grad_enabled():
                # The masks are functions of the key, so that there is no generator to be put back.
                x, own = checkpoint(run, x, own, weights, use_reentrant=False, preserve_rng_state=False)
            else:
                x, own = run(x, own, weights)
            found.append(own)
        # A copy even of one layer's, because a view refuses `detach_()`.
        return x, tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def _vendor_layer(self, packed: PackedSequence | None) -> _RunLayer:
        return partial(
            vendor.run_layer,
            self.mode,
            bias=self.bias,
            bidirectional=self.bidirectional,
            batch_sizes=None if packed is None else packed.batch_sizes,
        )

    def _own_layer(self, k: int, key: int | None, backend: str, every_step: bool) -> _RunLayer:
        # Here and not when it runs: a backward pass that computes it once more may do so in another thread.
        draws = None if key is None else Draws.here(key, k)

        def run(x: Tensor, states: States, weights: list[Weights]) -> tuple[Tensor, States]:
            layer = self._layer(k, weights[0], draws, every_step=every_step)
            compute = kernel(self.recurrence, backend, x.device.type)
            x, states = compute(x, tuple(state.squeeze(0) for state in states), layer)
            return x, tuple(state.unsqueeze(0) for state in states)

        return run

    def _layer(self, k: int, weights: Weights, draws: Draws | None, *, every_step: bool = False) -> Layer:
        return Layer(
            weights=weights,
            draws=draws,
            gains=self._gains(k),
            zoneout_cell=self.zoneout_cell,
            zoneout_hidden=self.zoneout_hidden,
            recurrent_dropout=self.recurrent_dropout,
            variant=self.variant,
            every_step=every_step,
        )

    def first_states(self, x: Tensor, hx: Any) -> States:
        """What a kernel is given of the first layer's states, (B, H) each, in a call for x (T, B, I).

        Raises:
            RuntimeError, TypeError or ValueError: they do not fit, as in a call of the layer.
        """
        states = self._states(x, hx)
        self._check(x, states)
        return tuple(state[0] for state in states)

    def first_layer(self, x: Tensor) -> Layer:
        """What a kernel is given of the first layer in a call for x (T, B, I), with the masks of that call."""
        key = draw_key() if self._draws_masks() else None
        (weights,) = self._weights(0, key, self.choose_backend(self.training, x))
        return self._layer(0, weights, None if key is None else Draws.here(key))

    def _layer_dropout(self, x: Tensor, draws: Draws, packed: PackedSequence | None) -> Tensor:
        """The factors for the output x of a layer that goes into the next: a mask a step, or one for the sequence."""
        T, B = x.shape[:2] if packed is None else (len(packed.batch_sizes), int(packed.batch_sizes[0]))
        steps = T if self.dropout_mask == "step" else 1
        own = reaching(draws, self.dropout_mask)
        mask = own.mask(Kind.LAYER_DROPOUT, self.dropout, (steps, B, x.shape[-1]), x.device)
        if packed is not None:
            if packed.sorted_indices is not None:
                mask = mask.index_select(1, packed.sorted_indices)
            present = torch.arange(B) < packed.batch_sizes.unsqueeze(1)
            mask = mask.expand(T, -1, -1)[present.to(x.device)]
        return keep_scale(mask, self.dropout, x.dtype)

    # ----------------------------------------------------------------------------------------------------- states

    def _state_sizes(self) -> dict[str, int]:
        """The parts of the state, and the last size of each."""
        sizes = {"h": self.proj_size or self.hidden_size}
        if self.recurrence == "LSTM":
            sizes["c"] = self.hidden_size
        if self.norm == "batch":
            sizes["count"] = 1
        return sizes

    def _states(self, input: Tensor | PackedSequence, hx: Any) -> States:
        """The initial states as a tuple, zero where none is given.

        Raises:
            TypeError: something in them is no tensor.
            ValueError: there are more or fewer than the recurrence has.
        """
        if hx is not None:
            return self._given_states(tuple(hx) if isinstance(hx, (tuple, list)) else (hx,))
        if isinstance(input, PackedSequence):
            like, batch = input.data, [int(input.batch_sizes[0])]
        else:
            like, batch = input, [] if input.dim() == 2 else [input.shape[0 if self.batch_first else 1]]
        sizes = [size for name, size in self._state_sizes().items() if name != "count"]
        zeros = tuple(like.new_zeros(self.num_layers * self._directions, *batch, size) for size in sizes)
        return zeros if self.norm != "batch" else (*zeros, _count(zeros[0]))

    def _given_states(self, states: tuple[Any, ...]) -> States:
        """The states that a caller gives, and the count of batch norm where it is left out."""
        sizes = self._state_sizes()
        tensors = all(isinstance(state, Tensor) for state in states)
        if tensors and self.norm == "batch" and len(states) == 2:
            return (*states, _count(states[0]))
        if tensors and len(states) == len(sizes):
            return states
        rows = self.num_layers * self._directions
        expected = ", ".join(f"{name} ({rows}, B, {size})" for name, size in sizes.items())
        got = ", ".join(type(state).__name__ for state in states)
        message = f"{self.recurrence}: expected a state of the tensors {expected}; got ({got})"
        raise ValueError(message) if tensors else TypeError(message)

    def zero_state(self, input: Tensor) -> Any:
        """The initial state for an input, as a call without a state has it: zeros."""
        return self._hidden(self._states(input, None))

    def _check(self, x: Tensor, states: States) -> None:
        """Raises RuntimeError or ValueError unless x is (T, B, I), T > 0, and the states fit."""
        self.check_input(x, None)
        if len(x) == 0:
            raise RuntimeError("Expected sequence length to be larger than 0 in RNN")
        for (name, size), state in zip(self._state_sizes().items(), states, strict=True):
            expected = (self.num_layers * self._directions, x.shape[1], size)
            self.check_hidden_size(state, expected, f"Expected {name} size {{}}, got {{}}")

    def _hidden(self, states: States) -> Any:
        """The states as the caller has them: (h, c) for an LSTM, and the count of batch norm; h else."""
        return states if self.recurrence == "LSTM" else states[0]

    def extra_repr(self) -> str:
        """As `torch.nn`, with the options that differ from their default."""
        options: dict[str, object] = {"dropout_mask": "step", "norm": None, "recompute": False, "backend": "auto"}
        options |= {"reset": "after"} if self.recurrence == "GRU" else {}
        options |= dict.fromkeys(("zoneout_cell", "zoneout_hidden", "recurrent_dropout", "weight_dropout"), 0.0)
        options |= {"norm_steps": None, "rank": None, "input_rank": None, "diagonal": False, "tied_rank": False}
        shown = [f"{name}={getattr(self, name)}" for name, default in options.items() if getattr(self, name) != default]
        return ", ".join([super().extra_repr(), *shown])


def _count(h: Tensor) -> Tensor:
    """How many steps each row of the states (…, B, H) has read, (…, B, 1): none. Half formats could not count far."""
    return h.new_zeros(*h.shape[:-1], 1, dtype=torch.float32)
