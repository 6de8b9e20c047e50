"""The recipe: every key that a recipe file may hold, its type, its default and what it means.

The text under a field becomes the help of `lsseq recipes schema` and the JSON schema for editors. Nothing here imports
torch. A key that several recurrences share stands once; a recurrence that cannot serve a key refuses it when the model
is built.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from lsseq.errors import nearest

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
"""A probability, both ends allowed: zoneout at 1 never changes its state."""
DropRate = Annotated[float, Field(ge=0.0, lt=1.0)]
"""A probability of dropping: what is kept is divided by one minus it."""
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0.0)]
NonNegative = Annotated[float, Field(ge=0.0)]
OpenRate = Annotated[float, Field(gt=0.0, lt=1.0)]


class Section(BaseModel):
    """A mapping in a recipe. Unknown keys are errors, values are not coerced, and null stands for the default."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )

    alternatives: ClassVar[tuple[frozenset[str], ...]] = ()
    """Groups of keys of which one, given in a recipe, takes the place of the others in the recipes that it extends."""

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: Any) -> Any:
        if isinstance(value, str) and "kind" in cls.model_fields:
            return {"kind": value}
        if isinstance(value, dict):
            return {key: inner for key, inner in value.items() if inner is not None or key not in cls.model_fields}
        return value


def broken(key: str, message: str, suggestion: str | None = None) -> PydanticCustomError:
    """What a validator raises when values do not go together: `key`, dotted, is the one to point at."""
    return PydanticCustomError("broken_rule", "{message}", {"key": key, "message": message, "suggestion": suggestion})


# ---------------------------------------------------------------------------------------------------------------- data


class TextSplits(Section):
    """Own text that is already divided."""

    train: str
    """File with the training text."""
    valid: str
    """File with the validation text."""
    test: str | None = None
    """File with the test text."""


class HubDataset(Section):
    """A text data set read through the Hugging Face library `datasets`."""

    name: str
    """Name on the hub, a folder with data files, or a loader of `datasets` such as `text` or `parquet`."""
    config: str | None = None
    """Configuration of the data set, such as `wikitext-2-raw-v1`."""
    files: str | list[str] | dict[str, str | list[str]] | None = None
    """Local files for the loader, as `data_files` of `datasets.load_dataset`."""
    column: str = "text"
    """Column that holds the text."""
    separator: str = "\n"
    """What is put after each row."""
    revision: str | None = None
    """Git revision on the hub, so that the same text comes back."""


class SentencePiece(Section):
    """How a sentencepiece vocabulary is trained. It is lossless: every text is given back exactly."""

    algorithm: Literal["unigram", "bpe"] = "unigram"
    """Algorithm of sentencepiece."""


class Data(Section):
    """Which text, and the units that it is read in."""

    alternatives = (frozenset({"corpus", "text", "dataset"}),)

    corpus: str | None = None
    """Name of a corpus that `lsseq data list` shows."""
    text: str | list[str] | TextSplits | None = None
    """Own text, which takes the place of a corpus: a file, a folder or a list of files (cut 90/5/5 in order), or one
    file a split. Relative paths start at the current folder."""
    dataset: HubDataset | None = None
    """A text data set of the Hugging Face library instead of a corpus."""
    unit: Literal["char", "byte", "word", "sentencepiece"] = "char"
    """What a token is."""
    strip_spaces: bool = False
    """char, byte: the text is read without its spaces (U+0020, in training and afterwards), which become the gold that
    boundaries are scored against. Characters are then counted without them."""
    reverse: bool = False
    """char, byte: each split is read backwards, from its last symbol to its first. A line feed is a symbol like the
    others, so it comes before the line that it ended."""
    vocabulary_size: Count | None = None
    """Words, sentencepiece: the largest size. Characters: the size that the corpus is known to have."""
    minimum_count: Count = 1
    """Words that occur less often in the training text are read as `<unk>`."""
    vocabulary: str | None = None
    """File to read the vocabulary from: one token a line, an lsseq vocabulary.json, or a saved torchtext Vocab."""
    sentencepiece: SentencePiece = SentencePiece()

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        if self.text is not None and self.dataset is not None:
            raise broken("dataset", "data.text and data.dataset are both given; keep one")
        return self


# --------------------------------------------------------------------------------------------------------------- model


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
    folder = Path(__file__).parents[1] / "model" / "recurrences"
    return sorted(file.stem.replace("_", "-") for file in folder.glob("[!_]*.py"))


