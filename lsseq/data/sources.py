"""Where the text of a recipe comes from."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from lsseq.data.corpus import WORDS, load_corpus
from lsseq.data.local import local_texts
from lsseq.data.prepare import Prepared, find_prepared, prepare
from lsseq.data.text import Text
from lsseq.recipe.faults import KeyFault
from lsseq.recipe.schema import Data, TextSplits
from lsseq.resources import data_folder


@dataclass(frozen=True)
class Found:
    """The texts of a recipe."""

    source: str
    """What they are, for people."""
    texts: dict[str, Text]
    """`train`, `valid`, and `test` where there is one."""
    key: str
    """The key of the recipe that names them."""
    whole: bool = False
    """The corpus has no splits, and `valid` is its whole text as `train` is."""


@contextlib.contextmanager
def find_texts(data: Data) -> Iterator[Found]:
    """The texts that the `data` section names; files made for them are gone after the block.

    Raises:
        KeyFault: they cannot be found.
    """
    if data.text is not None:
        yield Found(_named(data.text), local_texts(data.text), "data.text")
    elif data.dataset is not None:
        from lsseq.data.hub import dataset_rows

        with spooled(dataset_rows(data.dataset), data.dataset.separator) as texts:
            yield Found(data.dataset.name, texts, "data.dataset")
    elif data.corpus is not None:
        texts = _texts(data.corpus)
        whole = "valid" not in texts
        yield Found(data.corpus, {**texts, "valid": texts["train"]} if whole else texts, "data.corpus", whole)
    else:
        raise KeyFault(
            "data.corpus",
            "no text is named",
            hint="give data.corpus (`lsseq data list` shows them), data.text (own files) or data.dataset",
        )


def levels_of(data: Data) -> tuple[str, ...]:
    """The units that the spaces of a recipe's text mark, from the smallest to the largest.

    Raises:
        KeyFault: an unknown corpus.
    """
    own = data.text is not None or data.dataset is not None or data.corpus is None
    return WORDS if own else load_corpus(str(data.corpus)).levels


def prepared(name: str) -> Prepared:
    """A corpus as `lsseq data prepare` left it; one that comes with Python is prepared here where it is not yet.

    Raises:
        KeyFault: there is none of that name, or it is not prepared.
    """
    corpus = load_corpus(name)
    ready = find_prepared(corpus)
    if ready is None:
        if corpus.files:
            raise KeyFault(
                "data.corpus",
                f"the corpus `{name}` is not prepared",
                hint=f"`lsseq data prepare {name}` fetches it, or takes files at hand with --from FOLDER",
            )
        ready = prepare(corpus)
    return ready


def _texts(name: str) -> dict[str, Text]:
    ready = prepared(name)
    if ready.corpus.images is not None:
        raise KeyFault("data.corpus", f"the corpus `{name}` holds images", hint="data.task=images reads them")
    return ready.texts


@contextlib.contextmanager
def spooled(splits: Mapping[str, Iterable[str]], separator: str) -> Iterator[dict[str, Text]]:
    """Strings as text files, each string followed by the separator; the files are gone after the block."""
    # They may be too large for the folder of temporary files, which many systems keep in memory.
    data_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".texts-", dir=data_folder()) as folder:
        texts = {}
        for split, rows in splits.items():
            path = Path(folder) / f"{split}.txt"
            with path.open("wb") as file:
                for row in rows:
                    file.write((row + separator).encode())
            texts[split] = Text.of(path)
        yield texts


def _named(text: str | list[str] | TextSplits) -> str:
    if isinstance(text, TextSplits):
        return ", ".join(path for path in (text.train, text.valid, text.test) if path is not None)
    return text if isinstance(text, str) else ", ".join(text)
