"""`lsseq generate` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny_run import cli_in_process, make_run, tiny_recipe

Cli = Callable[..., Any]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    return cli_in_process(capfd)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, small_text: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    make_run(folder, tiny_recipe(small_text), scale=10)
    return folder


def test_a_text_and_its_json(run: Path, cli: Cli) -> None:
    args = ("generate", run, "--prompt", "The ", "--length", 40, "--seed", 5, "--top-k", 10, "--temperature", 0.8)
    text = cli(*args, check=0).stdout
    values = json.loads(cli(*args, "--json", check=0).stdout)
    assert set(values) == {"prompt", "text", "seed", "temperature", "top_k", "tokens", "seconds"}
    assert text == "The " + values["text"] + "\n"
    assert len(values["text"]) == values["tokens"] == 40
    assert (values["prompt"], values["seed"], values["temperature"], values["top_k"]) == ("The ", 5, 0.8, 10)


def test_a_prompt_that_the_vocabulary_cannot_read(run: Path, cli: Cli) -> None:
    result = cli("generate", run, "--prompt", "né", check=2)
    assert result.stderr.splitlines()[:2] == [
        "error: 'é' (U+00E9) at line 1, column 2 is not in the vocabulary, which has no `<unk>`",
        "  --> --prompt:1",
    ]
    assert result.stdout == ""


@pytest.mark.parametrize("args", [["--temperature", "-1"], ["--length", "0"], ["--top-k", "0"], ["--seed", "-1"]])
def test_numbers_out_of_range(args: list[str], run: Path, cli: Cli) -> None:
    result = cli("generate", run, *args, check=2)
    assert f"Invalid value for '{args[0]}'" in result.stderr


def test_a_model_that_reads_backwards_writes_before_the_prompt(cli: Cli, tmp_path: Path, small_text: Path) -> None:
    make_run(tmp_path / "run", tiny_recipe(small_text, data={"reverse": True}), scale=10)
    args = ("generate", tmp_path / "run", "--prompt", "end.", "--length", 20, "--seed", 5)
    text = cli(*args, check=0).stdout
    assert text == json.loads(cli(*args, "--json", check=0).stdout)["text"] + "end.\n"
