"""Where a training stands: one value, saved whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lsseq.data.batches import TrainingWindows
from lsseq.data.share import Share
from lsseq.model.base import Extras, SequenceModel
from lsseq.nn.state import State, flatten_state, map_state, unflatten_state
from lsseq.processes.group import ALONE, Processes
from lsseq.recipe.schema import Training
from lsseq.training.averaging import Averaging
from lsseq.training.device import MixedPrecision
from lsseq.training.kinds import require_kinds
from lsseq.training.meter import Clock, Meter
from lsseq.training.nonfinite import Skips
from lsseq.training.optimizer import build_optimizer, optimizer_state, restore_optimizer
from lsseq.training.schedule import Patience, Schedule

Figures = dict[str, Any]
"""F of the JSON interface: `nll`, `perplexity`, `bpc` … of a split."""

Tensors = dict[str, dict[str, Tensor]]


@dataclass
class LoopState:
    """Everything that the next step depends on besides the text and the recipe.

    What `save` returns and `restore` takes covers all of it, the generators of torch included, so that a training that
    goes on from it computes the same numbers as one that was never stopped.
    """

    model: SequenceModel
    windows: TrainingWindows
    optimizer: Optimizer
    schedule: Schedule
    averaging: Averaging
    precision: MixedPrecision
    meter: Meter
    device: torch.device
    processes: Processes = ALONE
    """Those that train the model together; each holds its rows of the recurrent state, and the same of all else."""
    clock: Clock = field(default_factory=Clock)
    patience: Patience = field(default_factory=Patience)
    """For early stopping."""
    skips: Skips = field(default_factory=Skips)
    line_position: dict[str, int] = field(default_factory=dict)
    """Where the windows stood at the last train line."""
    text: str = ""
    """Fingerprint of the text that is trained on; a run goes on only with the same."""
    recurrent: State = None
    """The state of the recurrence behind the last window, cut off from its graph: this process's rows."""
    step: int = 0
    """Steps of the optimiser."""
    epoch: int = 0
    """Whole epochs."""
    tokens: int = 0
    lr: float = 0.0
    """The learning rate of the last step."""
    told: Extras = field(default_factory=dict)
    """What the model told about the last window in numbers or lists of them, such as a boundary rate a layer."""
    epoch_ended: bool = False
    """The last step was the last of its epoch."""
    to_evaluate: bool = False
    """The evaluation that was due after the last step is still to be made."""
    metrics_bytes: int = 0
    """The bytes of metrics.jsonl that belong to this state."""
    latest: Figures | None = None
    """The last evaluation: its figures and their `step`."""
    best: Figures | None = None
    """The evaluation with the lowest nll so far."""
    final: Figures | None = None
    """The evaluation at the end; None while the training is under way."""

    @classmethod
    def start(
        cls,
        model: SequenceModel,
        windows: TrainingWindows,
        training: Training,
        device: torch.device,
        processes: Processes = ALONE,
    ) -> LoopState:
        """The state before the first step; `windows` are those of whole batches.

        Raises:
            KeyFault: the device cannot train in `training.precision`, or the processes cannot share `training.batch`.
        """
        rows = processes.even_rows(training.batch)
        return cls(
            model=model,
            windows=windows if processes.size == 1 else Share(windows, rows),
            optimizer=build_optimizer(model.parameters(), training),
            schedule=Schedule(training.schedule, total_steps(training, windows)),
            averaging=Averaging(training.averaging, model),
            precision=MixedPrecision(training.precision, device),
            meter=Meter(device),
            device=device,
            processes=processes,
            line_position=windows.position(),
        )

    def begin_line(self) -> None:
        """From here on counts what the next train line tells."""
        self.meter.reset(self.clock.training())
        self.skips.since_line = 0
        self.line_position = self.windows.position()

    def generators(self) -> dict[str, Tensor]:
        """The states of torch's generators, by names such as `generator.cpu`."""
        states = {"generator.cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            states["generator.cuda"] = torch.cuda.get_rng_state(self.device)
        return states

    def weights(self) -> dict[str, Tensor]:
        """What the model is evaluated with: the averaged weights, once there is an average."""
        if not self.averaging.active:
            return self.model.state_dict()
        with self.averaging.applied():
            return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}

    def values(self) -> dict[str, Any]:
        """What a checkpoint says about its weights."""
        where = {"step": self.step, "epoch": self.epoch, "tokens": self.tokens}
        return {**where, "text": self.text, "best": self.best, "final": self.final}

    def save(self) -> tuple[Tensors, dict[str, Any]]:
        """The tensors in the groups `weights` and `training`, and the values that JSON can hold.

        It does not show how many processes there are: the recurrent state is that of the whole batch. All of them must
        call this.
        """
        training = {
            **_prefixed("optimizer", optimizer_state(self.optimizer)),
            **_prefixed("own", self.averaging.own_weights()),
            **flatten_state(map_state(self.processes.gather_rows, self.recurrent), "recurrent"),
            **self.generators(),
        }
        values = self.values() | {"loop": self._loop()}
        return {"weights": self.weights(), "training": training}, values

    def _loop(self) -> dict[str, Any]:
        return {
            "windows": self.windows.position(),
            "schedule": self.schedule.state(),
            "averaging": self.averaging.state(),
            "scaler": self.precision.scaler.state_dict(),
            "meter": self.meter.state(),
            "clock": self.clock.state(),
            "patience": self.patience.state(),
            "skips": self.skips.state(),
            "line_position": self.line_position,
            "lr": self.lr,
            "told": {name: value.tolist() for name, value in self.told.items()},
            "epoch_ended": self.epoch_ended,
            "to_evaluate": self.to_evaluate,
            "metrics_bytes": self.metrics_bytes,
            "latest": self.latest,
        }

    def restore(self, tensors: Mapping[str, Mapping[str, Tensor]], values: Mapping[str, Any]) -> None:
        """Go on from what `save` returned.

        Raises:
            Exception: of any kind, where it is something else; a part of it may have been taken.
        """
        training, loop = tensors["training"], values["loop"]
        require_kinds(self._loop(), loop, "loop")
        for figures in (values["best"], loop["latest"]):
            if figures is not None and not {"step", self.model.objective} <= figures.keys():
                raise ValueError(f"an evaluation without `{self.model.objective}` or `step`")
        self.model.load_state_dict(tensors["weights"])
        self.averaging.restore(loop["averaging"], _without("own", training))
        restore_optimizer(self.optimizer, _without("optimizer", training))
        self.recurrent = map_state(self._own_rows, unflatten_state(training, "recurrent"))
        # Older checkpoints tell of none of these.
        self.to_evaluate = loop.get("to_evaluate", False)
        self.skips = Skips(**loop.get("skips", {}))
        self.line_position = loop.get("line_position", loop["windows"])
        # Both must be places: this one is gone back to where a step was not finite.
        self.windows.seek(self.line_position)
        self.windows.seek(loop["windows"])
        self.schedule.restore(loop["schedule"])
        if loop["scaler"]:
            self.precision.scaler.load_state_dict(loop["scaler"])
        self.meter.restore(loop["meter"])
        self.clock.restore(loop["clock"])
        self.patience.restore(loop["patience"])
        self.lr, self.epoch_ended, self.latest = loop["lr"], loop["epoch_ended"], loop["latest"]
        self.told = {name: torch.tensor(value) for name, value in loop["told"].items()}
        self.metrics_bytes = loop["metrics_bytes"]
        self.step, self.epoch, self.tokens = values["step"], values["epoch"], values["tokens"]
        self.best, self.final = values["best"], values["final"]
        torch.set_rng_state(training["generator.cpu"].cpu())
        if self.device.type == "cuda" and "generator.cuda" in training:
            torch.cuda.set_rng_state(training["generator.cuda"].cpu(), self.device)

    def _own_rows(self, tensor: Tensor) -> Tensor:
        return tensor[..., self.processes.rows(tensor.shape[-2]), :].contiguous().to(self.device)


def total_steps(training: Training, windows: TrainingWindows) -> int | None:
    """The steps of the whole budget, as far as `steps` and `epochs` tell; expected ones where windows are random."""
    steps_per_epoch = -(-windows.windows_per_epoch // training.accumulate)
    by_epochs = None if training.epochs is None else training.epochs * steps_per_epoch
    return min((n for n in (training.steps, by_epochs) if n is not None), default=None)


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}


def _without(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(prefix + ".")}
