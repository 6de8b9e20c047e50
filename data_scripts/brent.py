"""The Bernstein-Ratner corpus in Brent's version: what mothers said to their children, in phonemes, with spaces between
the words.

It is the standard text for finding words without supervision, and it has no splits: models are trained on all of it and
scored on all of it. So `train` is the whole corpus and stands for `valid` too, and figures are in sample.

Every phoneme is one ASCII character. In the literature it has 9,790 utterances, 33,399 words of 1,321 types, and 95,809
phonemes of 50 types.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lsseq.data.corpus import Corpus, Published, Source, Splits
from lsseq.data.report import script
from lsseq.data.text import chunks

FILE = "br-phono.txt"
UTTERANCES, WORDS, WORD_TYPES, PHONEMES, PHONEME_TYPES = 9_790, 33_399, 1_321, 95_809, 50


def prepare(files: Mapping[str, Path]) -> Splits:
    return {"train": chunks(files[FILE])}


CORPUS = Corpus(
    name="brent",
    description="Bernstein-Ratner/Brent: speech to children in phonemes, for finding words; no splits",
    licence="redistributed with Michael Brent's permission (Goldwater 2008); CHILDES asks to be cited",
    citation="MacWhinney & Snow 1985; Bernstein-Ratner 1987; Brent & Cartwright 1996, Cognition 61",
    prepare=prepare,
    files=(
        Source(
            FILE,
            129_208,
            "b76e44c4270cb80e4c1a509fbb9781f077af4a47fec9f2d014b51b044d6c7c99",
            urls=(
                f"https://raw.githubusercontent.com/coltekin/seg/master/data/{FILE}",
                f"https://childes.talkbank.org/derived/brent_ratner.zip#brent_ratner/{FILE}",
            ),
        ),
    ),
    published=(
        # One <eos> an utterance.
        Published("word", WORDS + UTTERANCES, types=WORD_TYPES + 1),
        # A space between the words and a line feed behind each utterance.
        Published("char", PHONEMES + (WORDS - UTTERANCES) + UTTERANCES, types=PHONEME_TYPES + 2),
    ),
)

if __name__ == "__main__":
    script(CORPUS)
