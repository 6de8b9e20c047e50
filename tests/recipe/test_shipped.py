"""The recipes that come with lsseq."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lsseq.cli.recipe_check import Checked, check
from lsseq.data.tasks import known_form
from lsseq.recipe import catalogue, dump_recipe, load_recipe
from lsseq.recipe.document import Node, read_document
from lsseq.recipe.load import extended
from lsseq.resources import recipes_folder

NAMES = catalogue.names()

METHODS = (
    *("zoneout-lstm", "recurrent-dropout-lstm", "layer-norm-lstm", "batch-norm-lstm", "hm-lstm", "low-rank-lstm"),
    *("residual", "stochastic-depth", "swapout", "fractal", "tied", "rhn", "fast-slow", "mogrifier-lstm", "awd-lstm"),
)
DEEP = {"zoneout-lstm", "recurrent-dropout-lstm", "layer-norm-lstm", "hm-lstm", "low-rank-lstm", "mogrifier-lstm"}
"""Of four layers beside budget-deep-lstm; their names say so, since one layer of another size has the plain name."""
COMPARED = {
    **dict.fromkeys((f"{corpus}/lstm" for corpus in ("python-docs", "tinyshakespeare", "wikitext-103")), ""),
    **dict.fromkeys((f"{corpus}/lstm" for corpus in ("brent", "nested-lexicon")), ""),
    **dict.fromkeys((f"{corpus}/budget-lstm" for corpus in ("ptb-word", "wikitext-2", "mnist")), "budget-"),
    **dict.fromkeys((f"{corpus}/budget-deep-lstm" for corpus in ("ptb-char", "text8", "enwik8")), "budget-"),
    "mnist/budget-permuted-lstm": "budget-permuted-",
}
"""The plain LSTM that a corpus's methods are compared with, and what stands before their names."""
ELSEWHERE = {
    *("brent/hm-lstm", "nested-lexicon/hm-lstm"),  # the size with which detectors are compared
    *("mnist/budget-permuted-fast-slow", "mnist/budget-permuted-awd-lstm", "mnist/budget-awd-lstm"),
    *("mnist/budget-fast-slow", "mnist/budget-batch-norm-lstm"),  # too slow; gradients that explode
}
COMMAND = re.compile(r"^# (?:Run|Change): +lsseq train (\S+)(?: (.*))?$", re.MULTILINE)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_there_are_recipes_for_every_corpus_and_task() -> None:
    folders = {name.partition("/")[0] for name in NAMES if "/" in name}
    assert folders == {
        *("ptb-char", "ptb-word", "wikitext-2", "wikitext-103", "text8", "enwik8", "tinyshakespeare", "python-docs"),
        *("brent", "nested-lexicon", "copy", "adding", "mnist"),
    }
    assert all(f"{folder}/base" in NAMES for folder in folders)


def test_it_loads_and_comes_back_from_its_dump(name: str, tmp_path: Path) -> None:
    loaded = load_recipe(name)
    assert loaded.name == name.replace("/", "-")
    again = tmp_path / "again.yaml"
    again.write_text(dump_recipe(loaded.recipe), encoding="utf-8")
    assert load_recipe(again).recipe == loaded.recipe


def test_it_states_all_that_its_model_needs(name: str) -> None:
    data = load_recipe(name).recipe.data
    if data.task is not None:
        assert known_form(data, data.task) is not None
        return
    assert data.corpus is not None
    assert (data.vocabulary_size is None) == (data.unit == "byte")


def test_it_opens_with_the_commands_that_run_and_change_it(name: str) -> None:
    text = (recipes_folder() / f"{name}.yaml").read_text(encoding="utf-8")
    assert text.startswith("# Data:    ")
    commands = COMMAND.findall("\n".join(text.splitlines()[:3]))
    assert [named for named, _ in commands] == [name, name]
    before, after = load_recipe(name).recipe, load_recipe(name, commands[1][1].split()).recipe
    assert before != after


def test_it_has_a_description_of_one_line(name: str) -> None:
    description = load_recipe(name).recipe.description
    assert description is not None
    assert "\n" not in description
    assert len(description) < 100


def test_it_repeats_nothing_that_it_extends(name: str) -> None:
    """A value that a recipe states again as its base has it is a fact in two places."""
    path = catalogue.path_of(name)
    assert path is not None
    bases = extended(path)
    if not bases:
        return
    base = load_recipe(bases[-1][1]).tree

    def repeated(own: Node, below: Node | None, at: str) -> list[str]:
        if isinstance(own.value, dict):
            return [
                found
                for key, inner in own.value.items()
                if key != "recurrence"  # said in every model's file, for its reader
                for found in repeated(inner, below.child(key) if below else None, f"{at}.{key}")
            ]
        return [at] if below is not None and own.plain() == below.plain() else []

    own = read_document(path)
    for section in ("data", "model", "training", "evaluation"):
        if (node := own.child(section)) is not None:
            assert repeated(node, base.child(section), section) == []


@pytest.fixture(scope="module")
def checked() -> dict[str, Checked]:
    return {name: check(name) for name in NAMES}


