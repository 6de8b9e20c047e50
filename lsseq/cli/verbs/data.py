"""`lsseq data`: the corpora that recipes may name."""

from __future__ import annotations

from pathlib import Path

import click

from lsseq.cli.common import VerbGroup, json_option, print_json


@click.group(cls=VerbGroup)
def command() -> None:
    """List, describe and prepare corpora.

    \b
    Example:
      lsseq data list
      lsseq data prepare ptb --from ~/downloads/ptb
    """


@command.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The corpora there are, and which are prepared.

    \b
    Example:
      lsseq data list --json
    """
    from lsseq.data.corpus import corpus_names, load_corpus
    from lsseq.data.report import corpus_values, listed

    corpora = {name: load_corpus(name) for name in corpus_names()}
    if as_json:
        print_json({"corpora": [corpus_values(corpus) for corpus in corpora.values()]})
    else:
        click.echo("\n".join(listed(corpora)))


@command.command(short_help="Show files, sums, licence and counts.")
@click.argument("name")
@json_option
def info(name: str, as_json: bool) -> None:
    """A corpus: licence, citation, files with their sums, counts, and where it lies.

    \b
    Example:
      lsseq data info wikitext-2
    """
    from lsseq.data.corpus import load_corpus
    from lsseq.data.report import corpus_lines, corpus_values

    corpus = load_corpus(name)
    if as_json:
        print_json(corpus_values(corpus))
    else:
        click.echo("\n".join(corpus_lines(corpus)))


@command.command(short_help="Fetch a corpus, or take it from a folder.")
@click.argument("name")
@click.option(
    "--from", "folder", type=click.Path(path_type=Path), help="Take the files from this folder, plain or .gz."
)
@json_option
def prepare(name: str, folder: Path | None, as_json: bool) -> None:
    """Fetch a corpus, or take its files at hand, verify them, and cut it into its splits.

    \b
    Example:
      lsseq data prepare wikitext-2
      lsseq data prepare ptb --from ~/downloads/ptb
    """
    from lsseq.data.corpus import load_corpus
    from lsseq.data.prepare import prepare
    from lsseq.data.report import prepared_lines, prepared_values

    prepared = prepare(load_corpus(name), folder)
    if as_json:
        print_json(prepared_values(prepared))
    else:
        click.echo("\n".join(prepared_lines(prepared)))
