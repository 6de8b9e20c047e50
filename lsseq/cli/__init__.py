"""The command line: finds the verbs, runs one, and turns every error into a few lines and an exit code."""

from __future__ import annotations

import errno
import importlib
import io
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

import click

import lsseq
from lsseq.cli.common import VerbGroup
from lsseq.errors import Interrupted, LsseqError, RequestError, RunError, render
from lsseq.processes.place import speaks_first

_NO_MEMORY = re.compile(
    "can't allocate memory|out of memory|size calculation overflowed|overflow when unpacking", re.IGNORECASE
)
"""How torch says that memory ran out, on the CPU and on CUDA, and that no machine has as much."""


class Verbs(VerbGroup):
    """The files of `lsseq/cli/verbs`: a new verb is a new file."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(file.stem for file in (Path(__file__).parent / "verbs").glob("[!_]*.py"))

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"lsseq.cli.verbs.{name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our output went away, as `head` does. Click would call that a failure.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


@click.command(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Each verb shows an example: lsseq VERB --help. --debug anywhere shows the traceback of an error.",
)
@click.version_option(lsseq.__version__, prog_name="lsseq")
def group() -> None:
    """Train, measure and look inside recurrent sequence models that share and preserve state.

    \b
    Example:
      lsseq train quickstart
      lsseq eval quickstart --split test
    """


def _fail(error: LsseqError) -> NoReturn:
    if isinstance(error, Interrupted):
        # The process is ending already; who asks again is not to see a traceback.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    if speaks_first():
        click.echo(render(error), err=True)
    sys.exit(error.exit_code)


def _as_lsseq_error(error: Exception) -> LsseqError | None:
    """The errors of libraries that mean something to the user."""
    if isinstance(error, LsseqError):
        return error
    if isinstance(error, click.NoSuchOption):
        near = error.possibilities[0] if error.possibilities else None
        return RequestError(
            f"unknown option `{error.option_name}`",
            suggestion=f"did you mean `{near}`?" if near else None,
            hint=_help_of(error.ctx),
        )
    if isinstance(error, click.UsageError):
        return RequestError(error.format_message().rstrip("."), hint=_help_of(error.ctx))
    if isinstance(error, click.ClickException):
        return RunError(error.format_message())
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return RunError(f"the disk is full{_file_of(error)}", hint="free some room; a run goes on with --resume")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return RunError(f"no permission{_file_of(error)}: {error.strerror}")
    if isinstance(error, OSError) and error.strerror:
        return RunError(f"{error.strerror}{_file_of(error)}", hint="--debug shows where")
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError | TypeError) and _NO_MEMORY.search(str(error))
    ):
        return RunError(
            "there is not enough memory", hint="lower model.hidden, model.layers, training.batch or training.bptt"
        )
    return None


def _file_of(error: OSError) -> str:
    return f" ({error.filename})" if error.filename else ""


def _help_of(ctx: click.Context | None) -> str | None:
    return f"`{ctx.command_path} --help` shows what can be given" if ctx else None


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line; never returns."""
    try:
        _main(argv)
    except KeyboardInterrupt:  # One more, while the first was being answered.
        _fail(Interrupted("interrupted"))


def _main(argv: list[str] | None) -> NoReturn:
    args = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in args or bool(os.environ.get("LSSEQ_DEBUG"))
    args = [arg for arg in args if arg != "--debug"] or ["--help"]
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A model may write what the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="replace")
    # A long command may be stopped by a scheduler: SIGTERM is handled as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcome = group.main(args, prog_name="lsseq", standalone_mode=False)
        sys.exit(outcome if isinstance(outcome, int) else 0)
    except (KeyboardInterrupt, click.Abort):
        _fail(Interrupted("interrupted"))
    except Exception as error:
        if debug:
            raise
        known = _as_lsseq_error(error)
        if known is None:
            first_line = str(error).partition("\n")[0]
            known = RunError(
                f"{type(error).__name__}: {first_line}", hint="this is a defect of lsseq; --debug shows where"
            )
        _fail(known)
