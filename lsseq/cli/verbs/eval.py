"""`lsseq eval`"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.common import DRAWS, cost_line, is_assignment, json_option, print_json
from lsseq.cli.depths import Depths, numbers, print_anytime, save_anytime
from lsseq.cli.ensembles import print_beside, save_ensemble, together
from lsseq.cli.memory import keep_freed_memory
from lsseq.errors import RequestError, RunError

if TYPE_CHECKING:
    from lsseq.evaluation.evaluate import Mode
    from lsseq.recipe.schema import Recipe, Task

UNITS = {
    "nll": "nats per token",
    "perplexity": "",
    "bpc": "bits per character",
    "bpb": "bits per byte",
}
TEXT_ONLY = ("streams", "window", "dynamic", "cache", "tokens", "samples", "exact")
"""Options that make sense for language models only."""


@click.command(
    short_help="Measure how well a run predicts text.",
    epilog="""\b
Examples:
  lsseq eval quickstart --split test
  lsseq eval quickstart --text notes.txt --tokens surprisal.tsv
  lsseq eval quickstart --cache evaluation.cache.weight=0.2
  lsseq eval quickstart --samples 8
  lsseq eval tied --steps 1,2,4,8 --png steps.png
  lsseq eval fractal --column all
  lsseq eval first second third""",
)
@click.argument("run")
@click.argument("more", nargs=-1, metavar="[RUN]... [KEY=VALUE]...")
@click.option("--split", type=click.Choice(["valid", "test", "train"]), help="Part of the run's text  [default: valid]")
@click.option("--text", metavar="FILE", type=click.Path(path_type=Path), help="Measure this text instead.")
@click.option("--streams", type=click.IntRange(1), metavar="N", help="Parts read side by side: faster on long texts.")
@click.option("--window", type=click.IntRange(1), metavar="N", help="Steps computed at once; no effect on the figures.")
@click.option(
    "--steps",
    metavar="K[,K]...",
    callback=numbers,
    help="Run layers that are repeated so many times; of several numbers each is measured.",
)
@click.option(
    "--column",
    metavar="C[,C]...|all",
    callback=numbers,
    help="Run one column of a fractal stack alone, 1 the shortest; of several each is measured.",
)
@click.option(
    "--samples",
    type=DRAWS,
    metavar="K",
    help="Average the probabilities of K draws of the noise that the model was trained with.",
)
@click.option(
    "--exact",
    is_flag=True,
    help="Average the probabilities of all sub-networks, where the noise has at most 64 that hold for the whole text.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the draws.")
@click.option(
    "--png",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the nll over the number of networks that are averaged, or over --steps or --column.",
)
@click.option("--dynamic", is_flag=True, help="Dynamic evaluation: the weights follow the text.")
@click.option("--cache", is_flag=True, help="Neural cache: a pointer to the recent past.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write the surprisal of every token, one a line: its text, a tab, bits.",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@json_option
def command(
    run: str,
    more: tuple[str, ...],
    split: str | None,
    text: Path | None,
    streams: int | None,
    window: int | None,
    steps: tuple[int, ...] | None,
    column: tuple[int, ...] | None,
    samples: int | None,
    exact: bool,
    seed: int,
    png: Path | None,
    dynamic: bool,
    cache: bool,
    checkpoint: str,
    tokens: Path | None,
    device: str,
    as_json: bool,
) -> None:
    """Measure how well the model of RUN predicts a text: nll, perplexity, bits per character.

    RUN is a run folder, or its name under runs/; of several runs the ensemble is measured, too. KEY=VALUE sets keys of
    the recipe's `evaluation` section.
    """
    others = [one for one in more if not is_assignment(one)]
    overrides = [one for one in more if is_assignment(one)]
    depths = Depths(steps, column)
    chosen = [kind for kind in (others, samples, exact, dynamic, cache) if kind]
    if len(chosen) > 1:
        raise RequestError("several runs, --samples, --exact, --dynamic and --cache exclude each other")
    if depths.several is not None and (chosen or tokens is not None):
        what = "several runs, --samples, --exact, --dynamic, --cache and --tokens"
        raise RequestError(f"{depths.several} takes one number beside {what}")
    if png is not None and not (others or samples or exact or depths.several):
        raise RequestError("--png draws the curve of --samples, --exact or several runs, --steps or --column")
    if split is not None and text is not None:
        raise RequestError("--split and --text exclude each other: one text is measured")
    if text is not None and not text.is_file():
        what = f"`{text}` is a folder" if text.is_dir() else f"there is no file `{text}`"
        raise RequestError(what, hint="--text takes one file, plain or .gz")
    for option, path in (("--tokens", tokens), ("--png", png)):
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"there is no folder `{path.parent}` for {option}")
    recipe = _recipe(run, [*overrides, *([f"evaluation.window={window}"] if window else [])])

    keep_freed_memory()
    if (task := recipe.data.task) is not None:
        given: dict[str, object] = {"streams": streams, "window": window, "dynamic": dynamic, "cache": cache}
        given |= {"tokens": tokens, "samples": samples, "exact": exact}
        if others:
            raise RequestError("ensembles are of language models")
        for option in TEXT_ONLY:
            if given[option]:
                raise RequestError(
                    f"--{option} is for language models, and {run} was trained on the task `{task.kind}`"
                )
        values = _evaluate_task(run, recipe, task, split, text, depths, checkpoint, device)
        if png is not None:
            save_anytime(png, values)
        if as_json:
            print_json(values)
        else:
            _print_task(values)
        return

    import numpy as np

    from lsseq.api import load
    from lsseq.evaluation import ensemble
    from lsseq.evaluation.evaluate import evaluate, find_split
    from lsseq.evaluation.reading import Tokenwise
    from lsseq.evaluation.surprisal import write_surprisals
    from lsseq.evaluation.text import file_split

    trained = load(run, checkpoint, device)  # type: ignore[arg-type]
    name = None if text is not None else split or "valid"
    with ExitStack() as stack:
        measured = (
            stack.enter_context(file_split(text, trained.vocabulary, recipe.data))
            if text is not None
            else find_split(recipe.data, trained.vocabulary, str(name), trained.fingerprint)
        )
        each = Tokenwise() if tokens else None
        subject = (trained.model, measured, trained.vocabulary, recipe)
        options: dict[str, Any] = {"streams": streams, "device": trained.device, "keep": each}
        mode: Mode = "dynamic" if dynamic else "cache" if cache else "deterministic"

        def measure() -> dict[str, Any]:
            if others:
                with ExitStack() as each_one:
                    prepare = lambda model: each_one.enter_context(depths.at_one(model))  # noqa: E731
                    return together([run, *others], *subject, prepare, checkpoint, **options)
            if samples is not None:
                return ensemble.sampled(*subject, samples=samples, seed=seed, **options)
            return ensemble.exact(*subject, **options) if exact else evaluate(*subject, mode=mode, **options)

        values = depths.measured(trained.model, measure)
        if tokens is not None and each is not None:
            # A plain view: going through the memory-map class itself costs several times as much.
            write_surprisals(tokens, trained.vocabulary, np.asarray(measured.tokens), each.pieces())
    if name is not None:
        values["split"] = name
        values |= compared(values, recipe, name, steps_of(run))
    if png is not None:
        (save_anytime if depths.several else save_ensemble)(png, values)
    if as_json:
        print_json(values)
    else:
        _print(values, str(text or name))


def _evaluate_task(
    run: str,
    recipe: Recipe,
    task: Task,
    split: str | None,
    text: Path | None,
    depths: Depths,
    checkpoint: str,
    device: str,
) -> dict[str, Any]:
    from lsseq.data.tasks import LabelledTexts, open_task
    from lsseq.evaluation.answers import evaluate_examples
    from lsseq.runs import load_task
    from lsseq.training.device import choose_device

    place = choose_device(device)  # type: ignore[arg-type]
    trained = load_task(run, checkpoint, str(place))
    known = trained.fingerprint if text is None else None
    examples = open_task(recipe.data, task, trained.folder.path, known)
    if text is not None:
        if not isinstance(examples, LabelledTexts):
            raise RequestError(f"--text is for texts with labels, and {run} was trained on the task `{task.kind}`")
        examples = examples.with_file(str(text), text, task)
    name = str(text) if text is not None else split or "valid"
    values = depths.measured(trained.model, lambda: evaluate_examples(trained.model, examples, name, device=place))
    if text is not None:
        del values["split"]
        return values
    return values | compared(values, recipe, name, steps_of(run))


def _recipe(run: str, overrides: Sequence[str]) -> Recipe:
    """The run's recipe, its `evaluation` section changed."""
    from lsseq.recipe import load_recipe
    from lsseq.runs import RunFolder

    for override in overrides:
        if not override.startswith("evaluation."):
            raise RequestError(
                f"`{override}` cannot be changed after training",
                hint="a trained run takes keys of `evaluation` only, such as evaluation.cache.weight=0.2",
            )
    return load_recipe(str(RunFolder.open(run).recipe), overrides).recipe


