"""English reference prose that comes with Python: the topics of `help()`, from `pydoc_data.topics`.

The topics are joined in the order of their names with an empty line between them. Paragraphs, which empty lines
separate, are kept where they first occur and dropped where the same text was met before (spaces at their ends aside),
so that text of the validation and test splits is not in the training split. What is left is cut 90/5/5 in order, by
characters.

Python 3.11 gives 373,309 characters, 103 different ones; other versions differ a little, so there is no fixed sum,
and a text that was prepared once is used by every Python that shares the data folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lsseq.data.corpus import Corpus, Splits
from lsseq.data.report import script

SEPARATOR = "\n\n"


def prepare(_: Mapping[str, Path]) -> Splits:
    from pydoc_data.topics import topics

    text = SEPARATOR.join(topics[name] for name in sorted(topics))
    first: dict[str, str] = {}
    for paragraph in text.split(SEPARATOR):
        first.setdefault(paragraph.strip(), paragraph)
    kept = SEPARATOR.join(first.values())
    valid, test = len(kept) * 90 // 100, len(kept) * 95 // 100
    parts = {"train": kept[:valid], "valid": kept[valid:test], "test": kept[test:]}
    return {split: [part.encode()] for split, part in parts.items()}


CORPUS = Corpus(
    name="python-docs",
    description="Reference prose that comes with Python itself: nothing to download",
    licence="Python Software Foundation License",
    citation="The Python Language Reference, Python Software Foundation",
    prepare=prepare,
)

if __name__ == "__main__":
    script(CORPUS)
