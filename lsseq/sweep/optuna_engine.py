"""The trials of a sweep one after the other, chosen by Optuna (Akiba et al. 2019).

The study lies in an SQLite file, where several processes may share it. Values are chosen by TPE (Bergstra et al. 2011);
where there are no more settings than trials, each is taken once. A trial whose validation figure is worse than the
median of those before it at the same step is pruned. A trial that was under way when its process died goes on from its
own checkpoint.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsseq.errors import RequestError, RunError
from lsseq.runs import files
from lsseq.runs.folder import locked
from lsseq.sweep.folder import Result, Settings, SweepFolder
from lsseq.sweep.space import Choices, Space, combinations, finite, overrides
from lsseq.sweep.trial import Outcome, run_trial

if TYPE_CHECKING:
    import optuna

WAIT = 0.1
"""Seconds between two attempts to look at the study alone."""


def require() -> None:
    """Refuse early what needs Optuna.

    Raises:
        RequestError: it is not installed.
    """
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise RequestError(
            "sweeps need Optuna, which is not installed here", hint="pip install 'lsseq[sweep]' installs it"
        ) from error


def search(folder: SweepFolder, settings: Settings) -> list[Result]:
    """Run trials until there are as many as `settings` says; what was begun before goes on first.

    Args:
        folder: of the sweep; other processes may search there at the same time.
        settings: what is searched.

    Returns:
        All trials, those of other processes too.

    Raises:
        Interrupted, KeyboardInterrupt: the trial that was under way goes on at the next time.
    """
    study = _Study(folder, settings)
    while True:
        with ExitStack() as stack:
            trial = study.next(stack)
            if trial is None:
                return [study.result(number) for number in study.numbers()]
            folder.tell(study.result(trial.number))
            study.run(trial)
            folder.tell(study.result(trial.number))


class _Study:
    def __init__(self, folder: SweepFolder, settings: Settings) -> None:
        import optuna
        from sqlalchemy.exc import DatabaseError

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.folder, self.settings, self.spaces = folder, settings, settings.parsed()
        database = folder.path / "study.db"
        with self._alone():
            try:
                self.study = optuna.create_study(
                    study_name="sweep",
                    storage=f"sqlite:///{database.absolute()}",
                    load_if_exists=True,
                    direction="minimize",
                    pruner=optuna.pruners.MedianPruner(),
                )
            except DatabaseError as error:
                raise RunError(f"{database} is damaged: {error.orig}") from error
            count = combinations(self.spaces)
            if count is not None and count <= settings.trials:
                self._take_each_once()

    def numbers(self) -> list[int]:
        """Those of the trials that were begun."""
        from optuna.trial import TrialState

        return [one.number for one in self.study.get_trials(deepcopy=False) if one.state is not TrialState.WAITING]

    def next(self, stack: ExitStack) -> optuna.Trial | None:
        """A trial that nobody runs, and the lock on it; None where there are as many as there should be."""
        import optuna
        from optuna.trial import TrialState

        with self._alone():
            for left in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
                with ExitStack() as lock:
                    # The process that ran it may have ended it after the list was made.
                    if self._take(left.number, lock) and self._frozen(left.number).state is TrialState.RUNNING:
                        stack.enter_context(lock.pop_all())
                        return optuna.Trial(self.study, left._trial_id)
            numbers = self.numbers()
            if len(numbers) >= self._target():
                return None
            # A sampler of its own for each trial: what is chosen does not depend on which process asks.
            self.study.sampler = optuna.samplers.TPESampler(seed=self.settings.seed + len(numbers))
            trial = self.study.ask()
            self._take(trial.number, stack)
            self._values(trial)
            return trial

    def run(self, trial: optuna.Trial) -> None:
        """Run a trial to its end and tell the study."""
        from optuna.trial import TrialState

        known = self._frozen(trial.number).intermediate_values

        def report(step: int, value: float) -> bool:
            if step not in known:
                trial.report(value, step)
            return bool(trial.should_prune())

        run = self.folder.run(trial.number)
        outcome: Outcome = run_trial(self.folder.base, overrides(self._values(trial)), run, report)
        value = self.folder.value(trial.number)
        if outcome.state == "complete" and value is not None:
            self.study.tell(trial, value[1])
        elif outcome.state == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            trial.set_user_attr("error", outcome.error or "it wrote no validation figure")
            self.study.tell(trial, state=TrialState.FAIL)

    def result(self, number: int) -> Result:
        """What is known of a trial."""
        from optuna.trial import TrialState

        states = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned", TrialState.FAIL: "failed"}
        frozen = self._frozen(number)
        state: Any = states.get(frozen.state, "running")
        return Result(number, state, dict(frozen.params), frozen.user_attrs.get("error"))

    def _frozen(self, number: int) -> optuna.trial.FrozenTrial:
        return self.study.get_trials(deepcopy=False)[number]

    def _target(self) -> int:
        count = combinations(self.spaces)
        return self.settings.trials if count is None else min(count, self.settings.trials)

    def _take_each_once(self) -> None:
        for values in itertools.product(*map(finite, self.spaces.values())):
            self.study.enqueue_trial(dict(zip(self.spaces, values, strict=True)), skip_if_exists=True)

    def _values(self, trial: optuna.Trial) -> dict[str, Any]:
        return {key: _suggested(trial, key, space) for key, space in self.spaces.items()}

    def _take(self, number: int, stack: ExitStack) -> bool:
        """Keep other processes out of a trial; False where one is in it."""
        lock = self._lock(f"trials/.{number}.lock")
        try:
            stack.enter_context(locked(lock, f"trial {number}"))
        except RequestError:
            return False
        stack.callback(files.remove, [lock])
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait until no other process changes the list of trials."""
        lock = self._lock(".lock")
        while True:
            with ExitStack() as stack:
                try:
                    stack.enter_context(locked(lock, "the study"))
                except RequestError:
                    time.sleep(WAIT)
                    continue
                yield
                return

    def _lock(self, name: str) -> Path:
        path = self.folder.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def _suggested(trial: optuna.Trial, key: str, space: Space) -> Any:
    if isinstance(space, Choices):
        return trial.suggest_categorical(key, space.values)
    if space.whole:
        return trial.suggest_int(key, int(space.low), int(space.high), log=space.log)
    return trial.suggest_float(key, space.low, space.high, log=space.log)
