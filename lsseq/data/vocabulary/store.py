"""vocabulary.json: the stable form that a run keeps its vocabulary in.

    {"format": "lsseq-vocabulary", "version": 1, "unit": "char", "unknown": null, "tokens": ["\\n", " ", "a"]}

`char` and `word` list their tokens in the order of their numbers and name the unknown one, or null. `byte` has no
further key. `sentencepiece` has `model`, the name of the model file beside it, and `sha256`, the sum of that file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lsseq.data.vocabulary.base import FILE, FORMAT, VERSION, Vocabulary
from lsseq.data.vocabulary.pieces import SentencePieceVocabulary
from lsseq.data.vocabulary.symbols import ByteVocabulary, CharVocabulary
from lsseq.data.vocabulary.words import WordVocabulary
from lsseq.errors import RunError
from lsseq.json_text import parse_json


def load_vocabulary(folder: Path) -> Vocabulary:
    """Read what `Vocabulary.save` wrote into a folder.

    Raises:
        RunError: the file is missing, damaged or of a later version; it names the file.
    """
    return load_vocabulary_file(folder / FILE)


def load_vocabulary_file(path: Path) -> Vocabulary:
    """The same for a vocabulary.json of any name."""
    try:
        values = parse_json(path.read_text(encoding="utf-8"))
        return _from_values(values, path)
    except FileNotFoundError as error:
        raise RunError(f"the vocabulary file {error.filename} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        what = f"no key {error}" if isinstance(error, KeyError) else str(error)
        raise RunError(f"the vocabulary file {path} is damaged: {what}") from error


def _from_values(values: Any, path: Path) -> Vocabulary:
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"it is not of the format {FORMAT}")
    if values["version"] != VERSION:
        raise ValueError(f"it is of version {values['version']}, and this lsseq reads version {VERSION}")
    unit = values["unit"]
    if unit == "byte":
        return ByteVocabulary()
    if unit == "sentencepiece":
        return _sentencepiece(values, path)
    if unit not in ("char", "word"):
        raise ValueError(f"unknown unit {unit!r}")
    tokens, unknown = values["tokens"], values["unknown"]
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise ValueError("tokens is not a list of strings")
    if not tokens:
        raise ValueError("tokens is empty")
    return CharVocabulary(tokens, unknown) if unit == "char" else WordVocabulary(tokens, unknown)


def _sentencepiece(values: dict[str, Any], path: Path) -> Vocabulary:
    if Path(values["model"]).name != values["model"]:
        raise ValueError(f"model is not the name of a file beside it: {values['model']!r}")
    model = (path.parent / values["model"]).read_bytes()
    actual = hashlib.sha256(model).hexdigest()
    if actual != values["sha256"]:
        raise ValueError(f"{values['model']} has the sha256 {actual}, not {values['sha256']}")
    return SentencePieceVocabulary(model)
