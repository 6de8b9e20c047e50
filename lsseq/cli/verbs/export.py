"""`lsseq export`"""

from __future__ import annotations

from pathlib import Path

import click

from lsseq.cli.common import json_option, print_json

FORMATS = ("python", "torch-export", "onnx", "torch-nn")


@click.command(
    short_help="Write a trained model in a form that runs without lsseq.",
    epilog="""\b
Examples:
  lsseq export quickstart
  lsseq export quickstart --format onnx --out quickstart-onnx""",
)
@click.argument("run")
@click.option(
    "--format",
    "formats",
    type=click.Choice(FORMATS),
    multiple=True,
    help="May be given more than once  [default: all that the model can have]",
)
@click.option(
    "--out", "folder", metavar="DIR", type=click.Path(path_type=Path), help="Where it goes  [default: RUN/export]"
)
@click.option("--checkpoint", type=click.Choice(["best", "last"]), default="best", show_default=True)
@json_option
def command(run: str, formats: tuple[str, ...], folder: Path | None, checkpoint: str, as_json: bool) -> None:
    """Write the model of RUN, a run folder or its name under runs/, in forms that run without lsseq.

    \b
    python        model.py, plain PyTorch, beside model.safetensors
    torch-export  model.pt2, for torch.export.load
    onnx          model.onnx, for ONNX Runtime
    torch-nn      torch_nn.safetensors: the state dict of torch.nn.LSTM, GRU or RNN, for a model that has no more

    Each takes and gives the recurrent state, reads sequences of any length and number, and is compared with the model
    before it is written.
    """
    from lsseq.export.export import export
    from lsseq.runs import RunFolder

    source = RunFolder.open(run)
    values = export(source, checkpoint, list(dict.fromkeys(formats)), folder or source.path / "export")
    if as_json:
        print_json(values)
        return
    for row in values["formats"]:
        files = " and ".join(row["files"])
        click.echo(f"{row['format']:<13} {files} ({row['bytes']:,} bytes; error {row['error']:.0e})")
    for name, reason in values["left_out"].items():
        click.echo(f"{name:<13} left out: {reason}")
    click.echo(f"in {values['folder']}")
