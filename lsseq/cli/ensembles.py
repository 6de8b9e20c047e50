"""`lsseq eval` of ensembles: the draws of one run's noise, its sub-networks, or several runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.curve import save_curve
from lsseq.errors import RequestError
from lsseq.training.progress import HEADLINES

if TYPE_CHECKING:
    from torch.nn import Module

    from lsseq.data import Split, Vocabulary
    from lsseq.model.language_model import LanguageModel
    from lsseq.recipe.schema import Recipe


def together(
    runs: Sequence[str],
    first: LanguageModel,
    split: Split,
    vocabulary: Vocabulary,
    recipe: Recipe,
    prepare: Callable[[Module], object],
    checkpoint: str,
    **options: Any,
) -> dict[str, Any]:
    """The explicit ensemble of runs, of which the first is loaded; `prepare` is called with each other model. Options
    are those of `lsseq.evaluation.ensemble.together`.

    Raises:
        RequestError: as `load_run`; or the runs read a text differently.
    """
    from lsseq.evaluation import ensemble
    from lsseq.runs import load_run

    models = [first]
    known = (vocabulary.unit, vocabulary.contents())
    for run in runs[1:]:
        other = load_run(run, checkpoint, str(options["device"]))
        if (other.vocabulary.unit, other.vocabulary.contents()) != known:
            raise RequestError(
                f"{run} has another vocabulary than {runs[0]}: there are no probabilities that could be averaged",
                hint="runs of one corpus with the same `data` keys have the same vocabulary",
            )
        for key in ("reverse", "strip_spaces"):
            if getattr(other.recipe.data, key) != getattr(recipe.data, key):
                raise RequestError(
                    f"{run} and {runs[0]} read different symbols: data.{key} is true of one of them only"
                )
        prepare(other.model)
        models.append(other.model)
    values = ensemble.together(models, split, vocabulary, recipe, **options)
    values["runs"] = [{"run": str(run), **own} for run, own in zip(runs, values["runs"], strict=True)]
    return values


def save_ensemble(path: Path, values: dict[str, Any]) -> None:
    """Write the curve over the networks of an ensemble as a PNG file.

    Raises:
        RequestError: matplotlib is not installed.
    """
    points = {int(count): nll for count, nll in values["curve"].items()}
    lines: dict[str, float] = {name: values[name]["nll"] for name in ("deterministic", "single") if name in values}
    save_curve(path, points, lines, x="networks averaged", y="nats per token")


def print_beside(values: dict[str, Any]) -> None:
    """What stands beside the figures of an ensemble."""
    unit = next(name for name in HEADLINES if name in values)

    def line(name: str, figures: dict[str, Any], more: str = "") -> None:
        click.echo(f"{name:<16}nll {figures['nll']:<10.6g}{unit} {figures[unit]:.6g}{more}")

    if "deterministic" in values:
        line("deterministic", values["deterministic"], f"  ({values['deterministic']['seconds']:.1f} s)")
    for run in values.get("runs", []):
        line(str(run["run"]), run, f"  ({run['parameters']:,} parameters)")
    if ranked := values.get("sub_networks"):
        click.echo(f"{'sub-networks':<16}{len(ranked)}")
        for which, own in (("best", ranked[0]), ("worst", ranked[-1])):
            line(which, own, f"  ({own['name']}; probability {own['probability']:.3g})")
    deviation = values["single"]["sd"]
    line("single, mean", values["single"], "" if deviation is None else f"  (sd of nll {deviation:.3g})")
    line("geometric mean", values["geometric"])
    click.echo(f"{'disagreement':<16}{values['disagreement']:.4g} nats")
    last = max(map(int, values["curve"]))
    shown = [count for count in map(int, values["curve"]) if count & (count - 1) == 0 or count == last]
    click.echo(
        f"{'nll of the first':<17}" + ", ".join(f"{count}: {values['curve'][str(count)]:.6g}" for count in shown)
    )