@pytest.mark.parametrize("plain", COMPARED)
def test_every_method_stands_beside_the_lstm_with_as_many_parameters(plain: str, checked: dict[str, Checked]) -> None:
    corpus, prefix = plain.partition("/")[0], COMPARED[plain]
    deep = plain.endswith("budget-deep-lstm")
    names = [f"{corpus}/{prefix}{'deep-' if deep and method in DEEP else ''}{method}" for method in METHODS]
    # enwik8 has networks of ptb-char, and more symbols; of 147 million parameters of WikiText-103 137 are its words'.
    most = {"enwik8": 0.03, "wikitext-103": 0.06}.get(corpus, 0.02)
    expected = checked[plain].parameters
    assert expected is not None
    for name in set(names) - ELSEWHERE:
        assert checked[name].parameters == pytest.approx(expected, rel=most), name


def test_budgets_count_in_steps(name: str) -> None:
    if name.partition("/")[2].startswith(("budget-", "_budget")):
        training = load_recipe(name).recipe.training
        assert (training.steps is None, training.epochs, training.minutes) == (False, None, None)


def test_what_is_far_from_the_published_parameters_is_explained(checked: dict[str, Checked]) -> None:
    for name, one in checked.items():
        assert one.is_far == (one.explanation is not None), name
    assert checked["text8/hm-lstm"].difference == pytest.approx(36_300_317 / 35_000_000 - 1)
    assert checked["text8/hm-lstm"].is_far


def test_the_quickstart_counts_in_steps_and_needs_no_download() -> None:
    recipe = load_recipe("quickstart").recipe
    assert recipe.data.corpus == "python-docs"
    assert recipe.training.steps is not None
    assert recipe.training.minutes is None


def test_the_zoneout_recipe_is_the_papers() -> None:
    recipe = load_recipe("ptb-char/zoneout-lstm").recipe
    model, training = recipe.model, recipe.training
    assert (model.recurrence, model.hidden, model.layers, model.embedding) == ("lstm", 1000, 1, "one-hot")
    assert (model.zoneout.cell, model.zoneout.hidden) == (0.5, 0.05)
    assert (model.initialisation.weights, model.initialisation.forget_bias) == ("orthogonal", 1.0)
    assert model.learned_initial_state
    assert (training.optimizer, training.lr, training.clip, training.clip_by) == ("adam", 2e-3, 1.0, "update")
    assert (training.batch, training.bptt, training.windows) == (32, 100, "pieces")
    assert recipe.evaluation.pieces == 100
    assert {(figure.split, figure.value) for figure in recipe.published} == {("valid", 1.362), ("test", 1.27)}


def test_bases_are_told_from_recipes() -> None:
    assert catalogue.is_base("ptb-char/base")
    assert catalogue.is_base("ptb-char/_shared")
    assert not catalogue.is_base("quickstart")
    bases = {name for name in NAMES if name.endswith("/base")}
    bases |= {"mnist/_budget", "text8/_budget", "enwik8/_budget"}
    assert {entry.name for entry in catalogue.entries() if entry.is_base} == bases
    assert catalogue.path_of("../pyproject") is None


def test_the_recipes_of_the_low_rank_paper_are_the_papers() -> None:
    copy, adding, mnist = (
        load_recipe(name).recipe for name in ("copy/low-rank-gru", "adding/low-rank-gru", "mnist/permuted-low-rank-gru")
    )
    for recipe, rank, diagonal, bias in ((copy, 50, True, 4.0), (adding, 24, False, 4.0), (mnist, 24, True, 5.0)):
        model, training = recipe.model, recipe.training
        assert (model.recurrence, model.hidden, model.rank, model.diagonal) == ("gru", 128, rank, diagonal)
        assert (model.reset, model.initialisation.weights, model.initialisation.carry_bias) == (
            "before",
            "glorot",
            bias,
        )
        assert model.learned_initial_state
        assert (training.optimizer, training.smoothing, training.batch) == ("rmsprop", 0.9, 20)
    assert copy.data.task is not None
    assert copy.data.task.delay == 500
    assert adding.data.task is not None
    assert adding.data.task.length == 750
    assert mnist.data.task is not None
    assert mnist.data.task.permuted
    assert (copy.training.clip_by, adding.training.clip_by, mnist.training.clip_by) == ("norm", "value", "value")
    assert (copy.training.lr, adding.training.lr, mnist.training.lr) == (1e-3, 1e-3, 5e-4)


@pytest.mark.parametrize(
    ("run", "found"),
    [
        ("ptb-char-budget-hm-lstm", "ptb-char/hm-lstm"),
        ("ptb-char-budget-deep-zoneout-lstm", "ptb-char/zoneout-lstm"),
        ("mnist-budget-permuted-gru", "mnist/permuted-gru"),
        ("ptb-char-budget-tied", None),
        ("ptb-char-zoneout-lstm", None),
        ("quickstart", None),
        (None, None),
    ],
)
def test_the_recipe_of_a_paper_beside_a_budget_recipe(run: str | None, found: str | None) -> None:
    assert catalogue.full_scale(run) == found
