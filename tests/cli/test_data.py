"""`lsseq data`: what it prints, and what it says about wrong requests."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def env(tmp_path) -> dict[str, str]:
    """A data folder of its own."""
    return {"LSSEQ_DATA": str(tmp_path / "data")}


def test_list_prepare_and_info(run_cli, env, tmp_path):
    before = run_cli("data", "list", env=env, check=0).stdout.splitlines()
    assert [line.split()[0] for line in before] == sorted(line.split()[0] for line in before)
    assert any(line.startswith("python-docs      -         Reference prose") for line in before)

    told = run_cli("data", "prepare", "python-docs", env=env, check=0).stdout
    folder = tmp_path / "data" / "corpora" / "python-docs"
    assert told.startswith(f"python-docs: prepared in {folder}\n")
    assert "types in train" in told

    listed = json.loads(run_cli("data", "list", "--json", env=env, check=0).stdout)["corpora"]
    assert {corpus["name"]: corpus["prepared"] for corpus in listed}["python-docs"] is True
    assert {corpus["name"]: corpus["prepared"] for corpus in listed}["ptb"] is False

    info = run_cli("data", "info", "python-docs", env=env, check=0).stdout
    assert "licence: Python Software Foundation License" in info
    assert f"prepared in {folder}" in info


def test_info_names_files_sums_and_the_next_command(run_cli, env):
    told = run_cli("data", "info", "ptb", env=env, check=0).stdout.splitlines()
    assert told[0].startswith("ptb: Penn Treebank")
    assert (
        "  ptb.train.txt  5,101,618 bytes  sha256:fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"
        in told
    )
    assert "published word counts (train / valid / test): 929,589 / 73,760 / 82,430, 10,000 types" in told
    assert told[-1] == "not prepared; `lsseq data prepare ptb` prepares it"


def test_json_keys(run_cli, env):
    info = json.loads(run_cli("data", "info", "text8", "--json", env=env, check=0).stdout)
    assert set(info) == {
        "name",
        "description",
        "licence",
        "citation",
        "files",
        "instead",
        "published",
        "levels",
        "prepared",
        "folder",
    }
    assert info["published"] == [
        {"unit": "char", "train": 90_000_000, "valid": 5_000_000, "test": 5_000_000, "types": 27}
    ]
    made = json.loads(run_cli("data", "prepare", "python-docs", "--json", env=env, check=0).stdout)
    assert set(made) == {"name", "folder", "splits", "types", "published"}
    assert set(made["splits"]["train"]) == {"characters", "bytes", "words", "lines", "sha256"}


@pytest.mark.parametrize("verb", ["info", "prepare"])
def test_an_unknown_corpus(run_cli, env, verb):
    told = run_cli("data", verb, "pbt", env=env, check=2).stderr
    assert told == (
        "error: unknown corpus `pbt`; did you mean `ptb`?\n"
        "hint: known are brent, enwik8, mnist, nested-lexicon, ptb, python-docs, text8, tinyshakespeare, wikitext-103, "
        "wikitext-2; own text is read with data.text\n"
    )


def test_a_folder_without_the_files(run_cli, env, tmp_path):
    told = run_cli("data", "prepare", "tinyshakespeare", "--from", tmp_path, env=env, check=2).stderr
    assert told == (
        f"error: {tmp_path} lacks input.txt of the corpus `tinyshakespeare`\n"
        "hint: put these files into a folder (plain or .gz) and run "
        "`lsseq data prepare tinyshakespeare --from FOLDER`\n"
        "  input.txt  1,115,394 bytes  "
        "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed\n"
    )
    missing = run_cli("data", "prepare", "ptb", "--from", tmp_path / "none", env=env, check=2).stderr
    assert missing == f"error: there is no folder {tmp_path / 'none'}\n"


def test_a_changed_file_is_refused_by_name(run_cli, env, tmp_path):
    (tmp_path / "input.txt").write_bytes(b"x" * 1_115_394)
    told = run_cli("data", "prepare", "tinyshakespeare", "--from", tmp_path, env=env, check=2).stderr
    assert told.startswith("error: input.txt is not the file that was expected: its sum is sha256:")
    assert ", not sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed\n" in told
    assert f"  --> {tmp_path / 'input.txt'}\n" in told


def test_unknown_option_and_missing_name(run_cli, env):
    told = run_cli("data", "prepare", "ptb", "--form", "x", env=env, check=2).stderr
    assert told.startswith("error: unknown option `--form`; did you mean `--from`?")
    assert run_cli("data", "info", env=env, check=2).stderr.startswith("error: Missing argument 'NAME'")


def test_help_shows_an_example_without_loading_torch(run_cli, env):
    for arguments in (("data",), ("data", "list"), ("data", "info"), ("data", "prepare")):
        assert "Example:" in run_cli(*arguments, "--help", env=env, check=0).stdout


def test_the_entropy_rate_of_a_corpus_that_has_one(run_cli, env):
    told = run_cli("data", "info", "nested-lexicon", env=env, check=0).stdout
    assert "\nentropy rate: 0.6831 bits per symbol without spaces, 0.4835 with\n" in told
    info = json.loads(run_cli("data", "info", "nested-lexicon", "--json", env=env, check=0).stdout)
    assert info["levels"] == ["words", "phrases"]
    assert set(info["entropy_rate"]) == {"stripped", "with_spaces", "exact"}
    assert info["entropy_rate"]["exact"] is True


def test_a_corpus_that_is_published_as_a_whole(run_cli, env):
    told = run_cli("data", "info", "brent", env=env, check=0).stdout
    assert "published word counts (the whole): 43,189, 1,322 types" in told
    info = json.loads(run_cli("data", "info", "brent", "--json", env=env, check=0).stdout)
    assert info["published"][0] == {"unit": "word", "train": 43_189, "types": 1_322}
