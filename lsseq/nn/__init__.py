"""Recurrent layers that share and preserve state, used as those of `torch.nn` are. The package can be used alone:

    import torch
    import lsseq.nn as lnn

    lstm = lnn.LSTM(32, 64, num_layers=2, zoneout_cell=0.5, zoneout_hidden=0.05)
    x = torch.randn(100, 8, 32)  # (T, B, I)
    output, (h, c) = lstm(x)  # (T, B, H), states (layers, B, H)
    print(lstm.explain())  # the back end that is taken, and why

`init` initialises the layers, `random` is the source of all masks, `state` handles recurrent states of any structure.
"""

from lsseq.nn import init, random, state
from lsseq.nn.dropout import Dropout, EmbeddingDropout
from lsseq.nn.explain import explain
from lsseq.nn.gru import GRU
from lsseq.nn.highway import Highway
from lsseq.nn.hmlstm import HMLSTM
from lsseq.nn.kernels.hierarchy import HMOutput
from lsseq.nn.lstm import LSTM
from lsseq.nn.mogrifier import MogrifierLSTM
from lsseq.nn.parts.repetitions import RandomSteps
from lsseq.nn.parts.statistics import recalibrating
from lsseq.nn.rhn import RHN
from lsseq.nn.rnn import RNN
from lsseq.nn.stacks.columns import only_column
from lsseq.nn.stacks.depth import StochasticDepth
from lsseq.nn.stacks.fast_slow import FastSlow
from lsseq.nn.stacks.fractal import FractalStack
from lsseq.nn.stacks.paths import DropPath
from lsseq.nn.stacks.residual import ResidualStack
from lsseq.nn.stacks.steps import set_steps
from lsseq.nn.stacks.swapout import Swapout
from lsseq.nn.stacks.tied import TiedStack
from lsseq.nn.stacks.transition import DeepTransition

__all__ = [
    "GRU",
    "HMLSTM",
    "LSTM",
    "RHN",
    "RNN",
    "DeepTransition",
    "DropPath",
    "Dropout",
    "EmbeddingDropout",
    "FastSlow",
    "FractalStack",
    "HMOutput",
    "Highway",
    "MogrifierLSTM",
    "RandomSteps",
    "ResidualStack",
    "StochasticDepth",
    "Swapout",
    "TiedStack",
    "explain",
    "init",
    "only_column",
    "random",
    "recalibrating",
    "set_steps",
    "state",
]
