"""`lsseq train`"""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lsseq.cli.common import is_assignment, json_option, print_json, say
from lsseq.cli.memory import keep_freed_memory
from lsseq.errors import RequestError
from lsseq.processes import place

if TYPE_CHECKING:
    from lsseq.recipe import Loaded
    from lsseq.training.session import Result
    from lsseq.training.trial import Trial


@click.command(
    short_help="Train the model of a recipe.",
    epilog="""\b
Examples:
  lsseq train quickstart
  lsseq train ptb-char/lstm training.minutes=10 model.hidden=256 --run runs/small
  lsseq train --run runs/small --resume training.minutes=20""",
)
@click.argument("recipe", required=False)
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--run", "run", metavar="DIR", type=click.Path(path_type=Path), help="Run folder  [default: runs/NAME]")
@click.option("--resume", is_flag=True, help="Go on where the run stopped; start where nothing was saved.")
@click.option("--from", "source", metavar="RUN", help="Start from the best weights of another run.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Same as training.device=…")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Same as training.seed=N")
@click.option("--dry-run", is_flag=True, help="Build, count parameters, estimate time and memory, stop.")
@json_option
def command(
    recipe: str | None,
    overrides: tuple[str, ...],
    run: Path | None,
    resume: bool,
    source: str | None,
    device: str | None,
    seed: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train the model of RECIPE, a path or a name that `lsseq recipes list` shows.

    KEY=VALUE sets any key of the recipe. With --run and --resume, RECIPE may be left out.
    """
    if recipe is not None and is_assignment(recipe):
        overrides = (recipe, *overrides)
        recipe = None
    keep_freed_memory()
    options = [f"training.device={device}"] if device else []
    options += [f"training.seed={seed}"] if seed is not None else []
    loaded = _load(recipe, [*overrides, *options], run, resume)
    path = _path(run, loaded.name, resume)
    if resume and source is not None:
        raise RequestError(
            "--resume and --from exclude each other: a run goes on from its own weights, or a new one starts"
        )
    if dry_run:
        _dry_run(loaded, as_json)
        return
    _refuse_early(path, resume, source)
    if place.restarts() and not (resume and run):
        raise RequestError(
            "`torchrun --max-restarts` starts this command once more, which would find its run folder taken",
            hint="give --run DIR --resume: where there is nothing to resume, it starts",
        )

    from lsseq.training.session import train_recipe

    result = train_recipe(loaded, path, resume=resume, source=source)
    if place.rank() > 0:
        return
    if as_json:
        values = asdict(result)
        del values["has_test"], values["is_text"], values["finished_before"]
        print_json(values)
    else:
        _report(result)


def _load(recipe: str | None, overrides: list[str], run: Path | None, resume: bool) -> Loaded:
    from lsseq.recipe import load_recipe

    if recipe is not None:
        return load_recipe(recipe, overrides)
    if run is None or not resume:
        raise RequestError("no RECIPE is given", hint="`lsseq recipes list` shows them; --run DIR --resume needs none")

    from lsseq.runs import RunFolder

    return load_recipe(str(RunFolder.open(run).recipe), overrides)


def _path(run: Path | None, name: str, resume: bool) -> Path:
    """The run folder; a run to resume may be given by its name under `runs/`, as every verb takes it."""
    if run is None:
        return Path("runs") / name
    named = Path("runs") / run
    return named if resume and not run.exists() and (named / "recipe.yaml").is_file() else run


def _refuse_early(path: Path, resume: bool, source: str | None) -> None:
    """What can be refused before torch is imported."""
    from lsseq.runs import RunFolder

    if place.rank() == 0:
        with RunFolder.claim(path, resume=resume):
            pass
    if source is not None:
        RunFolder.open(source)


def _dry_run(loaded: Loaded, as_json: bool) -> None:
    from lsseq.training.teachers import has_teachers
    from lsseq.training.trial import try_recipe

    with loaded.blame():
        trial = try_recipe(loaded.recipe)
    if place.rank() > 0:
        return
    if as_json:
        values = asdict(trial)
        if trial.vocabulary_size is None:
            del values["vocabulary_size"]
        print_json(values)
    else:
        _report_trial(trial, has_teachers(loaded.recipe))


def _report(result: Result) -> None:
    from lsseq.training.progress import duration, headline

    if result.finished_before:
        say("this run is finished; a larger budget goes on with it, for example training.steps=N")
    click.echo(
        f"{result.run}: {result.steps} steps, {result.epochs} epochs in {duration(result.seconds)}, "
        f"{result.tokens_per_second:,.0f} tokens/s"
    )
    for name, figures in (("best", result.best), ("final", result.final)):
        if figures is not None:
            click.echo(f"{name:5} valid {headline(figures)} (step {figures['step']})")
    run = shlex.quote(result.run)
    split = "test" if result.has_test else "valid"
    click.echo(f"next: lsseq eval {run} --split {split}" + (f"\n      lsseq generate {run}" if result.is_text else ""))


def _report_trial(trial: Trial, taught: bool) -> None:
    from lsseq.training.progress import duration

    tokens = "corpus not prepared" if trial.tokens_per_epoch is None else f"{trial.tokens_per_epoch:,} tokens an epoch"
    symbols = "" if trial.vocabulary_size is None else f"{trial.vocabulary_size:,} symbols, "
    click.echo(f"{trial.name}: {trial.parameters:,} parameters, {symbols}{tokens}")
    click.echo(
        f"{trial.device}: {trial.seconds_per_step:.3g} s a step, {trial.tokens_per_second:,.0f} tokens/s"
        + (f", peak memory {trial.peak_bytes / 2**20:,.0f} MiB" if trial.peak_bytes is not None else "")
    )
    if trial.seconds is not None:
        steps = "" if trial.steps is None else f" ({trial.steps:,} steps at most)"
        aside = "evaluations and teachers" if taught else "evaluations"
        click.echo(f"whole training: about {duration(trial.seconds)}{steps}, {aside} not counted")
