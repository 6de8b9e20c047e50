"""`lsseq recipes` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., subprocess.CompletedProcess[str]]


def test_list(run_cli: Cli) -> None:
    lines = run_cli("recipes", "list", check=0).stdout.splitlines()
    listed, to_extend = lines[: lines.index("To extend:")], lines[lines.index("To extend:") :]
    assert any(line.split()[0] == "ptb-char/zoneout-lstm" and "zoneout on cell" in line for line in listed if line)
    assert any(line.startswith("ptb-char/base ") for line in to_extend)


def test_list_as_json(run_cli: Cli) -> None:
    recipes = json.loads(run_cli("recipes", "list", "--json", check=0).stdout)["recipes"]
    found = {recipe["name"]: recipe for recipe in recipes}
    assert found["quickstart"]["base"] is False
    assert found["text8/base"]["base"] is True
    assert found["quickstart"]["description"]


def test_list_imports_nothing_heavy(run_cli: Cli) -> None:
    imported = run_cli("recipes", "list", check=0, env={"PYTHONPROFILEIMPORTTIME": "1"}).stderr
    assert "ruamel.yaml" in imported
    heavy = ("torch", "numpy", "rich", "datasets", "sentencepiece")
    assert not [line for line in imported.splitlines() if line.split("|")[-1].strip() in heavy]


def test_show_fills_everything_in(run_cli: Cli, tmp_path: Path) -> None:
    shown = run_cli("recipes", "show", "ptb-char/zoneout-lstm", "model.hidden=[3, 4]", "model.layers=2", check=0).stdout
    (tmp_path / "shown.yaml").write_text(shown, encoding="utf-8")
    again = run_cli("recipes", "show", "shown.yaml", "--json", check=0, cwd=tmp_path).stdout
    recipe = json.loads(again)
    assert recipe["name"] == "ptb-char-zoneout-lstm"
    assert recipe["model"]["hidden"] == [3, 4]
    assert recipe["model"]["zoneout"] == {"cell": 0.5, "hidden": 0.05}
    assert recipe["training"]["optimizer"] == "adam"


def test_show_the_file_as_it_is(run_cli: Cli) -> None:
    from lsseq.resources import recipes_folder

    shown = run_cli("recipes", "show", "quickstart", "--source", check=0).stdout
    assert shown == (recipes_folder() / "quickstart.yaml").read_text(encoding="utf-8")
    assert "takes no KEY=VALUE" in run_cli("recipes", "show", "quickstart", "a=b", "--source", check=2).stderr


def test_the_source_of_a_recipe_that_is_no_text(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "latin.yaml").write_bytes(b"training: {steps: 1}\n# caf\xe9\n")
    told = run_cli("recipes", "show", "latin.yaml", "--source", cwd=tmp_path, check=2).stderr
    assert told.startswith("error: the byte 0xE9 is not UTF-8\n  --> latin.yaml:2")


def test_copy(run_cli: Cli, tmp_path: Path) -> None:
    result = run_cli("recipes", "copy", "ptb-char/zoneout-lstm", "mine.yaml", check=0, cwd=tmp_path)
    assert result.stderr == "copied to mine.yaml\ntrain it with: lsseq train mine.yaml\n"
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert text.startswith("# Data:    lsseq data prepare ptb\n# Run:     lsseq train mine.yaml\n")
    assert "\nextends: ptb-char/lstm\n" in text
    copied, original = (
        run_cli("recipes", "show", name, "name=x", check=0, cwd=tmp_path).stdout
        for name in ("mine.yaml", "ptb-char/zoneout-lstm")
    )
    assert copied == original


def test_copy_replaces_nothing_unless_told(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text("mine", encoding="utf-8")
    refused = run_cli("recipes", "copy", "quickstart", check=2, cwd=tmp_path).stderr
    assert refused == "error: `quickstart.yaml` is already there\n  --> quickstart.yaml\nhint: --force replaces it\n"
    assert (tmp_path / "quickstart.yaml").read_text(encoding="utf-8") == "mine"
    run_cli("recipes", "copy", "quickstart", "--force", check=0, cwd=tmp_path)
    assert "python-docs" in (tmp_path / "quickstart.yaml").read_text(encoding="utf-8")


def test_copy_names_the_way_to_a_base_outside_of_the_catalogue(run_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("training: {steps: 1}\n", encoding="utf-8")
    (tmp_path / "own.yaml").write_text("extends: [base, quickstart]  # both\n", encoding="utf-8")
    run_cli("recipes", "copy", "own.yaml", "sub/new.yaml", check=0, cwd=tmp_path)
    assert (tmp_path / "sub/new.yaml").read_text(encoding="utf-8") == "extends: [../base.yaml, quickstart]  # both\n"


def test_schema(run_cli: Cli) -> None:
    whole = json.loads(run_cli("recipes", "schema", check=0).stdout)
    assert "extends" in whole["properties"]
    assert run_cli("recipes", "schema", "model.zoneout", check=0).stdout.splitlines()[2] == (
        "  cell: a number from 0 to 1; default 0.0"
    )
    part = json.loads(run_cli("recipes", "schema", "model.zoneout", "--json", check=0).stdout)
    assert list(part["properties"]) == ["cell", "hidden"]
    assert run_cli("recipes", "schema", "model.zonout", check=2).stderr == (
        "error: unknown key `model.zonout`; did you mean `model.zoneout`?\n"
    )


def test_check_all_needs_no_corpus(run_cli: Cli, tmp_path: Path) -> None:
    result = run_cli("recipes", "check", "--all", "--json", check=0, env={"LSSEQ_DATA": str(tmp_path / "none")})
    recipes: list[dict[str, Any]] = json.loads(result.stdout)["recipes"]
    assert all(recipe["valid"] and recipe["parameters"] > 0 for recipe in recipes)
    compared = {recipe["name"]: recipe for recipe in recipes if "published" in recipe}
    assert compared["ptb-char/zoneout-lstm"]["parameters"] == 4_260_050
    assert all("explanation" in recipe for recipe in compared.values() if recipe["far"])
    assert not (tmp_path / "none").exists()


def test_check_shows_the_good_and_every_fault_of_the_bad(run_cli: Cli, tmp_path: Path) -> None:
    run = "training: {steps: 1}\n"
    texts = {
        "good.yaml": "data: {corpus: ptb, vocabulary_size: 5}\nmodel: {hidden: 4, embedding: 2}\n"
        "published: {metric: bpc, value: 1, source: s, parameters: 100}\n",
        "known.yaml": "extends: good\n"
        "published: {metric: bpc, value: 1, source: s, parameters: 100, difference: they count no biases}\n",
        "size.yaml": "data: {corpus: ptb}\n",
        "text.yaml": "model: {}\n",
        "keys.yaml": "model: {hiden: 3}\nfoo: 1\n",
        "own.yaml": "data: {text: mine.txt}\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text + run, encoding="utf-8")
    result = run_cli("recipes", "check", *texts, check=2, cwd=tmp_path)
    assert result.stdout.splitlines() == [
        "recipe      parameters  published  difference",
        "good.yaml          163        100    +63.0% !",
        "known.yaml         163        100    +63.0% *",
        "size.yaml          bad",
        "text.yaml          bad",
        "keys.yaml          bad",
        "own.yaml",
        "* known.yaml: they count no biases",
    ]
    assert result.stderr == (
        "error: data.vocabulary_size is missing; without it the model of the corpus `ptb` has no size\n"
        "  --> size.yaml:1\n"
        "1 | data: {corpus: ptb}\n"
        "  |                ^^^\n"
        "error: the recipe names no text\n"
        "error: unknown key `hiden` in model\n"
        "  --> keys.yaml:1\n"
        "1 | model: {hiden: 3}\n"
        "  |         ^^^^^ did you mean `hidden`?\n"
        "error: unknown key `foo`\n"
        "  --> keys.yaml:2\n"
        "2 | foo: 1\n"
        "  | ^^^\n"
        "hint: give data.corpus, data.text or data.dataset\n"
    )


def test_check_needs_names(run_cli: Cli) -> None:
    for arguments in ([], ["quickstart", "--all"]):
        assert run_cli("recipes", "check", *arguments, check=2).stderr.startswith(
            "error: give names of recipes, or --all"
        )


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        ("model: {hiden: 3}", "", "error: unknown key `hiden` in model\n  --> r.yaml:2\n"),
        (
            "model: {layers: two}",
            "",
            "error: model.layers must be an integer from 1 to 1000 (got `two`)\n  --> r.yaml:2\n",
        ),
        ("model: {layers: -1}", "", "error: model.layers must be an integer from 1 to 1000 (got -1)\n  --> r.yaml:2\n"),
        ("extends: r", "", "error: extends runs in a circle: r.yaml -> r.yaml\n  --> r.yaml:2\n"),
        ("extends: gone.yaml", "", "error: there is no recipe `gone.yaml`\n  --> r.yaml:2\n"),
        ("model: {", "", "error: not valid YAML: "),
        (
            "published: {metric: bpc, value: 1, source: s, difference: why}",
            "",
            "error: a `difference` explains `parameters`, and there are none beside it\n  --> r.yaml:2\n",
        ),
        ("model: {}", "model.hiden=3", "error: unknown key `model.hiden`\n  --> command line\n | model.hiden=3\n"),
    ],
)
def test_bad_input(run_cli: Cli, tmp_path: Path, text: str, override: str, message: str) -> None:
    (tmp_path / "r.yaml").write_text(f"training: {{steps: 1}}\n{text}\n", encoding="utf-8")
    result = run_cli("recipes", "show", "r.yaml", *([override] if override else []), check=2, cwd=tmp_path)
    assert result.stderr.startswith(message)
    assert result.stdout == ""


def test_a_recipe_that_is_not_there(run_cli: Cli) -> None:
    assert run_cli("recipes", "show", "quickstrt", check=2).stderr == (
        "error: there is no recipe `quickstrt`; did you mean `quickstart`?\n"
        "hint: `lsseq recipes list` shows the names; a recipe file or a run folder does as well\n"
    )
