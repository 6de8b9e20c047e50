"""The `training` section: optimiser, schedule, budget."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from lsseq.recipe.schema.section import Count, DropRate, NonNegative, Positive, Section, broken


class Schedule(Section):
    """How the learning rate changes. A bare name, `schedule: cosine`, stands for `schedule: {kind: cosine}`."""

    alternatives = (frozenset({"milestones", "after"}),)
    readers: ClassVar = {
        "factor": ("plateau", "step"),
        "patience": ("plateau",),
        "milestones": ("step",),
        "after": ("step",),
        "final": ("cosine",),
    }

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

    readers: ClassVar = {"start": ("asgd",), "patience": ("nt-asgd",), "decay": ("ema",)}

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

    chooser = "optimizer"
    readers: ClassVar = {
        "momentum": ("sgd", "rmsprop"),
        "betas": ("adam", "adamw"),
        "amsgrad": ("adam", "adamw"),
        "smoothing": ("rmsprop",),
        "epsilon": ("adam", "adamw", "rmsprop"),
    }

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
    nonfinite: Literal["stop", "skip"] = "stop"
    """When the loss or the gradient of a step is not finite: stop ends the training; skip leaves the step out, up to 10
    in a row. The step is kept in the run folder. On CUDA, skip waits for the device at every step."""
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
        if self.clip is None and self.clip_by != "norm":
            raise broken("clip_by", "`clip_by` says what `training.clip` limits, and there is none")
        if self.schedule.kind == "cosine" and self.epochs is None and self.steps is None:
            raise broken("schedule", "a cosine schedule needs a budget: training.steps or training.epochs")
        if self.schedule.kind == "step" and (self.schedule.milestones is None) == (self.schedule.after is None):
            raise broken("schedule", "a step schedule needs either `milestones` or `after`")
        return self
