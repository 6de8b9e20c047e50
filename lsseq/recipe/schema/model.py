"""The `model` section: the network."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from lsseq.errors import nearest
from lsseq.recipe.schema.section import Count, Depth, DropRate, NonNegative, OpenRate, Positive, Rate, Section, broken
from lsseq.recipe.schema.stack import Mogrifier, RecurrentHighway, Stack


class Zoneout(Section):
    """Probability that a unit keeps its old value at a step (Krueger et al. 2017)."""

    cell: Rate = 0.0
    """Rate for the cell state."""
    hidden: Rate = 0.0
    """Rate for the hidden state."""


class Dropout(Section):
    """Where activations or weights are dropped in training."""

    embedding: DropRate = 0.0
    """Whole words of the vocabulary (Gal & Ghahramani 2016)."""
    input: DropRate = 0.0
    """Embedded input."""
    hidden: DropRate = 0.0
    """Between the layers."""
    output: DropRate = 0.0
    """Output of the last layer."""
    recurrent: DropRate = 0.0
    """The candidate that is added to the cell state, without memory loss (Semeniuta et al. 2016)."""
    weight: DropRate = 0.0
    """Hidden-to-hidden weights, one mask a window (weight drop, Merity et al. 2018)."""
    state: DropRate = 0.0
    """`rhn`: the state that the matrices read, one mask a window (variational dropout, Gal & Ghahramani 2016)."""
    mask: Literal["sequence", "step"] = "sequence"
    """Masks of input, hidden and output: one for all steps of a window (locked, variational), or a new one a step."""


class Initialisation(Section):
    """How the parameters start."""

    weights: Literal["torch", "uniform", "orthogonal", "glorot"] = "torch"
    """Weights of the recurrence: as `torch.nn` does, uniform in ±range, orthogonal a gate, or Glorot uniform a gate."""
    range: Positive | None = None
    """Half width of the uniform initialisation of all weights; embedding and output layer use it where it is given."""
    forget_bias: float | None = None
    """Value of the effective bias of the LSTM's forget gate."""
    carry_bias: float | None = None
    """`gru`: value of the effective bias of the gate that keeps the old state, z of `torch.nn.GRU` (Miceli Barone 2016
    takes 4 or 5, with `weights: glorot`)."""


class Regularisation(Section):
    """Penalties on the activations of the last layer (Merity et al. 2018)."""

    activation: NonNegative = 0.0
    """α: weight of the mean square of the dropped-out output (AR)."""
    slowness: NonNegative = 0.0
    """β: weight of the mean squared change of the output between steps (TAR)."""


class Slope(Section):
    """A slope that grows with the epochs (slope annealing)."""

    start: Positive = 1.0
    """In the first epoch."""
    per_epoch: NonNegative = 0.04
    """How much is added after each."""
    limit: Positive = 5.0
    """It grows no further."""

    def at(self, epoch: int) -> float:
        """The slope after so many whole epochs."""
        return min(self.limit, self.start + self.per_epoch * epoch)


class Prior(Section):
    """A penalty that draws the rate of boundaries towards one that is given; no published HM-RNN has it."""

    kind: Literal["binomial", "ratio"]
    """binomial: minus the log-probability of so many boundaries (Nawrot et al. 2023); ratio: the loss of H-Net (Hwang
    et al. 2025)."""
    rate: OpenRate | Annotated[list[OpenRate], Field(min_length=1)]
    """Boundaries a symbol; a list has one number a layer below the top."""
    weight: Positive = 1.0
    """What it is multiplied by."""


class Teachers(Section):
    """The two-way targets: small LSTM language models, trained before the model on the same text. Of a pair one reads
    the text forward, the other backward."""

    pairs: Depth = 1
    """How many pairs; they differ by chance, and all their curves are added."""
    hidden: Count = 200
    """Units of their one layer."""
    embedding: Count = 64
    """Size of the embedding of a token."""
    dropout: DropRate = 0.25
    """Of the output."""
    steps: Count = 660
    """Steps of training, of 32 windows of 50 tokens each."""
    lexicon: Annotated[int, Field(ge=0)] = 0
    """How many times the marks are made again: each line is divided into the units that are likeliest, by how often
    they were marked before (a unigram model, Goldwater et al. 2009) and by the curve where they end."""


