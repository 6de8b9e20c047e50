"""`lsseq boundaries`"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.common import json_option, print_json, say
from lsseq.cli.memory import keep_freed_memory
from lsseq.errors import RequestError

if TYPE_CHECKING:
    from lsseq.api import TrainedModel
    from lsseq.boundaries.analysis import Text
    from lsseq.boundaries.draw import Rates
    from lsseq.boundaries.score import Best


@click.command(
    short_help="The boundaries that a run has learned: drawn, and scored against gold.",
    epilog="""\b
Examples:
  lsseq boundaries RUN
  lsseq boundaries RUN --split test --json
  lsseq boundaries RUN --text notes.txt --html notes.html --positions notes.tsv""",
)
@click.argument("run")
@click.option("--split", type=click.Choice(["valid", "test", "train"]), help="Part of the run's text  [default: valid]")
@click.option("--text", metavar="FILE", type=click.Path(path_type=Path), help="Read this text instead.")
@click.option("--gold", metavar="FILE", type=click.Path(path_type=Path), help="The same text with spaces, the gold.")
@click.option("--limit", type=click.IntRange(0), default=2000, show_default=True, metavar="N", help="Symbols to draw.")
@click.option("--html", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write a page.")
@click.option("--png", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write figures.")
@click.option(
    "--positions",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write every boundary, one a line: position, layer, probability.",
)
@click.option(
    "--streams",
    type=click.IntRange(1),
    metavar="N",
    help="Parts read side by side, each after a warm-up of 128 symbols  [default: 1 below 100,000 symbols, else 32]",
)
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@json_option
def command(
    run: str,
    split: str | None,
    text: Path | None,
    gold: Path | None,
    limit: int,
    html: Path | None,
    png: Path | None,
    positions: Path | None,
    streams: int | None,
    checkpoint: str,
    device: str,
    as_json: bool,
) -> None:
    """Read a text with the model of RUN and show where its layers find boundaries.

    Where the text tells where its units end, by spaces that it has or had (`data.strip_spaces`) or by --gold, the
    boundaries are scored beside baselines. A model without detectors is scored by the peaks of its own surprisal and
    entropy. The text may be of any length: it is read piece by piece.
    """
    if split is not None and text is not None:
        raise RequestError("--split and --text exclude each other: one text is read")
    for option, path in (("--html", html), ("--png", png), ("--positions", positions)):
        if path is not None and not path.parent.is_dir():
            raise RequestError(f"there is no folder `{path.parent}` for {option}")

    keep_freed_memory()
    from lsseq.api import load
    from lsseq.boundaries.analysis import measure
    from lsseq.boundaries.draw import page, print_excerpt, save_figure
    from lsseq.boundaries.positions import Positions

    trained = load(run, checkpoint, device)  # type: ignore[arg-type]
    name = None if text is not None else split or "valid"
    read, whole = _text(trained, text, gold, name)
    best, chosen = _best_offsets(trained, read, name, whole, streams)
    with ExitStack() as stack:
        keep = None
        if positions is not None:
            keep = Positions(stack.enter_context(positions.open("w", encoding="utf-8", newline="\n"))).add
        report, excerpt = measure(
            trained.model,
            trained.vocabulary,
            read,
            best=best,
            limit=limit,
            streams=streams,
            device=trained.device,
            keep=keep,
        )
    values = {**report.values, **({"split": name} if name else {}), "offsets": chosen}
    rates = _rates(trained)
    if html is not None:
        title = f"Boundaries of {trained.folder.name} in {text or name}"
        html.write_text(page(excerpt, values, title=title, rates=rates), encoding="utf-8")
    if png is not None:
        save_figure(png, excerpt, report, rates=rates)
    if as_json:
        print_json(values)
        return
    print_excerpt(excerpt)
    _print(values)


def _text(trained: TrainedModel, path: Path | None, gold: Path | None, name: str | None) -> tuple[Text, bool]:
    """What is read, and whether it is the whole of a corpus without splits."""
    from lsseq.boundaries.analysis import Text
    from lsseq.data import read_file
    from lsseq.evaluation.evaluate import find_split

    data, vocabulary = trained.recipe.data, trained.vocabulary
    if path is not None:
        return _with_teachers(trained, Text.of(read_file(path, vocabulary, data, gold))), False
    split = find_split(data, vocabulary, str(name), trained.fingerprint)
    return _with_teachers(trained, Text.of(split.marked(gold))), split.whole


def _with_teachers(trained: TrainedModel, text: Text) -> Text:
    """A text, and what the teachers of the run, where it has some, make of it: `two_way`, and above the lowest level
    `two_way_2` and so on. One of them reads it from its end, so its tokens are held."""
    import numpy as np

    from lsseq.evaluation.evaluate import open_with
    from lsseq.training.teachers import has_teachers, school_of

    if not has_teachers(trained.recipe):
        return text
    try:
        data = open_with(trained.recipe.data, trained.vocabulary, trained.fingerprint)
    except RequestError as error:
        say(f"note: the teachers are not scored, since their text is not at hand: {error.message}")
        return text
    tokens = np.concatenate([stretch.tokens for stretch in text.stretches])
    marks = school_of(trained.recipe, data, trained.device).marks(tokens)
    names = ("two_way" + (f"_{level}" if level > 1 else "") for level in range(1, 1 + marks.shape[1]))
    return replace(text, others=dict(zip(names, marks.T, strict=True)))


def _best_offsets(
    trained: TrainedModel, read: Text, name: str | None, whole: bool, streams: int | None
) -> tuple[Best | None, str]:
    """The offsets to quote, and in words where they were chosen: on the validation split, but for that split itself."""
    from lsseq.boundaries.analysis import Text, measure
    from lsseq.boundaries.score import best_offsets
    from lsseq.evaluation.evaluate import find_split

    if not read.rates or name == "valid" or whole:
        return None, "chosen on this text" + (": the corpus has no splits" if whole else "")
    try:
        valid = Text.of(find_split(trained.recipe.data, trained.vocabulary, "valid", trained.fingerprint).marked())
    except RequestError:
        return None, "chosen on this text: the validation split is not at hand"
    if valid.rates.keys() != read.rates.keys():
        return None, "chosen on this text: the validation split has no such gold"
    valid = _with_teachers(trained, valid)
    report, _ = measure(trained.model, trained.vocabulary, valid, streams=streams, device=trained.device)
    return best_offsets(report.values), "chosen on the validation split"


def _rates(trained: TrainedModel) -> Rates | None:
    """How often each detector fired during the training, out of metrics.jsonl."""
    from lsseq.boundaries.draw import Rates
    from lsseq.runs.folder import RunFolder
    from lsseq.runs.metrics import read_metrics

    path = RunFolder(trained.folder).metrics
    lines = [line for line in read_metrics(path) if line.get("boundary_rate")] if path.exists() else []
    return Rates([line["step"] for line in lines], [line["boundary_rate"] for line in lines]) if lines else None


def _print(values: dict[str, Any]) -> None:
    from lsseq.boundaries.draw.table import score_rows

    click.echo(f"{values['characters']:,} symbols")
    for number, layer in enumerate(values["layers"], start=1):
        length = layer["mean_length"]
        click.echo(
            f"layer {number}: rate {layer['rate']:.3f}, mean length " + ("–" if length is None else f"{length:.2f}")
        )
    if values["layers"]:
        click.echo("layers computed at " + ", ".join(f"{share:.0%}" for share in values["updates"]) + " of the steps")
    else:
        click.echo("the model has no detectors")
    for level in values.get("gold", []):
        click.echo(f"{level} (offsets {values['offsets']})")
        click.echo(f"  {'detector':12} offset  precision  recall     F1  token F1")
        for name, offset, cells in score_rows(values, level):
            precision, recall, f1, _, _, tokens, *_ = ("–" if cell is None else f"{cell:.3f}" for cell in cells)
            click.echo(f"  {name:12} {offset:>6} {precision:>10} {recall:>7} {f1:>6} {tokens:>9}")
