"""The trials of a sweep side by side, by Ray Tune (Liaw et al. 2018): on this machine, or on all of a cluster.

Values are drawn at random; where there are no more settings than trials, each is taken once. A trial is pruned by the
median of the others, as with Optuna. The state of the search lies below the folder of the sweep, which all machines of
a cluster must see at the same path.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lsseq.errors import RequestError, RunError
from lsseq.recipe import load_recipe
from lsseq.sweep.folder import Result, Settings, SweepFolder
from lsseq.sweep.space import Choices, Space, combinations, finite, overrides
from lsseq.sweep.trial import run_trial

NAME = "ray"
"""Of the folder with the state of the search."""


def require() -> None:
    """Refuse early what needs Ray Tune.

    Raises:
        RequestError: it is not installed.
    """
    # They are read when it is imported.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    try:
        from ray import tune  # noqa: F401
    except ImportError as error:
        raise RequestError(
            "this sweep needs Ray Tune, which is not installed here", hint="pip install 'lsseq[ray]' installs it"
        ) from error


def search(folder: SweepFolder, settings: Settings, address: str | None) -> list[Result]:
    """Run the trials, those that were begun before from where they stopped.

    Args:
        folder: of the sweep.
        settings: what is searched.
        address: of a cluster, as `ray.init` takes it; this machine alone where it is absent.

    Returns:
        All trials.

    Raises:
        RunError: the cluster cannot be reached.
        KeyboardInterrupt: trials that were under way go on at the next time.
    """
    import ray

    folder = SweepFolder(folder.path.absolute())
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise RunError(
            f"the Ray cluster cannot be used: {error}", hint="`ray start --head` prints an address"
        ) from error
    try:
        # It draws boxes there, whatever it is told.
        with contextlib.redirect_stdout(sys.stderr):
            grid = _tuner(folder, settings).fit()
        found = [_result(int(Path(one.path).name), one.config or {}, one.metrics, one.error) for one in grid]
    finally:
        ray.shutdown()
    unfinished = [one for one in found if one.state == "running"]
    if unfinished:
        raise KeyboardInterrupt
    return sorted(found, key=lambda one: one.number)


def _tuner(folder: SweepFolder, settings: Settings) -> Any:
    from ray import tune
    from ray.tune.schedulers import MedianStoppingRule
    from ray.tune.search import BasicVariantGenerator

    trainable = tune.with_resources(tune.with_parameters(_train, path=str(folder.path)), _resources(folder))
    spaces = settings.parsed()
    count = combinations(spaces)
    each_once = count is not None and count <= settings.trials
    drawn = {key: tune.grid_search(finite(space)) if each_once else _drawn(space) for key, space in spaces.items()}
    state = folder.path / NAME
    if tune.Tuner.can_restore(str(state)):
        return tune.Tuner.restore(str(state), trainable, param_space=drawn, resume_unfinished=True)
    return tune.Tuner(
        trainable,
        param_space=drawn,
        tune_config=tune.TuneConfig(
            metric="value",
            mode="min",
            num_samples=1 if each_once else settings.trials,
            search_alg=BasicVariantGenerator(random_state=settings.seed),
            scheduler=MedianStoppingRule(time_attr="step", grace_period=0, min_samples_required=5),
            trial_dirname_creator=_number,
        ),
        run_config=tune.RunConfig(name=NAME, storage_path=str(folder.path), callbacks=[_progress(folder)], verbose=0),
    )


def _train(config: dict[str, Any], path: str) -> None:
    """A trial, in a process of Ray."""
    from ray import tune

    folder = SweepFolder(Path(path))
    number = int(Path(tune.get_context().get_trial_dir()).name)

    def report(step: int, value: float) -> bool:
        # A trial that is to stop does not come back from here.
        tune.report({"step": step, "value": value})
        return False

    outcome = run_trial(folder.base, overrides(config), folder.run(number), report)
    step, value = folder.value(number) or (0, math.inf)
    tune.report({"step": step, "value": value, "state": outcome.state, "error": outcome.error})


def _drawn(space: Space) -> Any:
    from ray import tune

    if isinstance(space, Choices):
        return tune.choice(list(space.values))
    if space.whole:
        # Their upper end is not included.
        draw = tune.lograndint if space.log else tune.randint
        return draw(int(space.low), int(space.high) + 1)
    return (tune.loguniform if space.log else tune.uniform)(space.low, space.high)


def _number(trial: Any) -> str:
    """The number of a trial, from 0, which stands behind the name of the experiment."""
    return str(int(trial.trial_id.rpartition("_")[2]))


def _resources(folder: SweepFolder) -> dict[str, float]:
    """What a trial takes of the cluster."""
    import ray

    training = load_recipe(folder.base).recipe.training
    gpu = training.device != "cpu" and any(node["Resources"].get("GPU") for node in ray.nodes())
    return {"cpu": training.threads or 1, "gpu": int(gpu)}


def _progress(folder: SweepFolder) -> Any:
    from ray import tune

    class Progress(tune.Callback):  # type: ignore[misc]
        """Says how each trial ended."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
            folder.tell(_result(int(_number(trial)), trial.config, trial.last_result, None))

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:  # noqa: ARG002
            folder.tell(_result(int(_number(trial)), trial.config, trial.last_result, trial.get_error()))

    return Progress()


def _result(number: int, values: Mapping[str, Any], told: Mapping[str, Any] | None, error: object) -> Result:
    """From the last that a trial told Ray Tune."""
    told = told or {}
    if error is not None:
        return Result(number, "failed", dict(values), str(error))
    if "state" in told:
        return Result(number, told["state"], dict(values), told["error"])
    return Result(number, "pruned" if told.get("done") else "running", dict(values))
