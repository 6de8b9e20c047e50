"""`python -m lsseq.cli.attached ARGUMENTS` is `lsseq ARGUMENTS` for a process that started it: when that process closes
the pipe to its standard input, or dies, the command is interrupted as by Ctrl-C, so that a training saves its state."""

from __future__ import annotations

import _thread
import os
import sys
import threading

from lsseq.cli import main


def _watch() -> None:
    # A thread that waits in a buffered reader would keep the interpreter from ending.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    _thread.interrupt_main()


if __name__ == "__main__":
    threading.Thread(target=_watch, daemon=True).start()
    main()
