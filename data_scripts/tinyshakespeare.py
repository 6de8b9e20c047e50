"""Tiny Shakespeare (Karpathy 2015): parts of Shakespeare's plays in one file, cut 90/5/5 in order."""

from __future__ import annotations

from lsseq.data.corpus import Corpus, Published, Source, cut_at
from lsseq.data.report import script

CORPUS = Corpus(
    name="tinyshakespeare",
    description="Tiny Shakespeare: 1.1 million characters of plays",
    licence="public domain",
    citation="Karpathy 2015, The Unreasonable Effectiveness of Recurrent Neural Networks",
    prepare=cut_at("input.txt", 1_003_854, 1_059_624),
    files=(
        Source(
            "input.txt",
            1_115_394,
            "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            urls=(
                "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
                "https://cs.stanford.edu/people/karpathy/char-rnn/tinyshakespeare/input.txt",
            ),
        ),
    ),
    published=(Published("char", 1_003_854, 55_770, 55_770, types=65),),
)

if __name__ == "__main__":
    script(CORPUS)
