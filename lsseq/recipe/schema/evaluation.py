"""The `evaluation` section: how a model is measured."""

from __future__ import annotations

from lsseq.recipe.schema.section import Count, NonNegative, Positive, Rate, Section


class DynamicEvaluation(Section):
    """Dynamic evaluation (Krause et al. 2018): the weights follow the text that was read."""

    lr: Positive = 1e-4
    """η."""
    decay: NonNegative = 0.02
    """λ: pull towards the trained weights."""
    epsilon: Positive = 1e-3
    """Added to the root mean square of the training gradients."""
    segment: Count = 20
    """Tokens between two updates."""


class NeuralCache(Section):
    """Neural cache (Grave et al. 2017): a pointer to the recent past."""

    size: Count = 500
    """Tokens that are remembered."""
    flatness: NonNegative = 0.3
    """θ: how sharply similar states are preferred."""
    weight: Rate = 0.1
    """λ: share of the cache in the mixture."""


class Evaluation(Section):
    """How the model is measured. Validation during training uses the same protocol with `training_streams` streams."""

    streams: Count = 1
    """Parts that a split is read in side by side by `lsseq eval`; each begins from the initial state."""
    training_streams: Count = 8
    """The same for validation during training, for speed."""
    window: Count = 200
    """Steps computed at once; it does not change the result."""
    pieces: Count | None = None
    """Read pieces of so many tokens, each from the initial state, instead of carrying the state."""
    dynamic: DynamicEvaluation = DynamicEvaluation()
    cache: NeuralCache = NeuralCache()
