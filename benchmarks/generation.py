"""Tokens a second of text that is generated one by one, against a loop over torch.nn.LSTMCell.

    python benchmarks/generation.py [--hidden 1000] [--tokens 100] [--pairs 30] [--threads N]

Both sides have an embedding, one recurrent layer and an output layer, and draw each token from the softmax. Ours is
`generate_tokens` with all that it does, with zoneout in the layer; theirs is the shortest loop that one would write.
Blocks of tokens alternate in one process; the figure is the median of the ratios of neighbouring blocks.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import nn

from lsseq.generation import generate_tokens
from lsseq.model.factory import build_model
from lsseq.recipe.schema import Model, Zoneout

VOCABULARY, EMBEDDING = 50, 128


class Bare(nn.Module):
    """The model around a cell of torch.nn."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, EMBEDDING)
        self.cell = nn.LSTMCell(EMBEDDING, hidden)
        self.output = nn.Linear(hidden, VOCABULARY)

    @torch.inference_mode()
    def generate(self, tokens: int) -> None:
        zeros = torch.zeros(1, self.cell.hidden_size)
        token, state = torch.zeros(1, dtype=torch.long), (zeros, zeros)
        for _ in range(tokens):
            state = self.cell(self.embedding(token), state)
            token = torch.multinomial(torch.softmax(self.output(state[0]), dim=-1), 1)[0]


def seconds(run: Callable[[], object]) -> float:
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=1000)
    parser.add_argument("--tokens", type=int, default=100, help="tokens of a block")
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)

    bare = Bare(options.hidden)
    zoneout = Zoneout(cell=0.5, hidden=0.05)
    model = build_model(Model(hidden=options.hidden, embedding=EMBEDDING, zoneout=zoneout), VOCABULARY).eval()
    times = [
        (
            seconds(lambda: list(generate_tokens(model, [], options.tokens, start=0))),
            seconds(lambda: bare.generate(options.tokens)),
        )
        for _ in range(options.pairs + 1)
    ][1:]
    low, middle, high = statistics.quantiles(theirs / ours for ours, theirs in times)
    ours, theirs = (options.tokens / statistics.median(side) for side in zip(*times, strict=True))
    print(
        f"torch {torch.__version__}, {options.threads} thread(s), H={options.hidden}, {options.pairs} pairs of blocks"
    )
    print(f"tokens a second: {ours:,.0f} against {theirs:,.0f} with LSTMCell")
    print(f"ratio: {middle:.2f} (quartiles {low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