def _with_recurrences(schema: dict[str, Any]) -> None:
    schema["enum"] = recurrence_names()


class Model(Section):
    """The network."""

    recurrence: Annotated[str, Field(json_schema_extra=_with_recurrences)] = "lstm"
    """The step that is repeated."""
    hidden: Count | Annotated[list[Count], Field(min_length=1)] = 256
    """Units of a layer, or a list with one number a layer."""
    layers: Count = 1
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
    zoneout: Zoneout = Zoneout()
    norm: Literal["layer"] | None = None
    """Normalisation inside the recurrence (layer: Ba et al. 2016)."""
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
    def _adaptive(self) -> Model:
        if self.adaptive_softmax is None:
            return self
        if self.tied:
            raise broken("adaptive_softmax", "model.adaptive_softmax has no weights that model.tied could share")
        if any(low >= high for low, high in pairwise(self.adaptive_softmax)):
            raise broken("adaptive_softmax", f"model.adaptive_softmax must ascend (got {self.adaptive_softmax})")
        return self


# ------------------------------------------------------------------------------------------------------------ training


class Schedule(Section):
    """How the learning rate changes. A bare name, `schedule: cosine`, stands for `schedule: {kind: cosine}`."""

    alternatives = (frozenset({"milestones", "after"}),)

    kind: Literal["constant", "plateau", "step", "cosine"] = "constant"
    """plateau: times `factor` when validation did not improve more than `patience` times in a row; step: times `factor`
    at `milestones` or after each epoch from `after` on; cosine: falls to `final` over the budget of steps or epochs."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """What the learning rate is multiplied by."""
    patience: Annotated[int, Field(ge=0)] = 0
    """plateau: evaluations without improvement that are borne."""
    milestones: list[Count] | None = None
    """step: epochs at whose end the rate falls."""
    after: Count | None = None
    """step: the rate falls at the end of each epoch from this one on (Zaremba et al. 2014)."""
    final: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """cosine: the last rate as a fraction of the first."""
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the rate rises linearly from zero."""


class Averaging(Section):
    """Evaluate and keep an average of the weights instead of the weights."""

    kind: Literal["none", "asgd", "nt-asgd", "ema"] = "none"
    """asgd: plain mean from epoch `start` on; nt-asgd: plain mean from the first evaluation on that is not better than
    the best of all but the last `patience` (Merity et al. 2018); ema: exponential moving average."""
    start: Annotated[int, Field(ge=0)] = 0
    """asgd: the epochs that are left out."""
    patience: Annotated[int, Field(ge=0)] = 5
    """nt-asgd: the non-monotone interval, in evaluations."""
    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    """ema: weight of the old average at each step."""


