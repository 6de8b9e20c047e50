"""Saved torchtext vocabularies, read without torchtext and without running anything that the file says.

A torchtext `Vocab` is saved with `pickle.dump` or `torch.save`. A pickle is a program that may call any function by
name, so the reader here knows four names, none of which does anything but hold data, and refuses every other.
"""

from __future__ import annotations

import collections
import io
import pickle
import zipfile
from pathlib import Path
from typing import Any, NoReturn

from lsseq.errors import Place, RequestError

_LARGEST = 1 << 30
"""Bytes of a pickle inside a torch.save archive."""


class _Held:
    """Stands for an object of the file: keeps its state and does nothing."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


_ALLOWED: dict[tuple[str, str], Any] = {
    ("torchtext.vocab.vocab", "Vocab"): _Held,
    ("torchtext._torchtext", "Vocab"): _Held,
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
}


class _ForbiddenError(Exception):
    """The file asks for something outside the list."""


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _ForbiddenError(f"it asks for `{module}.{name}`") from None

    def persistent_load(self, _: Any) -> NoReturn:
        raise _ForbiddenError("it refers to data outside of it")


def read_torchtext(path: Path) -> tuple[list[str], int | None]:
    """The tokens of a saved torchtext `Vocab` in order, and the number that unknown ones are read as, if any.

    Raises:
        RequestError: the file asks for any class or function that a `Vocab` does not need, or is no such file.
    """
    try:
        held = _Reader(io.BytesIO(_pickle_of(path))).load()
        inner = held.state["vocab"] if isinstance(held.state, dict) else held.state
        state = inner.state if isinstance(inner, _Held) else inner
        _, default, tokens, _ = state
        if not all(isinstance(token, str) for token in tokens) or not all(isinstance(index, int) for index in default):
            raise ValueError("its state is not a list of tokens")
        index = default[0] if default else None
        if index is not None and not 0 <= index < len(tokens):
            raise ValueError(f"its default index {index} is not one of its {len(tokens)} tokens")
        return list(tokens), index
    except _ForbiddenError as error:
        raise RequestError(
            f"refused to read {path}: {error}, which a torchtext vocabulary does not need",
            Place(str(path)),
            hint="save the tokens as text, one a line, and give that file",
        ) from None
    except OSError:
        raise
    except Exception as error:
        # A damaged pickle can raise nearly anything.
        raise RequestError(
            f"{path} is not a saved torchtext vocabulary: {error}",
            Place(str(path)),
            hint="read are files that pickle.dump or torch.save wrote from torchtext.vocab.Vocab",
        ) from error


def _pickle_of(path: Path) -> bytes:
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as packed:
        found = next((info for info in packed.infolist() if info.filename.endswith("/data.pkl")), None)
        if found is None:
            raise ValueError("the archive has no data.pkl")
        with packed.open(found) as file:
            data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ValueError("data.pkl is too large")
    return data
