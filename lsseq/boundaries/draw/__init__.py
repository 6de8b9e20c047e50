"""Boundaries drawn: in the terminal, as an HTML page, as PNG figures."""

from lsseq.boundaries.draw.excerpt import Excerpt, Rates
from lsseq.boundaries.draw.figures import save_figure
from lsseq.boundaries.draw.page import page
from lsseq.boundaries.draw.terminal import print_excerpt

__all__ = ["Excerpt", "Rates", "page", "print_excerpt", "save_figure"]
