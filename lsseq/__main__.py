"""`python -m lsseq` is `lsseq`."""

from lsseq.cli import main

main()
