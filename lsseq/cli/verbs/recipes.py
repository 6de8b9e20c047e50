"""`lsseq recipes`: find, read, validate and copy recipes."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lsseq.cli.common import VerbGroup, json_option, print_json, say
from lsseq.errors import RequestError

if TYPE_CHECKING:
    from lsseq.cli.recipe_check import Checked


@click.group(cls=VerbGroup)
def command() -> None:
    """Find, read, validate and copy recipes.

    \b
    Example:
      lsseq recipes list
      lsseq recipes show ptb-char/zoneout-lstm model.hidden=512
      lsseq recipes schema model.zoneout
    """


@command.command("list")
@json_option
def list_command(as_json: bool) -> None:
    """List the recipes that come with lsseq.

    \b
    Example:
      lsseq recipes list
    """
    from lsseq.recipe import catalogue

    entries = catalogue.entries()
    if as_json:
        fields = [{"name": entry.name, "description": entry.description, "base": entry.is_base} for entry in entries]
        print_json({"recipes": fields})
        return
    width = max(len(entry.name) for entry in entries)
    for bases in (False, True):
        if bases:
            click.echo("\nTo extend:")
        for entry in entries:
            if entry.is_base == bases:
                click.echo(f"{entry.name:{width}}  {entry.description or ''}".rstrip())


@command.command("show", short_help="Print a recipe, resolved.")
@click.argument("name")
@click.argument("overrides", metavar="[KEY=VALUE]...", nargs=-1)
@click.option("--source", is_flag=True, help="Print the file as it is.")
@json_option
def show_command(name: str, overrides: tuple[str, ...], source: bool, as_json: bool) -> None:
    """Print a recipe with everything that it extends, and every default, filled in.

    \b
    Example:
      lsseq recipes show quickstart training.lr=1e-3
    """
    from lsseq.recipe import catalogue
    from lsseq.recipe.document import read_source

    if source:
        if overrides or as_json:
            raise RequestError("--source prints the file as it is; it takes no KEY=VALUE and no --json")
        click.echo(read_source(catalogue.find(name)), nl=False)
        return
    from lsseq.recipe import dump_recipe, load_recipe

    recipe = load_recipe(name, overrides).recipe
    if as_json:
        print_json(recipe.model_dump(mode="json", exclude_none=True))
    else:
        click.echo(dump_recipe(recipe), nl=False)


@command.command("check", short_help="Validate recipes and count parameters.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Check all recipes that come with lsseq.")
@json_option
def check_command(names: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Validate recipes and build their models without memory, to count the parameters. No corpus is read.

    A difference of more than 2 % from the published number of parameters is marked with `*` where the recipe explains
    it (`published.difference`), and its words stand below the table; else with `!`.

    \b
    Example:
      lsseq recipes check my-recipe.yaml
      lsseq recipes check --all
    """
    from lsseq.cli.recipe_check import check
    from lsseq.recipe import catalogue

    if bool(names) == every:
        raise RequestError(
            "give names of recipes, or --all", hint="`lsseq recipes check --help` shows what can be given"
        )
    checked = [check(name) for name in (catalogue.names() if every else names)]
    if as_json:
        print_json({"recipes": [one.values() for one in checked]})
    else:
        _print_table(checked)
    if problems := [problem for one in checked for problem in one.problems]:
        hints = [one.fault.hint for one in checked if one.fault and one.fault.hint]
        raise RequestError.of(problems, hints[0] if hints else None)


@command.command("copy", short_help="Copy a recipe to change it.")
@click.argument("name")
@click.argument("destination", metavar="[DESTINATION]", required=False, type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Replace a file that is there.")
def copy_command(name: str, destination: Path | None, force: bool) -> None:
    """Copy a recipe with its comments, to change it. What it extends stays in the catalogue and is named there.

    \b
    Example:
      lsseq recipes copy quickstart my-recipe.yaml
    """
    from lsseq.recipe.copy import copy_recipe

    path = copy_recipe(name, destination, force=force)
    say(f"copied to {path}\ntrain it with: lsseq train {shlex.quote(str(path))}")


@command.command("schema", short_help="Show the keys of a recipe.")
@click.argument("section", required=False)
@json_option
def schema_command(section: str | None, as_json: bool) -> None:
    """Print the JSON schema of recipes for editors; with a section, its keys and what they mean.

    \b
    Example:
      lsseq recipes schema > recipe.schema.json
      lsseq recipes schema model.zoneout
    """
    from lsseq.recipe.json_schema import json_schema, readable

    if as_json:
        print_json(json_schema(section or ""))
    elif section:
        click.echo(readable(section))
    else:
        click.echo(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _print_table(checked: list[Checked]) -> None:
    rows = [("recipe", "parameters", "published", "difference"), *(_row(one) for one in checked)]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        numbers = "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        click.echo(f"{row[0]:{widths[0]}}{numbers}".rstrip())
    for one in checked:
        if one.is_far and one.explanation:
            click.echo(f"* {one.name}: {one.explanation}")


def _row(one: Checked) -> tuple[str, str, str, str]:
    if one.fault:
        return one.name, "bad", "", ""
    mark = "" if not one.is_far else " *" if one.explanation else " !"
    difference = "" if one.difference is None else f"{one.difference:+.1%}{mark:2}"
    return one.name, _number(one.parameters), _number(one.published), difference


def _number(value: Any) -> str:
    return "" if value is None else f"{value:,}"
