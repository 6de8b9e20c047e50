"""The `data.task` section: what is learned beside the next token of a text."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from lsseq.recipe.schema.section import Count, Section


class Task(Section):
    """What is learned instead of the next token. A bare name, `task: copy`, stands for `task: {kind: copy}`."""

    readers: ClassVar = {
        "delay": ("copy",),
        "vary": ("copy",),
        "length": ("adding",),
        "examples": ("copy", "adding"),
        "permuted": ("images",),
        "column": ("classification",),
        "label": ("images", "classification"),
    }

    kind: Literal["copy", "adding", "images", "classification"]
    """copy: ten symbols are read and recalled after a delay; adding: the sum of two marked numbers; images: the class
    of an image that is read pixel by pixel; classification: the label of a text."""
    delay: Count = 100
    """copy: N. A sequence has N + 20 steps: 10 symbols, N - 1 blanks, a sign to begin, 10 blanks."""
    vary: Literal["none", "symbols", "delay"] = "none"
    """copy: drawn for each sequence: nothing; how many symbols, from 1 to 10; or the delay, from 1 to N."""
    length: Annotated[int, Field(ge=2)] = 200
    """adding: T, the steps of a sequence."""
    examples: Count = 100_000
    """copy, adding: different sequences to train on. 1,000 others are for validation, 10,000 for the test."""
    permuted: bool = False
    """images: the pixels are read in a random order that is the same for all images."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 1
    """copy, adding: of the sequences. images: of the order of the pixels, `numpy.random.RandomState(seed).permutation`.
    classification: of the division of rows without a validation split."""
    column: str = "text"
    """classification: the column of a CSV file that holds the text."""
    label: str = "label"
    """classification, images: the column of a CSV file or a data set that holds the class."""
