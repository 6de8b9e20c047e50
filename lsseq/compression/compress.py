"""A trained run as another run, whose recurrent weights are of low rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lsseq.api import load
from lsseq.compression.structure import Structure
from lsseq.data.tasks import open_task
from lsseq.errors import RunError
from lsseq.evaluation.answers import evaluate_examples
from lsseq.evaluation.figures import FIGURES
from lsseq.model.base import SequenceModel
from lsseq.model.recurrent import RecurrentModel
from lsseq.nn.low_rank import load_dense
from lsseq.recipe import Loaded, load_recipe
from lsseq.recipe.schema import Recipe
from lsseq.runs import RunFolder, load_run, load_task, read_checkpoint
from lsseq.training.device import choose_device
from lsseq.training.session import start_run, train_recipe
from lsseq.training.trial import try_recipe
from lsseq.training.work import Work

LR = 0.5
"""The highest learning rate of the tuning, over that of the run."""
WARM_UP = 0.05
"""The share of the tuning's steps over which it rises."""
SLOPE = "recurrence.slope"
"""The weight of an HM-LSTM that holds the slope of its detectors."""
STEPS = 0.8
"""The share of the tuning's time that its steps are to take; the rest is for evaluations."""


def load_model(run: RunFolder) -> RecurrentModel:
    """The best model of a run, trained on a text or on a task.

    Raises:
        RunError: as for `load_run`, or a weight is not finite, of which there is no nearest matrix.
    """
    is_text = load_recipe(str(run.recipe)).recipe.data.task is None
    model = load_run(run.path).model if is_text else load_task(run.path).model
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise RunError(f"the weights of {run} are not all finite: {name}")
    return model


def measure(run: Path, split: str, streams: int | None) -> dict[str, Any]:
    """The values of `lsseq eval --json` for the best weights of a run, as far as they are needed here."""
    data = load_recipe(str(RunFolder.open(run).recipe)).recipe.data
    if data.task is None:
        values = load(run).evaluate(split, streams=streams)
    else:
        device = choose_device("auto")
        trained = load_task(run, device=str(device))
        examples = open_task(data, data.task, trained.folder.path, trained.fingerprint)
        values = evaluate_examples(trained.model, examples, split, device=device)
    kept = (*FIGURES, "parameters", "flops_per_token", "tokens", "protocol")
    return {name: values[name] for name in kept if name in values}


def compress(
    source: RunFolder,
    structure: Structure,
    target: Path,
    *,
    split: str,
    streams: int | None = None,
    minutes: float | None = None,
) -> dict[str, Any]:
    """Write a run with the weights that are nearest to those of another run, measure it, and tune it.

    The weights are those of `lsseq.nn.low_rank`. The tuning is a training by the run's own `training` section, but for
    its length and its learning rate: this rises over the first twentieth of the steps to half of `training.lr` and
    falls as a cosine to 0. It has as many steps as take four fifths of the time by a trial of a few.

    Args:
        source: the dense run, whose best weights are taken.
        structure: of the new weights.
        target: the new run folder, a run before its first step.
        split, streams: of the measurements.
        minutes: how long it is tuned; not at all where absent.

    Returns:
        A row of `lsseq compress --json`.

    Raises:
        RequestError: the recurrence has no low rank, the run's text is not to be had, or the target exists.
        RunError, Interrupted: as for a training.
    """
    loaded = _recipe(source, structure, target)
    with loaded.blame():
        if minutes is not None:
            loaded = _recipe(source, structure, target, _tuning(loaded.recipe, minutes))

    def fill(model: SequenceModel, work: Work) -> float:
        _, dense = work.model_of(str(source.path))
        return load_dense(model, dense.state_dict())

    energy = start_run(loaded, target, fill)
    truncated = measure(target, split, streams)
    row: dict[str, Any] = {
        "rank": structure.rank,
        "run": str(target),
        **{name: truncated[name] for name in ("parameters", "flops_per_token") if name in truncated},
        "energy": energy,
        "truncated": figures_of(truncated),
    }
    if minutes is not None:
        result = train_recipe(loaded, target, resume=True)
        row["tuned"] = figures_of(measure(target, split, streams))
        row |= {"steps": result.steps, "seconds": result.seconds}
    return row


def figures_of(values: dict[str, Any]) -> dict[str, Any]:
    """F of the JSON interface."""
    return {name: values[name] for name in FIGURES if name in values}


def _recipe(source: RunFolder, structure: Structure, target: Path, more: Sequence[str] = ()) -> Loaded:
    """The recipe of the new run, without the figures that the source's states of a dense model."""
    loaded = load_recipe(str(source.recipe), [*structure.overrides(), *_slope(source), *more])
    own = {"name": target.name, "description": f"The weights of {source} at rank {structure.rank}"}
    return replace(loaded, recipe=loaded.recipe.model_copy(update=own), name=target.name)


def _slope(source: RunFolder) -> list[str]:
    """A slope that grows with the epochs stays where it is, since the new run counts them from 0."""
    if isinstance(load_recipe(str(source.recipe)).recipe.model.boundary.slope, float):
        return []
    weights = read_checkpoint(source.checkpoint("best"), ["weights"])[0]["weights"]
    return [f"model.boundary.slope={float(weights[SLOPE])}"] if SLOPE in weights else []


def _tuning(recipe: Recipe, minutes: float) -> list[str]:
    """The training section of the tuning, as `KEY=VALUE`."""
    steps = max(1, int(STEPS * 60.0 * minutes / try_recipe(recipe).seconds_per_step))
    return [
        f"training.lr={LR * recipe.training.lr}",
        f"training.schedule={{kind: cosine, warmup: {int(WARM_UP * steps)}, final: 0.0}}",
        f"training.steps={steps}",
        f"training.minutes={minutes}",
        "training.epochs=",
        "training.early_stopping=",
    ]
