"""A trained dense model compressed to low rank: what each rank keeps and costs, and what a short tuning brings back.

    python examples/compression.py
    python examples/compression.py --ranks 16 64 --tune 2 data.text=my-text.txt

It trains `quickstart` (a finished run is taken as it is) and writes a run for every rank. `lsseq compress` does the
same on the command line.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import lsseq
from lsseq.compression.compress import compress
from lsseq.compression.structure import Structure
from lsseq.nn.low_rank import spectra
from lsseq.recipe import load_recipe
from lsseq.runs import RunFolder
from lsseq.training.session import train_recipe


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("keys", nargs="*", metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--ranks", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--tune", type=float, metavar="MINUTES", default=1.0, help="for each rank; 0: not at all")
    given = parser.parse_args(arguments)

    run = given.runs / "dense"
    train_recipe(load_recipe("quickstart", given.keys), run, resume=True)
    model = lsseq.load(run)
    for spectrum in spectra(model.model):
        print(
            f"gate {spectrum.gate}: 90 % of the energy in {spectrum.rank_for(0.9)} of {len(spectrum.values)} directions"
        )

    dense = model.evaluate("valid")
    print(f"{'rank':>5}  {'parameters':>10}  {'energy':>6}  {'truncated':>9}  {'tuned':>7}    nats a symbol, valid")
    print(f"{'dense':>5}  {dense['parameters']:10,}  {1:6.3f}  {dense['nll']:9.4f}")
    for rank in given.ranks:
        target = given.runs / f"dense-rank-{rank}"
        row = compress(RunFolder.open(run), Structure(rank), target, split="valid", minutes=given.tune or None)
        tuned = f"{row['tuned']['nll']:7.4f}" if "tuned" in row else ""
        print(f"{rank:5}  {row['parameters']:10,}  {row['energy']:6.3f}  {row['truncated']['nll']:9.4f}  {tuned}")


if __name__ == "__main__":
    main()
