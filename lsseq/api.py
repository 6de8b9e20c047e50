"""A trained model in Python.

import lsseq

model = lsseq.load("runs/quickstart")
model.perplexity("The statement binds a name.\\n")
print(model.generate("The ", length=200, temperature=0.8, seed=1))
"""

from __future__ import annotations

import os
import secrets
from typing import Any, Literal

import numpy as np

from lsseq.boundaries.reading import read
from lsseq.data import Split, Vocabulary
from lsseq.errors import RequestError
from lsseq.evaluation.evaluate import Mode, evaluate, find_split
from lsseq.evaluation.reading import Tokenwise
from lsseq.evaluation.surprisal import bits
from lsseq.evaluation.text import text_split
from lsseq.generation import write
from lsseq.model.language_model import LanguageModel
from lsseq.recipe.schema import Recipe
from lsseq.runs import load_run
from lsseq.training.device import Device, choose_device

Checkpoint = Literal["best", "last"]


def load(run: str | os.PathLike[str], checkpoint: Checkpoint = "best", device: Device = "auto") -> TrainedModel:
    """The model of a run, ready to measure and to write.

    Args:
        run: a run folder, or its name under `runs/`.
        checkpoint: the weights with the best validation nll, or the last ones.
        device: `auto` takes CUDA where there is one.

    Raises:
        RequestError: there is no such run, no such device, or no CUDA.
        RunError: the checkpoint is missing or damaged.

    Example:
        >>> model = lsseq.load("runs/quickstart")  # doctest: +SKIP
        >>> model.bits_per_character("Any text that its vocabulary can read.")  # doctest: +SKIP
        2.31
    """
    return TrainedModel(run, checkpoint, device)


class TrainedModel:
    """A trained language model with its vocabulary and its recipe; `lsseq.load` makes one."""

    model: LanguageModel
    """In evaluation mode."""
    vocabulary: Vocabulary
    recipe: Recipe
    """Fully resolved, as the run keeps it; `evaluation` says how texts are read."""

    def __init__(self, run: str | os.PathLike[str], checkpoint: Checkpoint, device: Device) -> None:
        self.device = choose_device(device)
        loaded = load_run(run, checkpoint, str(self.device))
        self.folder, self.fingerprint = loaded.folder.path, loaded.fingerprint
        self.model, self.vocabulary, self.recipe = loaded.model, loaded.vocabulary, loaded.recipe

    def perplexity(self, text: str | bytes) -> float:
        """exp of the mean nats a token, the text being read in one stream, by the protocol of the recipe.

        Raises:
            RequestError: the text is empty, or holds a symbol that the vocabulary lacks.

        Example:
            >>> model.perplexity("The cat sat on the mat.\\n")  # doctest: +SKIP
            4.97
        """
        return float(self._measure(text_split(text, self.vocabulary, self.recipe.data))["perplexity"])

    def bits_per_character(self, text: str | bytes) -> float:
        """Bits that the text costs, divided by its characters, whatever units the model reads.

        Raises:
            RequestError: as `perplexity`, and where the units lose the text, as words do.

        Example:
            >>> model.bits_per_character("The cat sat on the mat.\\n")  # doctest: +SKIP
            2.31
        """
        values = self._measure(text_split(text, self.vocabulary, self.recipe.data))
        if "bpc" not in values:
            raise RequestError(
                f"bits per character are undefined: the units ({self.vocabulary.unit}) do not give the text back",
                hint="perplexity is defined for every unit",
            )
        return float(values["bpc"])

    def evaluate(
        self, split: str = "valid", *, mode: Mode = "deterministic", streams: int | None = None
    ) -> dict[str, Any]:
        """Measure a split of the text that the model was trained on.

        Args:
            split: `train`, `valid` or `test`.
            mode: `deterministic`, `dynamic` (the weights follow the text) or `cache` (the neural cache).
            streams: parts read side by side; `evaluation.streams` of the recipe where absent.

        Returns:
            The values of `lsseq eval --json`: `nll`, `perplexity`, `bpc` …, `tokens`, `mode`, `protocol`, `seconds`.

        Raises:
            RequestError: there is no such split, the corpus is not prepared here, or its text was changed.

        Example:
            >>> model.evaluate("test")["bpc"]  # doctest: +SKIP
            1.97
        """
        found = find_split(self.recipe.data, self.vocabulary, split, self.fingerprint)
        values = evaluate(
            self.model, found, self.vocabulary, self.recipe, mode=mode, streams=streams, device=self.device
        )
        return {**values, "split": split}

    def surprisal(self, text: str | bytes) -> list[tuple[str, float]]:
        """Every token of a text with -log2 p(token | all before it), in the order in which the model reads them.

        Raises:
            RequestError: as `perplexity`.

        Example:
            >>> model.surprisal("cat")  # doctest: +SKIP
            [('c', 5.1), ('a', 2.0), ('t', 3.3)]
        """
        each = Tokenwise()
        split = text_split(text, self.vocabulary, self.recipe.data)
        self._measure(split, each)
        tokens = map(self.vocabulary.token, split.tokens.tolist())
        return list(zip(tokens, bits(each.nll()).tolist(), strict=True))

    def boundaries(self, text: str | bytes) -> list[list[int]]:
        """Where each layer below the top finds the end of a unit in a text: positions of tokens, from 0, in the order
        in which the model reads them. Empty for a model without detectors.

        Raises:
            RequestError: as `perplexity`.

        Example:
            >>> model.boundaries("the cat sat")  # doctest: +SKIP
            [[2, 6], [6]]
        """
        split = text_split(text, self.vocabulary, self.recipe.data)
        found = np.concatenate(
            [seen.found for seen in read(self.model, split.marked(), self.vocabulary.start, device=self.device)]
        )
        return [np.flatnonzero(layer).tolist() for layer in found.T]

    def generate(
        self,
        prompt: str = "",
        length: int = 200,
        temperature: float = 1.0,
        top_k: int | None = None,
        seed: int | None = None,
    ) -> str:
        """A text that goes on from a prompt; the prompt itself is not given back.

        A model with `data.reverse` writes what comes before the prompt.

        Args:
            prompt: what was written so far.
            length: tokens to write.
            temperature: below 1 nearer to the likeliest text, 0 always the likeliest token, above 1 wilder.
            top_k: draw from the k likeliest tokens only.
            seed: the same seed gives the same text; another one each time where absent.

        Raises:
            RequestError: a symbol in the prompt that the vocabulary lacks, a negative temperature, a `top_k` below 1.

        Example:
            >>> print(model.generate("The ", length=20, temperature=0.8, seed=1))  # doctest: +SKIP
            statement is a list
        """
        parts = write(
            self.model,
            self.vocabulary,
            self.recipe.data,
            prompt,
            length,
            temperature=temperature,
            top_k=top_k,
            seed=secrets.randbits(31) if seed is None else seed,
        )
        return "".join(parts)

    def _measure(self, split: Split, keep: Tokenwise | None = None) -> dict[str, Any]:
        return evaluate(self.model, split, self.vocabulary, self.recipe, streams=1, device=self.device, keep=keep)
