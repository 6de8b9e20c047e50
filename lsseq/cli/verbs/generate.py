"""`lsseq generate`"""

from __future__ import annotations

import itertools
import secrets
import time

import click

from lsseq.cli.common import json_option, print_json


@click.command(
    short_help="Write text with a trained model.",
    epilog="""\b
Examples:
  lsseq generate quickstart --prompt "The statement " --temperature 0.8
  lsseq generate quickstart --length 1000 --top-k 10 --seed 1""",
)
@click.argument("run")
@click.option("--prompt", default="", metavar="TEXT", help="What the text goes on from.")
@click.option("--length", type=click.IntRange(1), default=500, show_default=True, metavar="N", help="Tokens to write.")
@click.option(
    "--temperature",
    type=click.FloatRange(0),
    default=1.0,
    show_default=True,
    metavar="X",
    help="Below 1 nearer to the likeliest text; 0 takes the likeliest token each time.",
)
@click.option("--top-k", type=click.IntRange(1), metavar="K", help="Draw from the K likeliest tokens only.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="N", help="The same seed writes the same text.")
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@json_option
def command(
    run: str,
    prompt: str,
    length: int,
    temperature: float,
    top_k: int | None,
    seed: int | None,
    checkpoint: str,
    device: str,
    as_json: bool,
) -> None:
    """Write text with the model of RUN, a run folder or its name under runs/."""
    from lsseq.api import load
    from lsseq.generation import write

    trained = load(run, checkpoint, device)  # type: ignore[arg-type]
    seed = secrets.randbits(31) if seed is None else seed
    began = time.perf_counter()
    data = trained.recipe.data
    parts = write(
        trained.model,
        trained.vocabulary,
        data,
        prompt,
        length,
        source="--prompt",
        temperature=temperature,
        top_k=top_k,
        seed=seed,
    )
    if not as_json:
        # A model that reads backwards writes what comes before the prompt.
        for part in (*parts, prompt) if data.reverse else itertools.chain([prompt], parts):
            click.echo(part, nl=False)
        click.echo()
        return
    text = "".join(parts)
    values = {"prompt": prompt, "text": text, "seed": seed, "temperature": temperature, "tokens": length}
    if top_k is not None:
        values["top_k"] = top_k
    print_json({**values, "seconds": time.perf_counter() - began})
