"""How well a model predicts a text: static, dynamic and cached, in figures that can be compared."""

from lsseq.evaluation.figures import figures
from lsseq.evaluation.perplexity import measure_split

__all__ = ["figures", "measure_split"]
