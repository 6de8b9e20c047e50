"""Prepared corpora: `$LSSEQ_DATA/corpora/NAME/{train,valid,test}.txt` and `corpus.json`.

The text files hold the exact bytes of the splits. corpus.json holds what was counted while they were written:

    {"format": "lsseq-corpus", "version": 1, "name": "ptb", "preparation": 1,
     "splits": {"train": {"characters": …, "bytes": …, "words": …, "lines": …, "sha256": …}, …},
     "types": {"char": …, "byte": …, "word": …}, "files": [{"name": …, "size": …, "checksum": …}, …]}

`words` counts what white space separates and one `<eos>` a line; `types` counts the different units of the training
split.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lsseq.data.corpus import Corpus, Published
from lsseq.data.counting import WordCounts
from lsseq.data.files import content, whole_folder
from lsseq.data.gather import fetched_files, files_from
from lsseq.data.text import Text, UndecodableError, blocks, count_characters, decode
from lsseq.data.vocabulary.words import END
from lsseq.errors import RunError
from lsseq.json_text import parse_json
from lsseq.resources import data_folder

FORMAT = "lsseq-corpus"
VERSION = 1
FILE = "corpus.json"


@dataclass(frozen=True)
class Comparison:
    """A published count beside the count found."""

    unit: str
    what: str
    """`train`, `valid`, `test` or `types`."""
    published: int
    found: int

    @property
    def equal(self) -> bool:
        return self.published == self.found


@dataclass(frozen=True)
class Prepared:
    """A corpus on disk."""

    corpus: Corpus
    folder: Path
    facts: dict[str, Any]
    """The content of corpus.json."""

    @property
    def texts(self) -> dict[str, Text]:
        return {split: Text.of(self.folder / f"{split}.txt") for split in self.facts["splits"]}

    def comparisons(self) -> list[Comparison]:
        """The published counts of the corpus beside what was counted."""
        return [comparison for published in self.corpus.published for comparison in self._compare(published)]

    def _compare(self, published: Published) -> list[Comparison]:
        count = {"char": "characters", "byte": "bytes", "word": "words"}[published.unit]
        expected = {"train": published.train, "valid": published.valid, "test": published.test}
        found = [
            Comparison(published.unit, split, number, self.facts["splits"][split][count] or 0)
            for split, number in expected.items()
            if number is not None
        ]
        if published.types is not None:
            found.append(Comparison(published.unit, "types", published.types, self.facts["types"][published.unit] or 0))
        return found


def prepared_folder(name: str) -> Path:
    """Where a corpus is, or would be."""
    return data_folder() / "corpora" / name


def find_prepared(corpus: Corpus) -> Prepared | None:
    """The corpus as it was prepared; None where it was not, was by another version, or is damaged."""
    folder = prepared_folder(corpus.name)
    try:
        facts = parse_json((folder / FILE).read_text(encoding="utf-8"))
        right = facts["format"] == FORMAT and facts["version"] == VERSION and facts["preparation"] == corpus.version
        for split, counted in facts["splits"].items():
            right = right and content(folder / f"{split}.txt").sha256 == counted["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Prepared(corpus, folder, facts) if right else None


def prepare(corpus: Corpus, folder: Path | None = None) -> Prepared:
    """Make the splits of a corpus, from the files in a folder or else from the net.

    A corpus that is prepared already is left as it is, unless a folder is given. Several processes may do so at once.

    Raises:
        RequestError: the folder lacks a file, or a file is not the one expected.
        RunError: the download failed, or the counts are not those published.
    """
    if folder is None and (ready := find_prepared(corpus)) is not None:
        return ready
    target = prepared_folder(corpus.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=f".{corpus.name}-files-", dir=target.parent) as scratch,
        whole_folder(target, replace=True) as unfinished,
    ):
        if not corpus.files:
            files = {}
        elif folder is None:
            files = fetched_files(corpus, Path(scratch))
        else:
            files = files_from(folder, corpus, Path(scratch))
        made = Prepared(corpus, target, _write(corpus, files, unfinished))
        if different := [comparison for comparison in made.comparisons() if not comparison.equal]:
            told = "; ".join(f"{c.what} {c.unit}: {c.found:,}, published {c.published:,}" for c in different)
            raise RunError(f"the counts of `{corpus.name}` are not those published: {told}")
        if (ready := find_prepared(corpus)) is not None and ready.facts["splits"] == made.facts["splits"]:
            # Another process may be reading the same text there.
            shutil.rmtree(unfinished)
    return made


def _write(corpus: Corpus, files: dict[str, Path], folder: Path) -> dict[str, Any]:
    splits, types = {}, {}
    for split, pieces in corpus.prepare(files).items():
        counter = _Counter(types=split == "train")
        with (folder / f"{split}.txt").open("wb") as file:
            for block in blocks(pieces):
                file.write(block)
                counter.read(block)
        splits[split] = counter.counts()
        if split == "train":
            types = counter.types()
    facts = {
        "format": FORMAT,
        "version": VERSION,
        "name": corpus.name,
        "preparation": corpus.version,
        "splits": splits,
        "types": types,
        "files": [
            {"name": source.name, "size": source.size, "checksum": source.checksum}
            for source in (*corpus.files, *corpus.instead)
            if source.name in files
        ],
    }
    (folder / FILE).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return facts


class _Counter:
    """Counts a text while it goes by."""

    def __init__(self, *, types: bool) -> None:
        self._keep_types = types
        self._bytes = self._characters = self._words = self._lines = 0
        self._digest = hashlib.sha256()
        self._readable = True
        self._seen_bytes = np.zeros(256, bool)
        self._seen_characters: set[str] = set()
        self._seen_words = WordCounts()

    def read(self, block: bytes) -> None:
        self._digest.update(block)
        self._bytes += len(block)
        lines = block.count(b"\n")
        self._lines += lines
        self._characters += count_characters(block)
        self._seen_bytes[np.frombuffer(block, np.uint8)] = True
        try:
            text = decode(block)
        except UndecodableError:
            self._readable = False
            return
        words = text.split()
        self._words += len(words) + lines
        if self._keep_types:
            self._seen_characters.update(text)
            self._seen_words.add(words)

    def counts(self) -> dict[str, Any]:
        return {
            "characters": self._characters if self._readable else None,
            "bytes": self._bytes,
            "words": self._words if self._readable else None,
            "lines": self._lines,
            "sha256": self._digest.hexdigest(),
        }

    def types(self) -> dict[str, int | None]:
        if self._lines:
            self._seen_words.add([END])
        return {
            "char": len(self._seen_characters) if self._readable else None,
            "byte": int(self._seen_bytes.sum()),
            "word": sum(1 for _ in self._seen_words.items()) if self._readable else None,
        }
