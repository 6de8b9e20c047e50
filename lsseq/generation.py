"""Text from a language model, token by token."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lsseq.data import Vocabulary, read_text
from lsseq.data.batches import START
from lsseq.errors import RequestError
from lsseq.model.language_model import LanguageModel
from lsseq.nn.state import State
from lsseq.recipe.schema import Data

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
_LONGEST = 16
"""Tokens that are held back for the rest of a character."""


def generate_tokens(
    model: LanguageModel,
    prompt: Iterable[int],
    length: int,
    *,
    start: int | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[int]:
    """Draw `length` tokens, each from p(token | start, prompt, the tokens drawn so far).

    The draws come from a generator of their own on the CPU, so that a seed repeats a text whatever else is drawn.

    Args:
        model: in evaluation mode, on any device.
        prompt: tokens that come first and are not given back.
        length: tokens to draw.
        start: the token before the first one; None for a zero vector.
        temperature: the logits are divided by it; 0 takes the likeliest token each time.
        top_k: draw from the k likeliest tokens only; from all where absent.
        seed: of the generator.

    Raises:
        RequestError: a negative temperature, or no token to draw from.
    """
    if not temperature >= 0:
        raise RequestError(f"the temperature must be 0 or more (got {temperature})")
    if top_k is not None and top_k < 1:
        raise RequestError(f"top_k must be 1 or more (got {top_k})")
    generator = torch.Generator().manual_seed(seed)
    device = next(model.parameters()).device
    read = torch.tensor([START if start is None else start, *prompt], device=device).unsqueeze(1)
    state: State = None
    for _ in range(length):
        with torch.inference_mode():
            features, state, _ = model.features(read, state)
            token = _draw(model.output.logits(features[-1, 0]).double().cpu(), temperature, top_k, generator)
            read = token.to(device).view(1, 1)
        yield int(token)


def _draw(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator) -> Tensor:
    """One token out of logits (V,)."""
    if temperature == 0:
        return logits.argmax()
    likeliest, tokens = logits.topk(len(logits) if top_k is None else min(top_k, len(logits)))
    # The largest logit is taken off first, so that a small temperature cannot overflow.
    p = torch.softmax((likeliest - likeliest[0]) / temperature, dim=0)
    return tokens[torch.multinomial(p, 1, generator=generator)][0]


def write(
    model: LanguageModel,
    vocabulary: Vocabulary,
    data: Data,
    prompt: str,
    length: int,
    *,
    source: str = "prompt",
    temperature: float = 1.0,
    top_k: int | None = None,
    seed: int = 0,
) -> Iterator[str]:
    """A text that goes on from a prompt, which is read as the model's recipe says, in parts that can be shown as they
    come.

    A model that reads backwards writes what comes before the prompt, in one part, since its beginning is written last.

    Args:
        model: in evaluation mode, on any device.
        vocabulary: of the model.
        data: says whether texts are read without their spaces, and whether backwards.
        prompt: what is read first and not given back.
        length: tokens to draw.
        source: what an error calls the prompt.
        temperature: as `generate_tokens`, as are `top_k` and `seed`.
        top_k: see there.
        seed: see there.

    Raises:
        RequestError: as `generate_tokens`; and for a symbol in the prompt that the vocabulary lacks.
    """
    known = read_text(prompt, vocabulary, data, source).tokens.tolist()
    tokens = generate_tokens(
        model, known, length, start=vocabulary.start, temperature=temperature, top_k=top_k, seed=seed
    )
    if data.reverse:
        return iter([vocabulary.decode(list(tokens)[::-1])])
    return spell(vocabulary, known, tokens)


def spell(vocabulary: Vocabulary, prompt: Iterable[int], tokens: Iterable[int]) -> Iterator[str]:
    """The text of tokens that follow a prompt, in parts that can be shown as they come.

    The parts together are the text; bytes that are no UTF-8 become U+FFFD. An incomplete character is held back until
    the tokens that finish it have come.
    """
    if vocabulary.unit == "byte":
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        yield from (part for token in tokens if (part := decoder.decode(bytes([token]))))
        yield from filter(None, [decoder.decode(b"", final=True)])
        return
    # A token's text may depend on the one before it, as the space between words does.
    known, held = list(prompt)[-1:], list[int]()
    for token in tokens:
        held.append(token)
        text = _after(vocabulary, known, held)
        if not text.endswith(_UNFINISHED) or len(held) >= _LONGEST:
            yield text
            known, held = held[-1:], []
    if held:
        yield _after(vocabulary, known, held)


def _after(vocabulary: Vocabulary, known: list[int], tokens: list[int]) -> str:
    return vocabulary.decode([*known, *tokens])[len(vocabulary.decode(known)) :]
