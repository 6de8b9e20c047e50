"""Loading: extends, merging, the command line, names."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from lsseq.errors import RequestError
from lsseq.recipe import KeyFault, dump_recipe, load_recipe

Write = Callable[..., Path]

BASE = """
    data: {corpus: ptb, vocabulary_size: 50}
    model: {hidden: 8, zoneout: {cell: 0.5, hidden: 0.1}}
    training: {steps: 10, schedule: {kind: plateau, factor: 0.3, patience: 2}}
"""


def test_keys_merge_below_the_recipes_own(write: Write) -> None:
    write("base.yaml", BASE)
    write("r.yaml", "extends: base.yaml\nmodel: {zoneout: {cell: 0.2}}\n")
    model = load_recipe("r.yaml").recipe.model
    assert (model.hidden, model.zoneout.cell, model.zoneout.hidden) == (8, 0.2, 0.1)


@pytest.mark.parametrize("name", ["base", "base.yaml", "./base", "../{folder}/base.yaml"])
def test_extends_names_a_file_with_or_without_its_ending(write: Write, tmp_path: Path, name: str) -> None:
    write("base.yaml", BASE)
    write("r.yaml", f"extends: {name.format(folder=tmp_path.name)}\n")
    assert load_recipe("r.yaml").recipe.model.hidden == 8


def test_extends_names_a_recipe_of_the_catalogue(write: Write) -> None:
    write("r.yaml", "extends: ptb-char/base\ntraining: {epochs: 1}\n")
    recipe = load_recipe("r.yaml").recipe
    assert (recipe.data.corpus, recipe.training.epochs) == ("ptb", 1)


def test_a_later_one_of_several_stands_over_an_earlier_one(write: Write) -> None:
    write("a.yaml", "model: {hidden: 1, layers: 2}\ntraining: {steps: 1}\n")
    write("b.yaml", "model: {hidden: 3}\n")
    write("r.yaml", "extends: [a, b]\n")
    model = load_recipe("r.yaml").recipe.model
    assert (model.hidden, model.layers) == (3, 2)


def test_a_base_of_two_bases_is_no_circle(write: Write) -> None:
    write("base.yaml", BASE)
    write("a.yaml", "extends: base\nmodel: {layers: 2}\n")
    write("b.yaml", "extends: base\nmodel: {embedding: 4}\n")
    write("r.yaml", "extends: [a, b]\n")
    model = load_recipe("r.yaml").recipe.model
    assert (model.layers, model.embedding, model.hidden) == (2, 4, 8)


def test_what_speaks_of_one_recipe_is_not_inherited(write: Write) -> None:
    figure = "{metric: bpc, value: 1.0, source: paper}"
    expected = "{metric: bpc, value: 1.0, tolerance: 0.1}"
    write("base.yaml", f"name: n\ndescription: d\ntraining: {{steps: 1}}\npublished: {figure}\nexpected: {expected}\n")
    write("r.yaml", "extends: base\n")
    recipe = load_recipe("r.yaml").recipe
    assert (recipe.name, recipe.description, recipe.published, recipe.expected) == ("r", None, [], [])
    assert len(load_recipe("base.yaml").recipe.published) == 1


@pytest.mark.parametrize(
    ("override", "kept"),
    [
        ("training.steps=2", 1),
        ("evaluation.window=3", 1),
        ("data.text=my.txt", 0),
        ("model.hidden=9", 0),
        ("evaluation.pieces=7", 0),
    ],
)
def test_figures_are_not_those_of_other_data_or_another_model(write: Write, override: str, kept: int) -> None:
    figures = "published: {metric: bpc, value: 1.0, source: paper}\nexpected: {metric: bpc, value: 1, tolerance: 0.1}\n"
    write("r.yaml", f"{textwrap.dedent(BASE)}{figures}")
    recipe = load_recipe("r.yaml", [override]).recipe
    assert (len(recipe.published), len(recipe.expected)) == (kept, kept)


def test_figures_of_the_command_line_stay(write: Write) -> None:
    write("r.yaml", BASE)
    figure = "expected={metric: bpc, value: 1, tolerance: 0.1}"
    assert len(load_recipe("r.yaml", [figure, "model.hidden=9"]).recipe.expected) == 1


@pytest.mark.parametrize("schedule", ["cosine", "{kind: cosine}"])
def test_another_kind_takes_the_place_of_the_whole_section(write: Write, schedule: str) -> None:
    write("base.yaml", BASE)
    write("r.yaml", f"extends: base\ntraining: {{schedule: {schedule}}}\n")
    found = load_recipe("r.yaml").recipe.training.schedule
    assert (found.kind, found.factor, found.patience) == ("cosine", 0.5, 0)


@pytest.mark.parametrize("schedule", ["plateau", "{kind: plateau}", "{warmup: 5}", "{}"])
def test_the_same_kind_merges(write: Write, schedule: str) -> None:
    write("base.yaml", BASE)
    write("r.yaml", f"extends: base\ntraining: {{schedule: {schedule}}}\n")
    found = load_recipe("r.yaml").recipe.training.schedule
    assert (found.kind, found.factor, found.patience) == ("plateau", 0.3, 2)


def test_keys_merge_over_a_bare_name(write: Write) -> None:
    write("base.yaml", "training: {steps: 1, schedule: cosine}\n")
    write("r.yaml", "extends: base\ntraining: {schedule: {warmup: 5}}\n")
    schedule = load_recipe("r.yaml").recipe.training.schedule
    assert (schedule.kind, schedule.warmup) == ("cosine", 5)


def test_null_takes_a_value_of_a_base_away(write: Write) -> None:
    write("base.yaml", BASE)
    write("r.yaml", "extends: base\nmodel: {zoneout: null, hidden: null}\ntraining: {steps: null, epochs: 3}\n")
    recipe = load_recipe("r.yaml").recipe
    assert (recipe.training.steps, recipe.training.epochs) == (None, 3)
    assert (recipe.model.zoneout.cell, recipe.model.hidden) == (0.0, 256)


def test_a_section_that_was_taken_away_can_be_set_again(write: Write) -> None:
    write("base.yaml", BASE)
    write("none.yaml", "extends: base\nmodel: {zoneout: null}\n")
    write("r.yaml", "extends: none\nmodel: {zoneout: {hidden: 0.3}}\n")
    zoneout = load_recipe("r.yaml").recipe.model.zoneout
    assert (zoneout.cell, zoneout.hidden) == (0.0, 0.3)


@pytest.mark.parametrize(
    ("below", "above", "left"),
    [
        ("corpus: ptb", "text: a.txt", {"text"}),
        ("corpus: ptb", "dataset: {name: x}", {"dataset"}),
        ("text: a.txt", "corpus: ptb", {"corpus"}),
        ("text: [a.txt]", "dataset: {name: x}", {"dataset"}),
        ("corpus: ptb", "text: null", {"corpus"}),
        ("text: a.txt", "text: {train: a, valid: b}", {"text"}),
    ],
)
def test_one_source_of_text_takes_the_place_of_another(write: Write, below: str, above: str, left: set[str]) -> None:
    write("base.yaml", f"data: {{{below}}}\ntraining: {{steps: 1}}\n")
    write("r.yaml", f"extends: base\ndata: {{{above}}}\n")
    data = load_recipe("r.yaml").recipe.data
    assert {key for key in ("corpus", "text", "dataset") if getattr(data, key) is not None} == left


def test_milestones_take_the_place_of_after(write: Write) -> None:
    write("base.yaml", "training: {epochs: 9, schedule: {kind: step, after: 4}}\n")
    write("r.yaml", "extends: base\ntraining: {schedule: {milestones: [2, 3]}}\n")
    schedule = load_recipe("r.yaml").recipe.training.schedule
    assert (schedule.after, schedule.milestones) == (None, [2, 3])


@pytest.mark.parametrize(
    ("overrides", "key", "value"),
    [
        (["model.hidden=[3, 4]", "model.layers=2"], "model.hidden", [3, 4]),
        (["training.lr=1e-3"], "training.lr", 1e-3),
        (["training.steps=", "training.epochs=2"], "training.steps", None),
        (["training.steps=null", "training.minutes=0.5"], "training.minutes", 0.5),
        (["training.steps=5", "training.steps=6"], "training.steps", 6),
        (["data.text=a=b.txt"], "data.text", "a=b.txt"),
        (["data.text.train=a", "data.text.valid=b"], "data.text.valid", "b"),
        (["model={hidden: 5}"], "model.hidden", 5),
        (["training.schedule.warmup=7", "training.schedule=cosine"], "training.schedule.warmup", 7),
        (["name=2024-01-01"], "name", "2024-01-01"),
        (["model.recurrence=gru"], "model.zoneout.cell", 0.5),
        (["data.dataset={name: text}", "data.dataset.files.train=x.txt"], "data.dataset.files", {"train": "x.txt"}),
    ],
)
def test_the_command_line_stands_over_everything(write: Write, overrides: list[str], key: str, value: object) -> None:
    write("r.yaml", BASE)
    found: object = load_recipe("r.yaml", overrides).recipe
    for step in key.split("."):
        found = getattr(found, step)
    assert found == value


def test_names_of_runs(write: Write) -> None:
    write("own.yaml", BASE)
    write("named.yaml", f"name: chosen{BASE}")
    assert load_recipe("ptb-char/zoneout-lstm").name == "ptb-char-zoneout-lstm"
    assert load_recipe("quickstart").name == "quickstart"
    assert load_recipe(load_recipe("ptb-char/gru").source).name == "ptb-char-gru"
    assert load_recipe("own").name == load_recipe("./own.yaml").name == "own"
    assert load_recipe("own.yaml", ["name=other"]).recipe.name == "other"


def test_a_run_folder_gives_its_recipe(write: Write) -> None:
    loaded = load_recipe("quickstart", ["training.steps=5"])
    write("runs/x/recipe.yaml", dump_recipe(loaded.recipe))
    for name in ("runs/x", "runs/x/recipe.yaml"):
        again = load_recipe(name)
        assert again.recipe == loaded.recipe
        assert again.name == "quickstart"


def test_a_key_fault_is_shown_at_the_line_that_set_the_key(write: Write) -> None:
    write("base.yaml", BASE)
    write("r.yaml", "extends: base\nmodel:\n  recurrence: gru\n")
    loaded = load_recipe("r.yaml", ["model.norm=layer"])
    with pytest.raises(KeyFault) as caught, loaded.blame():
        raise KeyFault("model.zoneout.cell", "a GRU has no cell")
    assert str(caught.value) == (
        "error: a GRU has no cell\n"
        "  --> base.yaml:2\n"
        "2 | model: {hidden: 8, zoneout: {cell: 0.5, hidden: 0.1}}\n"
        "  |                                    ^^^"
    )
    assert str(loaded.place("model.norm")) == "command line:12"
    assert loaded.place("model.backend") == loaded.place("model")
    assert loaded.place("evaluation.window") is None


def test_recipes_need_no_torch() -> None:
    code = "import sys, lsseq.recipe as r; r.load_recipe('quickstart'); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_missing_recipe_suggests_names_and_files(write: Write) -> None:
    write("mine.yaml", BASE)
    for wanted, meant in (
        ("quikstart", "quickstart"),
        ("mine.yml", "mine.yaml"),
        ("ptb-char/grru", "ptb-char/gru"),
    ):
        with pytest.raises(RequestError) as caught:
            load_recipe(wanted)
        assert caught.value.message == f"there is no recipe `{wanted}`"
        assert caught.value.suggestion == f"did you mean `{meant}`?"
        assert caught.value.hint == "`lsseq recipes list` shows the names; a recipe file or a run folder does as well"


@pytest.mark.parametrize("name", ["", ".", "/", "..", "a\0b", "x" * 5000, "/dev/null", "~"])
def test_names_that_no_recipe_can_have(write: Write, name: str) -> None:
    with pytest.raises(RequestError, match="there is no recipe"):
        load_recipe(name)