def steps_of(run: str) -> int | None:
    """How many steps a run was trained; None where its checkpoint `last` does not tell."""
    from lsseq.runs import RunFolder, read_saved

    with suppress(RunError):
        return read_saved(RunFolder.open(run).checkpoint("last")).step
    return None


def compared(values: dict[str, Any], recipe: Recipe, split: str, steps: int | None) -> dict[str, Any]:
    """`expected` and `met`: what the recipe states for this split, and whether the figures are within its tolerance.

    A stated figure is of the model as it was trained, so nothing is compared with dynamic evaluation, the cache,
    layers repeated otherwise or a column, nor where training took another number of steps than `steps`.
    """
    if values["mode"] != "deterministic" or "steps" in values or "column" in values:
        return {}
    stated = [one for one in recipe.expects(split, steps) if one.metric in values]
    if not stated:
        return {}
    return {
        "expected": [one.model_dump(exclude_none=True) for one in stated],
        "met": all(abs(values[one.metric] - one.value) <= one.tolerance for one in stated),
    }


def _print_task(values: dict[str, Any]) -> None:
    for key in ("nll", "accuracy", "mse"):
        if key in values:
            unit = {"nll": "nats a target", "accuracy": f"of {values['answers']:,} answers"}.get(key, "")
            beside = f"chance {values['chance'][key]:.6g}, solution {values['solution'][key]:g}"
            click.echo(f"{key:<12}{values[key]:<12.6g}{beside}; {unit}".rstrip("; "))
    _print_expected(values)
    click.echo(f"{values.get('split', 'text')}: {values['sequences']:,} sequences; {values['seconds']:.1f} s")
    click.echo(f"{values['mode']}; {values['protocol']}{_depth(values)}")
    click.echo(cost_line(values))
    print_anytime(values.get("anytime", []))


def _depth(values: dict[str, Any]) -> str:
    steps = f"; layers repeated {values['steps']} times" if "steps" in values else ""
    return steps + (f"; column {values['column']} alone" if "column" in values else "")


def _print_expected(values: dict[str, Any]) -> None:
    for one in values.get("expected", []):
        met = "met" if abs(values[one["metric"]] - one["value"]) <= one["tolerance"] else "not met"
        click.echo(f"expected    {one['metric']} {one['value']} ± {one['tolerance']}: {met}")


def _print(values: dict[str, Any], measured: str) -> None:
    for key, unit in UNITS.items():
        if key in values:
            click.echo(f"{key:<12}{values[key]:<12.6g}{unit}".rstrip())
    _print_expected(values)
    if "curve" in values:
        print_beside(values)
    characters = f", {values['characters']:,} characters" if "characters" in values else ""
    click.echo(f"{measured}: {values['tokens']:,} tokens{characters}; {values['seconds']:.1f} s")
    click.echo(f"{values['mode']}; {values['protocol']}{_depth(values)}")
    if "state_size" in values:
        click.echo(cost_line(values))
    print_anytime(values.get("anytime", []))