class Boundary(Section):
    """`hm-lstm`: how layers find boundaries (Chung et al. 2017)."""

    detector: Literal["step", "sample", "soft"] = "step"
    """A boundary where its probability is above 0.5; drawn with it in training; or the probability itself."""
    gradient: Literal["product", "select"] = "product"
    """Whether the choice of update, copy or flush passes a gradient to the boundaries (product) or not (select)."""
    slope: Positive | Slope = 1.0
    """Of the hard sigmoid that gives the probability: a number, or how it grows with the epochs."""
    on_copy: Literal["compute", "hold"] = "compute"
    """Whether a detector may fire where its layer copies."""
    nested: bool = False
    """A layer finds boundaries only where the layer below has one."""
    prior: Prior | None = None
    target: Literal["none", "own-surprise", "two-way-surprise", "two-way-line-ends"] = "none"
    """What detectors are taught to predict, with a cross-entropy beside the loss: nothing, as published; the peaks of
    the model's own surprisal (the lowest layer only); the peaks of the sum of surprisal and entropy of `teachers` from
    both sides; or of the probability that they give to an end of the line. Nobody tells true boundaries."""
    target_weight: Positive = 1.0
    """What the cross-entropy is multiplied by."""
    delay: Literal[0, 1] = 0
    """With a target: the detector fires so many symbols after the boundary. With 1 it has read the symbol behind it,
    and its scores are those at offset -1."""
    teachers: Teachers = Teachers()


class Hierarchy(Section):
    """`hm-lstm`: what the layers do, for comparisons with simpler ones, and what joins their outputs."""

    top_down: bool = True
    """A layer that starts anew reads the layer above."""
    flush: bool = True
    """A layer forgets its cell after a boundary of its own."""
    copy_top: bool = True
    """The top layer's output is copied where its cell is."""
    output_gates: bool = True
    """One gate a layer and step before the layers' outputs are added up."""
    output_size: Count | None = None
    """Size of what is read by the output layer; that of the top layer where absent."""


def recurrence_names() -> list[str]:
    """The recurrences that a recipe may name: the files of `lsseq/model/recurrences`."""
    folder = Path(__file__).parents[2] / "model" / "recurrences"
    return sorted(file.stem.replace("_", "-") for file in folder.glob("[!_]*.py"))


def _with_recurrences(schema: dict[str, Any]) -> None:
    schema["enum"] = recurrence_names()


