"""The `data` section: which text, in which units, and what is learned of it."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from lsseq.recipe.schema.section import Count, Section, broken
from lsseq.recipe.schema.task import Task

_SOURCES: dict[str, tuple[str, ...]] = {
    "copy": (),
    "adding": (),
    "images": ("corpus", "dataset"),
    "classification": ("text", "dataset"),
}
"""Where the examples of a task may come from."""


class TextSplits(Section):
    """Own text that is already divided."""

    train: str
    """File with the training text."""
    valid: str
    """File with the validation text."""
    test: str | None = None
    """File with the test text."""


class HubDataset(Section):
    """A text data set read through the Hugging Face library `datasets`."""

    name: str
    """Name on the hub, a folder with data files or one that `save_to_disk` of `datasets` wrote, or a loader such as
    `text`, `parquet` or `arrow`."""
    config: str | None = None
    """Configuration of the data set, such as `wikitext-2-raw-v1`."""
    files: str | list[str] | dict[str, str | list[str]] | None = None
    """Local files for the loader, as `data_files` of `datasets.load_dataset`."""
    column: str = "text"
    """Column that holds the text, or the images."""
    separator: str = "\n"
    """What is put after each row."""
    revision: str | None = None
    """Git revision on the hub, so that the same text comes back."""


class SentencePiece(Section):
    """How a sentencepiece vocabulary is trained. It is lossless: every text is given back exactly."""

    algorithm: Literal["unigram", "bpe"] = "unigram"
    """Algorithm of sentencepiece."""


class Data(Section):
    """Which text, and the units that it is read in."""

    alternatives = (frozenset({"corpus", "text", "dataset"}),)

    corpus: str | None = None
    """Name of a corpus that `lsseq data list` shows."""
    text: str | list[str] | TextSplits | None = None
    """Own text, which takes the place of a corpus: a file, a folder or a list of files (cut 90/5/5 in order), or one
    file a split. Relative paths start at the current folder."""
    dataset: HubDataset | None = None
    """A text data set of the Hugging Face library instead of a corpus."""
    unit: Literal["char", "byte", "word", "sentencepiece"] = "char"
    """What a token is."""
    strip_spaces: bool = False
    """char, byte: the text is read without its spaces (U+0020, in training and afterwards), which become the gold that
    boundaries are scored against. Characters are then counted without them."""
    reverse: bool = False
    """char, byte: each split is read backwards, from its last symbol to its first. A line feed is a symbol like the
    others, so it comes before the line that it ended."""
    vocabulary_size: Count | None = None
    """Words, sentencepiece: the largest size. Characters: the size that the corpus is known to have."""
    minimum_count: Count = 1
    """Words that occur less often in the training text are read as `<unk>`."""
    vocabulary: str | None = None
    """File to read the vocabulary from: one token a line, an lsseq vocabulary.json, or a saved torchtext Vocab."""
    sentencepiece: SentencePiece = SentencePiece()
    task: Task | None = None
    """What is learned; the next token of the text where absent."""

    @model_validator(mode="after")
    def _one_source(self) -> Data:
        if self.text is not None and self.dataset is not None:
            raise broken("dataset", "data.text and data.dataset are both given; keep one")
        return self

    @model_validator(mode="after")
    def _sources_of_the_task(self) -> Data:
        if self.task is None:
            return self
        kind, allowed = self.task.kind, _SOURCES[self.task.kind]
        for key in ("corpus", "text", "dataset"):
            if getattr(self, key) is not None and key not in allowed:
                reads = " or ".join(f"data.{name}" for name in allowed)
                does = f"reads {reads}" if reads else "makes its own sequences"
                raise broken(key, f"the task `{kind}` {does}, not data.{key}")
        for key in ("strip_spaces", "reverse"):
            if getattr(self, key):
                raise broken(key, f"data.{key} is for language models, and data.task is `{kind}`")
        return self
