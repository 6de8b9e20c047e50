"""How well a model answers what a task asks."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from lsseq.data.tasks import Examples
from lsseq.errors import RequestError
from lsseq.evaluation.perplexity import evaluating
from lsseq.model.answering import AnsweringModel
from lsseq.model.base import SequenceModel
from lsseq.model.cost import cost
from lsseq.processes.group import ALONE, Processes

TOGETHER = 100
"""Sequences read side by side; it changes no figure."""


def measure_examples(
    model: SequenceModel,
    examples: Examples,
    split: str,
    *,
    device: torch.device | str,
    processes: Processes = ALONE,
) -> dict[str, Any]:
    """Answer every sequence of a split once, each from the initial state, and sum up.

    - `nll`: nats, the mean over all that is to be predicted: every step of the copy task, else one a sequence.
    - `accuracy`: the share of right answers. Where a class is no answer, the blank of the copy task, steps at which it
      would be right do not count: so it is the share of the recalled symbols.
    - `mse`: the mean squared error, of a task that asks for numbers; it has none of the other figures.

    Args:
        model: it is in evaluation mode meanwhile and afterwards as it was.
        examples: of the task.
        split: its name.
        device: where the model is.
        processes: they share the sequences; each returns the figures of the whole.

    Returns:
        The figures, and `sequences`, `tokens` (steps that were read) and `answers` (what `accuracy` or `mse` counts).
    """
    # Those of about the same length together, so that there is little padding.
    order = np.argsort(examples.lengths(split), kind="stable")
    error, right = (torch.zeros((), dtype=torch.float64, device=device) for _ in range(2))
    predicted = answers = steps = 0
    with evaluating(model), torch.inference_mode():
        for start in range(0, len(order), TOGETHER)[processes.rank :: processes.size]:
            batch = examples.batch(split, order[start : start + TOGETHER])
            asked = torch.ones_like(batch.targets, dtype=torch.bool) if batch.mask is None else batch.mask
            if examples.form.ignored is not None:
                asked = asked & (batch.targets != examples.form.ignored)
            score = model.score(batch.to(device))
            error += score.nll.sum(dtype=torch.float64)
            if score.correct is not None:
                right += (score.correct & asked.to(device)).sum()
            predicted += batch.tokens
            answers += int(asked.sum())
            steps += batch.steps
    own = torch.tensor([float(error), float(right), predicted, answers, steps], dtype=torch.float64)
    total_error, total_right, predicted, answers, steps = processes.sum(own).tolist()
    figures: dict[str, Any] = {model.objective: total_error / predicted}
    if examples.form.classes is not None:
        figures["accuracy"] = total_right / answers
    return {**figures, "sequences": len(order), "tokens": int(steps), "answers": int(answers)}


def evaluate_examples(
    model: AnsweringModel, examples: Examples, split: str, *, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """What `lsseq eval --json` prints of a task, but for what the recipe expects.

    Args:
        model: the trained model, on `device`.
        examples: of its task.
        split: its name.
        device: where the model is.

    Returns:
        What `measure_examples` returns, what the model costs (`lsseq.model.cost`), `split`, `chance` (the figures of
        who looks at no sequence), `solution` (of who is always right), `mode`, `protocol` and `seconds`.

    Raises:
        RequestError: the task has no such split.
    """
    if split not in examples.splits:
        raise RequestError(f"the task has no split `{split}`; it has {', '.join(examples.splits)}")
    began = time.perf_counter()
    measured = measure_examples(model, examples, split, device=device)
    with evaluating(model):
        costs = cost(model)
    return {
        **measured,
        **costs,
        "split": split,
        "chance": examples.chance(split),
        "solution": examples.form.solution,
        "mode": "deterministic",
        "protocol": "each sequence from the initial state",
        "seconds": time.perf_counter() - began,
    }
