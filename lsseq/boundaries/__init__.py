"""Learned boundaries of a text: scored against gold, beside baselines, and drawn."""

from lsseq.boundaries.chunk import Chunk
from lsseq.boundaries.score import Report, Scorer, best_offsets, gold_rates, score

__all__ = ["Chunk", "Report", "Scorer", "best_offsets", "gold_rates", "score"]
