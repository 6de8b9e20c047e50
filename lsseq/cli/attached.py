"""`python -m lsseq.cli.attached ARGUMENTS` is `lsseq ARGUMENTS` for a process that started it: when that process closes
the pipe to its standard input, or dies, the command is stopped as by SIGTERM, so that a training saves its state."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading

from lsseq.cli import main


def _watch() -> None:
    # A thread that waits in a buffered reader would keep the interpreter from ending.
    while os.read(sys.stdin.fileno(), 1024):
        pass
    if sys.platform == "win32":
        _thread.interrupt_main(signal.SIGTERM)
    else:
        # A real signal also ends what the main thread waits for.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)


if __name__ == "__main__":
    # What has no handler yet would not be interrupted.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    threading.Thread(target=_watch, daemon=True).start()
    main()