class Training(Section):
    """How the model is fitted. Of `epochs`, `steps` and `minutes` the first that is reached ends the training."""

    optimizer: Literal["sgd", "adam", "adamw", "rmsprop"] = "adam"
    lr: Positive = 2e-3
    """Learning rate."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """sgd, rmsprop."""
    betas: tuple[DropRate, DropRate] = (0.9, 0.999)
    """adam, adamw."""
    amsgrad: bool = False
    """adam, adamw."""
    smoothing: DropRate = 0.99
    """rmsprop: decay of the mean square."""
    epsilon: Positive = 1e-8
    """Added to the denominator by adam, adamw and rmsprop."""
    weight_decay: NonNegative = 0.0
    schedule: Schedule = Schedule()
    averaging: Averaging = Averaging()
    clip: Positive | None = None
    """Limit of `clip_by`; none where absent."""
    clip_by: Literal["norm", "value", "update"] = "norm"
    """norm: of the whole gradient; value: of each element of it; update: norm of the step that the optimiser makes
    (Krueger et al. 2017)."""
    batch: Count = 64
    """Streams (or pieces) read side by side."""
    bptt: Count = 100
    """Steps of a window of truncated back-propagation through time."""
    random_bptt: bool = False
    """Window lengths vary about `bptt` and the learning rate with them (Merity et al. 2018)."""
    windows: Literal["stream", "pieces"] = "stream"
    """stream: windows follow each other and the state is carried; pieces: the text is cut from a random offset on in
    each epoch, the pieces are shuffled, and each begins from the initial state."""
    accumulate: Count = 1
    """Windows whose gradients are added before a step of the optimiser."""
    epochs: Count | None = None
    """Passes over the training text."""
    steps: Count | None = None
    """Steps of the optimiser."""
    minutes: Positive | None = None
    """Minutes of training, evaluations included."""
    log_every: Count = 50
    """Steps between the lines of metrics.jsonl."""
    evaluate_every: Count | None = None
    """Steps between evaluations on valid; at the end of each epoch where absent."""
    checkpoint_every: Count | None = None
    """Steps between saves of the state; at each evaluation where absent."""
    early_stopping: Count | None = None
    """Evaluations without improvement that end the training."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Number format of the matrix products; the parameters stay float32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Count | None = None
    """Threads of the CPU; what torch takes where absent."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1

    @field_validator("betas", mode="before")
    @classmethod
    def _list_of_two(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value

    @model_validator(mode="after")
    def _ends(self) -> Training:
        if self.epochs is None and self.steps is None and self.minutes is None:
            raise broken("steps", "nothing ends the training; give training.steps, training.epochs or training.minutes")
        if self.schedule.kind == "cosine" and self.epochs is None and self.steps is None:
            raise broken("schedule", "a cosine schedule needs a budget: training.steps or training.epochs")
        if self.schedule.kind == "step" and (self.schedule.milestones is None) == (self.schedule.after is None):
            raise broken("schedule", "a step schedule needs either `milestones` or `after`")
        return self


# ---------------------------------------------------------------------------------------------------------- evaluation


class DynamicEvaluation(Section):
    """Dynamic evaluation (Krause et al. 2018): the weights follow the text that was read."""

    lr: Positive = 1e-4
    """η."""
    decay: NonNegative = 0.02
    """λ: pull towards the trained weights."""
    epsilon: Positive = 1e-3
    """Added to the root mean square of the training gradients."""
    segment: Count = 20
    """Tokens between two updates."""


class NeuralCache(Section):
    """Neural cache (Grave et al. 2017): a pointer to the recent past."""

    size: Count = 500
    """Tokens that are remembered."""
    flatness: NonNegative = 0.3
    """θ: how sharply similar states are preferred."""
    weight: Rate = 0.1
    """λ: share of the cache in the mixture."""


class Evaluation(Section):
    """How the model is measured. Validation during training uses the same protocol with `training_streams` streams."""

    streams: Count = 1
    """Parts that a split is read in side by side by `lsseq eval`; each begins from the initial state."""
    training_streams: Count = 8
    """The same for validation during training, for speed."""
    window: Count = 200
    """Steps computed at once; it does not change the result."""
    pieces: Count | None = None
    """Read pieces of so many tokens, each from the initial state, instead of carrying the state."""
    dynamic: DynamicEvaluation = DynamicEvaluation()
    cache: NeuralCache = NeuralCache()


# -------------------------------------------------------------------------------------------------------------- figures

Metric = Literal["nll", "perplexity", "bpc", "bpb", "accuracy", "mse"]
SplitName = Literal["train", "valid", "test"]


class Published(Section):
    """A figure from the literature."""

    metric: Metric
    split: SplitName = "test"
    value: float
    source: str
    """Paper and table."""
    protocol: str | None = None
    """How it was evaluated, where that is not the whole split with carried state."""
    parameters: Count | None = None
    """Number of parameters that the source states."""


class Expected(Section):
    """A figure that this project measured with the recipe, against which `lsseq eval` compares."""

    metric: Metric
    split: SplitName = "test"
    value: float
    tolerance: NonNegative
    """Largest difference that counts as the same result."""
    seeds: list[int] | None = None
    steps: int | None = None
    minutes: float | None = None
    machine: str | None = None
    torch: str | None = None


class Recipe(Section):
    """A whole recipe after all `extends` were merged."""

    name: str | None = None
    """Name of the run; the recipe's place in the catalogue where absent."""
    description: str | None = None
    """One line."""
    data: Data = Data()
    model: Model = Model()
    training: Training
    evaluation: Evaluation = Evaluation()
    published: list[Published] = []
    expected: list[Expected] = []

    @field_validator("expected", "published", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode="after")
    def _words_for_adaptive_softmax(self) -> Recipe:
        if self.model.adaptive_softmax is not None and self.data.unit != "word":
            message = f"model.adaptive_softmax is for data.unit `word`, ordered by frequency (got `{self.data.unit}`)"
            raise broken("model.adaptive_softmax", message)
        return self
