"""What a corpus is: one file in `data_scripts` that declares where it comes from and how its splits are made.

A new corpus is a new file there, named as the corpus, that defines `CORPUS`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from lsseq.data.text import chunks
from lsseq.errors import RunError, nearest
from lsseq.recipe.faults import KeyFault
from lsseq.resources import data_scripts_folder

Splits = Mapping[str, Iterable[bytes]]
"""The bytes of `train`, `valid` and perhaps `test`, in order, in chunks of any length."""

LARGEST = 4 << 30
"""Bytes that a file without a known size may have; what is larger is not that file."""

WORDS = ("words",)
"""What the spaces of a text mark that states nothing else."""


@dataclass(frozen=True)
class Source:
    """A file that a corpus is made from, as it is when uncompressed."""

    name: str
    """Its name, by which it is found in a folder, there also with .gz behind it."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    sha1: str | None = None
    """For files whose publishers give no better sum."""
    urls: tuple[str, ...] = ()
    """Where it can be fetched, the best first; also as NAME.gz. `URL#MEMBER` is a file in a .zip or .tgz archive."""

    @property
    def checksum(self) -> str | None:
        """The sum with the name of its algorithm, such as `sha256:01ab…`; None where none is known."""
        for algorithm, value in (("sha256", self.sha256), ("sha1", self.sha1)):
            if value is not None:
                return f"{algorithm}:{value}"
        return None


@dataclass(frozen=True)
class Published:
    """How many units the literature counts in each split, and how many different ones in training."""

    unit: str
    """`char`, `byte` or `word` (white space and one `<eos>` a line)."""
    train: int
    valid: int | None = None
    test: int | None = None
    types: int | None = None


@dataclass(frozen=True)
class EntropyRate:
    """Bits a symbol that the best predictor of an endless text needs."""

    stripped: float
    """Of the text without its spaces, as `data.strip_spaces` reads it."""
    with_spaces: float
    exact: bool
    """The rate without spaces is the rate itself; False where it is an upper bound. With spaces it is always exact."""


@dataclass(frozen=True)
class ImageRecords:
    """How the bytes of a corpus of images are read: one image after the other, the number of its class in one byte, and
    behind it its pixels, row by row, a byte each."""

    height: int
    width: int
    classes: tuple[str, ...]
    """Their names."""

    @property
    def size(self) -> int:
        """Bytes of an image with its class."""
        return 1 + self.height * self.width


@dataclass(frozen=True)
class Corpus:
    """A text, cut into splits once and for all."""

    name: str
    description: str
    licence: str
    citation: str
    prepare: Callable[[Mapping[str, Path]], Splits]
    """From the files, by name, to the splits. A corpus that is used as a whole gives `train` alone."""
    files: tuple[Source, ...] = ()
    """What is fetched. A corpus without files comes with Python and is prepared when it is first needed."""
    instead: tuple[Source, ...] = ()
    """Other files that the same text can be made from, for those who have these."""
    published: tuple[Published, ...] = ()
    levels: tuple[str, ...] = WORDS
    """The units that its spaces mark, from the smallest to the largest: one space ends one of the first level, n spaces
    in a row one of the n-th."""
    entropy_rate: EntropyRate | None = None
    """What no model can fall below, where it is known."""
    images: ImageRecords | None = None
    """It holds images, and is no text."""
    version: int = 1
    """Of `prepare`: a text prepared by another version is prepared anew."""


def corpus_names() -> list[str]:
    """The corpora there are: the files of `data_scripts`."""
    return sorted(file.stem for file in data_scripts_folder().glob("[!_.]*.py"))


def load_corpus(name: str) -> Corpus:
    """The corpus of a name.

    Raises:
        KeyFault: there is none of that name.
        RunError: its script defines no such corpus.
    """
    known = corpus_names()
    if name not in known:
        raise KeyFault(
            "data.corpus",
            f"unknown corpus `{name}`",
            suggestion=nearest(name, known),
            hint="known are " + ", ".join(known) + "; own text is read with data.text",
        )
    path = data_scripts_folder() / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"lsseq_data_script_{name.replace('-', '_')}", path)
    if spec is None or spec.loader is None:
        raise RunError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    corpus = getattr(module, "CORPUS", None)
    if not isinstance(corpus, Corpus) or corpus.name != name:
        raise RunError(f"{path} does not define CORPUS with the name `{name}`")
    return corpus


# ------------------------------------------------------------------------------------- what scripts are written with


def whole_files(train: str, valid: str, test: str) -> Callable[[Mapping[str, Path]], Splits]:
    """A preparation that takes each split from a file of its own, unchanged."""
    names = MappingProxyType({"train": train, "valid": valid, "test": test})
    return lambda files: {split: chunks(files[name]) for split, name in names.items()}


def cut_at(name: str, *marks: int) -> Callable[[Mapping[str, Path]], Splits]:
    """A preparation that cuts a file at two byte offsets."""
    ranges = {"train": (0, marks[0]), "valid": (marks[0], marks[1]), "test": (marks[1], None)}
    return lambda files: {split: chunks(files[name], start, end) for split, (start, end) in ranges.items()}


def stripped_lines(path: Path) -> Iterator[bytes]:
    """The lines of a file without the white space at their ends, each with one line feed."""
    with path.open("rb") as file:
        for line in file:
            yield line.strip() + b"\n"