class Model(Section):
    """The network."""

    recurrence: Annotated[str, Field(json_schema_extra=_with_recurrences)] = "lstm"
    """The step that is repeated."""
    hidden: Count | Annotated[list[Count], Field(min_length=1)] = 256
    """Units of a layer, or a list with one number a layer."""
    layers: Depth = 1
    """Number of layers."""
    embedding: Count | Literal["one-hot"] = 128
    """Size of the embedding of a token, or `one-hot`."""
    tied: bool = False
    """The output layer uses the embedding's weights."""
    adaptive_softmax: Annotated[list[Count], Field(min_length=1)] | None = None
    """Ascending cutoffs of an adaptive softmax (Grave et al. 2017); the full softmax where absent. `[2000, 10000]`: the
    first 2000 words at full size, those up to 10000 and the rest in clusters of a quarter and a sixteenth of the
    features. For words, whose order is that of falling frequency; a file of `data.vocabulary` must be in that order."""
    learned_initial_state: bool = False
    """The initial state is a parameter that starts at zero."""
    activation: Literal["tanh", "relu"] = "tanh"
    """Non-linearity of the `rnn`."""
    reset: Literal["after", "before"] = "after"
    """`gru`: the reset gate is applied after the matrix product (cuDNN) or before it (Cho et al. 2014)."""
    boundary: Boundary = Boundary()
    hierarchy: Hierarchy = Hierarchy()
    rhn: RecurrentHighway = RecurrentHighway()
    mogrifier: Mogrifier = Mogrifier()
    stack: Stack = Stack()
    rank: Count | None = None
    """Hidden-to-hidden matrices are products of factors of this rank, one a gate (Miceli Barone 2016)."""
    input_rank: Count | None = None
    """`lstm`, `gru`, `rnn`: the same of the matrices that multiply what each layer reads."""
    diagonal: bool = False
    """A diagonal matrix is added to each product; needs `rank`."""
    tied_rank: bool = False
    """The gates share the factor that the state is multiplied by, or the input; needs `rank` or `input_rank`."""
    zoneout: Zoneout = Zoneout()
    norm: Literal["layer", "batch"] | None = None
    """Normalisation inside the recurrence (layer: Ba et al. 2016; batch, `lstm` only: Cooijmans et al. 2017)."""
    norm_steps: Count | None = None
    """With `norm: batch`: steps with statistics of their own, the longest sequence or window of training."""
    dropout: Dropout = Dropout()
    initialisation: Initialisation = Initialisation()
    regularisation: Regularisation = Regularisation()
    recompute: bool = False
    """The recurrence is computed once more in the backward pass, which saves memory and costs time."""
    backend: Literal["auto", "cudnn", "fused", "reference"] = "auto"
    """Which implementation runs the recurrence; `auto` takes the fastest that can serve the options."""

    @field_validator("recurrence")
    @classmethod
    def _known_recurrence(cls, value: str) -> str:
        known = recurrence_names()
        if value not in known:
            suggestion = nearest(value, known) or f"known are {', '.join(known)}"
            raise broken("", f"unknown recurrence `{value}`", suggestion)
        return value

    @model_validator(mode="after")
    def _sizes_agree(self) -> Model:
        if isinstance(self.hidden, list) and len(self.hidden) != self.layers:
            raise broken("hidden", f"model.hidden lists {len(self.hidden)} sizes for {self.layers} layers")
        if self.tied:
            if self.embedding == "one-hot":
                raise broken("tied", "model.tied needs an embedding, and model.embedding is `one-hot`")
            last = self.hidden[-1] if isinstance(self.hidden, list) else self.hidden
            if self.embedding != last:
                message = f"model.tied needs embedding ({self.embedding}) equal to the last layer's hidden ({last})"
                raise broken("tied", message)
        return self

    @model_validator(mode="after")
    def _steps_of_the_norm(self) -> Model:
        if (self.norm == "batch") != (self.norm_steps is not None):
            raise broken("norm_steps", "model.norm_steps belongs to model.norm `batch`, which needs it")
        return self

    @model_validator(mode="after")
    def _stacks(self) -> Model:
        if self.stack.kind != "plain" and isinstance(self.hidden, list):
            raise broken("hidden", f"layers of a `{self.stack.kind}` stack have one size, and model.hidden is a list")
        self.stack.fits(self.layers)
        if self.norm == "batch" and (key := self.stack.sets_rows_apart) is not None:
            section = key.rpartition(".")[0]
            message = f"model.norm `batch` needs model.{key} `output`, or model.{section}.over `batch`"
            raise broken(key, f"{message}: rows of a batch must all be at the same step")
        return self

    @model_validator(mode="after")
    def _factors(self) -> Model:
        if self.rank is None and self.diagonal:
            raise broken("diagonal", "model.diagonal needs model.rank")
        if self.rank is None and self.input_rank is None and self.tied_rank:
            raise broken("tied_rank", "model.tied_rank needs model.rank")
        least = min(self.hidden) if isinstance(self.hidden, list) else self.hidden
        for key, rank in (("rank", self.rank), ("input_rank", self.input_rank)):
            if rank is not None and rank > least:
                raise broken(key, f"model.{key} ({rank}) is more than the units of a layer ({least})")
        return self

    @model_validator(mode="after")
    def _adaptive(self) -> Model:
        if self.adaptive_softmax is None:
            return self
        if self.tied:
            raise broken("adaptive_softmax", "model.adaptive_softmax has no weights that model.tied could share")
        if any(low >= high for low, high in pairwise(self.adaptive_softmax)):
            raise broken("adaptive_softmax", f"model.adaptive_softmax must ascend (got {self.adaptive_softmax})")
        return self
