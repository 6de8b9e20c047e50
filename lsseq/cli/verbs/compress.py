"""`lsseq compress`"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.common import count, json_option, print_json, say
from lsseq.cli.memory import keep_freed_memory
from lsseq.errors import RequestError

if TYPE_CHECKING:
    from lsseq.compression.structure import Structure
    from lsseq.nn.low_rank import Spectrum
    from lsseq.runs import RunFolder

ENERGIES = (0.5, 0.9, 0.99)
"""Shares of the energy for which the table says what rank keeps them."""


def _ranks(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> list[int]:
    """Those of all `--rank R` and `--rank R,R,R`, in order."""
    found = set()
    for part in (part for group in given for part in group.split(",")):
        if (rank := count(part)) is None:
            raise click.BadParameter(f"`{part.strip()}` is no rank; such as 32, or 16,32,64")
        found.add(rank)
    return sorted(found)


@click.command(
    short_help="Turn a trained dense model into one of low rank.",
    epilog="""\b
Examples:
  lsseq compress quickstart
  lsseq compress quickstart --rank 32 --run runs/small
  lsseq compress quickstart --rank 16,32,64 --diagonal --tune 5 --png ranks.png""",
)
@click.argument("run")
@click.option("--rank", "ranks", multiple=True, callback=_ranks, metavar="R[,R...]", help="Of the recurrent matrices.")
@click.option("--diagonal", is_flag=True, help="A diagonal matrix beside each product of factors.")
@click.option("--tied", is_flag=True, help="The gates share the factor that the state is multiplied by.")
@click.option("--tune", "minutes", type=click.FloatRange(0, min_open=True), metavar="MINUTES", help="Train the result.")
@click.option(
    "--run",
    "target",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Folder of the new run; of several ranks DIR-rank-R  [default: RUN-rank-R]",
)
@click.option("--split", type=click.Choice(["valid", "test", "train"]), default="valid", show_default=True)
@click.option("--streams", type=click.IntRange(1), metavar="N", help="Parts read side by side: faster on long texts.")
@click.option("--png", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Draw what is printed.")
@json_option
def command(
    run: str,
    ranks: list[int],
    diagonal: bool,
    tied: bool,
    minutes: float | None,
    target: Path | None,
    split: str,
    streams: int | None,
    png: Path | None,
    as_json: bool,
) -> None:
    """Replace the recurrent matrices of RUN by the nearest ones of a lower rank, and measure the loss before and after.

    RUN is a run folder, or its name under runs/. Each rank gives a run, which `lsseq eval`, `lsseq generate` and
    `lsseq train --from` take. Without --rank only the singular values of the matrices are shown.
    """
    if png is not None and not png.parent.is_dir():
        raise RequestError(f"there is no folder `{png.parent}` for --png")

    from lsseq.compression.structure import Structure
    from lsseq.runs import RunFolder

    structures = [Structure(rank, diagonal, tied) for rank in ranks]
    if not structures and (diagonal or tied or target is not None or minutes is not None):
        raise RequestError("--diagonal, --tied, --tune and --run need --rank", hint="such as --rank 32")
    source = RunFolder.open(run)
    targets = _targets(source, structures, target)

    keep_freed_memory()
    if png is not None:
        from lsseq.boundaries.draw.figures import new_figure

        new_figure(1, 1)  # that matplotlib is missing is to be said now, not after the tuning
    from lsseq.compression.compress import compress, load_model, measure
    from lsseq.compression.figure import save_figure
    from lsseq.nn.low_rank import spectra

    found = spectra(load_model(source))
    values: dict[str, Any] = {"run": str(source), "spectrum": [_values(one, structures) for one in found]}
    if structures:
        dense = measure(source.path, split, streams)
        values |= {"split": split, "tokens": dense["tokens"], "protocol": dense["protocol"]}
        values["dense"] = {name: value for name, value in dense.items() if name not in ("tokens", "protocol")}
        values["ranks"] = []
    for structure, path in zip(structures, targets, strict=True):
        say(f"rank {structure.rank}: {path}")
        row = compress(source, structure, path, split=split, streams=streams, minutes=minutes)
        values["ranks"].append(row)
    if png is not None:
        save_figure(png, found, values)
    if as_json:
        print_json(values)
    else:
        _print(found, values)


def _targets(source: RunFolder, structures: Sequence[Structure], target: Path | None) -> list[Path]:
    """The folders of the new runs. What can be refused is refused here, before anything is computed."""
    from lsseq.recipe import load_recipe
    from lsseq.runs import RunFolder

    recipe = load_recipe(str(source.recipe)).recipe
    paths = []
    for structure in structures:
        structure.check(source, recipe)
        path = target if target is not None and len(structures) == 1 else structure.beside(target or source.path)
        with RunFolder.claim(path, resume=False):
            paths.append(path)
    return paths


def _values(spectrum: Spectrum, structures: Sequence[Structure]) -> dict[str, Any]:
    values = {"layer": spectrum.layer, "gate": spectrum.gate, "singular_values": spectrum.values.tolist()}
    energy = {str(structure.rank): spectrum.energy(structure.rank) for structure in structures}
    return values | ({"energy": energy} if energy else {})


def _print(spectra: Sequence[Spectrum], values: dict[str, Any]) -> None:
    """The spectrum, and what each rank costs and loses."""
    from lsseq.training.progress import headline, number

    shares = "".join(f"{share:>8.0%}" for share in ENERGIES)
    click.echo(f"layer  gate  largest   rank that keeps{shares} of the energy")
    for spectrum in spectra:
        ranks = "".join(f"{spectrum.rank_for(share):>8}" for share in ENERGIES)
        click.echo(f"{spectrum.layer:>5}  {spectrum.gate:<4}  {spectrum.values[0]:7.3g}{'':>18}{ranks}")
    if "ranks" not in values:
        return
    name, _ = headline(values["dense"]).split()
    click.echo(f"\n{name} on {values['split']}: {values['tokens']:,} tokens; {values['protocol']}")
    click.echo(f"{'rank':>5}{'parameters':>13}{'FLOPs/token':>14}{'energy':>9}{'truncated':>11}{'tuned':>9}  run")
    rows = [{"rank": "dense", "run": values["run"], "truncated": values["dense"], **values["dense"]}, *values["ranks"]]
    for row in rows:
        cells = [
            f"{row['rank']:>5}",
            f"{row['parameters']:>13,}",
            f"{row['flops_per_token']:>14,}" if "flops_per_token" in row else " " * 14,
            f"{row['energy']:>9.4f}" if "energy" in row else " " * 9,
            f"{number(row['truncated'][name]):>11}",
            f"{number(row['tuned'][name]):>9}" if "tuned" in row else " " * 9,
        ]
        click.echo("".join(cells) + f"  {row['run']}")
