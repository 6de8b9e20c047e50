"""What holds for every verb: help, unknown words, exit codes, tracebacks."""

from __future__ import annotations

import errno
import json
import subprocess
import sys

import click
import pytest

import lsseq
from lsseq.cli import group, main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]):
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(list(arguments))
        printed = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return code, printed.out, printed.err

    return run


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """Makes every verb raise."""

    def make(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr(group, "get_command", lambda ctx, name: command)

    return make


def test_version_and_help(run) -> None:
    assert run("--version") == (0, f"lsseq, version {lsseq.__version__}\n", "")
    code, out, _ = run("--help")
    assert code == 0
    for verb in ("train", "eval", "generate", "recipes", "data", "bench", "doctor"):
        assert f"  {verb}" in out
    assert run() == run("--help")


@pytest.mark.parametrize("verb", ["train", "eval", "generate", "recipes", "data", "bench", "doctor"])
def test_the_help_of_every_verb_shows_an_example(run, verb: str) -> None:
    code, out, _ = run(verb, "--help")
    assert code == 0
    assert f"  lsseq {verb} " in out[out.index("Example") :]


def test_unknown_words(run) -> None:
    verbs = "bench, boundaries, compare, compress, data, doctor, eval, export, generate, recipes, sweep, train"
    assert run("trian") == (2, "", f"error: unknown verb `trian`; did you mean `train`?\nhint: the verbs are {verbs}\n")
    code, _, err = run("train", "--rnu", "x")
    assert (code, err.splitlines()[0]) == (2, "error: unknown option `--rnu`; did you mean `--run`?")
    assert run("data") == (2, "", "error: `lsseq data` needs a verb\nhint: the verbs are info, list, prepare\n")
    assert run("eval") == (2, "", "error: Missing argument 'RUN'\nhint: `lsseq eval --help` shows what can be given\n")


def test_a_defect_is_named_and_shown_in_full_on_request(run, failing) -> None:
    failing(ZeroDivisionError("oops\nand what a library knows of its own code"))
    code, out, err = run("data")
    assert (code, out) == (1, "")
    assert err == "error: ZeroDivisionError: oops\nhint: this is a defect of lsseq; --debug shows where\n"
    with pytest.raises(ZeroDivisionError):
        main(["data", "--debug"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left", "/data/x"), "error: the disk is full (/data/x)"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/data/x"), "error: Not a directory (/data/x)"),
        (MemoryError(), "error: there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: …"), "error: there is not enough memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB."), "error: there is not enough memory"),
        (RuntimeError("Storage size calculation overflowed with sizes=[9, 9]"), "error: there is not enough memory"),
        (TypeError("zeros(): … Overflow when unpacking long long"), "error: there is not enough memory"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/data/x"),
            "error: no permission (/data/x): Permission denied",
        ),
    ],
)
def test_errors_of_the_system(run, failing, error: Exception, message: str) -> None:
    failing(error)
    code, _, err = run("data")
    assert (code, err.splitlines()[0]) == (1, message)


def test_an_interrupt_has_its_own_code(run, failing) -> None:
    failing(KeyboardInterrupt())
    code, _, err = run("data")
    assert (code, err.strip()) == (130, "error: interrupted")


def test_a_reader_that_goes_away_is_no_failure() -> None:
    command = [sys.executable, "-m", "lsseq", "recipes", "show", "quickstart"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_output_that_the_encoding_lacks(run_cli, encoding: str) -> None:
    environment = {"PYTHONIOENCODING": f"{encoding}:strict"}
    description = "\N{GREEK SMALL LETTER ALPHA}"
    args = ("recipes", "show", "quickstart", f"description={description}")
    assert "description: " in run_cli(*args, env=environment, check=0).stdout
    values = json.loads(run_cli(*args, "--json", env=environment, check=0).stdout)
    assert values["description"] == description
