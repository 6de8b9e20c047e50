"""`lsseq sweep`"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.common import is_assignment, json_option, print_json
from lsseq.errors import Interrupted, RequestError, RunError

if TYPE_CHECKING:
    from lsseq.sweep.folder import Engine, Result, Settings, SweepFolder

TRIALS = 20


@click.command(
    short_help="Search for hyper-parameters.",
    epilog="""\b
Examples:
  lsseq sweep quickstart training.lr=log:1e-4..1e-2 model.layers=1..3 training.steps=500
  lsseq sweep quickstart model.hidden=128,256 model.zoneout.cell=0,0.1,0.3 --run runs/zoneout
  lsseq sweep --run runs/zoneout --resume""",
)
@click.argument("recipe", required=False)
@click.argument("spaces", nargs=-1, metavar="[KEY=SPACE]...")
@click.option("--space", "file", metavar="FILE", type=click.Path(path_type=Path), help="YAML file with KEY: SPACE.")
@click.option("--trials", type=click.IntRange(1), metavar="N", help=f"Trainings in all  [default: {TRIALS}]")
@click.option("--run", "target", metavar="DIR", type=click.Path(path_type=Path), help="[default: runs/NAME-sweep]")
@click.option("--resume", is_flag=True, help="Go on with the sweep in DIR, also beside another process.")
@click.option("--engine", type=click.Choice(["optuna", "ray"]), help="[default: optuna]")
@click.option("--address", metavar="ADDRESS", help="Of a Ray cluster, or `auto`; this machine alone where absent.")
@click.option("--seed", type=click.IntRange(0), metavar="N", help="Of the choice of values  [default: 0]")
@json_option
def command(
    recipe: str | None,
    spaces: tuple[str, ...],
    file: Path | None,
    trials: int | None,
    target: Path | None,
    resume: bool,
    engine: Engine | None,
    address: str | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Train RECIPE with different values of its keys, and find those with the best validation figure.

    SPACE is `a,b,c` (one of them), `1..4` or `0.1..0.5` (a number between, both included), or `log:1e-4..1e-2` (evenly
    spread over its logarithm). One value alone sets a key for all trials. Each trial is a run folder below DIR that
    `lsseq compare DIR` lists, a trial that does worse than the others at the same step is stopped early, and best.yaml
    is the recipe of the best one.
    """
    from lsseq.sweep.folder import SweepFolder

    if recipe is not None and is_assignment(recipe):
        spaces = (recipe, *spaces)
        recipe = None
    if resume:
        if target is None:
            raise RequestError("--resume needs --run DIR, the sweep to go on with")
        if recipe is not None or spaces or file is not None or seed is not None or engine is not None:
            raise RequestError(
                "a sweep goes on with its own recipe, spaces, engine and seed",
                hint=f"lsseq sweep --run {shlex.quote(str(target))} --resume; only --trials may be another",
            )
        folder = SweepFolder.open(target)
        settings = folder.settings()
        if trials is not None and trials != settings.trials:
            if settings.engine == "ray":
                raise RequestError(f"Ray Tune has begun {settings.trials} trials and takes no other number")
            settings = settings.model_copy(update={"trials": trials})
        _require(settings.engine, address)
        folder.write(settings)
    else:
        if recipe is None:
            raise RequestError("no RECIPE is given", hint="`lsseq recipes list` shows them")
        _require(engine or "optuna", address)
        folder, settings = _begun(recipe, spaces, file, trials or TRIALS, target, engine or "optuna", seed or 0)
    results = _search(folder, settings, address)
    best = folder.write_best(results)
    if best is None and all(one.state == "failed" for one in results):
        raise RunError(
            f"every trial failed; the first: {results[0].error}", hint=f"{folder.path}/trials has what each said"
        )
    if as_json:
        print_json(_values(folder, settings, results, best))
    else:
        _print(folder, results, best)


def _require(engine: Engine, address: str | None) -> None:
    """Refuse what the engine lacks before anything is made."""
    if engine == "ray":
        from lsseq.sweep import ray_engine

        ray_engine.require()
        return
    if address is not None:
        raise RequestError("--address is of a Ray cluster", hint="--engine ray --address ADDRESS")
    from lsseq.sweep import optuna_engine

    optuna_engine.require()


def _begun(
    recipe: str,
    arguments: tuple[str, ...],
    file: Path | None,
    trials: int,
    target: Path | None,
    engine: Engine,
    seed: int,
) -> tuple[SweepFolder, Settings]:
    """A new sweep: everything that can be wrong with it is, before its folder is made."""
    from lsseq.recipe import load_recipe
    from lsseq.sweep.folder import Settings, SweepFolder
    from lsseq.sweep.space import check, overrides, read_spaces, split
    from lsseq.training.paths import with_absolute_paths

    fixed, searched = split(read_spaces(arguments, file))
    if not searched:
        raise RequestError("no key is searched", hint="such as training.lr=log:1e-4..1e-2 or model.layers=1,2")
    settings = Settings(spaces=searched, trials=trials, engine=engine, seed=seed)
    loaded = load_recipe(recipe, overrides(fixed))
    check(recipe, settings.parsed(), fixed)
    folder = SweepFolder(target or Path("runs") / f"{loaded.name}-sweep")
    folder.begin(with_absolute_paths(loaded.recipe), settings)
    return folder, settings


def _search(folder: SweepFolder, settings: Settings, address: str | None) -> list[Result]:
    try:
        if settings.engine == "ray":
            from lsseq.sweep import ray_engine

            return ray_engine.search(folder, settings, address)
        from lsseq.sweep import optuna_engine

        return optuna_engine.search(folder, settings)
    except (KeyboardInterrupt, Interrupted) as error:
        raise Interrupted(
            "interrupted; the trial that was under way was saved",
            hint=f"go on with: lsseq sweep --run {shlex.quote(str(folder.path))} --resume",
        ) from error


def _values(folder: SweepFolder, settings: Settings, results: list[Result], best: Result | None) -> dict[str, Any]:
    def of(result: Result) -> dict[str, Any]:
        measured = folder.value(result.number)
        values: dict[str, Any] = {
            "trial": result.number,
            "run": str(folder.run(result.number)),
            "state": result.state,
            "values": result.values,
        }
        if measured is not None:
            values |= {"step": measured[0], "value": measured[1]}
        return values if result.error is None else values | {"error": result.error}

    return {
        "sweep": str(folder.path),
        "engine": settings.engine,
        "trials": [of(result) for result in results],
        "best": None if best is None else of(best),
    }


def _print(folder: SweepFolder, results: list[Result], best: Result | None) -> None:
    count = {state: sum(one.state == state for one in results) for state in ("complete", "pruned", "failed", "running")}
    click.echo(f"{folder.path}: " + ", ".join(f"{number} {state}" for state, number in count.items() if number))
    if best is not None:
        click.echo(f"best: {folder.line(best)}")
        quoted = shlex.quote(str(folder.path))
        click.echo(f"next: lsseq train {shlex.quote(str(folder.best))}\n      lsseq compare {quoted}")
