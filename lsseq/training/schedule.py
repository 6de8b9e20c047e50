"""How the learning rate changes during training."""

from __future__ import annotations

import math
from typing import Any

from lsseq.recipe import schema


class Patience:
    """Counts the evaluations in a row that bring no improvement over the best one so far."""

    def __init__(self) -> None:
        self.best = math.inf
        self.waited = 0

    def evaluated(self, nll: float) -> None:
        if nll < self.best:
            self.best, self.waited = nll, 0
        else:
            self.waited += 1

    def state(self) -> dict[str, Any]:
        return {"best": self.best, "waited": self.waited}

    def restore(self, state: dict[str, Any]) -> None:
        self.best, self.waited = state["best"], state["waited"]


class Schedule:
    """The factor on the learning rate.

    All kinds but `plateau` are functions of the step and of the epochs that are over, so there is nothing else to save.

    Args:
        schedule: the recipe's section.
        steps: N, the steps of the whole budget; only `cosine` asks for it. Where a resumed run has a larger budget, the
            cosine is stretched over it.
    """

    def __init__(self, schedule: schema.Schedule, steps: int | None) -> None:
        self._schedule = schedule
        self._steps = steps
        self._patience = Patience()
        self._falls = 0

    def factor(self, step: int, epoch: int) -> float:
        """What the learning rate of step number `step` (the first is 1) is multiplied by, after `epoch` whole epochs.

        warm-up of w steps     step / w, on top of the rest while step < w
        cosine                 final + (1 - final) (1 + cos(π (step - 1 - w) / (N - w))) / 2  from step w + 1 on
        step, milestones       factor ^ (milestones that are over)
        step, after            factor ^ (epochs over, counted from epoch `after` on)
        plateau                factor ^ (times that validation stood still)
        """
        warmup = self._schedule.warmup
        rising = min(1.0, step / warmup) if warmup else 1.0
        return rising * self._after_warmup(step, epoch)

    def _after_warmup(self, step: int, epoch: int) -> float:
        schedule = self._schedule
        if schedule.kind == "cosine":
            assert self._steps is not None, "the schema asks for a budget in steps or epochs"
            past = (step - 1 - schedule.warmup) / max(1, self._steps - schedule.warmup)
            past = min(1.0, max(0.0, past))
            return schedule.final + (1.0 - schedule.final) * (1.0 + math.cos(math.pi * past)) / 2.0
        if schedule.kind == "step":
            if schedule.milestones is not None:
                falls = sum(epoch >= milestone for milestone in schedule.milestones)
            else:
                falls = max(0, epoch - (schedule.after or 1) + 1)
            return float(schedule.factor**falls)
        return float(schedule.factor**self._falls)

    def evaluated(self, nll: float) -> None:
        """Take note of an evaluation on the validation split."""
        if self._schedule.kind != "plateau":
            return
        self._patience.evaluated(nll)
        if self._patience.waited > self._schedule.patience:
            self._falls += 1
            self._patience.waited = 0

    def state(self) -> dict[str, Any]:
        return {"falls": self._falls, "patience": self._patience.state()}

    def restore(self, state: dict[str, Any]) -> None:
        self._falls = state["falls"]
        self._patience.restore(state["patience"])
